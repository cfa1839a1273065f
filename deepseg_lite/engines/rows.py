"""Networks in rows: one item at a time, else called as the canonical network is."""

from __future__ import annotations

from typing import Any

import numpy as np

from deepseg_lite.volume import FloatArray


class Rows:
    """Session of a form in rows, called as the canonical network is.

    It takes one item, (1, C, H, W), so that ONNX Runtime knows the sizes of all maps.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
        The form, opened on the CPU.

    Attributes
    ----------
    input_shape, output_shape : tuple
        Shapes of the canonical network, (N, C, H, W) and (N, K, H, W).
    """

    reuses_buffers = True

    def __init__(self, session: Any) -> None:
        self._session = session
        (image,), (logits,) = session.get_inputs(), session.get_outputs()
        self._input, self._output = image.name, logits.name
        self.input_shape = ("N", *image.shape[1:])
        self.output_shape = ("N", *logits.shape[1:])

    def __call__(self, batch: FloatArray) -> FloatArray:
        """Return (N, K, H, W) for (N, C, H, W)."""
        results: list[FloatArray] = [
            self._session.run([self._output], {self._input: np.ascontiguousarray(item[None])})[0]
            for item in batch
        ]
        return results[0] if len(results) == 1 else np.concatenate(results)
