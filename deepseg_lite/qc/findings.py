"""Findings of the rules, and the verdict that they add up to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PASS, WARN, FAIL = "pass", "warn", "fail"
LEVELS = (PASS, WARN, FAIL)


@dataclass(frozen=True)
class Finding:
    """Something doubtful about a result.

    Attributes
    ----------
    rule : str
        Name of the rule; ``docs/users/quality-control.md`` lists them.
    level : str
        ``warn`` or ``fail``.
    text : str
        What was found, in a sentence.
    structure : str or None
        Which structure it is about.
    figures : mapping
        The numbers in the text.
    is_own : bool
        Whether a rule found it; otherwise the run did.
    """

    rule: str
    level: str
    text: str
    structure: str | None = None
    figures: Mapping[str, Any] = field(default_factory=dict)
    is_own: bool = True

    def record(self) -> dict[str, Any]:
        """Return it as a record holds it."""
        return {
            "rule": self.rule,
            "level": self.level,
            "text": self.text,
            "structure": self.structure,
            "figures": dict(self.figures),
            "is_own": self.is_own,
        }


@dataclass(frozen=True)
class Verdict:
    """Verdict on a result: ``pass``, ``warn`` or ``fail``, the worst of its findings."""

    findings: tuple[Finding, ...]

    @property
    def level(self) -> str:
        """Return the worst level."""
        return max((each.level for each in self.findings), key=LEVELS.index, default=PASS)

    def record(self) -> dict[str, Any]:
        """Return it as a record holds it, the worst findings first."""
        worst_first = sorted(self.findings, key=lambda each: -LEVELS.index(each.level))
        return {"level": self.level, "findings": [each.record() for each in worst_first]}
