"""Layers other than convolutions, on maps in slices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from deepseg_export.network.slices import rule
from deepseg_export.network.slices.graph import Graph
from deepseg_export.network.slices.maps import Chunk, Maps, Shape

LONG = 1024
"""Values up to which a row is added up in float32."""
_FLOAT, _DOUBLE = 1, 11


def each_chunk(graph: Graph, maps: Maps, make: Callable[[str], str]) -> Maps:
    """Return what an operation on values makes of every chunk."""
    chunks = [Chunk(*ends, make(maps.taken(graph, *ends))) for ends in maps.bounds]
    return Maps(maps.shape, chunks)


def both(graph: Graph, operation: str, first: Maps, second: Maps) -> Maps:
    """Return an operation of two maps of one shape."""
    chunks = []
    for ends in first.bounds:
        inputs = [each.taken(graph, *ends) for each in (first, second)]
        chunks.append(Chunk(*ends, graph.add(operation, inputs)))
    return Maps(first.shape, chunks)


def instance_norm(graph: Graph, maps: Maps, scale: str, bias: str, epsilon: float) -> Maps:
    """Return maps with mean 0 and variance 1, scaled and shifted by channel.

    Rows are added up in float32, and means of rows in float64, as in `network.exact_norm`. Scale
    and shift are a convolution of single channels and voxels, whose result ONNX Runtime gives to an
    activation before it leaves the cache.
    """
    shape = maps.shape
    row = graph.sizes(-1) if shape.height * shape.width > LONG else graph.sizes(2, 3)

    def cast(value: str, kind: int) -> str:
        return graph.add("Cast", [value], to=kind)

    def mean(rows: Sequence[str]) -> str:
        whole = rows[0] if len(rows) == 1 else graph.add("Concat", rows, axis=0)
        return graph.add("ReduceMean", [cast(whole, _DOUBLE), graph.sizes(0, 2, 3)])

    def by_channel(value: str) -> str:
        shaped = graph.once("Reshape", [value, graph.sizes(1, shape.channels, 1, 1)])
        return graph.once("Cast", [shaped], to=_DOUBLE)

    values = [maps.taken(graph, *ends) for ends in maps.bounds]
    exact = mean([graph.add("ReduceMean", [value, row]) for value in values])
    middle = cast(exact, _FLOAT)
    away = graph.add("Sub", [exact, cast(middle, _DOUBLE)])
    centred, squares = [], []
    for value in values:
        centred.append(graph.add("Sub", [value, middle]))
        square = graph.add("Mul", [centred[-1], centred[-1]])
        squares.append(graph.add("ReduceMean", [square, row]))
    variance = mean(squares)
    above_zero = graph.add("Add", [variance, graph.constant(np.full((1, 1, 1, 1), epsilon))])
    factor = graph.add("Div", [by_channel(scale), graph.add("Sqrt", [above_zero])])
    shift = graph.add("Sub", [by_channel(bias), graph.add("Mul", [away, factor])])
    inputs = [
        graph.reshaped(cast(factor, _FLOAT), shape.channels, 1, 1, 1),
        graph.reshaped(cast(shift, _FLOAT), shape.channels),
    ]
    chunks = [
        Chunk(*ends, graph.add("Conv", [value, *inputs], group=shape.channels))
        for ends, value in zip(maps.bounds, centred, strict=True)
    ]
    return Maps(shape, chunks)


def batch_norm(graph: Graph, maps: Maps, inputs: Sequence[str], epsilon: float) -> Maps:
    """Return maps scaled and shifted by recorded means and variances of channels."""
    return each_chunk(
        graph,
        maps,
        lambda value: graph.add("BatchNormalization", [value, *inputs], epsilon=epsilon),
    )


def pool(
    graph: Graph, maps: Maps, made: Shape, operation: str, kernel: Sequence[int], **flat: Any
) -> Maps:
    """Return the largest or the mean of boxes that do not overlap along depth.

    ``flat`` are the attributes of the pooling of one slice.
    """
    taps = kernel[0]
    chunks = []
    for start, stop in rule.bounds_of(made, graph.share):
        value = maps.taken(graph, start * taps, stop * taps)
        value = graph.add(operation, [value], kernel_shape=list(kernel[1:]), **flat)
        if taps > 1:
            value = graph.reshaped(value, stop - start, taps, made.per_slice)
            reduction = {"MaxPool": "ReduceMax", "AveragePool": "ReduceMean"}[operation]
            value = graph.add(reduction, [value, graph.sizes(1)], keepdims=0)
            value = graph.reshaped(value, stop - start, made.channels, made.height, made.width)
        chunks.append(Chunk(start, stop, value))
    return Maps(made, chunks)


def repeated(graph: Graph, maps: Maps, made: Shape, factors: Sequence[int]) -> Maps:
    """Return maps of shape ``made`` whose voxels are there so many times along each axis."""
    scales = graph.constant(np.array([factors[0], 1, *factors[1:]], np.float32))
    how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric"}
    step = max(1, rule.chunk_of(made, graph.share) // factors[0])
    chunks = []
    for start in range(0, maps.shape.depth, step):
        stop = min(start + step, maps.shape.depth)
        inputs = [maps.taken(graph, start, stop), "", scales]
        value = graph.add("Resize", inputs, nearest_mode="floor", **how)
        chunks.append(Chunk(start * factors[0], stop * factors[0], value))
    return Maps(made, chunks)
