"""Arithmetic of a network, before any rewriting for speed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

_NOTE = "flop"
_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum")
Shape = Sequence[int]


def count_flop(model: Any) -> int | None:
    """Count the floating-point operations of one patch.

    Parameters
    ----------
    model : onnx.ModelProto
        With the batch as the first axis of its input. It is not changed.

    Returns
    -------
    flop : int or None
        Twice the multiply-adds of convolutions and matrix products; None if another axis than the
        batch is free, or there are none.
    """
    import onnx
    import onnx.shape_inference

    single = onnx.ModelProto()
    single.CopyFrom(model)
    # What torch notes about shapes has the free batch in it.
    del single.graph.value_info[:]
    for value in single.graph.output:
        value.type.tensor_type.ClearField("shape")
    for value in single.graph.input[:1]:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    graph = onnx.shape_inference.infer_shapes(single, data_prop=True).graph
    shapes = {constant.name: list(constant.dims) for constant in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        shapes[value.name] = [axis.dim_value for axis in value.type.tensor_type.shape.dim]
    total = 0
    for node in graph.node:
        if node.op_type in _PRODUCTS:
            operands = (shapes.get(name) for name in (*node.input[:2], node.output[0]))
            given, weight, result = (shape or [0] for shape in operands)
            if 0 in (*given, *weight, *result):
                return None
            total += 2 * _multiply_adds(node, given, weight, result)
    return total or None


def note_flop(model: Any, flop: int | None) -> None:
    """Write a count into the metadata of a model, whose nodes may be rewritten by now."""
    if flop is not None:
        model.metadata_props.add(key=_NOTE, value=str(flop))


def read_flop(onnx: bytes) -> int | None:
    """Return the count that a file has in its metadata; without one its operations are counted."""
    from onnx import load_model_from_string

    model = load_model_from_string(onnx)
    noted = noted_flop(model)
    return count_flop(model) if noted is None else noted


def noted_flop(model: Any) -> int | None:
    """Return the count that a model has in its metadata."""
    return next((int(entry.value) for entry in model.metadata_props if entry.key == _NOTE), None)


def _multiply_adds(node: Any, given: Shape, weight: Shape, result: Shape) -> int:
    """Count the multiply-adds of one operation from its two inputs and its output."""
    match node.op_type:
        case "Conv":
            return math.prod((result[0], *result[2:], *weight))
        case "ConvTranspose":
            return math.prod((given[0], *given[2:], *weight))
        case "MatMul":
            return math.prod(result) * given[-1]
        case "Gemm":
            # Either operand may be transposed; (M K)(K N)(M N) is the square of M K N all the same.
            return math.isqrt(math.prod((*given, *weight, *result)))
        case _:
            equation = node.attribute[0].s.decode().replace(" ", "")
            letters = equation.partition("->")[0].replace(",", "")
            return math.prod(dict(zip(letters, (*given, *weight), strict=True)).values())
