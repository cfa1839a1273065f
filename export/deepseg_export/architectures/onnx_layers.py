"""Layers that write themselves into an ONNX graph, in which no operation knows a spatial size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from deepseg_export.architectures.layers import Array, Padding, Sizes, per_axis, per_end
from deepseg_export.architectures.onnx_graph import Graph

_ACTIVATIONS: dict[str, tuple[str, dict[str, str]]] = {
    "elu": ("Elu", {"alpha": "alpha"}),
    "erf": ("Erf", {}),
    "exp": ("Exp", {}),
    "hard_sigmoid": ("HardSigmoid", {"alpha": "alpha", "beta": "beta"}),
    "leaky_relu": ("LeakyRelu", {"slope": "alpha"}),
    "log": ("Log", {}),
    "mish": ("Mish", {}),
    "relu": ("Relu", {}),
    "selu": ("Selu", {}),
    "sigmoid": ("Sigmoid", {}),
    "softplus": ("Softplus", {}),
    "softsign": ("Softsign", {}),
    "sqrt": ("Sqrt", {}),
    "tanh": ("Tanh", {}),
}
"""Operator of each, and what it calls the numbers."""


class OnnxLayers(Graph):
    """Layers on names of values (N, C, *P); see `layers.Layers`.

    Parameters
    ----------
    image : str
        Name of the input.
    channels : int
        Its channels.
    axes : int
        Its spatial axes.

    Attributes
    ----------
    last_axes : dict of str to int
        How many voxels the last axis of values must have.
    """

    def __init__(self, image: str, channels: int, axes: int) -> None:
        super().__init__(image, channels)
        self.axes = axes
        self.last_axes: dict[str, int] = {}
        self._shaped: dict[int, tuple[Array, Array]] = {}

    def channels(self, maps: str) -> int:
        return self._channels[maps]

    def with_last_axis(self, maps: str, length: int) -> str:
        self.last_axes[maps] = length
        return maps

    def convolution(
        self,
        maps: str,
        weight: Array,
        bias: Array | None = None,
        *,
        stride: Sizes = 1,
        padding: Padding = 0,
        dilation: Sizes = 1,
        groups: int = 1,
    ) -> str:
        return self._node(
            "Conv",
            [maps, *self._weights(weight, bias)],
            len(weight),
            kernel_shape=list(weight.shape[2:]),
            strides=per_axis(stride, self.axes),
            pads=self._pads(padding),
            dilations=per_axis(dilation, self.axes),
            group=groups,
        )

    def transposed_convolution(
        self,
        maps: str,
        weight: Array,
        bias: Array | None = None,
        *,
        stride: Sizes = 1,
        padding: Padding = 0,
        output_padding: Sizes = 0,
        dilation: Sizes = 1,
        groups: int = 1,
    ) -> str:
        return self._node(
            "ConvTranspose",
            [maps, *self._weights(weight, bias)],
            weight.shape[1] * groups,
            kernel_shape=list(weight.shape[2:]),
            strides=per_axis(stride, self.axes),
            pads=self._pads(padding),
            output_padding=per_axis(output_padding, self.axes),
            dilations=per_axis(dilation, self.axes),
            group=groups,
        )

    def instance_norm(
        self,
        maps: str,
        scale: Array | None = None,
        bias: Array | None = None,
        *,
        epsilon: float = 1e-5,
    ) -> str:
        scale, bias = self._affine(maps, scale, bias)
        inputs = [maps, *self._weights(scale, bias)]
        return self._node("InstanceNormalization", inputs, epsilon=epsilon)

    def batch_norm(
        self,
        maps: str,
        mean: Array,
        variance: Array,
        scale: Array | None = None,
        bias: Array | None = None,
        *,
        epsilon: float = 1e-5,
    ) -> str:
        scale, bias = self._affine(maps, scale, bias)
        inputs = [maps, *self._weights(scale, bias, mean, variance)]
        return self._node("BatchNormalization", inputs, epsilon=epsilon)

    def activation(self, maps: str, kind: str, **numbers: float) -> str:
        if kind == "clip":
            limits = [self._constant(np.float32(numbers[end])) for end in ("low", "high")]
            return self._node("Clip", [maps, *limits])
        if kind == "threshold":
            limit, value = (self._constant(np.float32(numbers[n])) for n in ("limit", "value"))
            is_above = self._node("Greater", [maps, limit])
            return self._node("Where", [is_above, maps, value], self._channels[maps])
        operator, names = _ACTIVATIONS[kind]
        return self._node(operator, [maps], None, **{names[key]: n for key, n in numbers.items()})

    def prelu(self, maps: str, slope: Array) -> str:
        view = self._shaped.setdefault(id(slope), (slope, self._by_channel(slope)))[1]
        return self._node("PRelu", [maps, *self._weights(view)])

    def softmax(self, maps: str) -> str:
        return self._node("Softmax", [maps], axis=1)

    def max_pool(
        self, maps: str, size: Sizes, *, stride: Sizes | None = None, padding: Padding = 0
    ) -> str:
        return self._node("MaxPool", [maps], **self._boxes(size, stride, padding))

    def average_pool(
        self,
        maps: str,
        size: Sizes,
        *,
        stride: Sizes | None = None,
        padding: Padding = 0,
        counts_padding: bool = True,
    ) -> str:
        return self._node(
            "AveragePool",
            [maps],
            **self._boxes(size, stride, padding),
            count_include_pad=int(counts_padding),
        )

    def reduced(self, maps: str, kind: str, axes: Sequence[int]) -> str:
        if kind == "mean" and list(axes) == list(range(2, self.axes + 2)):  # as frameworks write it
            return self._node("GlobalAveragePool", [maps])
        operator = {"mean": "ReduceMean", "sum": "ReduceSum", "max": "ReduceMax"}[kind]
        inputs = [maps, self._constant(np.array(axes, np.int64))]
        return self._node(operator, inputs, 1 if 1 in axes else None, keepdims=1)

    def add(self, first: str, second: str | Array | float) -> str:
        return self._arithmetic("Add", first, second)

    def subtract(self, first: str, second: str | Array | float) -> str:
        return self._arithmetic("Sub", first, second)

    def multiply(self, first: str, second: str | Array | float) -> str:
        return self._arithmetic("Mul", first, second)

    def divide(self, first: str, second: str | Array | float) -> str:
        return self._arithmetic("Div", first, second)

    def without_zeros(self, maps: str) -> str:
        zero, one = (self._constant(np.float32(value)) for value in (0, 1))
        is_zero = self._node("Equal", [maps, zero])
        return self._node("Where", [is_zero, one, maps], self._channels[maps])

    def concatenate(self, maps: Sequence[str]) -> str:
        channels = sum(self._channels[each] for each in maps)
        return self._node("Concat", list(maps), channels, axis=1)

    def take_channels(self, maps: str, start: int, stop: int) -> str:
        return self._slice(maps, [1], [start], [stop], stop - start)

    def upsample(
        self,
        maps: str,
        *,
        factor: Sizes | None = None,
        like: str | None = None,
        mode: str = "nearest",
        align_corners: bool = False,
    ) -> str:
        how: dict[str, Any] = {
            "mode": mode,
            "coordinate_transformation_mode": "align_corners" if align_corners else "half_pixel",
        }
        if mode == "nearest":
            how |= {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        if like is not None:
            inputs = [maps, "", "", self._shape_of(maps, like)]
        else:
            scales = [1, 1, *per_axis(factor or 1, self.axes)]
            inputs = [maps, "", self._constant(np.array(scales, np.float32))]
        return self._node("Resize", inputs, **how)

    def expand(self, maps: str, like: str) -> str:
        return self._node("Expand", [maps, self._shape_of(maps, like)])

    def pad(
        self, maps: str, padding: Padding, *, mode: str = "constant", value: float = 0.0
    ) -> str:
        before, behind = zip(*per_end(padding, self.axes), strict=True)
        ends = self._constant(np.array([0, 0, *before, 0, 0, *behind], np.int64))
        filling = [self._constant(np.float32(value))] if mode == "constant" else []
        return self._node("Pad", [maps, ends, *filling], mode=mode)

    def crop(self, maps: str, margin: Padding) -> str:
        ends = per_end(margin, self.axes)
        cut = [(axis, *end) for axis, end in enumerate(ends, 2) if any(end)]
        if not cut:
            return maps
        axes, before, behind = (list(each) for each in zip(*cut, strict=True))
        stops = [-size if size else np.iinfo(np.int64).max for size in behind]
        return self._slice(maps, axes, before, stops)

    def _arithmetic(self, operator: str, first: str, second: str | Array | float) -> str:
        if isinstance(second, (int, float)):
            second = self._constant(np.float32(second))
        elif isinstance(second, np.ndarray):
            (second,) = self._weights(second)
        channels = max(self._channels[each] for each in (first, second) if each in self._channels)
        return self._node(operator, [first, second], channels)

    def _slice(
        self,
        maps: str,
        axes: Sequence[int],
        starts: Sequence[int],
        stops: Sequence[int],
        channels: int | None = None,
    ) -> str:
        numbers = [self._constant(np.array(each, np.int64)) for each in (starts, stops, axes)]
        return self._node("Slice", [maps, *numbers], channels)

    def _shape_of(self, maps: str, like: str) -> str:
        """Return the shape of items and channels of the first, and of the voxels of the second."""
        parts = [
            self._node("Shape", [maps], start=0, end=2),
            self._node("Shape", [like], start=2),
        ]
        return self._node("Concat", parts, axis=0)

    def _boxes(self, size: Sizes, stride: Sizes | None, padding: Padding) -> dict[str, Any]:
        return {
            "kernel_shape": per_axis(size, self.axes),
            "strides": per_axis(size if stride is None else stride, self.axes),
            "pads": self._pads(padding),
        }

    def _pads(self, padding: Padding) -> list[int]:
        before, behind = zip(*per_end(padding, self.axes), strict=True)
        return [*before, *behind]

    def _affine(
        self, maps: str, scale: Array | None, bias: Array | None
    ) -> tuple[Array | str, Array | str]:
        """Return what a norm needs in every case; ones and zeros are written once."""
        channels = self._channels[maps]
        return (
            self._constant(np.ones(channels, np.float32)) if scale is None else scale,
            self._constant(np.zeros(channels, np.float32)) if bias is None else bias,
        )

    def _by_channel(self, values: Array) -> Array:
        return values.reshape(-1, *(1 for _ in range(self.axes)))
