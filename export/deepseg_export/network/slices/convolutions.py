"""Convolutions of maps in slices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepseg_export.network.slices import rule
from deepseg_export.network.slices.graph import Graph
from deepseg_export.network.slices.maps import Chunk, Maps, Shape, from_canonical, to_canonical
from deepseg_export.network.slices.transforms import (
    TRANSFORMS,
    Depth,
    Transform,
    from_products,
    of_kernels,
    to_products,
)


@dataclass(frozen=True)
class Convolution:
    """A convolution of one group in three dimensions.

    Attributes
    ----------
    weight : str
        Name of (K, C, *kernel).
    bias : str or None
        Name of (K).
    kernel, stride, dilation : tuple of int
        One number for each axis.
    pads : tuple of int
        Zeros before the first voxel of each axis, then behind the last.
    more : tuple of int
        Voxels that a transposed one adds behind the last.
    """

    weight: str
    bias: str | None
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    pads: tuple[int, ...]
    more: tuple[int, ...] = (0, 0, 0)

    @property
    def flat(self) -> dict[str, list[int]]:
        """Attributes of the convolution of one slice."""
        return {
            "kernel_shape": list(self.kernel[1:]),
            "strides": list(self.stride[1:]),
            "dilations": list(self.dilation[1:]),
            "pads": [self.pads[axis] for axis in (1, 2, 4, 5)],
        }

    @property
    def depth(self) -> Depth:
        """The convolution along depth."""
        return Depth(self.kernel[0], self.stride[0], self.dilation[0], self.pads[0])

    def ways(self, given: Shape, made: Shape) -> list[rule.Way]:
        """Return the ways to compute it, the best first."""
        return rule.ways(given, made, self.kernel, self.stride, self.dilation)


def convolve(graph: Graph, maps: Maps, layer: Convolution, made: Shape, way: rule.Way) -> Maps:
    """Return maps of shape ``made``: the cross-correlation of maps with the layer's kernel."""
    if way == rule.WHOLE:
        return _as_it_is(graph, maps, layer, made)
    inputs = _weights(graph, layer, maps.shape.channels, made.channels, way)
    chunks = []
    taken = layer.stride[0] * maps.shape.per_slice
    for start, stop in rule.bounds_of(made, graph.share, taken):
        if way == rule.TAPS:
            value = _by_taps(graph, maps, inputs, layer, start, stop)
        else:
            value = _by_products(
                graph, maps, inputs, layer, made, TRANSFORMS[way.tile], start, stop
            )
        chunks.append(Chunk(start, stop, value))
    return Maps(made, chunks)


def _product(graph: Graph, matrix: np.ndarray, value: str, shape: Shape, together: int) -> str:
    """Return a matrix times slices, with so many rows beside one another as channels."""
    flat = graph.reshaped(value, matrix.shape[1], shape.per_slice)
    made = graph.add("MatMul", [graph.constant(matrix), flat])
    rows = matrix.shape[0] // together
    return graph.reshaped(made, rows, together * shape.channels, shape.height, shape.width)


def _by_taps(
    graph: Graph, maps: Maps, inputs: Sequence[str], layer: Convolution, start: int, stop: int
) -> str:
    """Return slices of a convolution whose taps lie beside one another as channels."""
    depth = layer.depth
    low, high = depth.taken(start, stop, maps.shape.depth)
    taps = depth.taps(start, stop, low, high)
    value = _beside(graph, maps, taps, low, depth.kernel)
    return graph.add("Conv", [value, *inputs], **layer.flat)


