"""Memory of a run, from the shapes of its arrays.

Each stage of the pipeline is a sum of the arrays that exist together at its worst moment; the
network's part is measured (`deepseg_lite.api.calibration.NetworkMemory`). The sums are
upper bounds, checked against real runs by ``tests/performance/test_plan_memory.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest

from deepseg_lite.api.calibration import NetworkMemory
from deepseg_lite.steps.resample import SLAB_VOXELS
from deepseg_lite.volume import Shape

FLOAT, DOUBLE = 4, 8
HEAP_BYTES = 2**25
"""Larger arrays are mapped by themselves and go back to the system when they are freed; glibc keeps
up to two of those below."""

PROGRAM_BYTES = 2**22
"""Memory that the command line and its second thread add to a process that measures networks."""

PLACE_BYTES, KEPT_PLACE_BYTES = 48, 20
"""Memory of `deepseg_lite.steps.grid_sample.pull` for each voxel whose place it works out, and for
each of the slab before."""


@dataclass(frozen=True)
class RunShapes:
    """Shapes and counts that the sizes of a run's arrays follow from.

    Attributes
    ----------
    image : tuple of 3 ints
        Voxels of the image.
    channels : int
        Images of the case.
    stored_bytes : int
        Bytes of all images together as they are stored.
    grids : sequence of tuples of 3 ints
        As `deepseg_lite.performance.plan.grid.plan_grid` gives them.
    patch : tuple of 3 ints
        Voxels of a patch.
    classes : int
        Channels of the network's output.
    maps : int
        Probability maps or other maps on the image's grid; 0 for a label map.
    result_bytes : int
        Bytes of all files together before compression.
    folds : int
        Networks.
    passes : int
        Mirrored passes of each network.
    batch : int
        Patches per call.
    sum_bytes : int
        Bytes of one running sum.
    places : int
        Voxels whose places are worked out at a time, where resampling goes by the affine.
    rows : int
        Rows of scores that exist at a time where they are decoded row by row; otherwise 0.
    regions : bool
        Whether labels are painted region by region; otherwise the largest score wins.
    direct : sequence of bool
        Whether each change of the grid needs no working arrays; missing ones do.
    undone_bytes : int
        Bytes of a value of maps that go back whole from grid to grid; 0 where slabs of scores do.
    """

    image: Shape
    channels: int
    stored_bytes: int
    grids: Sequence[Shape]
    patch: Shape
    classes: int
    maps: int
    result_bytes: int
    folds: int = 1
    passes: int = 1
    batch: int = 1
    sum_bytes: int = FLOAT
    places: int = 0
    rows: int = 0
    regions: bool = False
    direct: Sequence[bool] = ()
    undone_bytes: int = 0

    @property
    def image_bytes(self) -> int:
        """Bytes of the image in float32, and as it is stored; they stay until it is prepared."""
        return self.channels * math.prod(self.image) * FLOAT + self.stored_bytes

    @property
    def grid(self) -> Shape:
        """The grid in front of the network, as large as a patch at least."""
        x, y, z = map(max, self.grids[-1], self.patch)
        return x, y, z

    @property
    def score_bytes(self) -> int:
        """Bytes of one buffer of blended scores, or of rows: twice, and what later ones need."""
        count, *plane = self.grids[-1]
        rows = min(count, 2 * self.rows + 4) if self.rows else count
        return self.classes * rows * math.prod(plane) * self.sum_bytes

    @property
    def prepared_bytes(self) -> int:
        """Bytes of what patches are cut from."""
        voxels, padded = math.prod(self.grids[-1]), math.prod(self.grid)
        return self.channels * FLOAT * (voxels if padded == voxels else voxels + padded)

    @property
    def decoded_bytes(self) -> int:
        """Bytes of what is made of the scores."""
        return math.prod(self.image) * (self.maps * FLOAT or 2)


def reading(shapes: RunShapes) -> int:
    """Return the bytes of reading: every channel, the stack of them, and a check of one."""
    voxels = math.prod(shapes.image)
    return shapes.stored_bytes + (2 * shapes.channels + 1) * voxels * FLOAT


def preparing(shapes: RunShapes) -> int:
    """Return the bytes of preprocessing: the image, and all channels before and after a step."""
    # The first pair is what comes before the first step.
    steps = zip_longest(pairwise((shapes.grids[0], *shapes.grids)), (False, *shapes.direct))
    places = shapes.places * PLACE_BYTES
    return (
        shapes.image_bytes
        + places
        + max(
            shapes.channels * (math.prod(old) + math.prod(new)) * FLOAT
            + (0 if is_direct else _resampling(old, new))
            for (old, new), is_direct in steps
        )
    )


def _resampling(old: Shape, new: Shape) -> int:
    """Return the bytes of one channel on its way: axis by axis, in float64, in either order."""
    if old == new:
        return math.prod(old) * FLOAT
    most = 0
    for order in ((0, 1, 2), (1, 2, 0)):
        sizes, shape = [math.prod(old)], list(old)
        for axis in order:
            shape[axis] = new[axis]
            sizes.append(math.prod(shape))
        sizes.append(sizes[-1])  # clipped to the range before
        most = max(most, *(sizes[0] + a + b for a, b in pairwise(sizes[1:])))
    return most * DOUBLE


def predicting(shapes: RunShapes, network: NetworkMemory) -> int:
    """Return the bytes of the sliding window with its networks: scores, weights and patches."""
    voxels, patch = math.prod(shapes.grids[-1]), math.prod(shapes.patch)
    so_far = shapes.decoded_bytes if shapes.rows else 0
    patches = shapes.batch * shapes.channels * patch * FLOAT * min(shapes.passes, 2)
    logits = shapes.batch * shapes.classes * patch * FLOAT
    flipped = 2 * logits if shapes.passes > 1 else 0
    blended = patch * 2 * FLOAT
    running = network.resident_bytes + shapes.batch * max(
        0, network.running_bytes - network.resident_bytes
    )
    calling = max(running + patches + flipped + blended, network.opening_bytes)
    weighting = network.resident_bytes + 2 * voxels * shapes.sum_bytes
    scattered = network.opening_bytes if shapes.folds > 1 else 0  # what closed networks leave
    held = shapes.prepared_bytes + so_far + shapes.score_bytes * min(shapes.folds, 2) + scattered
    return held + max(calling, weighting)


def restoring(shapes: RunShapes) -> int:
    """Return the bytes of the way back: scores, slabs of the image's grid, and the result twice."""
    voxels = math.prod(shapes.image)
    resampled = len(set(shapes.grids)) > 1
    slab = min(voxels, max(SLAB_VOXELS // shapes.classes, math.prod(shapes.grids[0][1:])))
    if shapes.maps:
        copies = 2 * (shapes.maps if shapes.regions else shapes.classes)
    else:  # numpy's argmax makes one
        copies = (resampled + (not shapes.regions)) * shapes.classes
    decoded = copies * slab * FLOAT
    winners = slab * (1 if shapes.regions else DOUBLE)
    placing = _placing(shapes, shapes.grids[:-1] or shapes.grids)
    prepared = shapes.prepared_bytes if shapes.rows else 0
    at_once = decoded + winners + 2 * shapes.decoded_bytes + placing
    return prepared + shapes.score_bytes + max(at_once, _undoing(shapes))


def _undoing(shapes: RunShapes) -> int:
    """Return the bytes of whole maps on two grids, where one becomes the other."""
    pairs = pairwise(shapes.grids)
    most = max((math.prod(old) + math.prod(new) for old, new in pairs), default=0)
    return shapes.classes * most * shapes.undone_bytes


def _placing(shapes: RunShapes, grids: Sequence[Shape]) -> int:
    """Return the bytes of working out where the voxels of the largest grid are."""
    voxels = max(map(math.prod, grids))
    slab = min(voxels, shapes.places)
    return slab * (PLACE_BYTES + (KEPT_PLACE_BYTES if voxels > slab else 0))


def writing(shapes: RunShapes) -> int:
    """Return the bytes of results: as arrays, as files, and one of them being written."""
    return 3 * shapes.result_bytes


def peak(shapes: RunShapes, network: NetworkMemory, *, warm: bool = False) -> int:
    """Return the most bytes that the process has in memory.

    ``warm`` says that the network ran before, on another case, and has what it keeps of that;
    otherwise it is opened while the image is prepared.
    """
    before = network.resident_bytes if warm else network.opening_bytes
    stages = (
        before + max(reading(shapes), preparing(shapes)),
        predicting(shapes, network),
        network.resident_bytes + max(restoring(shapes), writing(shapes)),
    )
    return network.process_bytes + PROGRAM_BYTES + max(stages) + _left_over(shapes)


def overlapping(shapes: RunShapes) -> int:
    """Return the bytes that a case adds to another's while its first or last stage overlaps it."""
    first = max(reading(shapes), preparing(shapes))
    return max(first, restoring(shapes), writing(shapes)) + shapes.result_bytes


def _left_over(shapes: RunShapes) -> int:
    """Return the bytes of freed arrays that the process keeps."""
    voxels = [math.prod(shape) for shape in (shapes.image, *shapes.grids)]
    logits = math.prod(shapes.patch) * shapes.classes
    sizes = [count * width for count in (*voxels, logits) for width in (1, 2, FLOAT, DOUBLE)]
    return 2 * max((size for size in sizes if size <= HEAP_BYTES), default=HEAP_BYTES)
