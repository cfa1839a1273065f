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

    Rows are added in float32 and their means in float64. Each chunk is centred by its own mean;
    means and variances of chunks are put together with that of their means, in float64.

    Source: T. F. Chan, G. H. Golub and R. J. LeVeque, Updating Formulae and a Pairwise Algorithm
    for Computing Sample Variances (1979).
    """
    shape = maps.shape
    row = graph.sizes(-1) if shape.height * shape.width > LONG else graph.sizes(2, 3)

    def cast(value: str, kind: int) -> str:
        return graph.add("Cast", [value], to=kind)

    def mean(value: str) -> str:
        rows = cast(graph.add("ReduceMean", [value, row]), _DOUBLE)
        return graph.add("ReduceMean", [rows, graph.sizes(0, 2, 3)])

    def by_channel(value: str) -> str:
        shaped = graph.once("Reshape", [value, graph.sizes(1, shape.channels, 1, 1)])
        return graph.once("Cast", [shaped], to=_DOUBLE)

    centred, means, squares = [], [], []
    for ends in maps.bounds:
        value = maps.taken(graph, *ends)
        rounded = cast(mean(value), _FLOAT)
        centred.append(graph.add("Sub", [value, rounded]))
        means.append(cast(rounded, _DOUBLE))
        squares.append(mean(graph.add("Mul", [centred[-1], centred[-1]])))
    variance, away = squares[0], ""
    if len(centred) > 1:
        shares = np.array([stop - start for start, stop in maps.bounds]) / shape.depth
        share, first = graph.constant(shares.reshape(-1, 1, 1, 1)), graph.sizes(0)
        apart = graph.add("Concat", means, axis=0)
        whole = graph.add("ReduceSum", [graph.add("Mul", [apart, share]), first])
        away = graph.add("Sub", [apart, whole])
        variance = graph.add("Concat", squares, axis=0)
        variance = graph.add("Add", [variance, graph.add("Mul", [away, away])])
        variance = graph.add("ReduceSum", [graph.add("Mul", [variance, share]), first])
    above_zero = graph.add("Add", [variance, graph.constant(np.full((1, 1, 1, 1), epsilon))])
    factor = graph.add("Div", [by_channel(scale), graph.add("Sqrt", [above_zero])])
    shift = by_channel(bias)
    if away:
        shift = graph.add("Add", [graph.add("Mul", [away, factor]), shift])
    factor, shift = cast(factor, _FLOAT), cast(shift, _FLOAT)
    chunks = []
    for index, (ends, value) in enumerate(zip(maps.bounds, centred, strict=True)):
        own = shift
        if away:
            places = [graph.sizes(index), graph.sizes(index + 1), graph.sizes(0)]
            own = graph.add("Slice", [shift, *places])
        value = graph.add("Add", [graph.add("Mul", [value, factor]), own])
        chunks.append(Chunk(*ends, value))
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
    for start, stop in rule.bounds_of(made):
        value = maps.taken(graph, start * taps, stop * taps)
        value = graph.add(operation, [value], kernel_shape=list(kernel[1:]), **flat)
        if taps > 1:
            value = graph.reshaped(value, stop - start, taps, made.per_slice)
            reduction = {"MaxPool": "ReduceMax", "AveragePool": "ReduceMean"}[operation]
            value = graph.add(reduction, [value, graph.sizes(1)], keepdims=0)
            value = graph.reshaped(value, stop - start, made.channels, made.height, made.width)
        chunks.append(Chunk(start, stop, value))
    return Maps(made, chunks)
