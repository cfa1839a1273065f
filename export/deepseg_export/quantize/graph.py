"""Facts of a network that all precisions need: its opset, its constants, its layers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from deepseg_export.errors import QuantizationError
from deepseg_lite.errors import reason

OPSET = 18


def read_model(onnx_file: bytes) -> Any:
    """Return a network as an ONNX model of at least opset 18, the one the code here is written in.

    Raises
    ------
    QuantizationError
        If an older network cannot be brought to it.
    """
    import onnx
    import onnx.version_converter

    model = onnx.load_from_string(onnx_file)
    (opset,) = (entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if opset >= OPSET:
        return model
    try:
        return onnx.version_converter.convert_version(model, OPSET)
    except Exception as error:  # of no class of its own
        raise QuantizationError(
            f"The network is of ONNX opset {opset} and cannot be brought to {OPSET}: "
            f"{reason(error)}. Export the model again."
        ) from error


def convolutions(graph: Any) -> list[Any]:
    """Return the nodes that are computed in int8, in the order they run.

    Those are all convolutions with weights of their own but the first and the last: one sees the
    image, the other gives the scores, 8 bits are too few for both, and both are cheap.
    """
    weights = constants(graph)
    return [node for node in graph.node if node.op_type == "Conv" and node.input[1] in weights][
        1:-1
    ]


def constants(graph: Any) -> dict[str, Any]:
    """Return the tensors that are data, by their names."""
    made = {
        node.output[0]: node.attribute[0].t
        for node in graph.node
        if node.op_type == "Constant" and node.attribute[0].name == "value"
    }
    return made | {tensor.name: tensor for tensor in graph.initializer}


def add_constant(graph: Any, name: str, values: Any) -> str:
    """Add data to a graph; return its name."""
    from onnx import numpy_helper

    graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
    return name


def set_nodes(graph: Any, nodes: Iterable[Any]) -> None:
    """Replace the nodes of a graph, and drop the data that none of them takes."""
    nodes = list(nodes)
    taken = {*_taken(nodes), *(value.name for value in graph.output)}
    kept = [tensor for tensor in graph.initializer if tensor.name in taken]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)


def _taken(nodes: Iterable[Any]) -> Iterator[str]:
    """Yield what nodes take, and the nodes of branches and loops inside them."""
    for node in nodes:
        yield from node.input
        for attribute in node.attribute:
            yield from _taken(attribute.g.node)


def to_bytes(model: Any) -> bytes:
    """Return a model as a file, after checking it; the same model gives the same bytes."""
    import onnx

    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString(deterministic=True)
    return data
