"""torch to ONNX: one self-contained, reproducible file per network."""

from __future__ import annotations

import contextlib
import logging
import math
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from deepseg_export.errors import ExportError, UnsupportedError
from deepseg_export.network.exact_norm import with_exact_norms
from deepseg_export.network.flops import count_flop, note_flop
from deepseg_lite.errors import reason

OPSET = 18
INPUT, OUTPUT = "image", "logits"
# protobuf's limit for one message is 2 GiB; the graph itself needs a little.
MAX_WEIGHT_BYTES = 2 * 1024**3 - 16 * 1024**2


# Axes of any size are tried at two sizes that networks with strides can halve five times.
_SIZES = (64, 96)


def example_shapes(shape: Sequence[int | None]) -> list[tuple[int, ...]]:
    """Return the shape, or where axes are free two examples; neighbouring free axes differ."""
    return list(
        dict.fromkeys(
            tuple(size or _SIZES[(axis + turn) % 2] for axis, size in enumerate(shape))
            for turn in (0, 1)
        )
    )


def to_onnx(network: Any, input_shape: Sequence[int | None]) -> bytes:
    """Convert a network to ONNX.

    Parameters
    ----------
    network : torch.nn.Module
        From float32 (N, C, *P) to float32 (N, K, *P); put in evaluation mode.
    input_shape : sequence of int or None
        (C, *P), without the batch axis, which stays free; None for an axis of any size.

    Returns
    -------
    onnx : bytes
        Input ``image``, output ``logits``, weights inside. The same network gives the same bytes,
        and nothing in them tells where or by whom it was exported.

    Raises
    ------
    UnsupportedError
        If the weights do not fit into one file, or torch cannot convert the network.
    """
    import onnx
    import torch

    network = network.eval().float()
    check_size(network)
    # Two items: torch.export would take a batch of one for a constant.
    example = torch.zeros((2, *example_shapes(input_shape)[0]))
    free = {
        axis + 1: torch.export.Dim.DYNAMIC for axis, size in enumerate(input_shape) if size is None
    }
    try:
        with _silenced(), torch.no_grad():
            program = torch.onnx.export(
                network,
                (example,),
                dynamo=True,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: torch.export.Dim("N"), **free},),
                external_data=False,
                verbose=False,
            )
            flop = count_flop(program.model_proto)
            model = with_exact_norms(program.model_proto)
    except Exception as error:  # any of torch, onnxscript and onnx may give up in its own way
        if (end := _end_within(error)) is not None:
            raise end from None
        raise UnsupportedError(
            f"torch cannot convert {type(network).__name__} to ONNX: {reason(error)}."
        ) from error
    clean(model)
    note_flop(model, flop)
    try:
        onnx.checker.check_model(model, full_check=True)
    except onnx.checker.ValidationError as error:
        raise ExportError(f"The exported network is not valid ONNX: {error}.") from error
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _end_within(error: BaseException) -> BaseException | None:
    """Return the interrupt, or the exit by a signal, that torch took for a failure of its own."""
    seen: BaseException | None = error
    while seen is not None:
        if not isinstance(seen, Exception):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


def clean(model: Any) -> None:
    """Remove notes that leak file paths, stack traces and class names from an ONNX model."""
    for message in messages_of(model):
        for name in ("metadata_props", "doc_string"):
            if any(field.name == name for field in message.DESCRIPTOR.fields):
                message.ClearField(name)


def messages_of(message: Any) -> Iterator[Any]:
    """Yield a protobuf message and all messages inside it."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            repeated = value if not hasattr(value, "ListFields") else [value]
            for item in repeated:
                yield from messages_of(item)


def check_size(network: Any, max_bytes: int = MAX_WEIGHT_BYTES) -> None:
    """Refuse a network whose weights do not fit into a single ONNX file."""
    # Not the state: it lists a layer once for every name it has.
    size = sum(4 * math.prod(weight.shape) for weight in network.parameters())
    if size > max_bytes:
        raise UnsupportedError(
            f"The network has {size / 1024**3:.1f} GiB of weights; a single ONNX file holds 2 GiB."
        )


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Keep torch's and onnxscript's progress notes and deprecations from the user."""
    previous = logging.root.manager.disable
    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(previous)
