"""Parts of an ONNX graph that depend on no input, computed once and for all."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any

logger = logging.getLogger(__name__)

MAX_ELEMENTS = 1024
"""Elements of each operand up to which something is computed: shapes and indices are smaller."""
_COMPUTED = (
    *("Add", "Cast", "Ceil", "Concat", "Div", "Floor", "Gather", "Identity", "Mul", "Neg"),
    *("Reshape", "Shape", "Slice", "Squeeze", "Sub", "Transpose", "Unsqueeze"),
)
"""Operations on shapes and indices, whose results are never much larger than their operands."""


def with_constants_folded(model: Any) -> Any:
    """Return an ONNX model without the operations that depend on no input, in a new message.

    What small constants give becomes an initializer, what only passes a value on is left out, a
    list of tensors that is made to be joined is joined directly, and what nobody needs is dropped.

    Parameters
    ----------
    model : onnx.ModelProto
        It is not changed; one with graphs inside its nodes is only copied.
    """
    folded = type(model)()
    folded.CopyFrom(model)
    graph = folded.graph
    if any(attribute.HasField("g") or attribute.graphs for attribute in _attributes(graph)):
        return folded
    outputs = {value.name for value in graph.output}
    constants = {item.name: item for item in graph.initializer}
    same: dict[str, str] = {}
    lists: dict[str, list[str]] = {}
    nodes: list[Any] = []
    for node in graph.node:
        node.input[:] = [same.get(name, name) for name in node.input]
        if node.op_type == "SequenceConstruct":
            lists[node.output[0]] = list(node.input)
        elif node.op_type == "ConcatFromSequence" and node.input[0] in lists:
            _join(node, lists[node.input[0]])
        if not outputs.intersection(node.output):
            if node.op_type == "Identity":
                same[node.output[0]] = node.input[0]
                continue
            value = _computed(node, constants, folded)
            if value is not None:
                constants[node.output[0]] = value
                continue
        nodes.append(node)
    kept = needed_nodes(nodes, outputs)
    used = outputs.union(*(node.input for node in kept))
    initializers = [value for name, value in constants.items() if name in used]
    replace(graph.node, kept)
    replace(graph.initializer, initializers)
    return folded


def needed_nodes(nodes: Iterable[Any], outputs: Collection[str]) -> list[Any]:
    """Return the nodes of a sorted graph that its outputs depend on, in their order."""
    wanted = set(outputs)
    needed = []
    for node in reversed(list(nodes)):
        if wanted.intersection(node.output):
            needed.append(node)
            wanted.update(node.input)
    return needed[::-1]


def replace(field: Any, messages: Iterable[Any]) -> None:
    """Put messages into a repeated field, in place of what is there; they may come from it."""
    copies = []
    for message in messages:
        copies.append(type(message)())
        copies[-1].CopyFrom(message)
    del field[:]
    field.extend(copies)


def _attributes(graph: Any) -> Iterable[Any]:
    return (attribute for node in graph.node for attribute in node.attribute)


def _join(node: Any, parts: list[str]) -> None:
    """Make the joining of a list the joining of its tensors, unless it also adds an axis."""
    from onnx import helper

    attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    if not attributes.get("new_axis"):
        joined = helper.make_node("Concat", parts, node.output, node.name, axis=attributes["axis"])
        node.CopyFrom(joined)


def _computed(node: Any, constants: Mapping[str, Any], model: Any) -> Any | None:
    """Return what a node gives, as a tensor; None where it depends on an input or may be large."""
    import onnx
    from onnx import helper, numpy_helper
    from onnx.reference import ReferenceEvaluator

    names = [name for name in node.input if name]
    is_small = all(
        name in constants and math.prod(constants[name].dims) <= MAX_ELEMENTS for name in names
    )
    if node.domain or not (node.op_type == "Constant" or (node.op_type in _COMPUTED and is_small)):
        return None
    end = helper.make_empty_tensor_value_info(node.output[0])
    given = [constants[name] for name in dict.fromkeys(names)]
    alone = onnx.ModelProto(
        ir_version=model.ir_version,
        opset_import=model.opset_import,
        graph=helper.make_graph([node], "part", [], [end], given),
    )
    try:
        (value,) = ReferenceEvaluator(alone).run(None, {})
    except Exception as error:  # the evaluator fails in its own ways, and is not needed
        logger.debug("%s stays in the graph: %s", node.op_type, error)
        return None
    return numpy_helper.from_array(value, node.output[0])
