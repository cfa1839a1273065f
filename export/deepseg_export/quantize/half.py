"""Networks in half precision: weights that are stored so, or convolutions that are computed so."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from deepseg_export.quantize.graph import add_constant, constants, read_model, set_nodes, to_bytes

_LEAST = 256
"""Values of a tensor that is worth storing in half the space."""
_COMPUTED = ("Conv", "ConvTranspose", "MatMul", "Gemm")


def to_half_weights(onnx_file: bytes) -> bytes:
    """Return a network whose weights are stored in float16 and computed with in float32.

    Parameters
    ----------
    onnx_file : bytes
        The network in float32.

    Returns
    -------
    onnx_file : bytes
        Engines turn the weights into float32 when they open it. Small tensors, and those with
        values that float16 does not have, stay as they are.
    """
    from onnx import TensorProto, helper

    model = read_model(onnx_file)
    graph = model.graph
    halves = _halves(graph, set(constants(graph)), _LEAST)
    casts = [
        helper.make_node("Cast", [half], [name], to=TensorProto.FLOAT)
        for name, half in halves.items()
    ]
    nodes = [
        node for node in graph.node if not (node.op_type == "Constant" and node.output[0] in halves)
    ]
    kept = [tensor for tensor in graph.initializer if tensor.name not in halves]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    set_nodes(graph, [*casts, *nodes])
    return to_bytes(model)


def to_half(onnx_file: bytes) -> bytes:
    """Return a network whose convolutions and matrix products are computed in float16.

    All else is float32, as where PyTorch computes in mixed precision: sums over a map are beyond
    float16.

    Parameters
    ----------
    onnx_file : bytes
        The network in float32.

    Returns
    -------
    onnx_file : bytes
        For GPUs. Input and output stay float32.
    """
    from onnx import NodeProto, TensorProto, helper

    model = read_model(onnx_file)
    graph, nodes, computed = model.graph, [], _computed(model)
    taken = {name for node in graph.node if node.output[0] in computed for name in node.input}
    halves = _halves(graph, taken, 1)
    for node in graph.node:
        if node.output[0] not in computed:
            nodes.append(node)
            continue
        for name in node.input:
            if name and name not in halves:
                halves[name] = f"{name}/half"
                nodes.append(
                    helper.make_node("Cast", [name], [halves[name]], to=TensorProto.FLOAT16)
                )
        half = NodeProto()
        half.CopyFrom(node)
        half.input[:] = [name and halves[name] for name in node.input]
        half.output[:] = [f"{node.output[0]}/computed"]
        cast = helper.make_node("Cast", half.output, node.output, to=TensorProto.FLOAT)
        nodes += [half, cast]
    set_nodes(graph, nodes)
    return to_bytes(model)


def _computed(model: Any) -> set[str]:
    """Return what convolutions and products give; those of whole numbers are about shapes."""
    from onnx import TensorProto, shape_inference

    values = shape_inference.infer_shapes(model).graph.value_info
    kinds = {value.name: value.type.tensor_type.elem_type for value in values}
    return {
        node.output[0]
        for node in model.graph.node
        if node.op_type in _COMPUTED
        and kinds.get(node.output[0], TensorProto.FLOAT) == TensorProto.FLOAT
    }


def _halves(graph: Any, names: set[str], least: int) -> dict[str, str]:
    """Add those of the named constants that fit to a graph in float16; return the new names."""
    from onnx import TensorProto, numpy_helper

    made: dict[str, str] = {}
    given = {value.name for value in graph.input}  # old files name their weights there, too
    for name, tensor in constants(graph).items():
        if name not in names - given or tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        fits = np.abs(values).max(initial=0) <= np.finfo(np.float16).max
        if math.prod(tensor.dims) >= least and fits:
            made[name] = add_constant(graph, f"{name}/half", values.astype(np.float16))
    return made
