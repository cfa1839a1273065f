"""Maps of a network as chunks of slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from deepseg_export.network.slices.graph import Graph


class Shape(NamedTuple):
    """Channels and voxels of maps."""

    channels: int
    depth: int
    height: int
    width: int

    @property
    def per_slice(self) -> int:
        """Values of a slice."""
        return self.channels * self.height * self.width


class Chunk(NamedTuple):
    """Slices from ``start`` to before ``stop``, (stop - start, channels, height, width)."""

    start: int
    stop: int
    name: str


@dataclass(frozen=True, eq=False)
class Maps:
    """Maps in chunks, or the channels of several maps that nobody has joined yet.

    Attributes
    ----------
    shape : Shape
        Of the whole.
    chunks : sequence of Chunk
        In order, without gaps; empty where there are parts.
    parts : sequence of Maps
        Maps of one size, whose channels follow one another.
    """

    shape: Shape
    chunks: Sequence[Chunk] = ()
    parts: Sequence[Maps] = ()
    _taken: dict[tuple[int, int], str] = field(default_factory=dict)

    @property
    def bounds(self) -> list[tuple[int, int]]:
        """First slice of each chunk, and the one behind its last."""
        return [(chunk.start, chunk.stop) for chunk in (self.chunks or self.parts[0].chunks)]

    def taken(self, graph: Graph, start: int, stop: int) -> str:
        """Return slices as one value (stop - start, channels, height, width)."""
        if (start, stop) not in self._taken:
            self._taken[start, stop] = self._take(graph, start, stop)
        return self._taken[start, stop]

    def _take(self, graph: Graph, start: int, stop: int) -> str:
        if self.parts:
            values = [part.taken(graph, start, stop) for part in self.parts]
            return graph.add("Concat", values, axis=1)
        pieces = []
        for chunk in self.chunks:
            low, high = max(start, chunk.start), min(stop, chunk.stop)
            if low < high:
                pieces.append(_cut(graph, chunk, low, high))
        return pieces[0] if len(pieces) == 1 else graph.add("Concat", pieces, axis=0)


def _cut(graph: Graph, chunk: Chunk, low: int, high: int) -> str:
    if (low, high) == (chunk.start, chunk.stop):
        return chunk.name
    ends = [graph.sizes(low - chunk.start), graph.sizes(high - chunk.start), graph.sizes(0)]
    return graph.add("Slice", [chunk.name, *ends])


def joined(parts: Sequence[Maps]) -> Maps:
    """Return maps with the channels of all; nothing is copied before it is taken."""
    flat = [each for part in parts for each in (part.parts or (part,))]
    channels = sum(part.shape.channels for part in flat)
    return Maps(flat[0].shape._replace(channels=channels), parts=flat)


def from_canonical(graph: Graph, value: str, shape: Shape) -> Maps:
    """Return what is (1, C, D, H, W) as maps of one chunk."""
    order = [shape.depth, shape.channels, shape.height, shape.width]
    if shape.channels == 1 or shape.depth == 1:
        flat = graph.reshaped(value, *order)
    else:
        flat = graph.add("Transpose", [graph.reshaped(value, *shape)], perm=[1, 0, 2, 3])
    return Maps(shape, [Chunk(0, shape.depth, flat)])


def to_canonical(graph: Graph, maps: Maps) -> str:
    """Return maps as (1, C, D, H, W)."""
    turned = [
        graph.add("Transpose", [maps.taken(graph, *bounds)], perm=[1, 0, 2, 3])
        for bounds in maps.bounds
    ]
    whole = turned[0] if len(turned) == 1 else graph.add("Concat", turned, axis=1)
    return graph.reshaped(whole, 1, *maps.shape)
