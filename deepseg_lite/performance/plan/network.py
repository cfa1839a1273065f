"""Network plan: the patches, calls, time and memory of the networks of one bundle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from deepseg_lite.api.model import Part
from deepseg_lite.bundles.bundle import Bundle
from deepseg_lite.inference.patches import plan_windows
from deepseg_lite.inference.restore import decodes_rows, steps_before_undo
from deepseg_lite.inference.settings import Settings
from deepseg_lite.performance.plan.costs import Costs
from deepseg_lite.performance.plan.grid import plan_grid
from deepseg_lite.performance.plan.memory import RunShapes, overlapping, peak
from deepseg_lite.steps.grid_sample import SLAB_VOXELS
from deepseg_lite.volume import Shape, Volume


@dataclass(frozen=True)
class PartPlan:
    """Plan of the networks of one bundle.

    Attributes
    ----------
    bundle : str
        Name of the bundle.
    form : str
        Form that the engine takes of the networks.
    grid : tuple of 3 ints
        Voxels in front of the network, in its own axis order.
    patch : tuple of 3 ints
        Voxels of a patch.
    patches : int
        Patches of the grid.
    folds : int
        Networks.
    passes : int
        Mirrored passes over each patch.
    batch : int
        Patches per call.
    calls : int
        Calls of all networks.
    seconds : float or None
        Seconds of all calls; None where they are not known.
    source : {"runs", "measured", "unknown"}
        Origin of ``seconds``: the last runs here, or a measurement of the network.
    memory_bytes : int
        Bytes of the whole process at its worst moment, in the first case.
    warm_bytes : int
        Bytes of the whole process at its worst moment, in a later case.
    overlap_bytes : int
        Bytes that this case adds to another's while the two overlap.
    resident_bytes : int
        Bytes that stay of a network that ran.
    bundle_bytes : int
        Bytes of the bundle's files.
    """

    bundle: str
    form: str
    grid: Shape
    patch: Shape
    patches: int
    folds: int
    passes: int
    batch: int
    calls: int
    seconds: float | None
    source: str
    memory_bytes: int
    warm_bytes: int
    overlap_bytes: int
    resident_bytes: int
    bundle_bytes: int


@dataclass(frozen=True, eq=False)
class CaseSizes:
    """Sizes of a case, from its headers.

    Attributes
    ----------
    shape : tuple of 3 ints
        Voxels of the image.
    inside : Volume
        The part of it that the networks are given, without channels.
    stored_bytes : int
        Bytes of the images as they are read.
    result_bytes : int
        Bytes of all files that are written, before compression.
    resident_bytes : int
        Bytes that stay in memory beside all networks.
    """

    shape: Shape
    inside: Volume
    stored_bytes: int
    result_bytes: int
    resident_bytes: int


def plan_part(
    part: Part, case: CaseSizes, settings: Settings, costs: Costs, *, maps: int, waiting: bool
) -> tuple[PartPlan, tuple[str, ...]]:
    """Return the plan of a part, and the steps that look at voxels, so that it may do less.

    ``maps`` is how many maps come of it beside or in place of labels, 0 for labels alone;
    ``waiting`` says whether the images of another part wait in memory until this one is through.
    """
    bundle, window = part.bundle, part.bundle.sliding_window
    outputs, channels = bundle.outputs, len(bundle.inputs.channel_names)
    ahead = plan_grid(case.inside, bundle, reorient=settings["reorient"])
    windows = plan_windows(window, ahead.shapes[-1], settings["step"])
    folds, count = len(part.networks), windows.count
    passes = 2 ** len(bundle.mirror_axes) if settings["tta"] else 1
    batch = min(window.batch_size, count)
    cost = costs.of(part, windows.patch_size)
    per_patch = cost.patch_seconds
    by_rows = settings["in_rows"] and folds == 1 and decodes_rows(bundle, settings)
    shapes = RunShapes(
        image=case.shape,
        channels=channels,
        stored_bytes=case.stored_bytes,
        grids=ahead.shapes,
        patch=windows.patch_size,
        classes=outputs.channel_count,
        maps=maps,
        result_bytes=case.result_bytes,
        folds=folds,
        passes=passes,
        batch=batch,
        sum_bytes=2 if settings["accumulator"] == "float16" else 4,
        places=_places(bundle, ahead.shapes),
        rows=windows.patch_size[0] if by_rows else 0,
        regions=outputs.regions_class_order is not None,
        direct=ahead.direct,
        undone_bytes=_undone_bytes(bundle, settings),
    )
    resident = case.resident_bytes + (shapes.image_bytes if waiting else 0)
    plan = PartPlan(
        bundle=bundle.name,
        form=costs.engine.file(bundle, part.networks[0]).form,
        grid=ahead.shapes[-1],
        patch=windows.patch_size,
        patches=count,
        folds=folds,
        passes=passes,
        batch=batch,
        calls=-(-count // batch) * folds * passes,
        seconds=None if per_patch is None else count * folds * passes * per_patch,
        source=cost.source,
        memory_bytes=resident + peak(shapes, cost.memory),
        warm_bytes=resident + peak(shapes, cost.memory, warm=True),
        overlap_bytes=overlapping(shapes),
        resident_bytes=cost.memory.resident_bytes,
        bundle_bytes=bundle.size,
    )
    return plan, ahead.unknown


def _undone_bytes(bundle: Bundle, settings: Settings) -> int:
    """Return the bytes of a value of whole maps on their way back: whole numbers take one."""
    outputs = bundle.outputs
    if outputs.values is None:
        return 0
    is_whole = any(step["step"] == "whole_numbers" for step in steps_before_undo(outputs, settings))
    return 1 if is_whole else 4


def _places(bundle: Bundle, grids: Sequence[Shape]) -> int:
    """Return how many voxels' places `respace` works out at a time: a slab, or all for splines."""
    steps = [step for step in bundle.preprocessing if step["step"] == "respace"]
    voxels = max(map(math.prod, grids)) if steps else 0
    splines = any("spline" in (step["image"]["method"], step["scores"]["method"]) for step in steps)
    return voxels if splines else min(voxels, SLAB_VOXELS)


def peak_together(parts: Sequence[PartPlan], *, warm: bool = False) -> int:
    """Return the bytes of the process that runs parts in turn, with the networks of all open.

    ``warm`` says that they ran before, on another case.
    """
    resident = sum(part.resident_bytes for part in parts)
    return max(
        (part.warm_bytes if warm else part.memory_bytes) + resident - part.resident_bytes
        for part in parts
    )
