"""Spine workflow from an image to labels: arrays only, no files and no engines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, ParamSpec, Protocol, TypeVar

import numpy as np
from nibabel.affines import voxel_sizes

from deepseg_lite.steps.box import Cropped
from deepseg_lite.volume import Affine, AnyArray, FloatArray, LabelArray, Spacing
from deepseg_lite.watch import Watch
from deepseg_lite.workflows.spine.grids import (
    Grid,
    labels_to_grid,
    map_to_grid,
    mean_over_time,
    points_to_grid,
    to_canonical,
    to_isotropic,
)
from deepseg_lite.workflows.spine.headers import affine_of_labels, cropped_affine
from deepseg_lite.workflows.spine.labelling import label_spine
from deepseg_lite.workflows.spine.levels import extract_levels
from deepseg_lite.workflows.spine.outputs import OUTPUTS, needs_second_step
from deepseg_lite.workflows.spine.regions import (
    alternate_discs,
    bounding_box,
    fill_canal,
    largest_part,
    soft_map,
)
from deepseg_lite.workflows.spine.tables import NEWEST, STEP1, STEP2, LabellingStep, Rules

MARGIN_VOXELS = 10  # around the spine, for the second network
ToGrid = Callable[[AnyArray, Affine, Grid], AnyArray]
TO_GRID: Mapping[str, ToGrid] = {
    "classes": labels_to_grid,
    "labels": labels_to_grid,
    "soft": map_to_grid,
}

Network = Callable[[FloatArray, Affine, Sequence[int]], tuple[LabelArray, FloatArray | None]]
"""Channels (C, X, Y, Z), float32, their affine, and channels of the output whose probabilities are
wanted, to classes (X, Y, Z) and those probabilities (K, X, Y, Z)."""

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Steps(Protocol):
    """Function that calls another one as a named stage of a run."""

    def __call__(
        self, name: str, function: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs
    ) -> _R:
        """Return the result of the function."""
        ...


def _timed(watch: Watch) -> Steps:
    def step(name: str, function: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
        with watch.stage(name):
            return function(*args, **kwargs)

    return step


class Placed(NamedTuple):
    """Result on the 1 mm grid, and the affine that the original's file of it has."""

    array: AnyArray
    affine: Affine


@dataclass(frozen=True, eq=False)
class SpineLabels:
    """Results by their names, and the one grid they are all on."""

    arrays: Mapping[str, AnyArray]
    affine: Affine

    @property
    def empty(self) -> list[str]:
        """Return the names of results without a voxel."""
        return [output for output, array in self.arrays.items() if not array.any()]


def label_image(
    data: AnyArray,
    affine: Affine,
    outputs: Sequence[str],
    first: Network,
    second: Network | None = None,
    rules: Rules = NEWEST,
    *,
    iso: bool = False,
    spacing: Spacing | None = None,
    watch: Watch | None = None,
) -> SpineLabels:
    """Segment and label the spine in one image.

    Parameters
    ----------
    data : array of shape (X, Y, Z) or (X, Y, Z, T)
        Intensities in the type they are stored in: integers are cut to whole numbers on the way. A
        time series is averaged.
    affine : array of shape (4, 4)
        Voxel indices to mm.
    outputs : sequence of str
        Names of the results to give, from `deepseg_lite.workflows.spine.outputs.OUTPUTS`.
    first : callable
        The network of the first step.
    second : callable, optional
        That of the second; needed when a result of the second step is asked for.
    rules : Rules
        Rules in which releases of the original software differ.
    iso : bool
        Leave results on the 1 mm grid instead of bringing them to that of ``data``.
    spacing : tuple of 3 floats, optional
        Voxel size in mm as the file's header has it, if that is not exactly the affine's.
    watch : Watch, optional
        Takes the time of each step.

    Returns
    -------
    labels : SpineLabels
        uint8; probabilities float32.

    Raises
    ------
    ImageError
        If no spine is found in a step, or its levels cannot be.

    Notes
    -----
    Source: totalspineseg 20260807, ``inference.inference``; checked by
    ``tests/parity/test_spine_end_to_end.py``. Its files are arrays here, so a transform between two
    crops of one grid is a slice.
    """
    steps = _timed(watch or Watch())
    image, iso_affine = _prepare(data, affine, steps)
    found = _first_step(image, iso_affine, outputs, first, rules, steps)
    if needs_second_step(tuple(outputs)):
        assert second is not None
        found |= _second_step(image, iso_affine, found["step1_output"].array, second, rules, steps)
    chosen = {name: found[name] for name in outputs}
    if iso:
        arrays = {name: placed.array for name, placed in chosen.items()}
        return SpineLabels(arrays, iso_affine)
    grid = Grid(data.shape[:3], affine, spacing)
    to_grid: dict[str, ToGrid] = {
        **TO_GRID,
        "points": partial(points_to_grid, spacing=_spacing(iso_affine)),
    }
    arrays = {
        name: steps("to_input_grid", to_grid[OUTPUTS[name].kind], placed.array, placed.affine, grid)
        for name, placed in chosen.items()
    }
    return SpineLabels(arrays, affine)


