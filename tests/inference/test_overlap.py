"""Cases that overlap: the same results in the same order, one case ahead, no thread left."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest

from deepseg_lite.errors import ImageError
from deepseg_lite.inference.overlap import in_turn, overlapped, run_through

PATIENCE = 60  # seconds until a test that would wait for ever fails


class Noted:
    """A case that notes its steps; an action may do something in one of them."""

    def __init__(self, name, events, **actions):
        self.name, self.events, self.actions = name, events, actions

    def _note(self, step):
        self.events.append((self.name, step, threading.current_thread()))
        self.actions.get(step, int)()

    def prepare(self):
        self._note("prepare")

    def predict(self):
        self._note("predict")

    def finish(self):
        self._note("finish")
        return f"result of {self.name}"


case = Noted


def fail():
    raise ImageError("not an image")


def interrupt():
    raise KeyboardInterrupt


@pytest.mark.parametrize("way", [in_turn, overlapped])
@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_results_come_in_order(way, count):
    events = []
    outcomes = way([case(i, events) for i in range(count)])
    assert [outcome() for outcome in outcomes] == [f"result of {i}" for i in range(count)]
    for i in range(count):
        stages = [stage for name, stage, _ in events if name == i]
        assert stages == ["prepare", "predict", "finish"]


def test_networks_stay_in_the_callers_thread():
    events = []
    for outcome in overlapped([case(i, events) for i in range(4)]):
        outcome()
    here = threading.current_thread()
    beside = [event for event in events if event[:2] not in ((0, "prepare"), (3, "finish"))]
    (helper,) = {thread for _, stage, thread in beside if stage != "predict"}
    assert helper != here
    assert {thread for *_, thread in events if thread is not helper} == {here}
    assert helper not in {thread for _, stage, thread in events if stage == "predict"}
    assert not helper.is_alive()


def test_the_next_is_prepared_and_the_last_finished_beside_the_networks():
    """The networks of the second case wait for both, which would be for ever otherwise."""
    third_prepared, first_finished = threading.Event(), threading.Event()

    def wait():
        assert third_prepared.wait(PATIENCE)
        assert first_finished.wait(PATIENCE)

    cases = [
        case(0, [], finish=first_finished.set),
        case(1, [], predict=wait),
        case(2, [], prepare=third_prepared.set),
    ]
    assert [outcome() for outcome in overlapped(cases)] == [f"result of {i}" for i in range(3)]


def test_no_more_than_one_case_is_ahead():
    events, begun = [], []
    next_prepared = [threading.Event() for _ in range(6)]

    def look(i):
        if i < 5:
            assert next_prepared[i + 1].wait(PATIENCE)
        begun.append({name for name, _, _ in events})

    cases = [
        case(i, events, prepare=next_prepared[i].set, predict=lambda i=i: look(i)) for i in range(6)
    ]
    for outcome in overlapped(cases):
        outcome()
    assert begun == [set(range(min(i + 2, 6))) for i in range(6)]


@pytest.mark.parametrize("way", [in_turn, overlapped])
@pytest.mark.parametrize("stage", ["prepare", "predict", "finish"])
@pytest.mark.parametrize("failing", [0, 1, 2])
def test_the_error_of_a_case_is_its_own(way, stage, failing):
    events = []
    cases = [case(i, events, **({stage: fail} if i == failing else {})) for i in range(3)]
    for i, outcome in enumerate(way(cases)):
        if i == failing:
            with pytest.raises(ImageError, match="not an image"):
                outcome()
        else:
            assert outcome() == f"result of {i}"


@pytest.mark.parametrize("way", [in_turn, overlapped])
def test_an_interrupt_ends_the_run(way):
    before, events = threading.active_count(), []
    cases = [case(0, events), case(1, events, predict=interrupt), case(2, events), case(3, events)]
    found = []
    with pytest.raises(KeyboardInterrupt), closing(way(cases)) as outcomes:
        found.extend(outcome() for outcome in outcomes)
    assert 3 not in {name for name, _, _ in events}
    assert (2, "predict") not in {event[:2] for event in events}
    assert threading.active_count() == before


def test_networks_are_opened_while_the_first_case_is_prepared():
    """Each waits for the other to be begun."""
    opening, preparing = threading.Event(), threading.Event()

    def open_networks():
        opening.set()
        assert preparing.wait(PATIENCE)

    def prepare():
        preparing.set()
        assert opening.wait(PATIENCE)

    events = []
    cases = [case(0, events, prepare=prepare), case(1, events)]
    found = [outcome() for outcome in overlapped(cases, open_networks)]
    assert found == ["result of 0", "result of 1"]


def test_a_network_that_cannot_be_opened_ends_the_run():
    before, events = threading.active_count(), []
    with pytest.raises(ImageError), closing(overlapped([case(0, events)], fail)) as outcomes:
        next(outcomes)
    assert [stage for _, stage, _ in events] == ["prepare"]
    assert threading.active_count() == before


def test_a_caller_who_leaves_gives_up_the_rest():
    before, events = threading.active_count(), []
    with closing(overlapped([case(i, events) for i in range(5)])) as outcomes:
        assert next(outcomes)() == "result of 0"
    assert threading.active_count() == before
    assert max(name for name, _, _ in events) <= 2


def test_the_steps_of_one_case_are_run_in_their_order():
    events = []
    assert run_through(case(0, events)) == "result of 0"
    assert [step for _, step, _ in events] == ["prepare", "predict", "finish"]
