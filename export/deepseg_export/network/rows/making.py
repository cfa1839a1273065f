"""The form in rows of one network, made and checked; or why it has none."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from deepseg_export.errors import NoFormError
from deepseg_export.network.comparing import FormAgreement
from deepseg_export.network.conversion import INPUT, OUTPUT
from deepseg_export.network.exact import correlated
from deepseg_export.network.folding import needed_nodes, replace
from deepseg_export.network.rows import rule
from deepseg_export.network.rows.filtering import Layer, Part, in_rows
from deepseg_export.network.rows.rewriting import Rewriting
from deepseg_export.network.slices import making
from deepseg_export.network.slices.checking import exactly
from deepseg_export.network.slices.form import Canonical, outside, read_canonical
from deepseg_export.network.slices.graph import Graph
from deepseg_export.network.verify import PRECISE, SEED, open_session, padded, run
from deepseg_lite.engines.rows import Rows

FORM = "rows"
_SIZES = (20, 12)
"""Voxels of the maps that a layer is tried on: five tiles."""


def make_form(path: Path, output: Path, patch: Sequence[int] | None = None) -> FormAgreement:
    """Write the form in rows of a 2-D network.

    Parameters
    ----------
    path : Path
        File of the canonical network.
    output : Path
        File to write beside it.
    patch : sequence of ints, optional
        Sizes of the patches that the network will be given, where it takes any.

    Returns
    -------
    agreement : FormAgreement
        How far the two agree.

    Raises
    ------
    NoFormError
        Why there is none; nothing is written.
    """
    return making.write_form(
        path,
        output,
        lambda: _rewritten(read_canonical(path, patch, plain_norms=False)),
        FORM,
        Rows,
        patch,
    )


def _rewritten(canonical: Canonical) -> Iterator[making.Rewritten]:
    """Yield the form in rows of a network."""
    model = canonical.model
    making.check_opset(model)
    if min(canonical.shapes[model.graph.input[0].name]) < 1:
        raise NoFormError("its patches have no fixed size")
    rewriting = in_rows_of(canonical)
    layers = rewriting.layers.items()
    direct = {name for name, layer in layers if _error_of(canonical, layer) > PRECISE}
    if direct:
        rewriting = in_rows_of(canonical, direct)
    saved = _saved(canonical, rewriting.layers)
    if saved < making.LEAST_SAVED:
        raise NoFormError(f"{saved:.0%} of its multiplications would be saved")
    described = f"{saved:.0%} of the multiplications saved"
    if direct:
        described += f"; {len(direct)} layers computed as before, to be precise"
    yield making.Rewritten(_written(canonical, rewriting), described, exactly(canonical))


def in_rows_of(canonical: Canonical, direct: Collection[str] = ()) -> Rewriting:
    """Return the form in rows of a network, but for some layers, by what they give."""
    source = canonical.model.graph
    weights = frozenset(tensor.name for tensor in source.initializer)
    followers: dict[str, list[str]] = {}
    for node in source.node:
        for name in node.input:
            followers.setdefault(name, []).append(node.op_type)
    rewriting = Rewriting(
        canonical.shapes, weights, followers, Graph(taken=canonical.names), direct
    )
    for node in source.node:
        rewriting.node(node)
    return rewriting


def _written(canonical: Canonical, rewriting: Rewriting) -> bytes:
    """Return the file of a form; its weights are those of the canonical file beside it."""
    from onnx import numpy_helper

    model = type(canonical.model)()
    model.CopyFrom(canonical.model)
    graph = model.graph
    nodes = needed_nodes(rewriting.graph.nodes, {value.name for value in graph.output})
    used = {name for node in nodes for name in node.input}
    weights = [outside(tensor, canonical) for tensor in graph.initializer if tensor.name in used]
    constants = rewriting.graph.constants.items()
    made = [numpy_helper.from_array(array, name) for name, array in constants if name in used]
    replace(graph.node, nodes)
    replace(graph.initializer, [*weights, *made])
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _saved(canonical: Canonical, layers: Mapping[str, Layer]) -> float:
    """Return the share of the multiplications of all convolutions that minimal filtering saves."""
    whole = saved = 0.0
    for node in canonical.model.graph.node:
        if node.op_type == "Conv":
            kernel, made = (canonical.shapes[name] for name in (node.input[1], node.output[0]))
            products = float(math.prod(kernel[1:]) * math.prod(made))
            whole += products
            if node.output[0] in layers:
                saved += products * (1 - rule.share_of(layers[node.output[0]]))
    return saved / whole if whole else 0.0


def _error_of(canonical: Canonical, layer: Layer) -> float:
    weight = canonical.array(layer.weight)
    return layer_error(weight, None if layer.bias is None else canonical.array(layer.bias))


def layer_error(weight: np.ndarray, bias: np.ndarray | None) -> float:
    """Return the largest error of a layer by minimal filtering, relative to its largest output.

    Parameters
    ----------
    weight : array (K, C, 3, 3)
        float32.
    bias : array (K), optional
        float32.

    Returns
    -------
    error : float
        The larger of two: on normal noise, and on noise in the middle of zeros. What is right is
        computed in float64.
    """
    from onnx import TensorProto, helper, numpy_helper

    count, channels = weight.shape[:2]
    graph = Graph()
    part = Part(INPUT, 0, channels)
    in_rows(graph, Layer("w", None if bias is None else "b", [part], count, *_SIZES))
    graph.nodes[-1].output[0] = OUTPUT
    graph.constants |= {"w": weight} | ({} if bias is None else {"b": bias})
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, number, *_SIZES])
        for name, number in ((INPUT, channels), (OUTPUT, count))
    ]
    arrays = [numpy_helper.from_array(array, name) for name, array in graph.constants.items()]
    model = helper.make_model(
        helper.make_graph(graph.nodes, FORM, ends[:1], ends[1:], arrays),
        opset_imports=[helper.make_opsetid("", making.OPSET)],
        ir_version=8,
    )
    session = open_session(model.SerializeToString())
    noise = np.random.default_rng(SEED).standard_normal((2, channels, *_SIZES), dtype=np.float32)
    errors = []
    for item in (noise[:1], padded(noise[1:])):
        right = correlated(item.astype(float), weight, bias, pads=(1,) * 4)
        errors.append(float(np.abs(run(session, item) - right).max() / np.abs(right).max()))
    return max(errors)
