"""Requests: the variants of a bundle that are to be made, and their images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deepseg_export.errors import ExportError
from deepseg_export.quantize.agreement import Gate
from deepseg_lite.bundles.bundle import Bundle
from deepseg_lite.errors import OptionError


@dataclass(frozen=True)
class Request:
    """Request for variants, and the images they are made and checked with.

    Attributes
    ----------
    calibrate : sequence of paths
        Images for the ranges of int8; none where int8 is not wanted. For a model of several
        channels these are the channels of one case after the other.
    held_out : sequence of paths
        Others to compare on.
    contrasts : sequence of str
        Contrast of each image of a case, for models that tell them apart.
    fp16, fp16_weights : bool
        Make these, too.
    only : bool
        Leave the networks in float32 out of what is written; for one precision.
    gate : Gate or None
        What they must reach. None writes them without comparing anything.
    """

    calibrate: Sequence[Path] = ()
    held_out: Sequence[Path] = ()
    contrasts: Sequence[str] = ()
    fp16: bool = False
    fp16_weights: bool = False
    only: bool = False
    gate: Gate | None = field(default_factory=Gate)


def check_request(bundle: Bundle, request: Request) -> None:
    """Refuse what cannot be made, before the long part begins.

    Raises
    ------
    ExportError
        If the bundle is a lone file.
    OptionError
        If nothing is asked for, or what is does not go together.
    """
    if bundle.lone_file:
        raise ExportError(
            f"{bundle.path} is a lone .onnx file; a bundle folder is needed: export without .onnx."
        )
    wanted = (bool(request.calibrate), request.fp16, request.fp16_weights)
    if not any(wanted):
        raise OptionError(
            "nothing to make was named; give --calibrate IMAGE for int8, --fp16 or --fp16-weights."
        )
    if request.only and sum(wanted) > 1:
        raise OptionError(
            "--only is for one precision, and several were named; make a bundle of each."
        )
    if any(network.precision != "fp32" for network in bundle.networks):
        raise OptionError(
            f"{bundle.path} has no networks in fp32 to start from; give the bundle it was made of."
        )
    if request.gate and not (request.calibrate or request.held_out):
        raise OptionError(
            "there is no image to compare on; give --held-out IMAGE, or --no-gate to write without "
            "comparing."
        )
