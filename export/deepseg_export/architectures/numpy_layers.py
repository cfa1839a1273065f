"""Layers computed in numpy: slow, and short enough to be read against the definitions."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy import special

from deepseg_export.architectures.layers import Array, Padding, Sizes, per_axis, per_end

_COLUMNS = 2**22
"""Numbers of the windows that are multiplied at once."""
_ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "clip": lambda x, low, high: np.clip(x, low, high),
    "elu": lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))),
    "erf": special.erf,
    "exp": np.exp,
    "hard_sigmoid": lambda x, alpha, beta: np.clip(alpha * x + beta, 0, 1),
    "leaky_relu": lambda x, slope: np.where(x > 0, x, slope * x),
    "log": np.log,
    "mish": lambda x: x * np.tanh(np.logaddexp(0, x)),
    "relu": lambda x: np.maximum(x, 0),
    "selu": lambda x: (
        1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0)))
    ),
    "sigmoid": special.expit,
    "softplus": lambda x: np.logaddexp(0, x),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "sqrt": np.sqrt,
    "tanh": np.tanh,
    "threshold": lambda x, limit, value: np.where(x > limit, x, value),
}


class NumpyLayers:
    """Layers on arrays (N, C, *P); see `layers.Layers`. Results have the type of what is given."""

    def __init__(self, axes: int) -> None:
        self.axes = axes

    def channels(self, maps: Array) -> int:
        return int(maps.shape[1])

    def with_last_axis(self, maps: Array, length: int) -> Array:
        if maps.shape[-1] != length:
            raise ValueError(f"a last axis of {maps.shape[-1]} voxels where {length} are needed")
        return maps

    def convolution(
        self,
        maps: Array,
        weight: Array,
        bias: Array | None = None,
        *,
        stride: Sizes = 1,
        padding: Padding = 0,
        dilation: Sizes = 1,
        groups: int = 1,
    ) -> Array:
        steps, gaps = self._per_axis(stride, dilation)
        extents = [gap * (size - 1) + 1 for gap, size in zip(gaps, weight.shape[2:], strict=True)]
        spatial = range(2, 2 + self.axes)
        windows = sliding_window_view(self.pad(maps, padding), extents, tuple(spatial))
        places: Any = tuple(slice(None, None, step) for step in (*steps, *gaps))
        windows = windows[(..., *places)]
        sizes, kernel = windows.shape[2 : 2 + self.axes], [1, *spatial]
        result = np.empty((len(maps), len(weight), *sizes), maps.dtype)
        inner = list(range(1 + self.axes, 1 + 2 * self.axes))  # the kernel's axes in `seen`
        rows = max(1, _COLUMNS // (windows[0, :, 0].size or 1))
        for seen, made, own in _by_group(windows, result, weight, groups):
            # Some rows at a time: windows of a whole map would fill the memory.
            for item, start in itertools.product(range(len(maps)), range(0, sizes[0], rows)):
                part = seen[item, :, start : start + rows]
                made[item, :, start : start + rows] = np.tensordot(own, part, (kernel, [0, *inner]))
        return result if bias is None else result + _by_channel(bias, result)

    def transposed_convolution(
        self,
        maps: Array,
        weight: Array,
        bias: Array | None = None,
        *,
        stride: Sizes = 1,
        padding: Padding = 0,
        output_padding: Sizes = 0,
        dilation: Sizes = 1,
        groups: int = 1,
    ) -> Array:
        kernel, sizes = weight.shape[2:], maps.shape[2:]
        steps, gaps, added = self._per_axis(stride, dilation, output_padding)
        whole = [
            (size - 1) * step + gap * (extent - 1) + 1 + more
            for size, step, gap, extent, more in zip(sizes, steps, gaps, kernel, added, strict=True)
        ]
        result = np.zeros((len(maps), weight.shape[1] * groups, *whole), maps.dtype)
        for made, given, own in _by_group(result, maps, weight, groups):
            for position in np.ndindex(*kernel):
                start = [p * g for p, g in zip(position, gaps, strict=True)]
                place = _window(made, start, steps, sizes)
                place += _mixed(own[(..., *position)].T, given)
        result = self.crop(result, padding)
        return result if bias is None else result + _by_channel(bias, result)

    def instance_norm(
        self,
        maps: Array,
        scale: Array | None = None,
        bias: Array | None = None,
        *,
        epsilon: float = 1e-5,
    ) -> Array:
        spatial = tuple(range(2, maps.ndim))
        exact = maps.astype(np.float64)
        centred = exact - exact.mean(spatial, keepdims=True)
        deviation = np.sqrt((centred**2).mean(spatial, keepdims=True) + epsilon)
        return _scaled((centred / deviation).astype(maps.dtype), scale, bias)

    def batch_norm(
        self,
        maps: Array,
        mean: Array,
        variance: Array,
        scale: Array | None = None,
        bias: Array | None = None,
        *,
        epsilon: float = 1e-5,
    ) -> Array:
        deviation = np.sqrt(variance.astype(np.float64) + epsilon).astype(maps.dtype)
        centred = maps - _by_channel(mean, maps)
        return _scaled(centred / _by_channel(deviation, maps), scale, bias)

    def activation(self, maps: Array, kind: str, **numbers: float) -> Array:
        with np.errstate(over="ignore"):
            return np.asarray(_ACTIVATIONS[kind](maps, **numbers), maps.dtype)

    def prelu(self, maps: Array, slope: Array) -> Array:
        return np.where(maps > 0, maps, maps * _by_channel(slope, maps))

    def softmax(self, maps: Array) -> Array:
        return np.asarray(special.softmax(maps, axis=1))

    def max_pool(
        self, maps: Array, size: Sizes, *, stride: Sizes | None = None, padding: Padding = 0
    ) -> Array:
        padded = self.pad(maps, padding, value=-np.inf)
        return np.maximum.reduce(list(self._boxes(padded, size, stride)))

    def average_pool(
        self,
        maps: Array,
        size: Sizes,
        *,
        stride: Sizes | None = None,
        padding: Padding = 0,
        counts_padding: bool = True,
    ) -> Array:
        there = np.ones_like(maps)
        there = self.pad(there, padding, value=float(counts_padding))
        total = sum(self._boxes(self.pad(maps, padding), size, stride))
        return np.asarray(total / sum(self._boxes(there, size, stride)))

    def reduced(self, maps: Array, kind: str, axes: Sequence[int]) -> Array:
        function: Any = {"mean": np.mean, "sum": np.sum, "max": np.max}[kind]
        return np.asarray(function(maps, axis=tuple(axes), keepdims=True))

    def add(self, first: Array, second: Array | float) -> Array:
        return first + second

    def subtract(self, first: Array, second: Array | float) -> Array:
        return first - second

    def multiply(self, first: Array, second: Array | float) -> Array:
        return first * second

    def divide(self, first: Array, second: Array | float) -> Array:
        return first / second

    def without_zeros(self, maps: Array) -> Array:
        return np.where(maps == 0, np.ones_like(maps), maps)

    def concatenate(self, maps: Sequence[Array]) -> Array:
        return np.concatenate(list(maps), axis=1)

    def take_channels(self, maps: Array, start: int, stop: int) -> Array:
        return maps[:, start:stop]

    def upsample(
        self,
        maps: Array,
        *,
        factor: Sizes | None = None,
        like: Array | None = None,
        mode: str = "nearest",
        align_corners: bool = False,
    ) -> Array:
        if like is not None:
            sizes = list(like.shape[2:])
        else:
            factors = per_axis(factor or 1, self.axes)
            sizes = [size * times for size, times in zip(maps.shape[2:], factors, strict=True)]
        for axis, size in enumerate(sizes, 2):
            maps = _resized(maps, axis, size, mode, align_corners=align_corners)
        return maps

    def expand(self, maps: Array, like: Array) -> Array:
        return np.broadcast_to(maps, (*maps.shape[:2], *like.shape[2:]))

    def pad(
        self, maps: Array, padding: Padding, *, mode: str = "constant", value: float = 0.0
    ) -> Array:
        ends = [(0, 0), (0, 0), *per_end(padding, self.axes)]
        if not any(map(any, ends)):
            return maps
        how: dict[str, Any] = {"constant_values": value} if mode == "constant" else {}
        function: Any = np.pad
        return function(maps, ends, mode, **how)

    def crop(self, maps: Array, margin: Padding) -> Array:
        ends = zip(maps.shape[2:], per_end(margin, self.axes), strict=True)
        return maps[(..., *(slice(before, size - behind) for size, (before, behind) in ends))]

    def _per_axis(self, *sizes: Sizes) -> list[list[int]]:
        return [per_axis(each, self.axes) for each in sizes]

    def _boxes(self, maps: Array, size: Sizes, stride: Sizes | None) -> Iterator[Array]:
        """Yield, for every place in a box, the voxels at that place of all boxes."""
        extents, steps = self._per_axis(size, size if stride is None else stride)
        sizes = [
            (whole - extent) // step + 1
            for whole, extent, step in zip(maps.shape[2:], extents, steps, strict=True)
        ]
        for position in itertools.product(*map(range, extents)):
            yield _window(maps, position, steps, sizes)


def _window(maps: Array, start: Sequence[int], steps: Sequence[int], sizes: Sequence[int]) -> Array:
    """Return a view on ``sizes`` voxels, ``steps`` apart."""
    ranges = zip(start, steps, sizes, strict=True)
    return maps[
        (..., *(slice(first, first + step * (size - 1) + 1, step) for first, step, size in ranges))
    ]


def _mixed(matrix: Array, maps: Array) -> Array:
    """Return (outputs, inputs) times maps (N, inputs, *P)."""
    flat = maps.reshape(*maps.shape[:2], -1)
    return np.matmul(matrix, flat).reshape(len(maps), -1, *maps.shape[2:])


def _by_group(
    inner: Array, outer: Array, weight: Array, groups: int
) -> Iterator[tuple[Array, Array, Array]]:
    """Yield the channels of both, and the weights between them; the outer are the rows."""
    yield from zip(
        np.split(inner, groups, axis=1),
        np.split(outer, groups, axis=1),
        np.split(weight, groups),
        strict=True,
    )


def _by_channel(values: Array, maps: Array) -> Array:
    return values.reshape(-1, *(1 for _ in maps.shape[2:]))


def _scaled(maps: Array, scale: Array | None, bias: Array | None) -> Array:
    if scale is not None:
        maps = maps * _by_channel(scale, maps)
    return maps if bias is None else maps + _by_channel(bias, maps)


def _resized(maps: Array, axis: int, size: int, mode: str, *, align_corners: bool) -> Array:
    """Return maps with another number of voxels along one axis."""
    given = maps.shape[axis]
    places = np.arange(size)
    if mode == "nearest":
        return np.take(maps, places * given // size, axis)
    if align_corners:
        where = places * (given - 1) / max(size - 1, 1)
    else:
        where = np.clip((places + 0.5) * given / size - 0.5, 0, given - 1)
    below = np.minimum(where.astype(int), max(given - 2, 0))
    share = (where - below).astype(maps.dtype).reshape(-1, *(1 for _ in maps.shape[axis + 1 :]))
    low, high = (np.take(maps, np.minimum(below + i, given - 1), axis) for i in (0, 1))
    return low * (1 - share) + high * share