def _beside(graph: Graph, maps: Maps, taps: np.ndarray, low: int, together: int) -> str:
    """Return slices that a matrix picks from ``low`` on, so many beside one another as channels."""
    shape, (rows, count) = maps.shape, taps.shape
    value = maps.taken(graph, low, low + count)
    if not taps.any(axis=1).all():  # some meet the zeros beyond the border
        return _product(graph, taps, value, shape, together)
    if not np.array_equal(taps, np.eye(count)):
        value = graph.add("Gather", [value, graph.sizes(*taps.argmax(axis=1))], axis=0)
    if together > 1:
        beside = [together * shape.channels, shape.height, shape.width]
        value = graph.reshaped(value, rows // together, *beside)
    return value


def _by_products(
    graph: Graph,
    maps: Maps,
    inputs: Sequence[str],
    layer: Convolution,
    made: Shape,
    transform: Transform,
    start: int,
    stop: int,
) -> str:
    """Return slices of a convolution by minimal filtering."""
    low, high = layer.depth.taken(start, stop, maps.shape.depth)
    there = to_products(transform, start, stop, low, high, layer.pads[0])
    products = len(transform.inner)
    value = _product(graph, there, maps.taken(graph, low, high), maps.shape, products)
    value = graph.add("Conv", [value, *inputs], group=products, **layer.flat)
    return _product(graph, from_products(transform, stop - start), value, made, 1)


def _weights(
    graph: Graph, layer: Convolution, channels: int, count: int, way: rule.Way
) -> list[str]:
    """Return the names of weight and bias of the convolution of slices, made of the layer's."""
    taps, flat = layer.kernel[0], layer.kernel[1:]
    voxels = math.prod(flat)
    sizes, once = graph.sizes, graph.once
    if way.tile > 1:
        transform = TRANSFORMS[way.tile]
        products = len(transform.inner)
        rows = graph.view(layer.weight, count * channels, taps * voxels)
        rows = once("MatMul", [rows, graph.constant(of_kernels(transform, voxels))])
        weight = once("Reshape", [rows, sizes(products * count, channels, *flat)])
        if layer.bias is None:
            return [weight]
        second = graph.constant(np.eye(products, dtype=np.float32)[:, 1:2])
        bias = once("MatMul", [second, graph.view(layer.bias, 1, count)])
        return [weight, once("Reshape", [bias, sizes(products * count)])]
    if taps == 1:
        weight = graph.view(layer.weight, count, channels, *flat)
    else:
        weight = graph.view(layer.weight, count, channels, taps, voxels)
        weight = once("Transpose", [weight], perm=[0, 2, 1, 3])
        weight = once("Reshape", [weight, sizes(count, taps * channels, *flat)])
    return [weight] if layer.bias is None else [weight, layer.bias]


def _as_it_is(graph: Graph, maps: Maps, layer: Convolution, made: Shape) -> Maps:
    inputs = [to_canonical(graph, maps), layer.weight]
    value = graph.add(
        "Conv",
        inputs if layer.bias is None else [*inputs, layer.bias],
        kernel_shape=layer.kernel,
        strides=layer.stride,
        dilations=layer.dilation,
        pads=layer.pads,
    )
    return from_canonical(graph, value, made)


def transposed(graph: Graph, maps: Maps, layer: Convolution, made: Shape) -> Maps:
    """Return the transposed convolution of a layer whose kernel is not below its stride in depth.

    The weight is (C, K, *kernel). Where kernel and stride are one, what a slice gives lies in the
    channels of one result, tap by tap, which are slices one after the other. Else every stride-th
    slice is a convolution with every stride-th tap; their results are laid in turn.
    """
    flat = {**layer.flat, "output_padding": list(layer.more[1:])}
    if layer.kernel[0] == layer.stride[0]:
        return _alone(graph, maps, layer, made, flat)
    depth, shape = layer.depth, maps.shape
    channels, count = shape.channels, made.channels
    kernels = graph.view(layer.weight, channels, count, depth.kernel, math.prod(layer.kernel[1:]))
    kernels = graph.once("Transpose", [kernels], perm=[2, 0, 1, 3])
    bias = [] if layer.bias is None else [layer.bias]
    weights = []
    for phase in range(depth.stride):
        taps = depth.transposed_taps(phase)
        weight = graph.once("Gather", [kernels, graph.sizes(*taps)], axis=0)
        sizes = graph.sizes(len(taps) * channels, count, *layer.kernel[1:])
        weights.append(graph.once("Reshape", [weight, sizes]))
    chunks = []
    step = -(-rule.chunk_of(made, graph.share) // depth.stride) * depth.stride
    for start in range(0, made.depth, step):
        stop = min(start + step, made.depth)
        low, high = depth.transposed_taken(start, stop, shape.depth)
        phases = []
        for phase, weight in enumerate(weights):
            picks = depth.transposed_picks(start + phase, stop, low, high)
            value = _beside(graph, maps, picks, low, len(depth.transposed_taps(phase)))
            phases.append(graph.add("ConvTranspose", [value, weight, *bias], **flat))
        value = phases[0] if len(phases) == 1 else graph.add("Concat", phases, axis=1)
        value = graph.reshaped(value, stop - start, count, made.height, made.width)
        chunks.append(Chunk(start, stop, value))
    return Maps(made, chunks)


def _alone(graph: Graph, maps: Maps, layer: Convolution, made: Shape, how: dict[str, Any]) -> Maps:
    taps, flat = layer.kernel[0], layer.kernel[1:]
    channels, count, once = maps.shape.channels, made.channels, graph.once
    bias = layer.bias
    if taps == 1:
        weight = graph.view(layer.weight, channels, count, *flat)
    else:
        weight = graph.view(layer.weight, channels, count, taps, math.prod(flat))
        weight = once("Transpose", [weight], perm=[0, 2, 1, 3])
        weight = once("Reshape", [weight, graph.sizes(channels, taps * count, *flat)])
        bias = bias and once("Concat", [bias] * taps, axis=0)
    inputs = [weight] if bias is None else [weight, bias]
    chunks = []
    step = max(1, rule.chunk_of(made, graph.share) // taps)
    for start in range(0, maps.shape.depth, step):
        stop = min(start + step, maps.shape.depth)
        value = graph.add("ConvTranspose", [maps.taken(graph, start, stop), *inputs], **how)
        value = graph.reshaped(value, (stop - start) * taps, count, made.height, made.width)
        chunks.append(Chunk(start * taps, stop * taps, value))
    return Maps(made, chunks)
