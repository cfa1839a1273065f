"""Minimal filtering along rows, made of two-dimensional convolutions alone.

Everything here is a convolution, or a sum that ONNX Runtime makes part of one: so all values stay
in the order of its blocked kernels, from the first to the four results that are rows in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from deepseg_export.network.slices.graph import Graph
from deepseg_export.network.slices.transforms import F43, of_kernels

TILE = F43.tile
_WIDTH = 3


class Part(NamedTuple):
    """Maps (N, channels, H, W), whose channels are some of those that a convolution takes."""

    name: str
    first: int
    channels: int


@dataclass(frozen=True)
class Layer:
    """A convolution of one group with a kernel of 3 x 3 and stride 1, zeros around the maps.

    Attributes
    ----------
    weight : str
        Name of (K, C, 3, 3).
    bias : str or None
        Name of (K).
    parts : sequence of Part
        What it takes, in order.
    count : int
        K.
    height, width : int
        Of the maps.
    """

    weight: str
    bias: str | None
    parts: Sequence[Part]
    count: int
    height: int
    width: int

    @property
    def channels(self) -> int:
        """Channels of all parts."""
        return sum(part.channels for part in self.parts)


def apart(graph: Graph, layer: Layer) -> str:
    """Return the convolution of joined maps as the sum of those of their parts."""
    total = ""
    for part in layer.parts:
        inputs = [part.name, _of_part(graph, layer, part)]
        bias = [layer.bias] if layer.bias and not total else []
        made = graph.add("Conv", [*inputs, *bias], kernel_shape=[3, 3], pads=[1] * 4)
        total = graph.add("Add", [made, total]) if total else made
    return total


def in_rows(graph: Graph, layer: Layer) -> str:
    """Return the convolution by minimal filtering F(4, 3) along rows.

    With its products M0 to M5, and ``s = M1 + M2``, ``d = M1 - M2``, ``t = M3 + M4``,
    ``e = M3 - M4``, the rows of a tile are ``M0 + s + t``, ``d + 2 e``, ``s + 4 t`` and
    ``d + 8 e + M5``. The bias goes to M1, which takes part in every row with the factor 1.
    """
    tiles = -(-layer.height // TILE)
    seen = [
        [_taken(graph, part, number, layer.height, tiles) for part in layer.parts]
        for number in range(len(F43.inner))
    ]

    kernels = [_kernels(graph, layer, part) for part in layer.parts]

    def product(number: int, added: str = "", bias: str | None = None) -> str:
        for weights, value in zip(kernels, seen[number], strict=True):
            inputs = [value, weights[number], *([bias] if bias else [])]
            made = graph.add("Conv", inputs, kernel_shape=[1, _WIDTH], pads=[0, 1, 0, 1])
            added, bias = graph.add("Add", [made, added]) if added else made, None
        return added

    def plus(factor: float, value: str, added: str) -> str:
        scaled = _by_channel(graph, value, np.full((layer.count, 1), factor))
        return graph.add("Add", [scaled, added])

    second = product(2)
    s = product(1, second, layer.bias)
    d = plus(-2, second, s)
    fourth = product(4)
    t = product(3, fourth)
    e = plus(-2, fourth, t)
    rows = [
        product(0, plus(1, t, s)),
        plus(2, e, d),
        plus(4, t, s),
        product(5, plus(8, e, d)),
    ]
    beside = graph.add("Concat", rows, axis=3)  # the rows of a tile, one after the other
    made = graph.reshaped(beside, -1, layer.count, TILE * tiles, layer.width)
    if layer.height % TILE:
        ends = [graph.sizes(0), graph.sizes(layer.height), graph.sizes(2)]
        made = graph.add("Slice", [made, *ends])
    return made


def _taken(graph: Graph, part: Part, number: int, height: int, tiles: int) -> str:
    """Return what a product takes: rows of each tile, added up as its line of the matrix says."""
    line = F43.inner[number]
    (there,) = np.nonzero(line)
    first, step = int(there[0]), int(np.gcd.reduce(np.diff(there)))
    taps = line[first : there[-1] + 1 : step]
    below = max(0, TILE * (tiles - 1) - 1 + int(there[-1]) - (height - 1))
    pads = [1 - first, 0, below, 0]
    taken = np.tile(taps, (part.channels, 1))
    return _by_channel(graph, part.name, taken, strides=[TILE, 1], dilations=[step, 1], pads=pads)


def _by_channel(graph: Graph, value: str, taps: np.ndarray, **how: Sequence[int]) -> str:
    """Return the convolution of each channel along rows with taps (channels, T)."""
    count, length = taps.shape
    weight = graph.constant(taps.reshape(count, 1, length, 1).astype(np.float32))
    return graph.add("Conv", [value, weight], group=count, kernel_shape=[length, 1], **how)


def _of_part(graph: Graph, layer: Layer, part: Part) -> str:
    """Return the weights (K, channels, 3, 3) of a part."""
    if len(layer.parts) == 1:
        return layer.weight
    ends = [graph.sizes(part.first), graph.sizes(part.first + part.channels), graph.sizes(1)]
    return graph.once("Slice", [layer.weight, *ends])


def _kernels(graph: Graph, layer: Layer, part: Part) -> list[str]:
    """Return the weights of a part's products, (K, channels, 1, 3) each."""
    count, sizes = len(F43.kernel), graph.sizes
    # The file has few nodes for them, as each takes a while to be computed when it is opened.
    rows = graph.add("Reshape", [_of_part(graph, layer, part), sizes(0, 0, -1)])
    matrix = np.concatenate(list(of_kernels(F43, _WIDTH)), axis=1)
    made = graph.add("MatMul", [rows, graph.constant(matrix)])
    made = graph.add("Reshape", [made, sizes(0, 0, count, _WIDTH)])
    graph.add("Split", [made], axis=2, num_outputs=count)
    names = [f"{graph.nodes[-1].output[0]}_{number}" for number in range(count)]
    graph.nodes[-1].output[:] = names
    return names
