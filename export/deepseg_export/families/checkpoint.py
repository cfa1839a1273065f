"""Checkpoints: trained models that were read and checked, ready to be converted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from deepseg_export.architectures.onnx_file import OnnxFile
from deepseg_export.network.flops import noted_flop, read_flop
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
    content : bytes or OnnxFile
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

    content: bytes | OnnxFile
    opset: int
    agreements: Mapping[str, Agreement]
    has_free_batch: bool
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def onnx(self) -> bytes:
        """Return the file in memory."""
        return b"".join(self.parts())

    @property
    def flop(self) -> int | None:
        """Return the floating-point operations of one patch; None where they are not known."""
        given = self.content
        return read_flop(given) if isinstance(given, bytes) else noted_flop(given.model)

    def parts(self) -> Iterable[bytes | memoryview]:
        """Return the bytes of the file in pieces, weights without copying them."""
        return (self.content,) if isinstance(self.content, bytes) else self.content.parts()
