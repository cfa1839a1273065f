"""The form in slices of a network: its canonical graph, node by node."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from deepseg_export.errors import NoFormError
from deepseg_export.network.exact_norm import NORM
from deepseg_export.network.slices import layers, rule
from deepseg_export.network.slices.convolutions import Convolution, convolve, transposed
from deepseg_export.network.slices.graph import Graph
from deepseg_export.network.slices.maps import (
    Chunk,
    Maps,
    Shape,
    from_canonical,
    joined,
    to_canonical,
)

EACH_VALUE = frozenset(
    (
        *("Abs", "Cast", "Clip", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish"),
        *("Identity", "LeakyRelu", "Log", "Mish", "Neg", "Relu", "Selu", "Sigmoid", "Softplus"),
        *("Softsign", "Sqrt", "Tanh", "ThresholdedRelu"),
    )
)
"""Operations that give for every value what it gives alone."""
OF_TWO = frozenset(("Add", "Div", "Max", "Min", "Mul", "Pow", "PRelu", "Sub"))


@dataclass
class Rewriting:
    """A canonical graph on its way into slices.

    Attributes
    ----------
    shapes : dict of str to sequence of int
        Of every value of the canonical graph.
    weights : set of str
        Names of its constants.
    scales : dict of str to sequence of float
        Values of short constants in float32.
    chosen : dict of str to Way
        Ways of layers, by what they give, where they are not the rule's first.
    maps : dict of str to Maps
        What is known in slices, by its name in the canonical graph.
    layers : dict
        Convolutions in slices and their ways, by what they give.
    unknown : list of str
        Operations on maps that stay three-dimensional.
    """

    shapes: Mapping[str, Sequence[int]]
    weights: Collection[str]
    scales: Mapping[str, Sequence[float]] = field(default_factory=dict)
    chosen: Mapping[str, rule.Way] = field(default_factory=dict)
    graph: Graph = field(default_factory=Graph)
    maps: dict[str, Maps] = field(default_factory=dict)
    canonical: dict[str, str] = field(default_factory=dict)
    layers: dict[str, tuple[Convolution, list[rule.Way]]] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)

    def start(self, name: str) -> None:
        """Take the input in slices."""
        shape = self._shape(name)
        if shape is None:
            raise NoFormError("its patches have no fixed size in three dimensions")
        self.maps[name] = Maps(shape, [Chunk(0, shape.depth, name)])

    def node(self, node: Any) -> None:
        """Rewrite one node."""
        how = _attributes(node)
        made = self._known(node, how)
        if made is not None:
            self.maps[node.output[0]] = made
            return
        if any(name in self.maps for name in node.input):
            self.unknown.append(node.op_type)
        copy = type(node)()
        copy.CopyFrom(node)
        copy.input[:] = [self.plain(name) for name in node.input]
        self.graph.nodes.append(copy)

    def plain(self, name: str) -> str:
        """Return a value as the canonical graph has it."""
        if name in self.maps and name not in self.canonical:
            self.canonical[name] = to_canonical(self.graph, self.maps[name])
        return self.canonical.get(name, name)

    def in_slices(self, name: str) -> Maps | None:
        """Return a value as maps in slices; None if it is no maps of one item."""
        if name not in self.maps:
            shape = self._shape(name)
            if shape is None:
                return None
            self.maps[name] = from_canonical(self.graph, name, shape)
            self.canonical[name] = name
        return self.maps[name]

    def _shape(self, name: str) -> Shape | None:
        sizes = self.shapes.get(name, ())
        return Shape(*sizes[1:]) if len(sizes) == 5 and sizes[0] == 1 and min(sizes) > 0 else None

    def _known(self, node: Any, how: Mapping[str, Any]) -> Maps | None:
        """Return what a node gives in slices; None if it is not known."""
        made = self._shape(node.output[0])
        if made is None or node.domain or len(node.output) > 1:
            return None
        operation, graph = node.op_type, self.graph
        if operation in ("Conv", "ConvTranspose"):
            return self._convolution(node, how, made)
        held = [self.maps.get(name) for name in node.input]
        first = held[0] if held else None
        if operation == "Concat" and how["axis"] == 1:
            parts = [self.in_slices(name) for name in node.input]
            return joined([part for part in parts if part]) if any(held) else None
        if operation == NORM:
            maps = self.in_slices(node.input[0])
            epsilon = how.get("epsilon", 1e-5)
            scale, bias = node.input[1:]
            return maps and layers.instance_norm(graph, maps, scale, bias, epsilon)
        if operation in OF_TWO and any(held):
            return self._of_two(node, made)
        if first is None:
            return None
        if operation in EACH_VALUE or (operation == "Softmax" and how.get("axis", -1) in (1, -4)):
            rest = node.input[1:]
            return layers.each_chunk(
                graph, first, lambda value: graph.add(operation, [value, *rest], **how)
            )
        if operation == "BatchNormalization" and not how.get("training_mode"):
            return layers.batch_norm(graph, first, node.input[1:], how.get("epsilon", 1e-5))
        if operation in ("MaxPool", "AveragePool"):
            return self._pool(node, how, first, made)
        return self._repeated(node, how, first, made) if operation == "Resize" else None

    def _convolution(self, node: Any, how: Mapping[str, Any], made: Shape) -> Maps | None:
        weight = self.shapes.get(node.input[1], ())
        known = how.get("auto_pad", b"NOTSET") == b"NOTSET" and how.get("group", 1) == 1
        if len(weight) != 5 or not known or not set(node.input[1:]).issubset(self.weights):
            return None
        maps = self.in_slices(node.input[0])
        if maps is None:
            return None
        layer = Convolution(
            node.input[1],
            node.input[2] if len(node.input) > 2 else None,
            tuple(weight[2:]),
            tuple(how.get("strides", (1, 1, 1))),
            tuple(how.get("dilations", (1, 1, 1))),
            tuple(how.get("pads", (0,) * 6)),
            tuple(how.get("output_padding", (0,) * 3)),
        )
        if node.op_type == "Conv":
            ways = layer.ways(maps.shape, made)
            way = self.chosen.get(node.output[0], ways[0])
            self.layers[node.output[0]] = layer, ways
            return convolve(self.graph, maps, layer, made, way)
        kernel, stride = layer.kernel[0], layer.stride[0]
        uneven = kernel < stride or made.depth % stride or layer.dilation[0] > 1
        cut = kernel == stride and (layer.pads[0] or layer.pads[3] or layer.more[0])
        if uneven or cut or "output_shape" in how:
            return None
        return transposed(self.graph, maps, layer, made)

    def _of_two(self, node: Any, made: Shape) -> Maps | None:
        values = [self.maps.get(name) or self.in_slices_if(name, made) for name in node.input]
        first, second = values
        graph, operation = self.graph, node.op_type
        if first and second and first.shape == second.shape == made:
            return layers.both(graph, operation, first, second)
        maps, other = (first, node.input[1]) if first else (second, node.input[0])
        sizes = self.shapes.get(other)
        if maps is None or maps.shape != made or sizes is None or min(sizes, default=1) < 1:
            return None
        sizes = [1] * (5 - len(sizes)) + list(sizes)
        if sizes[0] != 1 or sizes[2] != 1:
            return None
        other = graph.once("Reshape", [self.plain(other), graph.sizes(1, sizes[1], *sizes[3:])])

        def of(value: str) -> str:
            return graph.add(operation, [value, other] if first else [other, value])

        return layers.each_chunk(graph, maps, of)

    def in_slices_if(self, name: str, shape: Shape) -> Maps | None:
        """Return a value as maps in slices if it has that shape."""
        return self.in_slices(name) if self._shape(name) == shape else None

    def _pool(self, node: Any, how: Mapping[str, Any], maps: Maps, made: Shape) -> Maps | None:
        kernel = how["kernel_shape"]
        stride = how.get("strides", [1] * 3)
        pads = how.get("pads", [0] * 6)
        simple = how.get("auto_pad", b"NOTSET") == b"NOTSET" and not how.get("ceil_mode")
        dilated = max(how.get("dilations", [1])) > 1
        if not simple or dilated or kernel[0] != stride[0] or pads[0] or pads[3]:
            return None
        flat: dict[str, Any] = {
            "strides": list(stride[1:]),
            "pads": [pads[axis] for axis in (1, 2, 4, 5)],
        }
        if node.op_type == "AveragePool":
            flat["count_include_pad"] = how.get("count_include_pad", 0)
        return layers.pool(self.graph, maps, made, node.op_type, kernel, **flat)

    def _repeated(self, node: Any, how: Mapping[str, Any], maps: Maps, made: Shape) -> Maps | None:
        """Return maps whose voxels are repeated by whole factors; other resizing is not known."""
        scales = self.scales.get(node.input[2]) if len(node.input) == 3 else None
        names = ("mode", "coordinate_transformation_mode", "nearest_mode")
        nearest = [how.get(name) for name in names] == [b"nearest", b"asymmetric", b"floor"]
        factors = [new // old for new, old in zip(made, maps.shape, strict=True)]
        if not nearest or "axes" in how or list(scales or ()) != [1, *factors] or factors[0] != 1:
            return None
        return layers.repeated(self.graph, maps, made, factors[1:])


def _attributes(node: Any) -> dict[str, Any]:
    from onnx import helper

    return {item.name: helper.get_attribute_value(item) for item in node.attribute}
