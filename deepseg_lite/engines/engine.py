"""Engines, chosen by the name of a device."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from deepseg_lite.bundles.files import CANONICAL, BundleFiles, NetworkFile, file_in
from deepseg_lite.engines import onnxruntime_network, openvino_network
from deepseg_lite.engines.checked import CheckedNetwork
from deepseg_lite.engines.names import DEVICES, PRECISIONS
from deepseg_lite.errors import OptionError, ProviderError
from deepseg_lite.volume import FloatArray

OPENVINO = "openvino"
_GPUS = tuple(device for device in onnxruntime_network.PROVIDERS if device != "cpu")
OFFERED = {
    "fp32": (OPENVINO, *onnxruntime_network.PROVIDERS),
    "bf16": (OPENVINO,),
    "int8": (OPENVINO, "cpu"),
    "fp16": _GPUS,
    "fp16-weights": (OPENVINO, *onnxruntime_network.PROVIDERS),
}
"""Precisions, and the devices that have them."""
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Engine:
    """Library that computes networks, and how.

    Attributes
    ----------
    provider : str
        Execution provider of ONNX Runtime; ``"openvino"`` for OpenVINO.
    precision : str
        One of `PRECISIONS`. All but bf16 and fp32 need a file of their own in the bundle.
    spins : bool
        Whether threads of ONNX Runtime that wait for work keep their core meanwhile.
    form : str
        One of `FORMS`.
    why : str
        Why it was chosen, where there was a choice.
    """

    provider: str
    precision: str = "fp32"
    spins: bool = True
    form: str = "auto"
    why: str = field(default="", compare=False)

    @property
    def packages(self) -> tuple[str, ...]:
        """Names of the packages that may bring it."""
        return (OPENVINO,) if self.provider == OPENVINO else onnxruntime_network.PACKAGES

    def file(self, bundle: BundleFiles, network: NetworkFile) -> NetworkFile:
        """Return the file that a network is opened from; see `file_in` and `form_of`."""
        file = file_in(bundle, network, "fp32" if self.precision == "bf16" else self.precision)
        return self.form_of(file)

    def form_of(self, file: NetworkFile) -> NetworkFile:
        """Return the form of a file that is for this device, or the file itself."""
        wanted = (form for form in file.forms if device_of(self) in form.devices)
        return file if self.form == CANONICAL else next(wanted, file)

    def open(self, bundle: BundleFiles, network: NetworkFile, threads: int) -> OpenNetwork:
        """Open a network, as `OnnxNetwork` or `OpenvinoNetwork`; what it gives is checked."""
        file = self.file(bundle, network)
        _logger.info("%s is opened from %s, in its form %s.", bundle.name, file.path, file.form)
        return CheckedNetwork(self._opened(bundle, file, threads), bundle, network, self.precision)

    def _opened(self, bundle: BundleFiles, file: NetworkFile, threads: int) -> OpenNetwork:
        if self.provider == OPENVINO:
            # A file names its int8 and half-precision parts; all else is computed in float32.
            rest = self.precision if self.precision == "bf16" else "fp32"
            return openvino_network.OpenvinoNetwork(bundle, file, rest, threads)
        return onnxruntime_network.OnnxNetwork(
            bundle, file, self.provider, threads, spins=self.spins
        )


def choose_engine(device: str, precision: str = "fp32") -> Engine:
    """Return the engine for a device name.

    Parameters
    ----------
    device : str
        One of `DEVICES`. ``auto`` takes the fastest of those that are exact and installed: CUDA
        where it works, else OpenVINO, else ONNX Runtime on the CPU; and of those only what offers
        the precision. Which of the last two is faster depends on the model:
        `deepseg_lite.api.choosing`.
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
            f"precision {precision} was asked for, which `device={device}` does not offer; "
            f"use `device={' or '.join(offering)}`, or leave `precision` out to compute in fp32."
        )
    provider = _fastest(offering) if device == "auto" else device
    if provider is None:
        raise ProviderError(
            f"precision {precision} is for GPUs, and CUDA is not usable here; leave `precision` "
            f"out to compute in fp32, or name a device that offers it ({', '.join(offering)}) to "
            "learn what it misses."
        )
    if provider == OPENVINO:
        openvino_network.check_precision(precision)
    else:
        provider = onnxruntime_network.choose_provider(provider)
    _logger.info("Networks run on %s, in %s.", provider, precision)
    return Engine(provider, precision)


def cpu_rivals(precision: str) -> tuple[Engine, ...]:
    """Return OpenVINO and ONNX Runtime on the CPU, where ``auto`` may take either; else nothing."""
    offering = OFFERED.get(precision, ())
    if not {OPENVINO, "cpu"} <= set(offering) or not openvino_network.is_installed():
        return ()
    if _fastest(offering) != OPENVINO or not onnxruntime_network.installed_packages():
        return ()
    return Engine(OPENVINO, precision), Engine(onnxruntime_network.CPU, precision)


def device_of(engine: Engine) -> str:
    """Return the device name that gives an engine."""
    names = {provider: device for device, provider in onnxruntime_network.PROVIDERS.items()}
    return names.get(engine.provider, engine.provider)


def cpu_engine() -> Engine:
    """Return ONNX Runtime on the CPU, or OpenVINO where that alone is installed."""
    if onnxruntime_network.installed_packages() or not openvino_network.is_installed():
        return Engine(onnxruntime_network.choose_provider("cpu"))
    return Engine(OPENVINO)


def _fastest(offering: Sequence[str]) -> str | None:
    """Return the name of the fastest device that is exact and works, of those that will do."""
    with_openvino = OPENVINO in offering and openvino_network.is_installed()
    if with_openvino and not onnxruntime_network.installed_packages():
        return OPENVINO
    if (
        "cuda" in offering
        and onnxruntime_network.choose_provider("auto") == onnxruntime_network.CUDA
    ):
        return "cuda"
    if with_openvino:
        return OPENVINO
    if "cpu" in offering:
        return "cpu"
    return offering[0] if len(offering) == 1 else None


class OpenNetwork(Protocol):
    """Network as an engine opens it: an array in, its first output out.

    The size of an axis is an int; anything else where any size will do.
    """

    @property
    def input_shape(self) -> Sequence[object]:
        """Size of each axis of the input, the batch first."""
        ...

    @property
    def output_shape(self) -> Sequence[object]:
        """Size of each axis of the first output, the batch first."""
        ...

    def __call__(self, batch: FloatArray) -> FloatArray:
        """Return the first output for an input."""
        ...
