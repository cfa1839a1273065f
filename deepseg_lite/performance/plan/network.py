"""What the networks of one bundle will do in a run: patches, calls, time and memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from deepseg_lite.api.model import Part
from deepseg_lite.bundles.bundle import Bundle
from deepseg_lite.inference.patches import plan_windows
from deepseg_lite.inference.restore import decodes_rows
from deepseg_lite.inference.settings import Settings
from deepseg_lite.performance.calibration import Rates
from deepseg_lite.performance.plan.costs import Costs
from deepseg_lite.performance.plan.grid import Shape, plan_grid
from deepseg_lite.performance.plan.memory import RunShapes, beside, peak
from deepseg_lite.steps.grid_sample import SLAB_VOXELS
from deepseg_lite.volume import Volume


@dataclass(frozen=True)
class PartPlan:
    """What the networks of one bundle will do.

    Attributes
    ----------
    bundle : str
        Its name.
    grid, patch : tuple of 3 ints
        Voxels in front of the network, in its own axis order, and of a patch.
    patches, folds, passes, batch, calls : int
        Patches of the grid; networks; mirrored passes over each patch; patches per call; calls of
        networks in all.
    seconds : float or None
        Of all calls; None where that is not known.
    source : {"measured", "estimated", "unknown"}
        Where ``seconds`` are from.
    around : dict or None
        Seconds of opening the networks, preparing what they are given and restoring what they
        make; None where the machine was not measured.
    memory, later : int
        Bytes of the whole process at its worst moment, for the first case and for a later one.
    beside, kept : int
        Bytes that it adds to another case's while the two overlap, and those that stay of a network
        that ran.
    size : int
        Bytes of the bundle's files.
    """

    bundle: str
    grid: Shape
    patch: Shape
    patches: int
    folds: int
    passes: int
    batch: int
    calls: int
    seconds: float | None
    source: str
    around: dict[str, float] | None
    memory: int
    later: int
    beside: int
    kept: int
    size: int


@dataclass(frozen=True, eq=False)
class CaseSizes:
    """What the headers of a case say of its size.

    Attributes
    ----------
    image : tuple of 3 ints
        Its grid.
    inside : Volume
        What of it the pipeline is given, without channels.
    stored, written, held : int
        Bytes of its images as they are read, of all its results, and of what stays in memory
        beside all networks.
    """

    image: Shape
    inside: Volume
    stored: int
    written: int
    held: int


def plan_part(
    part: Part, case: CaseSizes, settings: Settings, costs: Costs, *, maps: int, waiting: bool
) -> tuple[PartPlan, tuple[str, ...]]:
    """Return what a part will do, and the steps that look at voxels, so that it may do less.

    ``maps`` is how many maps come of it beside or in place of labels, 0 for labels alone;
    ``waiting`` says whether the images of another part wait in memory until this one is through.
    """
    bundle, window = part.bundle, part.bundle.sliding_window
    outputs, channels = bundle.outputs, len(bundle.inputs.channel_names)
    ahead = plan_grid(case.inside, bundle)
    windows = plan_windows(window, ahead.shapes[-1], settings["step"])
    folds, count = len(part.networks), windows.count
    passes = 2 ** len(bundle.mirror_axes) if settings["tta"] else 1
    batch = min(window.batch_size, count)
    cost = costs.of(part, windows.patch_size)
    by_rows = settings["in_rows"] and folds == 1 and decodes_rows(bundle, settings)
    shapes = RunShapes(
        image=case.image,
        channels=channels,
        stored=case.stored,
        grids=ahead.shapes,
        patch=windows.patch_size,
        classes=outputs.channel_count,
        maps=maps,
        written=case.written,
        folds=folds,
        passes=passes,
        batch=batch,
        sums=2 if settings["accumulator"] == "float16" else 4,
        places=_places(bundle, ahead.shapes),
        rows=windows.patch_size[0] if by_rows else 0,
        regions=outputs.regions_class_order is not None,
    )
    held = case.held + (shapes.volume if waiting else 0)
    plan = PartPlan(
        bundle=bundle.name,
        grid=ahead.shapes[-1],
        patch=windows.patch_size,
        patches=count,
        folds=folds,
        passes=passes,
        batch=batch,
        calls=-(-count // batch) * folds * passes,
        seconds=None if cost.seconds is None else count * folds * passes * cost.seconds,
        source=cost.source,
        around=_around(costs.rates, shapes, folds * cost.open_seconds),
        memory=held + peak(shapes, cost.memory),
        later=held + peak(shapes, cost.memory, warm=True),
        beside=beside(shapes),
        kept=cost.memory.kept,
        size=bundle.size,
    )
    return plan, ahead.unknown


def _around(rates: Rates | None, shapes: RunShapes, opening: float) -> dict[str, float] | None:
    """Return the seconds of the stages around the networks of a part."""
    if rates is None:
        return None
    whole = math.prod(shapes.image)
    if shapes.places:
        channel = rates.pull * max(map(math.prod, shapes.grids))
        voxel = rates.pull + rates.restore
    else:
        changes = [pair for pair in pairwise(shapes.grids) if pair[0] != pair[1]]
        moved = sum(math.prod(old) + math.prod(new) for old, new in changes)
        channel, voxel = rates.prepare * max(moved, whole), rates.restore
    return {
        "open": opening,
        "prepare": shapes.channels * channel,
        "restore": shapes.classes * voxel * whole,
    }


def _places(bundle: Bundle, grids: Sequence[Shape]) -> int:
    """Return how many voxels' places `respace` works out at a time: a slab, or all for splines."""
    steps = [step for step in bundle.preprocessing if step["step"] == "respace"]
    voxels = max(map(math.prod, grids)) if steps else 0
    splines = any("spline" in (step["image"]["method"], step["scores"]["method"]) for step in steps)
    return voxels if splines else min(voxels, SLAB_VOXELS)


def together(parts: Sequence[PartPlan], *, later: bool = False) -> int:
    """Return the bytes of the process that runs parts in turn, with the networks of all open."""
    kept = sum(part.kept for part in parts)
    return max((part.later if later else part.memory) + kept - part.kept for part in parts)
