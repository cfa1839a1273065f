"""Calls of a function that are made ahead, their results taken in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

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
