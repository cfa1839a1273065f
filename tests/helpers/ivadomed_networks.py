"""Networks that ivadomed pickled, with what it computes, against what is made of them here."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from deepseg_export.architectures.numpy_layers import NumpyLayers
from deepseg_export.exporting import convert
from deepseg_export.families.ivadomed.rebuilding import rebuild
from deepseg_export.network.verify import open_session, run

LAYERS = 25
"""Of the deepest network, each of which rounds."""


class Distances(NamedTuple):
    """Largest differences from exact results, as shares of the largest value.

    ``numpy`` computes with 64 bits; ``original`` and ``onnx`` with 32. ``rounded`` is how far exact
    results move when every value of the image is half a step of 32 bits off.
    """

    numpy: float
    onnx: float
    original: float
    rounded: float


def measure(pickle: Path) -> Distances:
    """Measure NAME.pt with the batch and the results in NAME.npz, which hold padding, too."""
    with np.load(pickle.with_suffix(".npz")) as saved:
        batch, exact, original = (saved[name] for name in ("batch", "exact", "result"))
    axes, classes = batch.ndim - 2, exact.shape[1]
    network, _ = rebuild(pickle, batch.shape[1], axes, classes)
    computed = network.on(NumpyLayers(axes), batch.astype(np.float64))
    found = []
    for spatial in (batch.shape[2:], (None,) * axes):  # patches of this size alone, and of any
        shapes = (batch.shape[1], *spatial), (classes, *spatial)
        found.append(run(open_session(convert(network, *shapes).onnx), batch))
    assert all(each.shape == exact.shape for each in (computed, *found))
    scale = np.abs(exact).max()
    assert len(np.unique(exact)) > 1000  # or nothing would be proved
    rng = np.random.default_rng(0)
    steps = (1 + rng.choice([-1, 1], batch.shape) * 2.0**-24 for _ in range(4))
    rounded = [network.on(NumpyLayers(axes), batch * step) for step in steps]
    numpy, first, second, torch, *off = (
        float(np.abs(each - exact).max() / scale) for each in (computed, *found, original, *rounded)
    )
    return Distances(numpy, max(first, second), torch, max(off))


def check(pickle: Path) -> Distances:
    """Check that a network is the same function, and as near to it in 32 bits as can be asked for.

    That is as near as the original is on this processor, or as ``LAYERS`` roundings lead away.
    """
    distances = measure(pickle)
    assert distances.numpy < 2e-7  # exact results are kept in 32 bits
    assert distances.onnx < max(1e-6, 4 * distances.original, LAYERS * distances.rounded)
    return distances
