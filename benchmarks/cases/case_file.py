"""Files of cases: what they say, with their placeholders filled in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stack import BENCHMARKS, ROOT, tomllib

BUILD = ROOT / "build" / "benchmarks"


@dataclass(frozen=True)
class Run:
    """An implementation on a case: its stack, its arguments, what tells it from its stack's others.

    ``main`` runs are in the README's table.
    """

    stack: str
    arguments: tuple[str, ...]
    variant: str = ""
    main: bool = False


@dataclass(frozen=True)
class Case:
    """What is segmented, by which runs; ``reference`` is the run that the others are compared with.

    ``prepare`` lists interpreters and their arguments, run in this order before any measurement.
    """

    name: str
    title: str
    images: tuple[str, ...]
    reference: str
    runs: Mapping[str, Run]
    prepare: tuple[tuple[str, tuple[str, ...]], ...] = ()
    structures: Mapping[str, Sequence[int]] | None = None
    repeats: int | None = None
    warm_up: bool = True

    def texts(self) -> list[str]:
        """Return every argument and file name."""
        lists = [self.images, *(arguments for _, arguments in self.prepare)]
        return [
            text for texts in (*lists, *(r.arguments for r in self.runs.values())) for text in texts
        ]

    def missing(self) -> list[str]:
        """Return the optional files that the case needs and that are not here.

        What is below ``BUILD`` is made by its preparation.
        """
        paths = sorted({text for text in self.texts() if text.startswith("/")})
        return [p for p in paths if not p.startswith(str(BUILD)) and not Path(p).exists()]


def load_cases(file: Path = BENCHMARKS / "cases" / "cases.toml", **places: Any) -> dict[str, Case]:
    """Read a file of cases; ``places`` are what its placeholders stand for."""
    places = {"build": BUILD, "shared": ROOT.parent / "shared", "device": "cpu", **places}
    document = tomllib.loads(file.read_text(encoding="utf-8"))
    return {
        name: _case(name, document["reference"], case, places)
        for name, case in document["cases"].items()
    }


def _case(name: str, reference: str, facts: dict[str, Any], places: Mapping[str, Any]) -> Case:
    def fill(texts: Sequence[str]) -> tuple[str, ...]:
        return tuple(text.format_map(places) for text in texts)

    runs = {
        run: Run(**{"stack": run, **entry, "arguments": fill(entry["arguments"])})
        for run, entry in facts.pop("runs").items()
    }
    steps = [
        (step.get("python", "export"), fill(step["arguments"])) for step in facts.pop("prepare", [])
    ]
    images = fill(facts.pop("images"))
    return Case(
        name=name,
        images=images,
        runs=runs,
        prepare=tuple(steps),
        **{"reference": reference, **facts},
    )
