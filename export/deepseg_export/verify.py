"""The exported network against the original, on numbers nobody chose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from deepseg_export.errors import VerificationError
from deepseg_export.graph import INPUT, OUTPUT

TOLERANCE = 1e-3
SEED = 20240229


class Agreement(NamedTuple):
    """Largest difference of two networks, absolute and relative to the largest value."""

    max_abs_error: float
    max_rel_error: float


def verify(
    network: Any, onnx: bytes, input_shape: Sequence[int], output_shape: Sequence[int]
) -> Agreement:
    """Compare a torch network with its ONNX export.

    Parameters
    ----------
    network : torch.nn.Module
        The original, in evaluation mode.
    onnx : bytes
        The exported file.
    input_shape, output_shape : sequence of int
        (C, *P) and (K, *P). Normal noise of this shape is given, as a batch of two and of one.

    Returns
    -------
    agreement : Agreement
        The worst of both batches.

    Raises
    ------
    VerificationError
        If a shape is not the expected one, or the largest difference exceeds `TOLERANCE` times
        the largest magnitude (at least 1).
    """
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise VerificationError(f"ONNX Runtime refuses the exported network: {error}") from error
    noise = np.random.default_rng(SEED).standard_normal((2, *input_shape), dtype=np.float32)
    worst = Agreement(0.0, 0.0)
    for batch in (noise, noise[:1]):
        with torch.inference_mode():
            expected = network(torch.from_numpy(batch)).numpy()
        found = session.run([OUTPUT], {INPUT: batch})[0]
        worst = Agreement(*map(max, worst, compare(expected, found, (len(batch), *output_shape))))
    return worst


def compare(expected: np.ndarray, found: np.ndarray, shape: Sequence[int]) -> Agreement:
    """Measure how far ``found`` is from ``expected``; both must be finite and of one shape.

    Raises
    ------
    VerificationError
        If they are not, or differ by more than `TOLERANCE` allows.
    """
    if not expected.shape == found.shape == tuple(shape):
        raise VerificationError(
            f"The network gives an output of shape {expected.shape}, its export {found.shape}; "
            f"{tuple(shape)} is needed."
        )
    scale = float(np.abs(expected).max())
    error = float(np.abs(expected - found).max())
    # Written so that NaN fails.
    if not error <= TOLERANCE * max(1.0, scale):
        raise VerificationError(
            f"The exported network differs from the original by {error:.3g} where values reach "
            f"{scale:.3g}; at most {TOLERANCE * max(1.0, scale):.3g} is accepted."
        )
    return Agreement(error, error / scale if scale else 0.0)
