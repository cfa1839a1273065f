"""Changes to OpenVINO's model before it is compiled, so that it takes less memory and time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_NORM = {
    "maps": ("Reshape", 0, "Add", 0, "Multiply", 0, "Subtract", 0, "Reshape", 0),
    "scale": ("Reshape", 0, "Add", 0, "Multiply", 1, "Divide", 0, "Unsqueeze", 0),
    "bias": ("Reshape", 0, "Add", 1, "Unsqueeze", 0),
    "epsilon": ("Reshape", 0, "Add", 0, "Multiply", 1, "Divide", 1, "Sqrt", 0, "Add", 1),
}
"""From what an instance norm with exact sums gives back to what it takes, as the export writes it:
operations, and which of their inputs."""


def split_joined_inputs(ov: Any, model: Any) -> None:
    """Give a convolution the maps that were joined for it one by one, and add up what it makes.

    Joining channels copies both maps where values of one voxel lie together in memory, which is how
    convolutions in float32 and bfloat16 want them: in a U-Net of full size that is half a gigabyte
    at its widest moment.

    Parameters
    ----------
    ov : module
        OpenVINO.
    model : openvino.Model
        Changed in place. Concatenations stay whose number of channels is not known, or whose result
        another operation reads, too.
    """
    operations = ov.opset13
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Convolution":
            continue
        joined, weights = (port.get_source_output().get_node() for port in node.inputs())
        if not _is_for_one(joined) or weights.get_type_name() != "Constant":
            continue
        how = node.get_attributes()
        settings = [how[key] for key in ("strides", "pads_begin", "pads_end", "dilations")]
        values, begin = weights.data, 0
        sums: Any = None
        for port in joined.inputs():
            end = begin + port.get_partial_shape()[1].get_length()
            part = operations.constant(values[:, begin:end].copy())
            made = operations.convolution(
                port.get_source_output(), part, *settings, auto_pad=how["auto_pad"]
            )
            sums = made if sums is None else operations.add(sums, made)
            begin = end
        node.output(0).replace(sums.output(0))


def make_norms_plain(ov: Any, model: Any) -> None:
    """Make instance norms with exact sums one operation each, for computing in bfloat16.

    Its sums are in float32, whereas every small operation of the others would be rounded.

    Parameters
    ----------
    ov : module
        OpenVINO.
    model : openvino.Model
        Changed in place.
    """
    operations = ov.opset13
    for node in model.get_ordered_ops():
        parts = {part: _taken(node, path) for part, path in _NORM.items()}
        if None in parts.values():
            continue
        maps, scale, bias, epsilon = parts.values()
        rank = node.output(0).get_partial_shape().rank.get_length()
        if maps.get_partial_shape().rank.get_length() != rank or rank < 4:
            continue  # groups of channels, which lie together
        by_channel = [1, -1, *[1] * (rank - 2)]
        floor = float(epsilon.get_node().data)
        norm = operations.mvn(maps, list(range(2, rank)), True, floor, "inside_sqrt")
        scaled, shift = (operations.reshape(part, by_channel, False) for part in (scale, bias))
        norm = operations.add(operations.multiply(norm, scaled), shift)
        node.output(0).replace(norm.output(0))


def _taken(node: Any, path: Sequence[Any]) -> Any:
    """Return the output that goes into a node some operations back; None where others are there."""
    output = node.output(0) if node.outputs() else None
    for operation, index in zip(path[::2], path[1::2], strict=True):
        if output is None or output.get_node().get_type_name() != operation:
            return None
        output = output.get_node().input_value(index)
    return output


def _is_for_one(node: Any) -> bool:
    """Return whether a node joins known numbers of channels, for one other node alone."""
    return (
        node.get_type_name() == "Concat"
        and node.get_attributes()["axis"] == 1
        and len(node.output(0).get_target_inputs()) == 1
        and all(port.get_partial_shape()[1].is_static for port in node.inputs())
    )
