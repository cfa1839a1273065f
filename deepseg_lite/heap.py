"""What programs, not libraries, may decide about the C library's memory."""

from __future__ import annotations

import ctypes
import sys

_ARENA_MAX = -8
"""M_ARENA_MAX of mallopt(3)."""


def share_one_heap() -> None:
    """Have all threads allocate from one heap, where the C library is glibc; call it at the start.

    By default each thread gets its own, and what is freed there is of no use to the others: a
    network that is opened in a second thread leaves some 150 MB behind.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_ARENA_MAX, 1)
