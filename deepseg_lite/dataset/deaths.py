"""Deaths of processes: the signal or exit code in words, and what helps."""

from __future__ import annotations

import signal
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

from deepseg_lite.dataset.cgroups import Groups
from deepseg_lite.errors import CaseError, OutOfMemoryError

_KILL = getattr(signal, "SIGKILL", 9)  # Windows has none
LESS_MEMORY = "Give fewer `jobs`, `max_ram` or a smaller image, or ask for more memory."


def memory_kills(groups: Groups | None = None) -> int | None:
    """Return how many processes of this control group were killed for want of memory.

    None where the system does not say.
    """
    counts = []
    for text in (groups or Groups()).texts("memory.events", "memory.oom_control"):
        words = text.split()
        counts += [int(n) for name, n in pairwise(words) if name == "oom_kill"]
    return max(counts, default=None)


@dataclass(frozen=True)
class Death:
    """End of a process that had work.

    Attributes
    ----------
    code : int
        Exit code; below 0 the signal that ended it.
    for_memory : bool
        Whether the system killed a process of this control group for want of memory meanwhile.
    silent_s : float or None
        Seconds for which it gave no sign of life, if it was ended for that.
    last_words : str
        End of what it wrote to standard error.
    """

    code: int
    for_memory: bool = False
    silent_s: float | None = None
    last_words: str = ""

    @property
    def signal(self) -> int | None:
        """The signal that ended it, if one did that was not ours."""
        return -self.code if self.code < 0 and self.silent_s is None else None

    @property
    def kind(self) -> str:
        """Class of error that it counts as."""
        return (OutOfMemoryError if self.is_of_memory else CaseError).__name__

    @property
    def is_of_memory(self) -> bool:
        """Whether too little memory is the usual reason."""
        return self.for_memory or self.signal == _KILL

    def __str__(self) -> str:
        if self.silent_s is not None:
            return (
                f"its process gave no sign of life for {self.silent_s:g} s and was ended; give a "
                "longer `time_limit`, or look at the image and the disk."
            )
        if self.code >= 0:
            last = (self.last_words.strip().splitlines() or ["it said nothing"])[-1][:100]
            return f"its process ended with exit code {self.code} ({last}); see its log."
        name = _name(-self.code)
        if self.for_memory:
            return (
                f"its process was killed by the system for want of memory ({name}). {LESS_MEMORY}"
            )
        if self.signal == _KILL:
            return (
                f"its process was killed ({name}), as the system does for want of memory, and "
                f"limits of a queue do. {LESS_MEMORY}"
            )
        return (
            f"its process was ended by {name}; run this image alone, and if that fails as well, "
            "please report it."
        )


def _name(number: int) -> str:
    with suppress(ValueError):
        return f"signal {number}, {signal.Signals(number).name}"
    return f"signal {number}"
