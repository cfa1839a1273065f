"""CUDA on ONNX Runtime: its options, and runs on buffers that stay on the device.

``docs/developers/gpu.md`` says what each option does and where that is documented. ONNX Runtime
itself is an argument here: `deepseg_lite.engines.onnxruntime_network` alone imports it.
"""

from __future__ import annotations

from threading import Lock
from typing import Any

import numpy as np

from deepseg_lite.volume import FloatArray

Shape = tuple[int, ...]


def cuda_options(precision: str) -> dict[str, str]:
    """Return the options of the CUDA provider for a network's file of that precision."""
    return {
        # By its name EXHAUSTIVE, the default, would find faster kernels; it takes many times as
        # long to choose, and those it chooses are no faster.
        "cudnn_conv_algo_search": "HEURISTIC",
        # TF32 would round inputs of convolutions to 10 bits. Without it ONNX Runtime leaves tensor
        # cores out whatever the type, and float16 is there for their sake.
        "use_tf32": "1" if precision == "fp16" else "0",
        # Memory grows by what is asked for, not to the next power of two.
        "arena_extend_strategy": "kSameAsRequested",
    }


class DeviceBuffers:
    """Input and output buffers of one session, which stay on a device between runs.

    Several threads may call it. Runs follow one another; while one computes, the input of the next
    is copied to the device and the result of the last one is copied back. Each thread has buffers
    of its own. Only buffers of the last shape stay for the next call.

    Parameters
    ----------
    ort : module
        ONNX Runtime.
    session : onnxruntime.InferenceSession
        Session of a network with one input; its first output is returned.
    device : str
        Device of the buffers, in ONNX Runtime's words: ``"cuda"``, ``"cpu"``.
    pads : bool
        Whether a batch smaller than the last one is filled up with zeros, as the last patches of a
        volume are. Only for networks that treat every patch of a batch by itself.
    """

    def __init__(self, ort: Any, session: Any, device: str, *, pads: bool) -> None:
        self._ort, self._session, self._device, self._pads = ort, session, device, pads
        self._one_run, self._books = Lock(), Lock()
        self._shape: Shape = ()
        self._idle: list[_Buffers] = []

    def __call__(self, batch: FloatArray) -> FloatArray:
        """Return the first output for a batch, an array that nothing else will write to."""
        buffers = self._take(batch.shape)
        buffers.upload(batch)
        with self._one_run:
            buffers.run()
        result = buffers.download()
        with self._books:
            if buffers.shape == self._shape:
                self._idle.append(buffers)
        return result[: len(batch)]

    def _take(self, shape: Shape) -> _Buffers:
        """Return buffers that hold a batch of that shape."""
        with self._books:
            is_rest = shape[1:] == self._shape[1:] and shape[0] < self._shape[0]
            if shape != self._shape and not (self._pads and is_rest):
                self._shape, self._idle = shape, []
            if self._idle:
                return self._idle.pop()
            return _Buffers(self._ort, self._session, self._device, self._shape)


class _Buffers:
    """Input and output of one thread on a device, bound to a session."""

    def __init__(self, ort: Any, session: Any, device: str, shape: Shape) -> None:
        self.shape = shape
        self._session, self._binding = session, session.io_binding()
        self._input = ort.OrtValue.ortvalue_from_shape_and_type(list(shape), np.float32, device, 0)
        self._binding.bind_ortvalue_input(session.get_inputs()[0].name, self._input)
        self._output_name = session.get_outputs()[0].name
        self._binding.bind_output(self._output_name, device, 0)  # the first run finds its shape

    def upload(self, batch: FloatArray) -> None:
        """Copy a batch to the device, with zeros for what it is short of."""
        missing = self.shape[0] - len(batch)
        if missing:
            batch = np.concatenate([batch, np.zeros((missing, *self.shape[1:]), np.float32)])
        self._input.update_inplace(np.ascontiguousarray(batch))

    def run(self) -> None:
        """Compute; the output stays where the first run put it."""
        self._session.run_with_iobinding(self._binding)
        (output,) = self._binding.get_outputs()
        self._binding.bind_ortvalue_output(self._output_name, output)

    def download(self) -> FloatArray:
        """Return a copy of the output."""
        copy: FloatArray = self._binding.copy_outputs_to_cpu()[0]
        return copy
