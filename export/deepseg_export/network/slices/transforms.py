"""Matrices that make a convolution along depth of products with slices.

Winograd's minimal filtering F(m, 3) takes m + 2 products for m outputs of a kernel of three, where
taps take 3 m. With kernel g, inputs d and outputs y along one axis::

    y = outer ((kernel g) * (inner d))        (* by elements)

Sources: S. Winograd, Arithmetic Complexity of Computations (SIAM, 1980); A. Lavin and S. Gray, Fast
Algorithms for Convolutional Neural Networks (CVPR 2016), section 4.1 for F(2, 3) and 4.3 for
F(4, 3), whose points are 0, 1, -1, 2, -2 and infinity.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Transform(NamedTuple):
    """Way to compute a convolution along depth.

    Attributes
    ----------
    tile : int
        Slices that a tile gives.
    inner : array (P, S)
        From the S slices that a tile sees to P products' operands.
    kernel : array (P, T)
        From T taps to the products' kernels.
    outer : array (tile, P)
        From products to slices. The bias goes to the second product, whose column is all ones.
    """

    tile: int
    inner: np.ndarray
    kernel: np.ndarray
    outer: np.ndarray


F23 = Transform(
    2,
    np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]]),
    np.array([[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]]),
    np.array([[1, 1, 1, 0], [0, 1, -1, -1]]),
)
F43 = Transform(
    4,
    np.array(
        [
            [4, 0, -5, 0, 1, 0],
            [0, -4, -4, 1, 1, 0],
            [0, 4, -4, -1, 1, 0],
            [0, -2, -1, 2, 1, 0],
            [0, 2, -1, -2, 1, 0],
            [0, 4, 0, -5, 0, 1],
        ]
    ),
    np.array(
        [
            [1 / 4, 0, 0],
            [-1 / 6, -1 / 6, -1 / 6],
            [-1 / 6, 1 / 6, -1 / 6],
            [1 / 24, 1 / 12, 1 / 6],
            [1 / 24, -1 / 12, 1 / 6],
            [0, 0, 1],
        ]
    ),
    np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]),
)
TRANSFORMS = {transform.tile: transform for transform in (F43, F23)}


class Depth(NamedTuple):
    """Convolution along depth: kernel, stride, dilation, and zeros before the first slice."""

    kernel: int
    stride: int = 1
    dilation: int = 1
    before: int = 0

    def taken(self, start: int, stop: int, depth: int) -> tuple[int, int]:
        """Return the first slice, and the one behind the last, that some slices are made of."""
        low = start * self.stride - self.before
        high = (stop - 1) * self.stride - self.before + (self.kernel - 1) * self.dilation + 1
        return min(max(low, 0), depth - 1), max(min(high, depth), 1)

    def taps(self, start: int, stop: int, low: int, high: int) -> np.ndarray:
        """Return the matrix (slices * kernel, high - low) that lays taps beside one another."""
        picked = np.zeros((stop - start, self.kernel, high - low), np.float32)
        for row in range(stop - start):
            for tap in range(self.kernel):
                column = (start + row) * self.stride + tap * self.dilation - self.before - low
                if 0 <= column < high - low:
                    picked[row, tap, column] = 1
        return picked.reshape(-1, high - low)

    def transposed_taken(self, start: int, stop: int, depth: int) -> tuple[int, int]:
        """Return the first slice, and the one behind the last, that give some slices."""
        low = -(-(start + self.before - self.kernel + 1) // self.stride)
        high = (stop - 1 + self.before) // self.stride + 1
        return min(max(low, 0), depth - 1), max(min(high, depth), 1)

    def transposed_taps(self, phase: int) -> range:
        """Return the taps of a transposed convolution that give slices ``phase``, + stride, ..."""
        return range((phase + self.before) % self.stride, self.kernel, self.stride)

    def transposed_picks(self, start: int, stop: int, low: int, high: int) -> np.ndarray:
        """Return the matrix (slices * taps, high - low) for every stride-th slice from start on.

        It lays beside one another the slices that the taps of `transposed_taps` take.
        """
        slices, taps = range(start, stop, self.stride), self.transposed_taps(start)
        picked = np.zeros((len(slices), len(taps), high - low), np.float32)
        for row, place in enumerate(slices):
            for number, tap in enumerate(taps):
                column = (place + self.before - tap) // self.stride - low
                if 0 <= column < high - low:
                    picked[row, number, column] = 1
        return picked.reshape(-1, high - low)


def to_products(
    transform: Transform, start: int, stop: int, low: int, high: int, before: int
) -> np.ndarray:
    """Return the matrix (tiles * P, high - low) from slices to products; zeros lie beyond them."""
    count = -(-(stop - start) // transform.tile)
    products, seen = transform.inner.shape
    first, last = start - before, start - before + transform.tile * (count - 1) + seen
    whole = np.zeros((count, products, last - first), np.float32)
    for tile in range(count):
        begin = tile * transform.tile
        whole[tile, :, begin : begin + seen] = transform.inner
    there = np.zeros((count * products, high - low), np.float32)
    begin, end = max(low, first), min(high, last)
    if begin < end:  # else it sees zeros alone
        seen_there = whole.reshape(count * products, -1)[:, begin - first : end - first]
        there[:, begin - low : end - low] = seen_there
    return there


def from_products(transform: Transform, slices: int) -> np.ndarray:
    """Return the matrix (slices, tiles * P) from products to slices."""
    count = -(-slices // transform.tile)
    again = np.zeros((count, transform.tile, count, transform.inner.shape[0]), np.float32)
    for tile in range(count):
        again[tile, :, tile] = transform.outer
    return again.reshape(count * transform.tile, -1)[:slices]


def of_kernels(transform: Transform, voxels: int) -> np.ndarray:
    """Return (P, T * voxels, voxels): from kernels, depth first, to those of the products."""
    made = np.einsum("pt,ij->ptij", transform.kernel, np.eye(voxels))
    kernels: np.ndarray = made.reshape(len(transform.kernel), -1, voxels).astype(np.float32)
    return kernels
