"""Layers that networks are written in; what stands behind maps is up to who computes them.

An architecture is a function ``(layers, image, weights) -> logits`` that calls nothing of its maps
but the methods below. `numpy_layers` computes them, `onnx_layers` writes them into a graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

Maps = Any
"""Maps (N, C, *P): an array, or the name of a value in a graph."""
Array = Any
"""An array of numpy."""
Sizes = int | Sequence[int]
"""A number for every spatial axis, or one for all."""
Padding = int | Sequence[int | tuple[int, int]]
"""Voxels added at both ends of every spatial axis: one for all, one per axis, or pairs."""
Activation = Literal[
    "clip",
    "elu",
    "erf",
    "exp",
    "hard_sigmoid",
    "leaky_relu",
    "log",
    "mish",
    "relu",
    "selu",
    "sigmoid",
    "softplus",
    "softsign",
    "sqrt",
    "tanh",
    "threshold",
]


class Layers(Protocol):
    """Layers of networks for images in two or three dimensions.

    Weights are float32 arrays as torch orders them: (outputs, inputs / groups, *kernel), transposed
    (inputs, outputs / groups, *kernel). An operand of arithmetic may be an array or a number
    instead of maps.
    """

    axes: int
    """Number of spatial axes."""

    def channels(self, maps: Maps) -> int:
        """Return the number of channels."""

    def with_last_axis(self, maps: Maps, length: int) -> Maps:
        """Return maps as they are, if their last axis has so many voxels; others are refused."""

    def convolution(
        self,
        maps: Maps,
        weight: Array,
        bias: Array | None = None,
        *,
        stride: Sizes = 1,
        padding: Padding = 0,
        dilation: Sizes = 1,
        groups: int = 1,
    ) -> Maps:
        """Return the cross-correlation with a kernel, zero beyond the border."""

    def transposed_convolution(
        self,
        maps: Maps,
        weight: Array,
        bias: Array | None = None,
        *,
        stride: Sizes = 1,
        padding: Padding = 0,
        output_padding: Sizes = 0,
        dilation: Sizes = 1,
        groups: int = 1,
    ) -> Maps:
        """Return the sum of a kernel laid down at every voxel, ``stride`` apart.

        ``padding`` is cut off at both ends, ``output_padding`` added at the end.
        """

    def instance_norm(
        self,
        maps: Maps,
        scale: Array | None = None,
        bias: Array | None = None,
        *,
        epsilon: float = 1e-5,
    ) -> Maps:
        """Return every map with mean 0 and variance 1, then scaled and shifted by channel."""

    def batch_norm(
        self,
        maps: Maps,
        mean: Array,
        variance: Array,
        scale: Array | None = None,
        bias: Array | None = None,
        *,
        epsilon: float = 1e-5,
    ) -> Maps:
        """Return maps shifted and scaled by the channels' recorded mean and variance."""

    def activation(self, maps: Maps, kind: Activation, **numbers: float) -> Maps:
        """Return a function of every value.

        ``leaky_relu`` has ``slope``, ``elu`` has ``alpha``, ``clip`` has ``low`` and ``high``,
        ``threshold`` has ``limit`` and the ``value`` of what is not above it, and ``hard_sigmoid``
        ``alpha`` and ``beta`` (of alpha x + beta, clipped to 0 to 1); see `activations` for what is
        made of them.
        """

    def prelu(self, maps: Maps, slope: Array) -> Maps:
        """Return values, below 0 times the slope of their channel; one slope is for all."""

    def softmax(self, maps: Maps) -> Maps:
        """Return values that sum to 1 over the channels."""

    def max_pool(
        self, maps: Maps, size: Sizes, *, stride: Sizes | None = None, padding: Padding = 0
    ) -> Maps:
        """Return the largest value of every box; boxes are a ``stride`` apart, by default a size.

        Voxels that fill no box are left out; padding never wins.
        """

    def average_pool(
        self,
        maps: Maps,
        size: Sizes,
        *,
        stride: Sizes | None = None,
        padding: Padding = 0,
        counts_padding: bool = True,
    ) -> Maps:
        """Return the mean of every box, with or without the zeros of its padding."""

    def reduced(self, maps: Maps, kind: Literal["mean", "sum", "max"], axes: Sequence[int]) -> Maps:
        """Return mean, sum or maximum along axes of (N, C, *P), whose size becomes 1."""

    def add(self, first: Maps, second: Maps | Array | float) -> Maps:
        """Return the sum, sizes of 1 repeated."""

    def subtract(self, first: Maps, second: Maps | Array | float) -> Maps:
        """Return the difference, sizes of 1 repeated."""

    def multiply(self, first: Maps, second: Maps | Array | float) -> Maps:
        """Return the product, sizes of 1 repeated."""

    def divide(self, first: Maps, second: Maps | Array | float) -> Maps:
        """Return the quotient, sizes of 1 repeated."""

    def without_zeros(self, maps: Maps) -> Maps:
        """Return values, with 1 in the place of 0: a safe divisor."""

    def concatenate(self, maps: Sequence[Maps]) -> Maps:
        """Return the channels of all maps, one after the other."""

    def take_channels(self, maps: Maps, start: int, stop: int) -> Maps:
        """Return the channels from ``start`` to before ``stop``."""

    def upsample(
        self,
        maps: Maps,
        *,
        factor: Sizes | None = None,
        like: Maps | None = None,
        mode: Literal["nearest", "linear"] = "nearest",
        align_corners: bool = False,
    ) -> Maps:
        """Return maps with ``factor`` times as many voxels per axis, or as many as ``like`` has."""

    def expand(self, maps: Maps, like: Maps) -> Maps:
        """Return spatial axes of size 1 repeated to the sizes of other maps."""

    def pad(
        self,
        maps: Maps,
        padding: Padding,
        *,
        mode: Literal["constant", "reflect", "edge"] = "constant",
        value: float = 0.0,
    ) -> Maps:
        """Return maps with voxels added at the ends of their axes."""

    def crop(self, maps: Maps, margin: Padding) -> Maps:
        """Return maps without voxels at the ends of their axes."""


def per_axis(sizes: Sizes, axes: int) -> list[int]:
    """Return one number for every spatial axis."""
    values = [sizes] * axes if isinstance(sizes, int) else [int(size) for size in sizes]
    if len(values) != axes:
        raise ValueError(f"{values} for {axes} axes")
    return values


def per_end(padding: Padding, axes: int) -> list[tuple[int, int]]:
    """Return the padding before and behind every spatial axis."""
    values = [padding] * axes if isinstance(padding, int) else list(padding)
    if len(values) != axes:
        raise ValueError(f"{values} for {axes} axes")
    return [
        (int(one), int(one)) if isinstance(one, int) else (int(one[0]), int(one[1]))
        for one in values
    ]
