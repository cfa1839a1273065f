"""Work in three stages, so that cases can overlap: what goes before the networks, they, the rest.

The work is a generator that pauses twice, before its networks run and after. Whoever has one case
runs it through; of many, the first stage of the next and the last stage of the one before take
place beside the networks of one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import zip_longest
from time import perf_counter
from typing import NoReturn, TypeVar

T = TypeVar("T")
Stages = Generator[None, None, T]
"""Pauses before its networks run and after; what it returns is the result."""
Outcomes = Generator[Callable[[], T], None, None]
"""Of each case in turn: returns its result, or raises what went wrong with it."""


def run_through(stages: Stages[T]) -> T:
    """Run the stages that are left, one after another, and return the result."""
    while True:
        try:
            next(stages)
        except StopIteration as ended:
            result: T = ended.value
            return result


def in_turn(cases: Sequence[Stages[T]]) -> Outcomes[T]:
    """Run cases one after another; see `overlapped`."""
    for case in cases:
        yield partial(run_through, case)


def overlapped(cases: Sequence[Stages[T]], first: Callable[[], None] | None = None) -> Outcomes[T]:
    """Run cases in order; beside the networks of one, the last is finished and the next prepared.

    That is done in a second thread. What has no networks beside it, the first stage of the first
    case and the last of the last, stays in the caller's. No more than one case is prepared ahead,
    and no more than one is being finished.

    Parameters
    ----------
    cases : sequence of Stages
        None of them begun.
    first : callable, optional
        What else has to be done before networks run, such as opening them; it is done in the
        second thread while the first case is prepared.

    Yields
    ------
    outcome : callable
        See `Outcomes`. What is no ``Exception``, such as an interrupt, ends the run at once; cases
        not begun are given up.
    """
    helper = ThreadPoolExecutor(1)
    outcome: Callable[[], T] | None = None
    try:
        opened = helper.submit(first or (lambda: None))
        prepared = [_done(case) for case in cases[:1]]
        opened.result()
        for case, following in zip_longest(cases, cases[1:]):
            prepared += [helper.submit(next, following)] if following else []
            failure = prepared.pop(0).exception() or _done(case).exception()
            if outcome is not None:
                yield outcome
            if failure is not None:
                outcome = partial(_raise, failure)
            else:
                finish = partial(run_through, case)
                outcome = helper.submit(finish).result if following else finish
        if outcome is not None:
            yield outcome
    finally:
        helper.shutdown(cancel_futures=True)


def _done(case: Stages[T]) -> Future[None]:
    """Run the next stage here; an error belongs to the case, whose turn to be reported comes."""
    stage: Future[None] = Future()
    try:
        next(case)
        stage.set_result(None)
    except Exception as error:
        stage.set_exception(error)
    return stage


def _raise(error: BaseException) -> NoReturn:
    raise error


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Note under the name of a stage how long it took."""
    started = perf_counter()
    yield
    seconds[stage] = round(perf_counter() - started, 4)


Given = TypeVar("Given")
Found = TypeVar("Found")


def called_ahead(
    function: Callable[[Given], Found], given: Iterable[Given], at_once: int
) -> Iterator[Found]:
    """Yield what a function makes of each item, in order.

    Parameters
    ----------
    function : callable
        Called from several threads where ``at_once`` is above 1.
    given : iterable
        Items.
    at_once : int
        Calls on their way while a result is in use; with 1 nothing is done beside it.
    """
    if at_once == 1:
        yield from map(function, given)
        return
    waiting: deque[Future[Found]] = deque()
    pool = ThreadPoolExecutor(at_once)
    try:
        for item in given:
            waiting.append(pool.submit(function, item))
            if len(waiting) > at_once:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
