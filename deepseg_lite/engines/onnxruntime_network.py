"""ONNX Runtime engine, in the only module that imports ONNX Runtime."""

from __future__ import annotations

import ctypes
import logging
import os
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from deepseg_lite.bundles.bundle import Bundle
from deepseg_lite.bundles.files import BundleFiles, NetworkFile, checked_network
from deepseg_lite.engines.cuda_buffers import DeviceBuffers, cuda_options
from deepseg_lite.engines.rows import Rows
from deepseg_lite.engines.slices import Slices
from deepseg_lite.errors import ProviderError, reason
from deepseg_lite.failures import TOO_LITTLE_MEMORY, is_out_of_memory, why_not_loaded
from deepseg_lite.machine import give_memory_back
from deepseg_lite.volume import FloatArray

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
PROVIDERS = {
    "cpu": CPU,
    "cuda": CUDA,
    "tensorrt": "TensorrtExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "rocm": "ROCMExecutionProvider",
}
PACKAGES = ("onnxruntime", "onnxruntime-gpu")
Calling = type[Slices] | type[Rows]
CALLING: dict[str, Calling] = {"slices": Slices, "rows": Rows}
"""Forms whose networks are not called as the canonical one, and what calls them."""
_logger = logging.getLogger(__name__)


class OnnxNetwork:
    """Network that ONNX Runtime opened on one device: an array in, its first output out.

    Parameters
    ----------
    bundle : BundleFiles
        A bundle of any kind.
    network : NetworkFile
        One of the bundle's networks; its file is checked against the manifest first.
    provider : str
        Execution provider, as `choose_provider` returned it.
    threads : int
        Threads of one operator.
    spins : bool
        Whether those that wait for work keep their core meanwhile.

    Attributes
    ----------
    input_shape : sequence
        Size of each axis of the input; the axis' name where any size will do.
    output_shape : sequence
        Size of each axis of the first output, likewise.
    calls_at_once : int
        Largest number of calls at the same time, each from a thread of its own.

    Raises
    ------
    ChecksumError
        If the file is not the one the manifest describes.
    ProviderError
        If ONNX Runtime refuses the network, or did not give it the provider.
    """

    def __init__(
        self,
        bundle: BundleFiles,
        network: NetworkFile,
        provider: str,
        threads: int,
        *,
        spins: bool = True,
    ) -> None:
        ort = import_onnxruntime()
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spins)))
        patches = bundle.sliding_window if isinstance(bundle, Bundle) else None
        # An arena spares a patch the pages of the one before, but it keeps the peak of every shape
        # it has seen. Patterns reserve that peak a second time.
        options.enable_cpu_mem_arena = patches is not None and None not in patches.patch_size
        options.enable_mem_pattern = False
        # Plans keep what float32 needs for the bytes between, or for chunks of maps that are gone;
        # an arena gives it to the next.
        calling = CALLING.get(network.form)
        reuses = calling is None or calling.reuses_buffers
        options.enable_mem_reuse = network.precision != "int8" and reuses
        # x86 processors without VNNI add two products of uint8 and int8 in 16 bits, which overflow;
        # with this they take uint8 weights, which do not. On others it changes nothing.
        options.add_session_config_entry("session.x64quantprecision", "1")
        providers: list[Any] = [provider] if provider == CPU else [provider, CPU]
        if provider == CUDA:
            providers[0] = (CUDA, cuda_options(network.precision))
        with checked_network(bundle, network) as path:
            self._open(ort, path, options, providers, calling)
        if self._session.get_providers()[0] != provider:
            raise ProviderError(_problem(ort, provider))
        self._buffers: DeviceBuffers | None = None
        self.calls_at_once = 1
        if provider == CUDA:
            self.calls_at_once = 2  # one computes while the other's arrays are on their way
            alone = patches is not None and patches.batch_size == 1
            self._buffers = DeviceBuffers(ort, self._session, "cuda", pads=alone)

    def _open(
        self, ort: Any, path: Path, options: Any, providers: list[Any], calling: Calling | None
    ) -> None:
        """Open the session of a file that was checked, and look at its first input and output."""
        try:
            # A session keeps the bytes it is given all its life, hence the path. With its fallback
            # it would go on without the device that was asked for.
            self._session = ort.InferenceSession(
                str(path), options, providers=providers, enable_fallback=0
            )
            inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
            if not inputs or not outputs:
                raise ValueError("it has no input or no output")
            self._input, self._output = inputs[0], outputs[0]
            self._called = calling(self._session) if calling else None
            if calling is not None:  # what its weights were made of is freed by now
                give_memory_back()
            shaped = self._called
            self.input_shape: Sequence[object] = shaped.input_shape if shaped else self._input.shape
            self.output_shape: Sequence[object] = (
                shaped.output_shape if shaped else self._output.shape
            )
        except MemoryError:
            raise
        except Exception as error:
            advice = "Export the model again, or install a newer ONNX Runtime."
            if is_out_of_memory(error):
                advice = TOO_LITTLE_MEMORY
            raise ProviderError(
                f"ONNX Runtime {ort.__version__} cannot open {path}: {reason(error)}. {advice}"
            ) from error

    def __call__(self, batch: FloatArray) -> FloatArray:
        """Return the first output for an input, both with the batch as their first axis."""
        try:
            if self._buffers is not None:
                return self._buffers(batch)
            if self._called is not None:
                return self._called(batch)
            inputs = {self._input.name: np.ascontiguousarray(batch)}
            result: FloatArray = self._session.run([self._output.name], inputs)[0]
        except Exception as error:
            advice = TOO_LITTLE_MEMORY if is_out_of_memory(error) else "Run on another device."
            raise ProviderError(
                f"ONNX Runtime failed on input of shape {batch.shape}: {reason(error)}. {advice}"
            ) from error
        return result


