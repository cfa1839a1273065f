"""Graph that grows: operations with names, constants that are there once, weights of a file."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from fractions import Fraction
from typing import Any

import numpy as np


class Graph:
    """Nodes of ONNX and what they take.

    Attributes
    ----------
    nodes : list of onnx.NodeProto
        In an order in which they can run.
    constants : dict of str to array
        What is written into the file.
    views : dict of str to tuple
        Weights in another shape: the name of the weight, and the shape.
    share : Fraction
        Of the rows and columns of a patch that maps have here; chunks are those of a whole patch.
    taken : collection of str
        Names that nothing here may get: those of the canonical graph.
    """

    def __init__(self, share: Fraction = Fraction(1), taken: Collection[str] = ()) -> None:
        self.share = share
        self._taken = taken
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}
        self.views: dict[str, tuple[str, tuple[int, ...]]] = {}
        self._known: dict[tuple[Any, ...], str] = {}

    def add(self, operation: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Add an operation and return the name of its result."""
        from onnx import helper

        output = self._name(f"s{len(self.nodes)}")
        self.nodes.append(helper.make_node(operation, inputs, [output], output, **attributes))
        return output

    def once(self, operation: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Add an operation, unless the same is there already: for what is made of weights."""
        key = (operation, *inputs, *((name, str(value)) for name, value in attributes.items()))
        if key not in self._known:
            self._known[key] = self.add(operation, inputs, **attributes)
        return self._known[key]

    def constant(self, values: Any) -> str:
        """Return the name of an array; equal ones have the same."""
        array = np.ascontiguousarray(values)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._known:
            self._known[key] = name = self._name(f"c{len(self.constants)}")
            self.constants[name] = array.reshape(array.shape)
        return self._known[key]

    def sizes(self, *values: int) -> str:
        """Return the name of a list of sizes, axes or places."""
        return self.constant(np.array(values, np.int64))

    def view(self, weight: str, *shape: int) -> str:
        """Return the name of a weight in another shape, which takes no operation."""
        name = f"{weight}:{'x'.join(map(str, shape))}"
        self.views[name] = weight, shape
        return name

    def reshaped(self, value: str, *shape: int) -> str:
        """Return a value in another shape."""
        return self.add("Reshape", [value, self.sizes(*shape)])

    def _name(self, name: str) -> str:
        while name in self._taken:
            name += "_"
        return name
