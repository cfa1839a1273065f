"""Networks in slices: one item at a time, its first spatial axis before its channels."""

from __future__ import annotations

from typing import Any

import numpy as np

from deepseg_lite.volume import FloatArray


class Slices:
    """Session of a form in slices, called as the canonical network is.

    It takes (D, C, H, W). Its outputs are slices of the result, (slices, K, H, W) each, one after
    the other; each is written where it belongs.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
        The form, opened on the CPU.

    Attributes
    ----------
    input_shape, output_shape : tuple
        Shapes of the canonical network, (N, C, D, H, W) and (N, K, D, H, W).
    """

    reuses_buffers = False

    def __init__(self, session: Any) -> None:
        self._session = session
        (image,) = session.get_inputs()
        self._outputs = session.get_outputs()
        self._input: str = image.name
        depth, channels, *sizes = image.shape
        count = self._outputs[0].shape[1]
        self.input_shape = ("N", channels, depth, *sizes)
        self.output_shape = ("N", count, depth, *sizes)
        shapes = [output.shape for output in self._outputs]
        slices = sum(shape[0] for shape in shapes)
        if slices != depth or any(shape[1:] != [count, *sizes] for shape in shapes):
            raise ValueError(f"it gives {shapes} for slices {image.shape}")

    def __call__(self, batch: FloatArray) -> FloatArray:
        """Return (N, K, D, H, W) for (N, C, D, H, W)."""
        results = [self._of_item(item) for item in batch]
        return results[0][None] if len(results) == 1 else np.stack(results)

    def _of_item(self, item: FloatArray) -> FloatArray:
        _, count, depth, *sizes = self.output_shape
        result: FloatArray = np.empty((depth, count, *sizes), np.float32)
        binding = self._session.io_binding()
        binding.bind_cpu_input(self._input, np.ascontiguousarray(item.swapaxes(0, 1)))
        start = 0
        for output in self._outputs:
            part = result[start : start + output.shape[0]]
            binding.bind_output(
                output.name, "cpu", 0, np.float32, part.shape, part.__array_interface__["data"][0]
            )
            start += len(part)
        self._session.run_with_iobinding(binding)
        return result.swapaxes(0, 1)
