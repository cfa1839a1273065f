"""The exported network against the original, on numbers nobody chose."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from deepseg_export.errors import VerificationError
from deepseg_export.network.conversion import example_shapes
from deepseg_lite.engines.onnxruntime_network import import_onnxruntime
from deepseg_lite.errors import reason

logger = logging.getLogger(__name__)

TOLERANCE = 1e-3
PRECISE = 1e-5
"""Share of the largest value by which exports differ at most, unless something in them is lost."""
LARGE = 2**21
"""Voxels of a patch above which two at once would take gigabytes."""
ODD_SIZE = 52
"""Size of free axes that becomes odd on the way down a U-Net."""
SEED = 20240229


class Agreement(NamedTuple):
    """Largest difference of two networks, absolute and relative to the largest value."""

    max_abs_error: float
    max_rel_error: float


def verify(
    network: Any,
    onnx: bytes,
    input_shape: Sequence[int | None],
    output_shape: Sequence[int | None],
    *,
    large: int = LARGE,
) -> Agreement:
    """Compare a torch network with its ONNX export.

    Parameters
    ----------
    network : torch.nn.Module
        The original, in evaluation mode.
    onnx : bytes
        The exported file.
    input_shape, output_shape : sequence of int or None
        (C, *P) and (K, *P); None for an axis of any size, which is tried at several. Given are two
        items of normal noise, above ``large`` voxels one, and then one item that is noise in its
        middle and zero around that, as a small image in its padding.
    large : int
        Voxels up to which two items fit at once.

    Returns
    -------
    agreement : Agreement
        The worst of all.

    Raises
    ------
    VerificationError
        If a shape is not the expected one, or the largest difference exceeds `TOLERANCE` times
        the largest magnitude (at least 1).

    Notes
    -----
    Above `PRECISE` a warning is logged.
    """
    session = open_session(onnx)
    rng = np.random.default_rng(SEED)
    worst = Agreement(0.0, 0.0)
    for shape in _shapes(network, input_shape):
        noise = rng.standard_normal((2, *shape), dtype=np.float32)
        is_large = math.prod(shape[1:]) > large
        for batch in (noise[:1] if is_large else noise, padded(noise[1:])):
            agreement = compare(
                _original(network, batch),
                run(session, batch),
                (len(batch), output_shape[0], *shape[1:]),
            )
            worst = Agreement(*map(max, worst, agreement))
    if worst.max_rel_error > PRECISE:
        logger.warning(
            "The exported network is less precise than others are: it differs from the original "
            "by %.2g of the largest value, %.2g is usual at most. Voxels on borders of labels may "
            "differ; compare results with the original's.",
            *(worst.max_rel_error, PRECISE),
        )
    return worst


def padded(batch: np.ndarray) -> np.ndarray:
    """Return the middle third of every axis of a batch (N, C, *P), in zeros."""
    thirds = (slice(size // 3, size - size // 3) for size in batch.shape[2:])
    box = (slice(None), slice(None), *thirds)
    result = np.zeros_like(batch)
    result[box] = batch[box]
    return result


def _shapes(network: Any, input_shape: Sequence[int | None]) -> Iterator[tuple[int, ...]]:
    """Yield what to try; an odd size only where the original can do with it."""
    yield from example_shapes(input_shape)
    odd = tuple(size or ODD_SIZE for size in input_shape)
    if None in input_shape:
        try:
            _original(network, np.zeros((1, *odd), np.float32))
        except VerificationError:
            return
        yield odd


def _original(network: Any, batch: np.ndarray) -> np.ndarray:
    import torch

    try:
        with torch.inference_mode():
            result: np.ndarray = network(torch.from_numpy(batch)).numpy()
    except Exception as error:  # any of torch's
        raise _failure("The network", batch, error) from error
    return result


def open_session(onnx: bytes | Path, *, lean: bool = False, chunked: bool = False) -> Any:
    """Open an exported file on the CPU; from a path it takes half the memory.

    A ``lean`` session gives back at once what it no longer needs, which takes more time. A
    ``chunked`` one is for a form in slices: buffers are not reused by plan.

    Raises
    ------
    VerificationError
        If ONNX Runtime refuses it.
    """
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = not lean
    options.enable_mem_pattern = not (lean or chunked)
    options.enable_mem_reuse = not chunked
    try:
        given = onnx if isinstance(onnx, bytes) else str(onnx)
        return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise VerificationError(f"ONNX Runtime refuses the exported network: {error}") from error


def run(session: Any, batch: np.ndarray) -> np.ndarray:
    """Return the logits of a batch (N, C, *P).

    Raises
    ------
    VerificationError
        If ONNX Runtime fails.
    """
    try:
        (given,), (found, *_) = session.get_inputs(), session.get_outputs()
        result: np.ndarray = session.run([found.name], {given.name: batch})[0]
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise _failure("The exported network", batch, error) from error
    return result


def _failure(what: str, batch: np.ndarray, error: Exception) -> VerificationError:
    return VerificationError(
        f"{what} fails on input of shape {batch.shape}: {reason(error)}. The model cannot be "
        "exported with patches of this size."
    )


def compare(expected: np.ndarray, found: np.ndarray, shape: Sequence[int | None]) -> Agreement:
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
