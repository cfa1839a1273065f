"""Overlapping: the next case is prepared and the last one finished while networks run."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import NoReturn, Protocol, TypeVar

Given = TypeVar("Given")
Found = TypeVar("Found")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Outcomes = Generator[Callable[[], T], None, None]
"""Of each case in turn: a function that returns its result, or raises its error."""


class Case(Protocol[T_co]):
    """A case in three steps, called one after another, each from any thread."""

    def prepare(self) -> None:
        """Do all that comes before the networks."""
        ...

    def predict(self) -> None:
        """Run the networks."""
        ...

    def finish(self) -> T_co:
        """Do the rest, and return the result."""
        ...


def run_through(case: Case[T]) -> T:
    """Run the three steps of a case, and return its result."""
    case.prepare()
    case.predict()
    return case.finish()


def in_turn(cases: Iterable[Case[T]]) -> Outcomes[T]:
    """Run cases one after another; see `overlapped`."""
    for case in cases:
        yield partial(run_through, case)


def overlapped(cases: Iterable[Case[T]], first: Callable[[], None] | None = None) -> Outcomes[T]:
    """Run cases in order; during the networks of one, the last is finished and the next prepared.

    That is done in a second thread. The first preparation and the last finish have no networks to
    overlap with and stay in the caller's thread. No more than one case is prepared ahead, and no
    more than one is being finished.

    Parameters
    ----------
    cases : iterable of Case
        None of them begun. Each is asked for when the one before has been prepared.
    first : callable, optional
        More work before the first networks run, such as opening them; it is done in the second
        thread while the first case is prepared.

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
        coming = iter(cases)
        case = next(coming, None)
        prepared = None if case is None else _done(case.prepare)
        opened.result()
        while case is not None and prepared is not None:
            following = next(coming, None)
            ready = None if following is None else helper.submit(following.prepare)
            failure = prepared.exception() or _done(case.predict).exception()
            if outcome is not None:
                yield outcome
            if failure is not None:
                outcome = partial(_raise, failure)
            else:
                outcome = case.finish if ready is None else helper.submit(case.finish).result
            case, prepared = following, ready
        if outcome is not None:
            yield outcome
    finally:
        helper.shutdown(cancel_futures=True)


def _done(step: Callable[[], None]) -> Future[None]:
    """Run a step here; its error waits until the case is reported."""
    done: Future[None] = Future()
    try:
        step()
        done.set_result(None)
    except Exception as error:
        done.set_exception(error)
    return done


def _raise(error: BaseException) -> NoReturn:
    raise error


def called_ahead(
    function: Callable[[Given], Found], given: Iterable[Given], at_once: int
) -> Iterator[Found]:
    """Yield the results of a function for each item, in order.

    Parameters
    ----------
    function : callable
        Called from several threads where ``at_once`` is above 1.
    given : iterable
        Items.
    at_once : int
        Calls on their way while a result is in use; with 1 there is none.
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
