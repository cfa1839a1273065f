"""OpenVINO engine, in the only module that imports OpenVINO."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import numpy as np

from deepseg_lite.bundles.files import BundleFiles, NetworkFile, check_network
from deepseg_lite.engines.openvino_graph import make_norms_plain, split_joined_inputs
from deepseg_lite.errors import ProviderError
from deepseg_lite.failures import TOO_LITTLE_MEMORY, is_out_of_memory, why_not_loaded
from deepseg_lite.volume import FloatArray

PRECISIONS = {"fp32": "f32", "bf16": "bf16"}
KEPT_SHAPES = 2  # a full batch and the rest of it; each holds its own copy of the weights


class OpenvinoNetwork:
    """Network that OpenVINO opened on the CPU: an array in, its first output out.

    It is compiled for each shape of input when a batch of that shape first comes. The compiled
    networks of the last two shapes stay in memory.

    Parameters
    ----------
    bundle : BundleFiles
        A bundle of any kind.
    network : NetworkFile
        One of the bundle's networks; its file is checked against the manifest first.
    precision : {"fp32", "bf16"}
        Number type of the computation.
    threads : int
        CPU threads.

    Attributes
    ----------
    input_shape : tuple
        Size of each axis of the input; None where any size will do.
    output_shape : tuple
        Size of each axis of the first output, likewise.

    Raises
    ------
    ChecksumError
        If the file is not the one the manifest describes.
    ProviderError
        If OpenVINO is not there or refuses the network, or the CPU has no such precision.
    """

    def __init__(
        self, bundle: BundleFiles, network: NetworkFile, precision: str, threads: int
    ) -> None:
        ov = import_openvino()
        self._core = ov.Core()
        if precision == "bf16":
            _check_bf16(self._core)
        self._tensor = ov.Tensor
        self._options = {
            # Without it a CPU that can computes in bf16 or fp16 and says nothing.
            "INFERENCE_PRECISION_HINT": PRECISIONS[precision],
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "ENABLE_HYPER_THREADING": True,  # else it uses fewer threads than it was told to
            "ENABLE_CPU_PINNING": False,  # pinned threads wait for a busy core
        }
        path = check_network(bundle, network)
        try:
            self._model = self._core.read_model(path)
            self.input_shape = _sizes(self._model.input(0))
            self.output_shape = _sizes(self._model.output(0))
            split_joined_inputs(ov, self._model)
            if precision == "bf16":
                make_norms_plain(ov, self._model)
        except MemoryError:
            raise
        except Exception as error:
            advice = "Export the model again, or use `device=cpu`."
            if is_out_of_memory(error):
                advice = TOO_LITTLE_MEMORY
            raise ProviderError(
                f"openvino {ov.__version__} cannot open {path}: {_reason(error)}. {advice}"
            ) from error
        self._requests: dict[tuple[int, ...], Any] = {}

    def __call__(self, batch: FloatArray) -> FloatArray:
        """Return the first output for an input, both with the batch as their first axis."""
        batch = np.ascontiguousarray(batch)
        try:
            request = self._request(batch.shape)
            shape = tuple(request.model_outputs[0].shape)
            result: FloatArray = np.empty(shape, np.float32)
            request.set_input_tensor(0, self._tensor(batch, shared_memory=True))
            request.set_output_tensor(0, self._tensor(result, shared_memory=True))
            request.infer()
        except Exception as error:
            advice = TOO_LITTLE_MEMORY if is_out_of_memory(error) else "Use `device=cpu`."
            raise ProviderError(
                f"openvino failed on input of shape {batch.shape}: {_reason(error)}. {advice}"
            ) from error
        return result

    def _request(self, shape: tuple[int, ...]) -> Any:
        """Return what runs inputs of one shape."""
        request = self._requests.pop(shape, None)
        if request is None:
            while len(self._requests) >= KEPT_SHAPES:
                del self._requests[next(iter(self._requests))]
            self._model.reshape(shape)
            compiled = self._core.compile_model(self._model, "CPU", self._options)
            request = compiled.create_infer_request()
        self._requests[shape] = request
        return request


def is_installed() -> bool:
    """Return whether OpenVINO's package is here; it is not imported."""
    return importlib.util.find_spec("openvino") is not None


def import_openvino() -> Any:
    """Import OpenVINO, or say which extra brings it.

    Raises
    ------
    ProviderError
        If it is absent or broken.
    """
    # It tells a web service of every import. It does without this package, and then it does not.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except (ImportError, OSError, MemoryError) as error:
        advice = why_not_loaded(error) or 'run pip install "deepseg-lite[openvino]"'
        raise ProviderError(
            f"OpenVINO cannot be imported ({_reason(error)}): {advice}, or use `device=cpu`."
        ) from error
    return openvino


def check_precision(precision: str) -> None:
    """Raise `ProviderError` unless OpenVINO is here and the CPU has that precision."""
    core = import_openvino().Core()
    if precision == "bf16":
        _check_bf16(core)


def _check_bf16(core: Any) -> None:
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise ProviderError(
            "precision bf16 was asked for, but this CPU has no bfloat16 arithmetic; "
            "leave `precision` out to compute in fp32."
        )


def _sizes(port: Any) -> tuple[int | None, ...]:
    return tuple(d.get_length() if d.is_static else None for d in port.partial_shape)


def _reason(error: BaseException) -> str:
    """Return the last line of an error: OpenVINO's first ones say where in its own code."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].rstrip(".")
