"""What each phase of the training learns from, and how much of each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from images import (
    CORD_OF_SOME_KIND,
    OUTSIDE,
    Stack,
    read_challenge,
    read_cord_only,
    read_gray_only,
)
from synthetic import draw_phantoms, draw_shapes

SEED = 7
DRAWN_SLICES, PHANTOMS = 800, 40


class Source(NamedTuple):
    """Stacks to draw from, and the share of patches that come from them."""

    share: float
    stacks: list[Stack]


def pretraining_sources(data: Path, _: str | None) -> list[Source]:
    """Return what shows none of the four persons, whoever is left out."""
    return [
        Source(0.55, [draw_shapes(data, DRAWN_SLICES, SEED)]),
        Source(0.15, draw_phantoms(PHANTOMS)),
        Source(0.30, read_cord_only(data)),
    ]


def finetuning_sources(data: Path, left_out: str | None) -> list[Source]:
    """Return the persons' scans in equal shares, and some of everything else."""
    persons = read_challenge(data, left_out)
    return [
        *(Source(0.6 / len(persons), scans) for scans in persons.values()),
        Source(0.08, read_gray_only(data)),
        Source(0.17, [draw_shapes(data, DRAWN_SLICES, SEED + 1, others_share=0.0)]),
        Source(0.03, draw_phantoms(PHANTOMS // 4)),
        Source(0.12, read_cord_only(data)),
    ]


def refining_sources(data: Path, left_out: str | None) -> list[Source]:
    """Return mostly the persons' scans; drawn slices teach only where the cord ends."""
    persons = read_challenge(data, left_out)
    drawn = draw_shapes(data, DRAWN_SLICES // 4, SEED + 2)
    cord = np.where(drawn.labels == OUTSIDE, OUTSIDE, CORD_OF_SOME_KIND).astype(np.uint8)
    return [
        *(Source(0.78 / len(persons), scans) for scans in persons.values()),
        Source(0.08, read_gray_only(data)),
        Source(0.07, [replace(drawn, labels=cord)]),
        Source(0.07, read_cord_only(data)),
    ]


SOURCES = {
    "find": finetuning_sources,
    "pretrain": pretraining_sources,
    "finetune": finetuning_sources,
    "refine": refining_sources,
}
