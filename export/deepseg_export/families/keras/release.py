"""SCT's own ONNX files of Keras networks, whose channels are last: turned, and otherwise kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from deepseg_export.errors import CheckpointError, UnsupportedError
from deepseg_export.families.checkpoint import ReadyGraph
from deepseg_export.families.keras.checking import drawn_neck
from deepseg_export.network.conversion import INPUT, OUTPUT, clean
from deepseg_export.network.verify import compare, open_session, run
from deepseg_export.reading.limits import limited_memory, read_file

MAX_BYTES = 2**30
MAX_MEMORY = 6 * 2**30
PREFIX = "given/"


def read_release(path: Path, shape: tuple[int, ...]) -> ReadyGraph:
    """Return a network from (N, *P, C) to (N, *P, 1) as one from (N, C, *P) to (N, 1, *P).

    Raises
    ------
    CheckpointError
        If it is no ONNX file.
    UnsupportedError
        If it has other inputs or outputs, or cannot be run.
    """
    import onnx
    from onnx import helper

    try:
        model = onnx.load_model_from_string(read_file(path, MAX_BYTES))
        (given,), (made,) = model.graph.input, model.graph.output
    except CheckpointError:
        raise
    except Exception as error:  # protobuf's, of a package that nothing else needs
        raise CheckpointError(
            f"{path} is no ONNX network of one input and one output; get it again."
        ) from error
    channels, *patch = shape
    sizes = [axis.dim_value for axis in given.type.tensor_type.shape.dim]
    if sizes[1:] != [*patch, channels]:
        raise UnsupportedError(
            f"{path.name} takes images of {sizes[1:]}; {[*patch, channels]} is needed."
        )
    first, last = given.name, made.name
    axes = list(range(len(shape) + 1))
    turned, back = [0, *axes[2:], 1], [0, axes[-1], *axes[1:-1]]
    opsets = [each.version for each in model.opset_import if each.domain in ("", "ai.onnx")]
    with limited_memory(MAX_MEMORY):
        expected = _run(model.SerializeToString(), first, drawn_neck(shape).transpose(turned))
        _rename(model.graph)
        nodes = [
            helper.make_node("Transpose", [INPUT], [PREFIX + first], perm=turned),
            *model.graph.node,
            helper.make_node("Transpose", [PREFIX + last], [OUTPUT], perm=back),
        ]
        del model.graph.node[:], model.graph.input[:], model.graph.output[:]
        model.graph.node.extend(nodes)
        kind = onnx.TensorProto.FLOAT
        model.graph.input.append(helper.make_tensor_value_info(INPUT, kind, ["N", *shape]))
        model.graph.output.append(helper.make_tensor_value_info(OUTPUT, kind, ["N", 1, *patch]))
        clean(model)
        data = model.SerializeToString(deterministic=True)
        found = run(open_session(data), drawn_neck(shape))
        agreement = compare(expected.transpose(back), found, (1, 1, *patch))
    facts = {
        "on": "phantom",
        "foreground": int((found > 0.5).sum()),
        "differing": int(((found > 0.5) != (expected.transpose(back) > 0.5)).sum()),
    }
    return ReadyGraph(data, max(opsets), {"onnx": agreement}, True, facts)


def _rename(graph: Any) -> None:
    """Put a prefix before the name of every value, so that none is that of an end."""
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [PREFIX + name if name else name for name in names]
    for value in (*graph.initializer, *graph.value_info):
        value.name = PREFIX + value.name


def _run(data: bytes, name: str, batch: np.ndarray) -> np.ndarray:
    try:
        result: np.ndarray = open_session(data).run(None, {name: batch})[0]
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise UnsupportedError(f"ONNX Runtime cannot run it: {str(error)[:150]}.") from error
    return result
