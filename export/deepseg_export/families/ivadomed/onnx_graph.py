"""Networks that come as ONNX files: taken over as they are, brought up to date and checked."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deepseg_export.errors import CheckpointError, UnsupportedError, VerificationError
from deepseg_export.families.checkpoint import ReadyGraph
from deepseg_export.families.ivadomed.onnx_repair import cast_booleans
from deepseg_export.network.conversion import OPSET, clean, messages_of
from deepseg_export.network.folding import with_constants_folded
from deepseg_export.network.verify import SEED, compare
from deepseg_export.reading.limits import limited_memory, read_file
from deepseg_lite.engines.onnxruntime_network import import_onnxruntime
from deepseg_lite.errors import reason

logger = logging.getLogger(__name__)

_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
_LOOPS = ("Loop", "Scan")
_OWN_CONSTANTS = 4
"""Version of the format from which on constants need not be inputs, too."""
_MAX_BYTES = 2 * 1024**3
_MAX_NODES = 5000
_MAX_MEMORY = 6 * 1024**3
# Size of axes that are free while the graph is checked: odd somewhere on the way down a U-Net.
_FREE_SIZE, _CHECKED_SIZE = 52, 64


def read_graph(path: Path, input_shape: Sequence[int | None], classes: int) -> ReadyGraph:
    """Read an ONNX file: free its batch, renew its opset, fold constants, repair what is known.

    Parameters
    ----------
    path : Path
        The file.
    input_shape : sequence of int or None
        (C, *P); None for an axis of any size.
    classes : int
        Channels of the output.

    Raises
    ------
    CheckpointError
        If it is damaged, or is not a network of these inputs and outputs.
    UnsupportedError
        If ONNX Runtime cannot run it; the message gives its reason.
    """
    with limited_memory(_MAX_MEMORY):
        return _read_graph(path, input_shape, classes)


def _read_graph(path: Path, input_shape: Sequence[int | None], classes: int) -> ReadyGraph:
    model = _parsed(path)
    given = _opset(model)
    _shape_ends(path, model, input_shape, classes)
    problem = load_problem(model.SerializeToString())
    if problem is not None:
        model = cast_booleans(model)
        if load_problem(model.SerializeToString()) is not None:
            raise UnsupportedError(
                f"ONNX Runtime cannot run {path.name}: {problem}. Export it from NAME.pt instead: "
                "leave the .onnx file out of the folder."
            )
        logger.warning("%s mixed booleans and numbers; casts were added", path.name)
    sizes = [_checked(size, patch) for size, patch in zip(_sizes(model), input_shape, strict=True)]
    noise = np.random.default_rng(SEED).standard_normal((2, *sizes), dtype=np.float32)
    expected = _run(model.SerializeToString(), noise[:1])
    for data, opset in _renewed(model):
        try:
            agreement = compare(expected, _run(data, noise[:1]), (1, classes, *sizes[1:]))
        except VerificationError as error:
            logger.info("%s: a renewed graph is not used: %s", path.name, error)
            continue
        logger.info("%s: opset %d, now %d", path.name, given, opset)
        return ReadyGraph(data, opset, {"onnx": agreement}, _has_free_batch(data, noise))
    raise UnsupportedError(
        f"{path.name} gives an output of shape {expected.shape} for an input of "
        f"{noise[:1].shape}, or none that is finite; {(1, classes, *sizes[1:])} is needed."
    )


def _parsed(path: Path) -> Any:
    import onnx

    content = read_file(path, _MAX_BYTES)
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's error, of a package that nothing else needs
        raise CheckpointError(f"{path} is not a readable ONNX file; get it again.") from error
    if not model.graph.node or not any(e.domain in _DOMAINS[:2] for e in model.opset_import):
        raise CheckpointError(f"{path} holds no ONNX network; get it again.")
    return model


def load_problem(data: bytes) -> str | None:
    """Return why ONNX Runtime does not open a graph; None if it does."""
    try:
        _session(data)
    except Exception as error:  # onnxruntime's exceptions share no base class
        return reason(error)
    return None


def _session(data: bytes) -> Any:
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def _run(data: bytes, batch: np.ndarray) -> np.ndarray:
    session = _session(data)
    try:
        result: np.ndarray = session.run(None, {session.get_inputs()[0].name: batch})[0]
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise VerificationError(
            f"the graph fails on input of {batch.shape}: {reason(error)}."
        ) from error
    return result


def _has_free_batch(data: bytes, noise: np.ndarray) -> bool:
    """Tell whether two items at once give what each gives alone."""
    alone = np.concatenate([_run(data, noise[:1]), _run(data, noise[1:])])
    try:
        compare(alone, _run(data, noise), alone.shape)
    except VerificationError:
        return False
    return True


def _renewed(model: Any) -> Iterator[tuple[bytes, int]]:
    """Yield the graph and its opset as they should be, then with less and less done to it."""
    import onnx
    from onnx import version_converter

    for newer, folded in itertools.product((True, False), repeat=2):
        if newer and _opset(model) >= OPSET:
            continue
        try:
            graph = version_converter.convert_version(model, OPSET) if newer else model
            graph = with_constants_folded(graph) if folded else _copied(graph)
            del graph.graph.value_info[:]
            clean(graph)
            onnx.checker.check_model(graph, full_check=True)
        except Exception as error:  # converter and checker fail in their own ways
            logger.debug("Renewing the graph (opset %s, folded %s): %s", newer, folded, error)
            continue
        data: bytes = graph.SerializeToString(deterministic=True)
        if load_problem(data) is None:
            yield data, _opset(graph)


def _copied(model: Any) -> Any:
    copy = type(model)()
    copy.CopyFrom(model)
    return copy


def _opset(model: Any) -> int:
    versions = [entry.version for entry in model.opset_import if entry.domain in _DOMAINS[:2]]
    return int(max(versions))


def _sizes(model: Any) -> list[int | None]:
    """Return (C, *P) of the input as the file fixes it; None where it leaves an axis free."""
    dims = model.graph.input[0].type.tensor_type.shape.dim
    return [dim.dim_value if dim.HasField("dim_value") else None for dim in dims][1:]


def _checked(size: int | None, patch: int | None) -> int:
    """Return how long an axis is while the graph is checked: small where the graph allows it."""
    return size or (_FREE_SIZE if patch is None else min(patch, _CHECKED_SIZE))


def _shape_ends(path: Path, model: Any, input_shape: Sequence[int | None], classes: int) -> None:
    """Leave one input and one output of known channels and a free batch, or refuse the file."""
    import onnx

    graph = model.graph
    domains = {entry.domain for entry in model.opset_import} - set(_DOMAINS)
    if domains:
        raise UnsupportedError(f"{path.name} needs operators of {', '.join(sorted(domains))}.")
    nodes = 0
    for item in messages_of(model):
        nodes += isinstance(item, onnx.NodeProto)
        if nodes > _MAX_NODES:
            raise UnsupportedError(
                f"{path.name} has more than the {_MAX_NODES} nodes that are accepted."
            )
        if isinstance(item, onnx.TensorProto) and item.data_location == onnx.TensorProto.EXTERNAL:
            raise UnsupportedError(
                f"{path.name} keeps its weights in other files; one file is needed."
            )
        if isinstance(item, onnx.NodeProto) and item.op_type in _LOOPS:
            raise UnsupportedError(
                f"{path.name} has the operator {item.op_type}, which may never end; a network "
                "without loops is needed."
            )
    constants = {item.name for item in graph.initializer}
    inputs = [item for item in graph.input if item.name not in constants]
    if len(inputs) != 1 or not graph.output:
        raise CheckpointError(
            f"{path.name} has {len(inputs)} inputs and {len(graph.output)} outputs; one image in "
            "and one result out are needed."
        )
    outputs = [graph.output[0]]
    for item in (*inputs, *outputs):
        if not item.type.HasField("tensor_type"):
            raise UnsupportedError(f"{path.name} gives a list of tensors; one tensor is needed.")
    model.ir_version = max(model.ir_version, _OWN_CONSTANTS)
    del graph.value_info[:]
    for ends, kept in ((graph.input, inputs), (graph.output, outputs)):
        kept = [_copied(item) for item in kept]
        del ends[:]
        ends.extend(kept)
    for end, channels in ((graph.input[0], input_shape[0]), (graph.output[0], classes)):
        dims = end.type.tensor_type.shape.dim
        if len(dims) != len(input_shape) + 1 or dims[1].dim_value not in (0, channels):
            found = [dim.dim_value or dim.dim_param or "?" for dim in dims]
            raise CheckpointError(
                f"{path.name} has an array {end.name} of shape {found}; the JSON says "
                f"{channels} channels and {len(input_shape) - 1} axes."
            )
        dims[0].ClearField("dim_value")
        dims[0].dim_param = "N"
        dims[1].dim_value = channels or 0
    fixed = _sizes(model)[1:]
    wrong = [a for a, b in zip(fixed, input_shape[1:], strict=True) if a not in (None, b)]
    if wrong:
        raise CheckpointError(
            f"{path.name} takes patches of {fixed}, the JSON says {list(input_shape[1:])}; they "
            "must be the same."
        )
