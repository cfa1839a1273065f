"""Findings: what a check has seen, how bad it is, and what helps."""

from __future__ import annotations

from dataclasses import dataclass

OK, NOTE, PROBLEM = "ok", "note", "problem"
LEVELS = (OK, NOTE, PROBLEM)


@dataclass(frozen=True)
class Finding:
    """What a check has seen.

    Attributes
    ----------
    level : {"ok", "note", "problem"}
        ``problem`` where runs fail or may be wrong; ``note`` for what is good to know.
    name : str
        What it is about, in a word or two.
    text : str
        What was seen, in a line.
    cure : str or None
        What helps, in a line; a problem always has one.
    """

    level: str
    name: str
    text: str
    cure: str | None = None


def ok(name: str, text: object) -> Finding:
    """Return a finding of nothing wrong."""
    return Finding(OK, name, str(text))


def note(name: str, text: object, cure: str | None = None) -> Finding:
    """Return a finding that is good to know."""
    return Finding(NOTE, name, str(text), cure)


def problem(name: str, text: object, cure: str) -> Finding:
    """Return a finding of something wrong, and what helps."""
    return Finding(PROBLEM, name, str(text), cure)


def size(count: int) -> str:
    """Return a number of bytes as people read it.

    >>> size(1536 * 2**20), size(300 * 2**20)
    ('1.5 GiB', '300 MiB')
    """
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
