"""Engines: what runs networks, chosen by the name of a device."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from deepseg_lite import openvino_session, session
from deepseg_lite.bundle_files import BundleFiles, NetworkFile, file_in
from deepseg_lite.errors import OptionError, ProviderError
from deepseg_lite.predictor import OpenNetwork

OPENVINO = "openvino"
DEVICES = ("auto", OPENVINO, *session.PROVIDERS)
_GPUS = tuple(device for device in session.PROVIDERS if device != "cpu")
OFFERED = {
    "fp32": (OPENVINO, *session.PROVIDERS),
    "bf16": (OPENVINO,),
    "int8": (OPENVINO, "cpu"),
    "fp16": _GPUS,
    "fp16-weights": (OPENVINO, *session.PROVIDERS),
}
"""Precisions, and the devices that have them."""
PRECISIONS = tuple(OFFERED)
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Engine:
    """What runs networks.

    Attributes
    ----------
    provider : str
        ONNX Runtime's execution provider; ``"openvino"`` for OpenVINO itself.
    precision : str
        One of `PRECISIONS`. All but bf16 and fp32 need files of their own in the bundle.
    """

    provider: str
    precision: str = "fp32"

    @property
    def packages(self) -> tuple[str, ...]:
        """The packages that may bring it."""
        return (OPENVINO,) if self.provider == OPENVINO else session.PACKAGES

    def file(self, bundle: BundleFiles, network: NetworkFile) -> NetworkFile:
        """Return the file that a network is opened from; see `bundle_files.file_in`."""
        return file_in(bundle, network, "fp32" if self.precision == "bf16" else self.precision)

    def open(self, bundle: BundleFiles, network: NetworkFile, threads: int) -> OpenNetwork:
        """Open a network; see `session.OnnxNetwork` and `openvino_session.OpenvinoNetwork`."""
        file = self.file(bundle, network)
        if self.provider == OPENVINO:
            # What is int8 or half in the file says so itself; the rest is computed in float32.
            rest = self.precision if self.precision == "bf16" else "fp32"
            return openvino_session.OpenvinoNetwork(bundle, file, rest, threads)
        return session.OnnxNetwork(bundle, file, self.provider, threads)


def choose_engine(device: str, precision: str = "fp32") -> Engine:
    """Return the engine for a device name.

    Parameters
    ----------
    device : str
        One of `DEVICES`. ``auto`` takes the fastest of those that are exact and installed: CUDA
        where it works, else OpenVINO, else ONNX Runtime on the CPU; and of those only what offers
        the precision.
    precision : str
        One of `PRECISIONS`; `OFFERED` says which devices have it.

    Raises
    ------
    OptionError
        If a name is unknown, or the device has no such precision.
    ProviderError
        If what was asked for cannot be used: what is missing and which package brings it.
    """
    if device not in DEVICES:
        raise OptionError(f"device is {device!r}; it must be one of {', '.join(DEVICES)}.")
    if precision not in PRECISIONS:
        raise OptionError(f"precision is {precision!r}; it must be one of {', '.join(PRECISIONS)}.")
    offering = OFFERED[precision]
    if device not in ("auto", *offering):
        raise OptionError(
            f"precision {precision} was asked for, which --device {device} does not offer; "
            f"use --device {' or '.join(offering)}, or leave --precision out to compute in fp32."
        )
    provider = _fastest(offering) if device == "auto" else device
    if provider is None:
        raise ProviderError(
            f"precision {precision} is for GPUs, and CUDA is not usable here; leave --precision "
            f"out to compute in fp32, or name a device that offers it ({', '.join(offering)}) to "
            "learn what it misses."
        )
    if provider == OPENVINO:
        openvino_session.check_precision(precision)
    else:
        provider = session.choose_provider(provider)
    _logger.info("Networks run on %s, in %s.", provider, precision)
    return Engine(provider, precision)


def device_of(engine: Engine) -> str:
    """Return the device name that gives an engine."""
    names = {provider: device for device, provider in session.PROVIDERS.items()}
    return names.get(engine.provider, engine.provider)


def cpu_engine() -> Engine:
    """Return ONNX Runtime on the CPU, or OpenVINO where that alone is installed."""
    if session.installed_packages() or not openvino_session.is_installed():
        return Engine(session.choose_provider("cpu"))
    return Engine(OPENVINO)


def _fastest(offering: Sequence[str]) -> str | None:
    """Return the name of the fastest device that is exact and works, of those that will do."""
    with_openvino = OPENVINO in offering and openvino_session.is_installed()
    if with_openvino and not session.installed_packages():
        return OPENVINO
    if "cuda" in offering and session.choose_provider("auto") == session.CUDA:
        return "cuda"
    if with_openvino:
        return OPENVINO
    if "cpu" in offering:
        return "cpu"
    return offering[0] if len(offering) == 1 else None
