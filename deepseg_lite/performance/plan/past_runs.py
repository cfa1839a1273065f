"""Past runs: the seconds of finished ones, kept for the plans of later ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from deepseg_lite.api.calibration import Pace, record_run
from deepseg_lite.api.model import Model
from deepseg_lite.errors import DeepsegError
from deepseg_lite.inference.settings import Settings
from deepseg_lite.performance.plan.case import CasePlan, plan_case, work_voxels
from deepseg_lite.performance.plan.costs import Costs
from deepseg_lite.performance.plan.models import kind_of


def keep_run(
    model: Model, images: Sequence[Path], settings: Settings, stages: Mapping[str, float]
) -> None:
    """Keep the seconds of a finished run; where that is not possible, nothing happens.

    Parameters
    ----------
    model : Model
        The model that ran.
    images : sequence of paths
        Images of the case; only their headers are read.
    settings : Settings
        Those of the run. With ``skip_empty`` it is not known how many patches there were, so
        nothing is kept.
    stages : mapping
        Seconds of each stage, as the record of the run has them.
    """
    if settings["skip_empty"]:
        return
    with suppress(OSError, DeepsegError, KeyError):  # KeyError: a record without such stages
        costs = Costs(model.engine, model.threads, calibrate=False, known={})
        case = plan_case(model, images, settings, costs)
        record_run(_paces(model, settings, case, costs, dict(stages)))


def _paces(
    model: Model, settings: Settings, case: CasePlan, costs: Costs, stages: dict[str, float]
) -> dict[str, Pace]:
    """Return the pace of each network with a stage in the record; the first has the rest, too."""
    kind = kind_of(model, settings)
    named = zip(kind.network_stages, model.parts(settings), case.parts, strict=False)
    paces = {}
    for stage, part, plan in named:
        voxels = plan.patches * plan.folds * plan.passes * math.prod(plan.patch)
        paces[costs.setup(part)] = Pace(kind.maps, stages.pop(stage) / voxels)
    own, *_ = paces
    write = stages.pop("write")
    paces[own] = Pace(
        kind.maps,
        paces[own].patch_voxel_seconds,
        sum(stages.values()) / work_voxels(case.shape, case.parts),
        write / case.result_bytes,
    )
    return paces
