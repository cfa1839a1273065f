"""Control groups of Linux: what this process may take of the machine, and what befell it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path


@dataclass(frozen=True)
class Groups:
    """Control groups of a process, of version 2 and of version 1.

    Attributes
    ----------
    root : Path
        Where they are mounted.
    own : Path
        File that says which are the process' own.
    """

    root: Path = Path("/sys/fs/cgroup")
    own: Path = Path("/proc/self/cgroup")

    def texts(self, name: str, old_name: str) -> list[str]:
        """Return what the files of the memory controller say, of those that are there.

        They are looked for where a container sees them, which is at the root, and where the host
        does.

        Parameters
        ----------
        name, old_name : str
            Name of the file in version 2 and in version 1.
        """
        paths = {""}
        with suppress(OSError, ValueError):
            for line in self.own.read_text(encoding="utf-8", errors="replace").splitlines():
                _, controllers, path = line.split(":", 2)
                if not controllers or "memory" in controllers.split(","):
                    paths.add(path.strip("/"))
        found = []
        for path in sorted(paths):
            for file in (self.root / path / name, self.root / "memory" / path / old_name):
                with suppress(OSError):
                    found.append(file.read_text(encoding="ascii", errors="replace"))
        return found

    def free_memory(self) -> int | None:
        """Return how many more bytes these groups allow; None where they have no limit."""
        limits = self._numbers("memory.max", "memory.limit_in_bytes")
        used = self._numbers("memory.current", "memory.usage_in_bytes")
        cached = [
            int(value)
            for text in self.texts("memory.stat", "memory.stat")
            for name, value in pairwise(text.split())
            if name == "inactive_file"
        ]
        if not limits or not used or min(limits) >= 1 << 60:
            return None
        return max(0, min(limits) - max(used) + min(cached, default=0))

    def _numbers(self, name: str, old_name: str) -> list[int]:
        return [int(text) for text in self.texts(name, old_name) if text.strip().isdigit()]
