"""Graph of ONNX that grows: operations, the arrays that they were given, and small constants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from deepseg_export.architectures.layers import Array
from deepseg_export.errors import UnsupportedError


class Graph:
    """Operations on values that have names, (N, C, *P) each.

    Parameters
    ----------
    image : str
        Name of the input.
    channels : int
        Its channels.

    Attributes
    ----------
    nodes : list of onnx.NodeProto
        What was called, in this order.
    weights : dict of str to array
        Arrays that layers were given, float32, each once and not copied.
    constants : dict of str to array
        Small ones that describe an operation.
    """

    def __init__(self, image: str, channels: int) -> None:
        self.nodes: list[Any] = []
        self.weights: dict[str, Array] = {}
        self.constants: dict[str, Array] = {}
        self._names: dict[int, str] = {}
        self._channels = {image: channels}

    def _node(
        self, operator: str, inputs: Sequence[str], channels: int | None = None, **attributes: Any
    ) -> str:
        """Add an operation and return the name of its result; channels are by default the same."""
        from onnx import helper

        name = f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        self._channels[name] = self._channels[inputs[0]] if channels is None else channels
        return name

    def _weights(self, *arrays: Array | str | None) -> list[str]:
        """Return the names of arrays, which are not copied; None has none."""
        names = []
        for array in arrays:
            if isinstance(array, str):
                names.append(array)
            elif array is not None:
                if array.dtype != np.float32:
                    raise UnsupportedError(f"weights are {array.dtype}, float32 is needed")
                if id(array) not in self._names:
                    self._names[id(array)] = f"weight_{len(self.weights)}"
                    self.weights[self._names[id(array)]] = array
                names.append(self._names[id(array)])
        return names

    def _constant(self, values: Array) -> str:
        """Return the name of a small constant; equal ones have the same."""
        array = np.asarray(values)
        for name, other in self.constants.items():
            if other.dtype == array.dtype and np.array_equal(other, array):
                return name
        name = f"constant_{len(self.constants)}"
        self.constants[name] = array
        return name
