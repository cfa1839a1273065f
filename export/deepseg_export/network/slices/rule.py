"""Rule: how a convolution is computed, from shapes alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from deepseg_export.network.slices.maps import Shape
from deepseg_export.network.slices.transforms import TRANSFORMS

BLOCK = 16
"""Channels of which a group must be a multiple for ONNX Runtime's blocked kernels (AVX-512)."""
FEW = 16
"""Channels below which products along depth are not known to save more than they cost."""
VOXELS_PER_WEIGHT = 1024
"""Voxels of a map below which weights are used too seldom to be worth another form of them."""
CHUNK_BYTES = 2 << 20
"""Bytes of a chunk of maps, at least: fewer and larger nodes are better where maps are small."""
MOST_TAKEN = 4 * CHUNK_BYTES
"""Bytes that a convolution takes for a chunk, at most: few channels may be made of many."""
STEP = 4
"""Slices of which chunks are a multiple: tiles fill them."""
WHOLE_PATCH = Fraction(1)


@dataclass(frozen=True)
class Way:
    """Way to compute a convolution.

    Attributes
    ----------
    tile : int
        Slices of Winograd's tile; 1 for taps one by one, 0 for the convolution as it is.
    """

    tile: int


WHOLE, TAPS = Way(0), Way(1)


def chunk_of(shape: Shape, share: Fraction = WHOLE_PATCH, taken: int = 0) -> int:
    """Return the slices of a chunk of maps.

    Parameters
    ----------
    shape : Shape
        Of the maps.
    share : Fraction
        Of their rows and columns, which are here.
    taken : int
        Values that each slice is made of.
    """
    slices = math.ceil(CHUNK_BYTES * share / (4 * shape.per_slice))
    if taken:
        slices = min(slices, max(1, int(MOST_TAKEN * share / (4 * taken))))
    return min(shape.depth, -(-slices // STEP) * STEP)


def bounds_of(shape: Shape, share: Fraction = WHOLE_PATCH, taken: int = 0) -> list[tuple[int, int]]:
    """Return the chunks of maps: the first slice of each, and the one behind its last."""
    step = chunk_of(shape, share, taken)
    return [(start, min(start + step, shape.depth)) for start in range(0, shape.depth, step)]


def ways(
    given: Shape,
    made: Shape,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> list[Way]:
    """Return the ways to compute a convolution of one group, the best first.

    Those behind the first are for layers whose rounding is too large in it.
    """
    voxels = made.depth * made.height * made.width
    if kernel[0] > 1 and voxels < VOXELS_PER_WEIGHT:
        return [WHOLE]
    fits = kernel[0] == 3 and stride[0] == 1 and dilation[0] == 1
    blocked = not given.channels % BLOCK and not made.channels % BLOCK
    if not fits or not blocked or min(given.channels, made.channels) < FEW:
        return [TAPS]
    # Products for all slices, by the tile.
    costs = {tile: -(-made.depth // tile) * len(each.inner) for tile, each in TRANSFORMS.items()}
    better = [tile for tile in sorted(costs, key=costs.__getitem__) if costs[tile] < 3 * made.depth]
    return [*map(Way, better), TAPS]
