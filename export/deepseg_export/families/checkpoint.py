"""Checkpoints: trained models that were read and checked, ready to be converted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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
    agreements : dict of str to Agreement
        The graph to ship against the network computed by ``numpy`` or ``torch``, or against the
        ``onnx`` file that was given.
    has_free_batch : bool
        Whether every item of a batch gives what it gives alone.
    facts : mapping
        More of what the manifest says of the check.
    """

    onnx: bytes
    opset: int
    agreements: Mapping[str, Agreement]
    has_free_batch: bool
    facts: Mapping[str, Any] = field(default_factory=dict)
