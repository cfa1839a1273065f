"""Ranges of the values that convolutions take and give, noted while a network runs on images."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from deepseg_export.errors import QuantizationError
from deepseg_export.quantize.graph import add_constant, constants, convolutions, read_model
from deepseg_lite.engines.onnxruntime_network import import_onnxruntime
from deepseg_lite.errors import reason


@dataclass(eq=False)
class Ranges:
    """Lowest and highest value of each channel of tensors, by their names.

    ``patches`` is the number of patches they come from; those of a single value do not count.
    """

    lowest: dict[str, np.ndarray] = field(default_factory=dict)
    highest: dict[str, np.ndarray] = field(default_factory=dict)
    patches: int = 0

    def include(self, name: str, lowest: np.ndarray, highest: np.ndarray) -> None:
        """Widen the range of a tensor."""
        self.lowest[name] = np.minimum(self.lowest.get(name, lowest), lowest)
        self.highest[name] = np.maximum(self.highest.get(name, highest), highest)


class ObservedNetwork:
    """A network on ONNX Runtime's CPU that notes ranges as it runs; it gives what it always gives.

    Parameters
    ----------
    onnx_file : bytes
        The network.
    ranges : Ranges
        Where they go.
    threads : int
        CPU threads.

    Attributes
    ----------
    input_shape, output_shape : sequence
        Size of each axis; its name where it is free.

    Raises
    ------
    QuantizationError
        If ONNX Runtime refuses it.
    """

    def __init__(self, onnx_file: bytes, ranges: Ranges, threads: int) -> None:
        ort = import_onnxruntime()
        model = read_model(onnx_file)
        self._names = _watch(model.graph)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.enable_cpu_mem_arena = False
        options.log_severity_level = 4
        try:
            self._session = ort.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's exceptions share no base class
            raise QuantizationError(
                "ONNX Runtime cannot run the network to calibrate it: "
                f"{reason(error)}. Export the model again."
            ) from error
        self._ranges = ranges
        self._input = self._session.get_inputs()[0]
        self.input_shape = self._input.shape
        self.output_shape = self._session.get_outputs()[0].shape

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Return the first output for an input; patches of a single value are not noted."""
        given = {self._input.name: np.ascontiguousarray(batch)}
        scores: np.ndarray
        scores, *bounds = self._session.run(None, given)
        if batch.min() < batch.max():
            for i, name in enumerate(self._names):
                self._ranges.include(name, bounds[2 * i], bounds[2 * i + 1])
            self._ranges.patches += len(batch)
        return scores


def _watch(graph: Any) -> list[str]:
    """Make bounds of what convolutions take and give outputs of a graph; return their names."""
    from onnx import TensorProto, helper

    weights = constants(graph)
    ranks = {
        name: len(weights[node.input[1]].dims)
        for node in convolutions(graph)
        for name in (node.input[0], node.output[0])
    }
    for name, rank in ranks.items():
        axes = add_constant(graph, f"{name}/axes", np.array([0, *range(2, rank)]))
        for operator in ("ReduceMin", "ReduceMax"):
            bound = f"{name}/{operator}"
            graph.node.append(helper.make_node(operator, [name, axes], [bound], keepdims=0))
            graph.output.append(helper.make_tensor_value_info(bound, TensorProto.FLOAT, None))
    return list(ranks)
