"""Networks in int8: convolutions of 8-bit values by 8-bit weights, the rest in float32."""

from __future__ import annotations

from typing import Any

import numpy as np

from deepseg_export.errors import QuantizationError
from deepseg_export.network.exact_norm import with_plain_norms
from deepseg_export.quantize.graph import (
    add_constant,
    constants,
    convolutions,
    read_model,
    set_nodes,
    to_bytes,
)
from deepseg_export.quantize.ranges import Ranges

_HIGHEST_WEIGHT = 127
_STEPS = 255
_NEGLIGIBLE = 1e-9
"""Weights of a channel this far below the others' are taken for zeros."""


def to_int8(onnx_file: bytes, ranges: Ranges) -> bytes:
    """Return a network whose convolutions are computed in int8.

    Weights have one scale for each output channel. So have the values that a convolution gives:
    its weights and bias are divided by these scales, such that all channels share one range where
    the engine rounds, and what comes after multiplies each channel by its own again. This costs
    nothing, and of the 256 steps no channel is left with a few. What a convolution takes has one
    scale.

    Parameters
    ----------
    onnx_file : bytes
        The network in float32.
    ranges : Ranges
        Of what its convolutions take and give.

    Returns
    -------
    onnx_file : bytes
        QuantizeLinear and DequantizeLinear around every convolution but the first and the last, in
        the form that engines turn into convolutions of uint8 by int8 values.

    Raises
    ------
    QuantizationError
        If the network has no convolution between its first and its last.
    """
    model = with_plain_norms(read_model(onnx_file))
    graph, nodes = model.graph, []
    weights, chosen = constants(graph), {node.output[0] for node in convolutions(graph)}
    if not chosen:
        raise QuantizationError(
            "The network has no convolutions between its first and its last, which stay in "
            "float32; there is nothing to compute in int8."
        )
    input_scales: dict[str, np.float32] = {}
    joined = _joined_for(graph, chosen)
    for node in graph.node:
        if node.output and node.output[0] in joined:
            continue
        if not node.output or node.output[0] not in chosen:
            nodes.append(node)
            continue
        given = node.input[0]
        if given not in input_scales:
            parts = joined.get(given, [given])
            made, input_scales[given] = _rounded_input(graph, given, parts, ranges)
            nodes += made
        nodes += _convolution(graph, node, weights, input_scales[given], ranges)
    set_nodes(graph, nodes)
    return to_bytes(model)


def _joined_for(graph: Any, chosen: set[str]) -> dict[str, list[str]]:
    """Return what is joined channel by channel for a chosen convolution alone, by its own name."""
    takers: dict[str, list[str]] = {}
    for node in graph.node:
        for name in node.input:
            takers.setdefault(name, []).append(node.output[0])
    return {
        node.output[0]: list(node.input)
        for node in graph.node
        if node.op_type == "Concat"
        and node.attribute[0].i == 1
        and len(takers[node.output[0]]) == 1
        and takers[node.output[0]][0] in chosen
    }


def _rounded_input(
    graph: Any, name: str, parts: list[str], ranges: Ranges
) -> tuple[list[Any], np.float32]:
    """Return nodes that round a tensor to 256 values, and the distance of those.

    What is joined of parts is joined of bytes: the same values, without a copy of them in float32.
    """
    from onnx import helper

    lowest, highest = _with_zero(ranges.lowest[name].min(), ranges.highest[name].max())
    scale = _scale(lowest, highest)
    step = add_constant(graph, f"{name}/scale", scale)
    zero = add_constant(graph, f"{name}/zero", _zero_point(lowest, scale))
    rounded = [f"{name}/uint8"] if parts == [name] else [f"{name}/uint8/{part}" for part in parts]
    nodes = [
        helper.make_node("QuantizeLinear", [part, step, zero], [given])
        for part, given in zip(parts, rounded, strict=True)
    ]
    if len(rounded) > 1:
        nodes.append(helper.make_node("Concat", rounded, [f"{name}/uint8"], axis=1))
    back = helper.make_node("DequantizeLinear", [f"{name}/uint8", step, zero], [f"{name}/rounded"])
    return [*nodes, back], scale


def _convolution(
    graph: Any, node: Any, data: dict[str, Any], input_scale: np.float32, ranges: Ranges
) -> list[Any]:
    """Return the nodes of a convolution in int8, from a rounded input to its own output."""
    from onnx import NodeProto, helper, numpy_helper

    given, result = node.input[0], node.output[0]
    weights = numpy_helper.to_array(data[node.input[1]])
    bias = np.float64(0)
    if len(node.input) > 2:
        bias = numpy_helper.to_array(data[node.input[2]]).astype(np.float64)
    peaks = np.abs(weights).max(tuple(range(1, weights.ndim)))
    is_used = peaks > _NEGLIGIBLE * peaks.max()
    weight_scales = np.where(is_used, peaks / _HIGHEST_WEIGHT, 1).astype(np.float32)
    column = weight_scales.reshape(-1, *[1] * (weights.ndim - 1))
    lowest, highest = _with_zero(ranges.lowest[result], ranges.highest[result])
    result_scales = _scale(lowest, highest)
    zeros = _zero_point(lowest, result_scales)
    # Channels in units of their own step, from 0 to 255.
    shared_scales = weight_scales / result_scales
    sums = (bias / result_scales + zeros) / (input_scale * shared_scales.astype(np.float64))
    limit = np.iinfo(np.int32).max

    def named(what: str, values: Any) -> str:
        return add_constant(graph, f"{result}/{what}", values)

    whole = [named("one", np.float32(1)), named("none", np.uint8(0))]
    rounded = NodeProto()
    rounded.CopyFrom(node)
    rounded.input[:] = [f"{given}/rounded", f"{result}/weights", f"{result}/bias"]
    rounded.output[:] = [f"{result}/steps"]
    return [
        helper.make_node(
            "DequantizeLinear",
            [
                named("int8", np.rint(weights / column).astype(np.int8)),
                named("weight_scales", shared_scales),
                named("weight_zeros", np.zeros(len(weights), np.int8)),
            ],
            [f"{result}/weights"],
            axis=0,
        ),
        helper.make_node(
            "DequantizeLinear",
            [
                named("int32", np.rint(sums).clip(-limit, limit).astype(np.int32)),
                named("bias_scales", input_scale * shared_scales),
                named("bias_zeros", np.zeros(len(weights), np.int32)),
            ],
            [f"{result}/bias"],
            axis=0,
        ),
        rounded,
        helper.make_node("QuantizeLinear", [f"{result}/steps", *whole], [f"{result}/uint8"]),
        helper.make_node(
            "DequantizeLinear",
            [f"{result}/uint8", named("scales", result_scales), named("zeros", zeros)],
            [result],
            axis=1,
        ),
    ]


def _with_zero(lowest: Any, highest: Any) -> tuple[Any, Any]:
    """Return bounds that 0 is between: a step must be there for it."""
    return np.minimum(lowest, 0), np.maximum(highest, 0)


def _scale(lowest: Any, highest: Any) -> Any:
    """Return the distance of 256 values between bounds; 1 where they are the same."""
    return np.where(highest > lowest, (highest - lowest) / _STEPS, 1).astype(np.float32)


def _zero_point(lowest: Any, scale: Any) -> Any:
    """Return which of the 256 values is 0."""
    return np.rint(-lowest / scale).clip(0, _STEPS).astype(np.uint8)
