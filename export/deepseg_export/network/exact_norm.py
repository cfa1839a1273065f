"""Normalisation of maps with sums that stay precise where most of a map is one value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from deepseg_export.network.folding import needed_nodes, replace

NORM = "InstanceNormalization"
SMALL = 8192
"""Voxels of a map whose plain sums are precise enough, and faster."""
_ROW = 1024
_DOMAIN = "deepseg_export"
# Rows are added in float32 and their means in float64: what a row loses is far below a map's.
_EXACT_NORM = f"""
<domain: "{_DOMAIN}", opset_import: ["": 18]>
exact_norm <epsilon, rows, spatial, inner, whole> (maps, scale, bias) => (normalised) {{
    last = Constant <value_ints: ints = [-1]> ()
    spatial_axes = Constant <value_ints: ints = @spatial> ()
    inner_axes = Constant <value_ints: ints = @inner> ()
    in_rows = Constant <value_ints: ints = @rows> ()
    as_given = Constant <value_ints: ints = @whole> ()
    floor = Constant <value_float: float = @epsilon> ()
    values = Reshape (maps, in_rows)
    row_means = ReduceMean (values, last)
    row_means_64 = Cast <to: int = 11> (row_means)
    mean_64 = ReduceMean (row_means_64, spatial_axes)
    mean = Cast <to: int = 1> (mean_64)
    centred = Sub (values, mean)
    squares = Mul (centred, centred)
    row_squares = ReduceMean (squares, last)
    row_squares_64 = Cast <to: int = 11> (row_squares)
    variance_64 = ReduceMean (row_squares_64, spatial_axes)
    variance = Cast <to: int = 1> (variance_64)
    above_zero = Add (variance, floor)
    deviation = Sqrt (above_zero)
    scales = Unsqueeze (scale, inner_axes)
    factor = Div (scales, deviation)
    scaled = Mul (centred, factor)
    offset = Unsqueeze (bias, inner_axes)
    shifted = Add (scaled, offset)
    normalised = Reshape (shifted, as_given)
}}
"""


def with_exact_norms(model: Any) -> Any:
    """Return an ONNX model whose large maps are normalised with exact sums.

    ONNX Runtime's InstanceNormalization adds up a map in float32, one value after the other. Where
    most of it is one value, as in the padding around a small image, all roundings go the same way:
    deviations were found to be off by 1e-4 and more, and scores with them, a hundred times as far
    as torch's. Maps of more than `SMALL` voxels, and of unknown size, are normalised by simple
    operations instead; whole networks of nnU-Net take about a tenth more time on a CPU.

    Parameters
    ----------
    model : onnx.ModelProto
        With the shapes of its values, as torch writes them. It is not changed.

    Notes
    -----
    Checked by ``tests/export/test_precision.py``.
    """
    import onnx.inliner
    import onnx.parser

    shapes = {
        value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.value_info)
    }
    rewritten = onnx.ModelProto()
    rewritten.CopyFrom(model)
    for node in rewritten.graph.node:
        if node.op_type == NORM and not 0 < math.prod(shapes[node.input[0]][2:]) <= SMALL:
            layout = _layout(shapes[node.input[0]])
            node.op_type, node.domain = "exact_norm", _DOMAIN
            node.attribute.extend(onnx.helper.make_attribute(*item) for item in layout.items())
    rewritten.functions.append(onnx.parser.parse_function(_EXACT_NORM))
    inlined = onnx.inliner.inline_local_functions(rewritten)
    del inlined.functions[:]
    return inlined


def with_plain_norms(model: Any) -> Any:
    """Return an ONNX model whose norms are InstanceNormalization again, in a new message.

    Where values are rounded anyway, its sums are good enough, and it takes less time and memory.
    """
    import onnx

    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    graph = plain.graph
    made = {name: node for node in graph.node for name in node.output}
    nodes = []
    for node in graph.node:
        parts = {part: _taken(made, node.output[0], path) for part, path in _PARTS.items()}
        if None in parts.values():
            nodes.append(node)
            continue
        floor = made[parts.pop("epsilon")].attribute[0].f
        nodes.append(onnx.helper.make_node(NORM, parts.values(), node.output, epsilon=floor))
    replace(graph.node, needed_nodes(nodes, {value.name for value in graph.output}))
    return plain


_PARTS = {
    "maps": ("Reshape", 0, "Add", 0, "Mul", 0, "Sub", 0, "Reshape", 0),
    "scale": ("Reshape", 0, "Add", 0, "Mul", 1, "Div", 0, "Unsqueeze", 0),
    "bias": ("Reshape", 0, "Add", 1, "Unsqueeze", 0),
    "epsilon": ("Reshape", 0, "Add", 0, "Mul", 1, "Div", 1, "Sqrt", 0, "Add", 1),
}
"""From what `_EXACT_NORM` gives back to what it takes: operations, and which of their inputs."""


def _taken(made: Mapping[str, Any], name: str, path: Sequence[Any]) -> str | None:
    """Return the name of a tensor some operations back; None where others are there."""
    for operation, index in zip(path[::2], path[1::2], strict=True):
        node = made.get(name)
        if node is None or node.op_type != operation:
            return None
        name = node.input[index]
    return name


def _layout(shape: list[int]) -> dict[str, list[int]]:
    """Return how maps (N, C, *P) become rows, and the way back; 0 is a size that is not known."""
    rank, rows = len(shape), [0] * len(shape)
    if rank == 3:
        # Groups of channels come flattened: any common divisor makes rows of them.
        rank, rows = 4, [0, 0, -1, math.gcd(shape[2], _ROW) if shape[2] else 1]
    return {
        "rows": rows,
        "spatial": list(range(2, rank)),
        "inner": list(range(1, rank - 1)),
        "whole": [0, 0, -1] if len(shape) == 3 else rows,
    }
