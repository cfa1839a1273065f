"""Checkpoints: trained models that were read and checked, ready to be converted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from deepseg_export.network.verify import Agreement


@dataclass(frozen=True)
class Checkpoint:
    """A trained model, read and checked, ready to be converted.

    ``manifest`` lacks only ``networks`` and ``export``, which the conversion adds. ``networks``
    maps folds to `DirectNetwork` or ``torch.nn.Module`` from float32 (N, *input_shape) to
    (N, *output_shape), or to `ReadyGraph`. An axis of any size is None in the shapes.
    """

    manifest: Mapping[str, Any]
    networks: Mapping[str, Any]
    input_shape: tuple[int | None, ...]
    output_shape: tuple[int | None, ...]


@dataclass(frozen=True)
class ReadyGraph:
    """A network that is ONNX already.

    Attributes
    ----------
    onnx : bytes
        The file to ship.
    opset : int
        Of the default domain.
    agreement : Agreement
        The graph to ship against ``against``.
    has_free_batch : bool
        Whether every item of a batch gives what it gives alone.
    against : str
        What it was compared with: the network computed by ``numpy`` or ``torch``, or the ``onnx``
        file that was given, in ONNX Runtime.
    """

    onnx: bytes
    opset: int
    agreement: Agreement
    has_free_batch: bool
    against: Literal["numpy", "torch", "onnx"] = "onnx"
