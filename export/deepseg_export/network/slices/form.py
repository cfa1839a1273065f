"""The file of a form: a graph whose weights lie in the file of the canonical network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from deepseg_export.errors import NoFormError
from deepseg_export.network.conversion import OPSET
from deepseg_export.network.exact_norm import with_plain_norms
from deepseg_export.network.folding import needed_nodes, with_constants_folded
from deepseg_export.network.slices.graph import Graph
from deepseg_export.network.slices.maps import Maps, Shape
from deepseg_export.network.slices.places import Place, weight_places
from deepseg_export.network.slices.rewriting import Rewriting
from deepseg_export.network.slices.rule import WHOLE_PATCH, Way

LARGE = 256
"""Numbers of an array from which on it is read from the canonical network's file."""


@dataclass(frozen=True)
class Canonical:
    """A canonical network, without its large weights.

    Attributes
    ----------
    path : Path
        Its file.
    given : onnx.ModelProto
        As it is there, of one item.
    model : onnx.ModelProto
        Of one item, without operations on shapes.
    places : dict of str to Place
        Where the weights are that are not in it.
    shapes : dict of str to list of int
        Of every value; 0 stands for a size that is not known.
    """

    path: Path
    given: Any
    model: Any
    places: Mapping[str, Place]
    shapes: Mapping[str, Sequence[int]]

    @property
    def names(self) -> frozenset[str]:
        """Names of all values."""
        graph = self.model.graph
        made = (name for node in graph.node for name in node.output)
        return frozenset([*made, *(each.name for each in (*graph.input, *graph.initializer))])

    def array(self, name: str) -> np.ndarray:
        """Return a weight, float32."""
        from onnx import numpy_helper

        if name not in self.places:
            graph = self.model.graph
            tensor = next(each for each in graph.initializer if each.name == name)
            return np.asarray(numpy_helper.to_array(tensor))
        offset, length = self.places[name]
        return np.fromfile(self.path, "<f4", length // 4, offset=offset).reshape(self.shapes[name])


def read_canonical(
    path: Path, patch: Sequence[int] | None = None, *, plain_norms: bool = True
) -> Canonical:
    """Read a network's file; its weights stay there.

    Parameters
    ----------
    path : Path
        The file.
    patch : sequence of ints, optional
        Sizes of the patches that it will be given, where it takes any.
    plain_norms : bool
        Whether norms are single operations again, or as they are in the file.
    """
    import onnx

    model = onnx.load(path)
    places = weight_places(path)
    taken = {}
    for tensor in model.graph.initializer:
        large = tensor.data_type == onnx.TensorProto.FLOAT and math.prod(tensor.dims) >= LARGE
        if large and tensor.name in places:
            taken[tensor.name] = places[tensor.name]
            tensor.ClearField("raw_data")
    for value in (*model.graph.input[:1], *model.graph.output[:1]):
        batch, _, *axes = value.type.tensor_type.shape.dim
        batch.dim_value = 1
        for axis, size in zip(axes, patch or [], strict=False):
            axis.dim_value = axis.dim_value or size
    del model.graph.value_info[:]
    given = onnx.ModelProto()  # the message that was read keeps what is cleared
    given.CopyFrom(model)
    del model, tensor
    return _settled(path, given, taken, plain_norms=plain_norms)


def _settled(
    path: Path, given: Any, places: Mapping[str, Place], *, plain_norms: bool = True
) -> Canonical:
    model = type(given)()
    model.CopyFrom(given)
    if plain_norms:
        model = with_plain_norms(model)
    shapes = _shapes(model)
    _settle_shapes(model, shapes)
    model = with_constants_folded(model)
    return Canonical(path, given, model, places, _shapes(model))


def of_patch(canonical: Canonical, patch: Sequence[int]) -> Canonical:
    """Return a network for patches of another size (D, H, W)."""
    import onnx

    given = onnx.ModelProto()
    given.CopyFrom(canonical.given)
    for value in (*given.graph.input[:1], *given.graph.output[:1]):
        for axis, size in zip(value.type.tensor_type.shape.dim[2:], patch, strict=True):
            axis.dim_value = size
    return _settled(canonical.path, given, canonical.places)


def _shapes(model: Any) -> dict[str, list[int]]:
    """Return the shape of every value; 0 stands for a size that is not known."""
    from onnx import shape_inference

    graph = shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {
        value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    return shapes | {tensor.name: list(tensor.dims) for tensor in graph.initializer}


def _settle_shapes(model: Any, shapes: Mapping[str, Sequence[int]]) -> None:
    """Make constants of the sizes that a graph asks for and that are known."""
    from onnx import helper, numpy_helper

    for node in model.graph.node:
        sizes = shapes.get(node.input[0], ()) if node.op_type == "Shape" else ()
        if sizes and min(sizes) > 0:
            ends = {item.name: item.i for item in node.attribute}
            found = np.array(sizes[ends.get("start", 0) : ends.get("end", len(sizes))], np.int64)
            value = numpy_helper.from_array(found)
            node.CopyFrom(helper.make_node("Constant", [], node.output, value=value))


def in_slices(
    canonical: Canonical,
    ways: Mapping[str, Way] | None = None,
    share: Fraction = WHOLE_PATCH,
) -> Rewriting:
    """Return the form in slices of a network.

    Parameters
    ----------
    canonical : Canonical
        The network.
    ways : dict of str to Way, optional
        Of layers that are not computed in the rule's first way, by what they give.
    share : Fraction
        Of the rows and columns of the patch whose chunks it is to have.

    Raises
    ------
    NoFormError
        If it cannot be had.
    """
    from onnx import TensorProto, numpy_helper

    source = canonical.model.graph
    weights = frozenset(tensor.name for tensor in source.initializer)
    scales = {
        tensor.name: numpy_helper.to_array(tensor).tolist()
        for tensor in source.initializer
        if tensor.data_type == TensorProto.FLOAT and list(tensor.dims) == [5]
    }
    graph = Graph(share, canonical.names)
    rewriting = Rewriting(canonical.shapes, weights, scales, ways or {}, graph)
    rewriting.start(source.input[0].name)
    for node in source.node:
        rewriting.node(node)
    return rewriting


def written(canonical: Canonical, rewriting: Rewriting) -> bytes:
    """Return the file of a form.

    It takes one item, slices first: (D, C, H, W). Its outputs are slices of the result, one after
    the other, (slices, K, H, W) each. Weights are those of the canonical file, beside which it is.

    Raises
    ------
    NoFormError
        If the network's output is no maps.
    """
    source = canonical.model.graph
    entry, maps = source.input[0].name, rewriting.in_slices(source.output[0].name)
    if maps is None:
        raise NoFormError("its output is no maps")
    weights = _weights(source, canonical)
    shape = rewriting.maps[entry].shape
    form = modelled(rewriting.graph, entry, shape, maps, weights, canonical.model.opset_import)
    data: bytes = form.SerializeToString(deterministic=True)
    return data


def modelled(
    graph: Graph,
    entry: str,
    shape: Shape,
    maps: Maps,
    weights: Sequence[Any] = (),
    opset: Sequence[Any] = (),
) -> Any:
    """Return an onnx.ModelProto from maps of a shape in slices to others, without what is unused.

    Parameters
    ----------
    graph : Graph
        Operations and constants.
    entry : str
        Name of the input.
    shape : Shape
        Of the input.
    maps : Maps
        What is given: an output for each chunk.
    weights : sequence of onnx.TensorProto
        Of which those are kept that are taken.
    opset : sequence of onnx.OperatorSetIdProto
        By default that of exports.
    """
    from onnx import TensorProto, helper, numpy_helper

    ends = {maps.taken(graph, *ends): ends for ends in maps.bounds}
    nodes = needed_nodes(graph.nodes, set(ends))
    used = {name for node in nodes for name in node.input}

    def value(name: str, of: Shape, slices: int) -> Any:
        sizes = (slices, of.channels, of.height, of.width)
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes)

    arrays = {name: numpy_helper.from_array(array, name) for name, array in graph.constants.items()}
    stored = {tensor.name: tensor for tensor in weights} | arrays
    for name, (weight, sizes) in graph.views.items():
        stored[name] = view = TensorProto()
        view.CopyFrom(stored[weight])
        view.name, view.dims[:] = name, sizes
    return helper.make_model(
        helper.make_graph(
            nodes,
            "slices",
            [value(entry, shape, shape.depth)],
            [value(name, maps.shape, stop - start) for name, (start, stop) in ends.items()],
            [tensor for name, tensor in stored.items() if name in used],
        ),
        opset_imports=opset or [helper.make_opsetid("", OPSET)],
        ir_version=8,
        producer_name="deepseg_lite",
    )


def without_weights(canonical: Canonical) -> bytes:
    """Return the canonical network as a file whose weights are those of its own beside it."""
    model = type(canonical.given)()
    model.CopyFrom(canonical.given)
    weights = _weights(model.graph, canonical)
    del model.graph.initializer[:]
    model.graph.initializer.extend(weights)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _weights(graph: Any, canonical: Canonical) -> list[Any]:
    return [outside(tensor, canonical) for tensor in graph.initializer]


def outside(tensor: Any, canonical: Canonical) -> Any:
    """Return an initializer that is read from the canonical file, if it was taken out of it."""
    import onnx

    place = canonical.places.get(tensor.name)
    if place is None:
        return tensor
    outside = onnx.TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type)
    outside.data_location = onnx.TensorProto.EXTERNAL
    facts = {"location": canonical.path.name, **place._asdict()}
    for key, value in facts.items():
        outside.external_data.add(key=key, value=str(value))
    return outside
