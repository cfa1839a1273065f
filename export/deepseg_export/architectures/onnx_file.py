"""An ONNX file from a direct network: its weights go from where they are into the file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from deepseg_export.architectures.network import DirectNetwork
from deepseg_export.architectures.onnx_layers import OnnxLayers
from deepseg_export.errors import ExportError, UnsupportedError
from deepseg_export.network.conversion import INPUT, MAX_WEIGHT_BYTES, OPSET, OUTPUT
from deepseg_export.network.exact_norm import with_exact_norms
from deepseg_export.network.flops import count_flop, note_flop
from deepseg_lite.errors import reason

_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9
"""Fields of ModelProto, GraphProto and TensorProto in ``onnx.proto``, all of bytes."""


class OnnxFile:
    """An ONNX model whose weights stay where they are until its bytes are asked for.

    Parameters
    ----------
    model : onnx.ModelProto
        With its weights among the inputs of the graph, after the image.
    weights : dict of str to array
        float32, by name.
    """

    def __init__(self, model: Any, weights: dict[str, np.ndarray]) -> None:
        self.model, self.weights = model, weights

    def parts(self) -> Iterator[bytes | memoryview]:
        """Yield the bytes of the file, those of weights without copying them."""
        import onnx

        bare = onnx.ModelProto()
        bare.CopyFrom(self.model)
        bare.ClearField("graph")
        graph = onnx.GraphProto()
        graph.CopyFrom(self.model.graph)
        del graph.input[1:]
        head = graph.SerializeToString(deterministic=True)
        tensors = []
        for name, array in self.weights.items():
            described = onnx.TensorProto(
                name=name, dims=array.shape, data_type=onnx.TensorProto.FLOAT
            ).SerializeToString(deterministic=True)
            described += _start(_RAW_DATA, array.nbytes)
            whole = len(described) + array.nbytes
            tensors.append((_start(_INITIALIZER, whole) + described, array))
        size = len(head) + sum(len(start) + array.nbytes for start, array in tensors)
        yield bare.SerializeToString(deterministic=True)
        yield _start(_GRAPH, size)
        yield head
        for start, array in tensors:
            yield start
            yield np.ascontiguousarray(array, "<f4").reshape(-1).view(np.uint8).data

    def with_free_axes(self) -> OnnxFile:
        """Return the same operations and weights, for images of any size."""
        import onnx

        free = onnx.ModelProto()
        free.CopyFrom(self.model)
        del free.graph.value_info[:]
        for value in (free.graph.input[0], free.graph.output[0]):
            for axis in value.type.tensor_type.shape.dim[2:]:
                axis.Clear()
        return OnnxFile(free, self.weights)


def write_onnx(
    network: DirectNetwork,
    input_shape: Sequence[int | None],
    output_shape: Sequence[int | None],
) -> OnnxFile:
    """Write a network as ONNX.

    Parameters
    ----------
    network : DirectNetwork
        From float32 (N, C, *P) to float32 (N, K, *P).
    input_shape, output_shape : sequence of int or None
        (C, *P) and (K, *P), without the batch axis, which stays free; None is an axis of any size.

    Returns
    -------
    file : OnnxFile
        Input ``image``, output ``logits``, checked by the onnx package.

    Raises
    ------
    CheckpointError
        If the weights are not those of the network.
    UnsupportedError
        If they do not fit into one file, or the network gives another shape, or cannot take it.
    """
    import onnx
    from onnx import helper, numpy_helper

    layers, logits = _traced(network, int(input_shape[0] or 0))
    size = sum(array.nbytes for array in layers.weights.values())
    if size > MAX_WEIGHT_BYTES:
        raise UnsupportedError(
            f"The network has {size / 1024**3:.1f} GiB of weights; a single ONNX file holds 2 GiB."
        )
    float32 = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        _renamed(layers.nodes, logits),
        "network",
        [
            helper.make_tensor_value_info(INPUT, float32, ["N", *_named(input_shape)]),
            *(
                helper.make_tensor_value_info(name, float32, array.shape)
                for name, array in layers.weights.items()
            ),
        ],
        [onnx.ValueInfoProto(name=OUTPUT)],
        [numpy_helper.from_array(array, name) for name, array in layers.constants.items()],
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=8,
        producer_name="deepseg_lite",
    )
    if layers.last_axes:
        _check_last_axes(network, onnx.shape_inference.infer_shapes(model), layers.last_axes)
    try:
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        flop = count_flop(model)
        found = [axis.dim_value for axis in model.graph.output[0].type.tensor_type.shape.dim]
        _check_output(network, found[1:], output_shape)
        model.graph.output[0].CopyFrom(
            helper.make_tensor_value_info(OUTPUT, float32, ["N", *_named(output_shape)])
        )
        model = with_exact_norms(model)
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"{network.name} is not valid ONNX: {reason(error)}.") from error
    note_flop(model, flop)
    return OnnxFile(model, layers.weights)


def check_weights(network: DirectNetwork, channels: int) -> DirectNetwork:
    """Return a network, if its weights are those that it needs for images of so many channels.

    Raises
    ------
    CheckpointError
        If they are not.
    UnsupportedError
        If its layers do not fit together.
    """
    _traced(network, channels)
    return network


def _traced(network: DirectNetwork, channels: int) -> tuple[OnnxLayers, str]:
    """Return the layers that a network calls, and the name of what they give."""
    layers = OnnxLayers(INPUT, channels, len(network.patch))
    try:
        return layers, network.on(layers, INPUT)
    except ExportError:
        raise
    except (ValueError, LookupError, TypeError) as error:
        raise UnsupportedError(f"{network.name} cannot be written: {reason(error)}.") from error


def _named(shape: Sequence[int | None]) -> list[int | str]:
    return [size or f"axis_{axis}" for axis, size in enumerate(shape)]


def _check_output(
    network: DirectNetwork, found: Sequence[int], wanted: Sequence[int | None]
) -> None:
    if len(found) != len(wanted) or any(
        size and one and size != one for size, one in zip(found, wanted, strict=True)
    ):
        raise UnsupportedError(
            f"{network.name} gives maps of shape {tuple(found)}; {tuple(wanted)} is needed."
        )


def _check_last_axes(network: DirectNetwork, model: Any, wanted: Mapping[str, int]) -> None:
    for value in model.graph.value_info:
        length = value.type.tensor_type.shape.dim[-1:]
        channels = wanted.get(value.name)
        if channels and length and length[0].dim_value != channels:
            raise UnsupportedError(
                f"{network.name} normalises the last axis of its maps, which must have as many "
                f"voxels as they have channels; with patches of this size maps of {channels} "
                f"channels have {length[0].dim_value or 'any number of'}, which PyTorch refuses, "
                "too."
            )


def _renamed(nodes: Iterable[Any], logits: str) -> list[Any]:
    """Return nodes whose result of that name is the network's output."""
    renamed = list(nodes)
    for node in renamed:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == logits:
                    names[index] = OUTPUT
    return renamed


def _start(field: int, size: int) -> bytes:
    """Return what stands before the bytes of a field."""
    return _varint(field << 3 | 2) + _varint(size)


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    return bytes((*encoded, number))
