"""Examination: all checks, by subject, each guarded."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from deepseg_lite.doctor import cache, engines, machine, software, terminal, variables
from deepseg_lite.doctor.finding import NOTE, PROBLEM, Finding, problem
from deepseg_lite.text import one_line

Check = Callable[[], Iterable[Finding]]


@dataclass(frozen=True)
class Section:
    """Findings about one subject."""

    name: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Examination:
    """All findings on this machine, by subject."""

    sections: tuple[Section, ...]

    def count(self, level: str) -> int:
        """Return how many findings are of a level."""
        return sum(each.level == level for part in self.sections for each in part.findings)

    @property
    def problems(self) -> int:
        """How many findings are problems."""
        return self.count(PROBLEM)

    @property
    def notes(self) -> int:
        """How many findings are notes."""
        return self.count(NOTE)


def checks(*, full: bool = False) -> dict[str, Sequence[Check]]:
    """Return all checks by their subject; ``full`` ones read every file of every model."""
    return {
        "software": (
            software.check_python,
            software.check_requirements,
            software.check_duplicates,
            software.check_known,
            software.check_loading,
        ),
        "engines": (engines.check_devices,),
        "machine": (machine.check_hardware, machine.check_threads, machine.check_memory),
        "models": (
            cache.check_folder,
            cache.check_temporary,
            partial(cache.check_bundles, full=full),
            cache.check_lock,
        ),
        "terminal": (terminal.check_streams,),
        "environment": (variables.check_variables,),
    }


def examine(by_subject: dict[str, Sequence[Check]]) -> Examination:
    """Return what checks find; none of them ends it, whatever it raises."""
    return Examination(
        tuple(
            Section(name, tuple(found for check in each for found in _guarded(check)))
            for name, each in by_subject.items()
        )
    )


def _guarded(check: Check) -> Iterator[Finding]:
    """Yield what a check finds, and where it failed."""
    try:
        yield from check()
    except Exception as error:
        yield problem(_name(check), f"this check failed: {_place(error)}", _REPORT)


_REPORT = "Report it with this page, unless another problem here explains it."


def _name(check: Check) -> str:
    function = check.func if isinstance(check, partial) else check
    return getattr(function, "__name__", "check").removeprefix("check_").replace("_", " ")


def _place(error: Exception) -> str:
    """Return an error in a line, with where in the program it arose."""
    text = f"{type(error).__name__}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{one_line(text)}{where}"
