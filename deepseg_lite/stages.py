"""Work in three stages, so that cases can overlap: what goes before the networks, they, the rest.

The work is a generator that pauses twice, before its networks run and after. Whoever has one case
runs it through; of many, the first stage of the next and the last stage of the one before take
place beside the networks of one.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import zip_longest
from time import perf_counter
from typing import TypeVar

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


def overlapped(cases: Sequence[Stages[T]]) -> Outcomes[T]:
    """Run cases in order, what is not the networks' work in a second thread.

    Networks run in the thread of the caller. No more than one case is prepared ahead, and no more
    than one is being finished.

    Parameters
    ----------
    cases : sequence of Stages
        None of them begun.

    Yields
    ------
    outcome : callable
        See `Outcomes`. What is no ``Exception``, such as an interrupt, ends the run at once; cases
        not begun are given up.
    """
    helper = ThreadPoolExecutor(1)
    prepared: Future[None] | None = None
    outcome: Callable[[], T] | None = None
    try:
        for case, following in zip_longest(cases, cases[1:]):
            ready = prepared or helper.submit(next, case)
            prepared = helper.submit(next, following) if following else None
            failure = _failure(ready, case)
            if outcome is not None:
                yield outcome
            outcome = failure or helper.submit(run_through, case).result
        if outcome is not None:
            yield outcome
    finally:
        helper.shutdown(cancel_futures=True)


def _failure(ready: Future[None], case: Stages[T]) -> Callable[[], T] | None:
    """Run the networks of a prepared case; return what raises the error, if there is one."""
    try:
        ready.result()
        next(case)
    except Exception as error:  # it belongs to the case, whose turn to be reported comes later
        failed: Future[T] = Future()
        failed.set_exception(error)
        return failed.result
    return None


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Note under the name of a stage how long it took."""
    started = perf_counter()
    yield
    seconds[stage] = round(perf_counter() - started, 4)
