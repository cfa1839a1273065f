"""Limits of memory that only the last of the settings that save some stays below."""

from __future__ import annotations

from pathlib import Path

import deepseg_lite
from deepseg_lite.inference.settings import make_settings
from deepseg_lite.performance.plan.case import memory_of, plan_case
from deepseg_lite.performance.plan.costs import Costs
from deepseg_lite.performance.plan.limit import choices


def lowest_limit(bundle: Path, image: Path) -> int:
    """Return bytes between what the last setting takes of a case and what all others take."""
    model = deepseg_lite.load(bundle, device="cpu", threads=1, open_networks=False)
    costs = Costs(model.engine, model.threads)
    *more, least = (
        memory_of([plan_case(model, [image], chosen, costs)], chosen)
        for _, chosen in choices(make_settings())
    )
    assert least < min(more)
    return (least + min(more)) // 2
