"""The form in rows of a network: its canonical graph with other convolutions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from deepseg_export.network.rows import rule
from deepseg_export.network.rows.filtering import Layer, Part, apart, in_rows
from deepseg_export.network.slices.graph import Graph


@dataclass
class Rewriting:
    """A canonical graph on its way into rows.

    Attributes
    ----------
    shapes : dict of str to sequence of int
        Of every value of the canonical graph.
    weights : set of str
        Names of its constants.
    followers : dict of str to list of str
        Kinds of the operations that take a value.
    graph : Graph
        What becomes of it.
    direct : set of str
        Convolutions, by what they give, that stay as they are whatever the rule says.
    layers : dict of str to Layer
        Those computed by minimal filtering, by what they give.
    """

    shapes: Mapping[str, Sequence[int]]
    weights: Collection[str]
    followers: Mapping[str, Collection[str]]
    graph: Graph
    direct: Collection[str] = ()
    layers: dict[str, Layer] = field(default_factory=dict)
    _made: dict[str, Any] = field(default_factory=dict)

    def node(self, node: Any) -> None:
        """Rewrite one node."""
        layer = self._layer(node) if node.op_type == "Conv" else None
        self._made.update(dict.fromkeys(node.output, node))
        name = node.output[0]
        followers = self.followers.get(name, ())
        if layer is not None and rule.is_worth(layer, followers) and name not in self.direct:
            in_rows(self.graph, layer)
            self.layers[name] = layer
        elif layer is not None and len(layer.parts) > 1:
            apart(self.graph, layer)
        else:
            self.graph.nodes.append(node)
            return
        self.graph.nodes[-1].output[0] = name

    def _layer(self, node: Any) -> Layer | None:
        """Return a convolution that is known, or None."""
        how = attributes(node)
        given, made = (self.shapes.get(name, ()) for name in (node.input[0], node.output[0]))
        kernel = self.shapes.get(node.input[1], ())
        plain = {"group": 1, "strides": [1, 1], "dilations": [1, 1], "auto_pad": b"NOTSET"}
        known = all(how.get(name, value) == value for name, value in plain.items())
        if not known or how.get("pads") != [1] * 4 or list(kernel[2:]) != [3, 3]:
            return None
        sizes = [*given, *made]
        if len(sizes) != 8 or min(sizes) < 1 or not set(node.input[1:]).issubset(self.weights):
            return None
        parts = self._parts(node.input[0])
        if not rule.is_blocked(made[1], *(part.channels for part in parts)):
            return None
        bias = node.input[2] if len(node.input) > 2 else None
        return Layer(node.input[1], bias, parts, made[1], *given[2:])

    def _parts(self, name: str) -> list[Part]:
        """Return the maps that are joined to a value, if all of them are blocked; else itself."""
        names = [name]
        made = self._made.get(name)
        if made is not None and made.op_type == "Concat" and attributes(made)["axis"] == 1:
            channels = [self.shapes[each][1] for each in made.input]
            if rule.is_blocked(*channels):
                names = list(made.input)
        parts, first = [], 0
        for each in names:
            parts.append(Part(each, first, self.shapes[each][1]))
            first += parts[-1].channels
        return parts


def attributes(node: Any) -> dict[str, Any]:
    """Return the attributes of a node by their names."""
    from onnx import helper

    return {item.name: helper.get_attribute_value(item) for item in node.attribute}