def import_onnxruntime() -> Any:
    """Import ONNX Runtime, or say which extra brings it.

    Raises
    ------
    ProviderError
        If it is absent, or its CPU and GPU packages are both installed.
    """
    if len(installed_packages()) > 1:
        raise ProviderError(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files; "
            'run "pip uninstall -y onnxruntime onnxruntime-gpu", then install "deepseg-lite[cpu]" '
            'or "deepseg-lite[gpu]".'
        )
    # From 1.29 on its Linux packages tell Microsoft of the models that are opened, file names
    # included. The variable is read at import; a user who set it to 0 keeps telemetry.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except (ImportError, OSError, MemoryError) as error:
        advice = 'run pip install "deepseg-lite[cpu]", or "deepseg-lite[gpu]" for CUDA'
        raise ProviderError(
            f"ONNX Runtime cannot be imported ({reason(error)}): {why_not_loaded(error) or advice}."
        ) from error
    if os.environ["ORT_DISABLE_TELEMETRY"] != "0":  # a host program may have imported it before
        onnxruntime.disable_telemetry_events()
    return onnxruntime


def installed_packages() -> list[str]:
    """Return which of ONNX Runtime's two packages are installed."""
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return found


def offered_devices() -> list[str]:
    """Return the names of the devices that the installed ONNX Runtime was built for.

    Raises
    ------
    ProviderError
        As `import_onnxruntime`.
    """
    offered = import_onnxruntime().get_available_providers()
    return [device for device, provider in PROVIDERS.items() if provider in offered]


def choose_provider(device: str) -> str:
    """Return the execution provider for a device name.

    Parameters
    ----------
    device : str
        ``"auto"`` or a name in `PROVIDERS`. ``auto`` takes CUDA where it works, else the CPU, and
        says so in the log where CUDA is installed but broken.

    Raises
    ------
    ProviderError
        If it cannot be used: what is missing and, for CUDA, which package brings it.
    """
    ort = import_onnxruntime()
    if device not in ("auto", "cuda"):
        if PROVIDERS[device] in ort.get_available_providers():
            return PROVIDERS[device]
        raise ProviderError(_problem(ort, PROVIDERS[device]))
    if CUDA in ort.get_available_providers():
        if hasattr(ort, "preload_dlls"):
            ort.preload_dlls()
        problem = _cuda_library_problem(ort)
        if problem is None:
            return CUDA
        if device == "auto":
            _logger.warning("CUDA is not usable (%s); running on the CPU.", problem)
    if device == "auto":
        return CPU
    raise ProviderError(_cuda_problem(ort))


def _problem(ort: Any, provider: str) -> str:
    """Say in one line why a provider cannot be used and what to do."""
    if provider == CUDA:
        return _cuda_problem(ort)
    if provider in ort.get_available_providers():
        return f"ONNX Runtime {ort.__version__} could not start {provider}; use `device=cpu`."
    return (
        f"{provider} was asked for, but the installed ONNX Runtime {ort.__version__} offers "
        f"{', '.join(offered_devices())}; use one of these, or install a build of ONNX Runtime "
        "that has it."
    )


def _cuda_problem(ort: Any) -> str:
    """Say in one line why CUDA cannot be used and what to do."""
    if CUDA not in ort.get_available_providers():
        return (
            f"CUDA was asked for, but the installed ONNX Runtime {ort.__version__} is the CPU "
            'build; run "pip uninstall -y onnxruntime" and pip install "deepseg-lite[gpu]", '
            "or use `device=cpu`."
        )
    reason = _cuda_library_problem(ort) or "no usable NVIDIA GPU or driver was found"
    return (
        f"CUDA was asked for, but ONNX Runtime {ort.__version__} cannot start it: {reason}. "
        'Install the missing libraries (pip install "onnxruntime-gpu[cuda,cudnn]") and an NVIDIA '
        "driver, or use `device=cpu`."
    )


def _cuda_library_problem(ort: Any) -> str | None:
    """Return why ONNX Runtime's CUDA library or the driver does not load; None if they do."""
    suffix = "dll" if os.name == "nt" else "so"
    prefix = "" if os.name == "nt" else "lib"
    driver = "nvcuda.dll" if os.name == "nt" else "libcuda.so.1"
    folder = Path(ort.__file__).parent / "capi"
    try:
        ctypes.CDLL(driver)
        # The provider library needs symbols of the shared one, which ONNX Runtime loads first.
        ctypes.CDLL(
            str(folder / f"{prefix}onnxruntime_providers_shared.{suffix}"), ctypes.RTLD_GLOBAL
        )
        ctypes.CDLL(str(folder / f"{prefix}onnxruntime_providers_cuda.{suffix}"))
    except OSError as error:
        return reason(error)
    return None
