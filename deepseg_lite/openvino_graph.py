"""What OpenVINO's CPU plug-in would do at more cost, done to its model before it is compiled."""

from __future__ import annotations

from typing import Any


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
        Changed in place. Concatenations whose number of channels is open stay, and those that
        somebody else needs, too.
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


def _is_for_one(node: Any) -> bool:
    """Return whether a node joins known numbers of channels, for one other node alone."""
    return (
        node.get_type_name() == "Concat"
        and node.get_attributes()["axis"] == 1
        and len(node.output(0).get_target_inputs()) == 1
        and all(port.get_partial_shape()[1].is_static for port in node.inputs())
    )