def _prepare(data: AnyArray, affine: Affine, steps: Steps) -> tuple[AnyArray, Affine]:
    """Return one volume in RAS at 1 mm."""
    image = steps("average", mean_over_time, data)
    image, affine = steps("reorient", to_canonical, image, affine)
    return steps("resample", to_isotropic, image, affine)


def _first_step(
    image: AnyArray,
    affine: Affine,
    outputs: Sequence[str],
    network: Network,
    rules: Rules,
    steps: Steps,
) -> dict[str, Placed]:
    """Return what is asked for of the first step, and its labels."""
    soft = {name: OUTPUTS[name] for name in outputs if OUTPUTS[name].kind == "soft"}
    channels = [output.channel for output in soft.values()]
    classes, probabilities = steps(
        "step1_network", network, image[None].astype(np.float32), affine, channels
    )
    labels = _label(classes, STEP1, rules, steps, "step1")
    found: dict[str, AnyArray] = {"step1_raw": classes, "step1_output": labels}
    if probabilities is not None:
        for (name, output), scores in zip(soft.items(), probabilities, strict=True):
            found[name] = steps("step1_soft", soft_map, scores, labels, output.around)
    if "step1_levels" in outputs:
        found["step1_levels"] = steps("step1_levels", extract_levels, labels)
    written = affine_of_labels(affine, affine)
    return {name: Placed(array, written) for name, array in found.items()}


def _second_step(
    image: AnyArray,
    affine: Affine,
    labels: LabelArray,
    network: Network,
    rules: Rules,
    steps: Steps,
) -> dict[str, Placed]:
    """Return the second step's results: it sees the box around the spine and every other disc."""
    box = bounding_box(labels, MARGIN_VOXELS)
    start = tuple(part.start for part in box)
    inside = cropped_affine(affine, start)
    channels = [image[box], steps("step2_discs", alternate_discs, labels[box])]
    classes, _ = steps("step2_network", network, np.stack(channels).astype(np.float32), inside, ())
    labels = _label(classes, STEP2, rules, steps, "step2")
    written, crop = affine_of_labels(inside, affine), Cropped(start, image.shape)
    return {
        name: Placed(crop.undo(array), written)
        for name, array in (("step2_raw", classes), ("step2_output", labels))
    }


def _label(
    classes: LabelArray, step: LabellingStep, rules: Rules, steps: Steps, name: str
) -> LabelArray:
    """Return the labels of what a network painted."""
    part = steps(f"{name}_largest_part", largest_part, classes)
    labels = steps(f"{name}_labelling", label_spine, part, step, rules)
    return steps(f"{name}_canal", fill_canal, labels)


def _spacing(affine: Affine) -> Spacing:
    x, y, z = (float(size) for size in voxel_sizes(affine))
    return x, y, z
