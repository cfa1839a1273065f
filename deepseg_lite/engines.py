"""Engines: what runs networks, chosen by the name of a device."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from deepseg_lite import openvino_session, session
from deepseg_lite.bundle_files import BundleFiles, NetworkFile
from deepseg_lite.errors import OptionError
from deepseg_lite.predictor import OpenNetwork

OPENVINO = "openvino"
DEVICES = ("auto", OPENVINO, *session.PROVIDERS)
PRECISIONS = tuple(openvino_session.PRECISIONS)
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Engine:
    """What runs networks.

    Attributes
    ----------
    provider : str
        ONNX Runtime's execution provider; ``"openvino"`` for OpenVINO itself.
    precision : {"fp32", "bf16"}
        What is computed in.
    """

    provider: str
    precision: str = "fp32"

    @property
    def packages(self) -> tuple[str, ...]:
        """The packages that may bring it."""
        return (OPENVINO,) if self.provider == OPENVINO else session.PACKAGES

    def open(self, bundle: BundleFiles, network: NetworkFile, threads: int) -> OpenNetwork:
        """Open a network; see `session.OnnxNetwork` and `openvino_session.OpenvinoNetwork`."""
        if self.provider == OPENVINO:
            return openvino_session.OpenvinoNetwork(bundle, network, self.precision, threads)
        return session.OnnxNetwork(bundle, network, self.provider, threads)


def choose_engine(device: str, precision: str = "fp32") -> Engine:
    """Return the engine for a device name.

    Parameters
    ----------
    device : str
        One of `DEVICES`. ``auto`` takes the fastest of those that are exact and installed: CUDA
        where it works, else OpenVINO, else ONNX Runtime on the CPU.
    precision : {"fp32", "bf16"}
        ``bf16`` is OpenVINO's alone.

    Raises
    ------
    OptionError
        If a name is unknown, or the engine has no such precision.
    ProviderError
        If what was asked for cannot be used: what is missing and which package brings it.
    """
    if device not in DEVICES:
        raise OptionError(f"device is {device!r}; it must be one of {', '.join(DEVICES)}.")
    if precision not in PRECISIONS:
        raise OptionError(f"precision is {precision!r}; it must be one of {', '.join(PRECISIONS)}.")
    provider = _fastest() if device == "auto" else device
    if provider != OPENVINO:
        provider = session.choose_provider(provider)
        if precision != "fp32":
            raise OptionError(
                f"precision {precision} was asked for, which ONNX Runtime does not offer; "
                "use --device openvino, or leave --precision out to compute in fp32."
            )
    else:
        openvino_session.check_precision(precision)
    _logger.info("Networks run on %s, in %s.", provider, precision)
    return Engine(provider, precision)


def cpu_engine() -> Engine:
    """Return ONNX Runtime on the CPU, or OpenVINO where that alone is installed."""
    if session.installed_packages() or not openvino_session.is_installed():
        return Engine(session.choose_provider("cpu"))
    return Engine(OPENVINO)


def _fastest() -> str:
    """Return the name of the fastest device that is exact and works."""
    with_openvino = openvino_session.is_installed()
    if with_openvino and not session.installed_packages():
        return OPENVINO
    found = "cuda" if session.choose_provider("auto") == session.CUDA else "cpu"
    return OPENVINO if found == "cpu" and with_openvino else found
