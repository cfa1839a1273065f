"""Known faults of ONNX files that older exporters wrote."""

from __future__ import annotations

from typing import Any

_GIVE_BOOLEANS = (
    *("And", "Equal", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual"),
    *("Not", "Or", "Xor"),
)
_TAKE_BOOLEANS = ("And", "Not", "Or", "Xor")
_TAKE_NUMBERS = (
    *("Add", "Clip", "Div", "Max", "Mean", "Min", "Mul", "Pow", "Relu", "Sub", "Sum"),
    *("ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "Resize", "Conv"),
)


def cast_booleans(model: Any) -> Any:
    """Return a model with casts where numbers are needed and booleans come, and the reverse.

    torch multiplies numbers by booleans; ONNX does not, and older exporters did not care.
    """
    from onnx import TensorProto, helper

    fixed = type(model)()
    fixed.CopyFrom(model)
    graph = fixed.graph
    types = {item.name: item.data_type for item in graph.initializer}
    types |= {item.name: item.type.tensor_type.elem_type for item in graph.input}
    nodes: list[Any] = []
    for node in graph.node:
        for place, name in enumerate(node.input):
            kind = types.get(name)
            is_condition = node.op_type == "Where" and place == 0
            if node.op_type in _TAKE_NUMBERS and kind == TensorProto.BOOL:
                target = TensorProto.FLOAT
            elif (node.op_type in _TAKE_BOOLEANS or is_condition) and kind == TensorProto.FLOAT:
                target = TensorProto.BOOL
            else:
                continue
            cast = f"{name}_as_{TensorProto.DataType.Name(target)}_{len(nodes)}"
            nodes.append(helper.make_node("Cast", [name], [cast], to=target))
            types[cast] = target
            node.input[place] = cast
        nodes.append(node)
        for name in node.output:
            types[name] = _output_type(node, types)
    nodes = [_copied(node) for node in nodes]
    del graph.node[:]
    graph.node.extend(nodes)
    return fixed


def _copied(node: Any) -> Any:
    copy = type(node)()
    copy.CopyFrom(node)
    return copy


def _output_type(node: Any, types: dict[str, int]) -> int | None:
    """Return the type of a node's outputs, as far as it matters here; None if not known."""
    from onnx import TensorProto, helper

    if node.op_type in _GIVE_BOOLEANS:
        return int(TensorProto.BOOL)
    if node.op_type in ("Shape", "Size", "NonZero", "ArgMax"):
        return int(TensorProto.INT64)
    attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    if node.op_type == "Cast":
        return int(attributes["to"])
    if node.op_type in ("Constant", "ConstantOfShape") and "value" in attributes:
        return int(attributes["value"].data_type)
    first = 1 if node.op_type == "Where" else 0
    return types.get(node.input[first]) if len(node.input) > first else None
