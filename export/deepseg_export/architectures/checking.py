"""A network written as ONNX against the same network computed in numpy."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deepseg_export.architectures.network import DirectNetwork
from deepseg_export.architectures.numpy_layers import NumpyLayers
from deepseg_export.architectures.onnx_file import OnnxFile
from deepseg_export.network.verify import SEED, Agreement, compare, open_session, padded, run


def check_direct(
    network: DirectNetwork,
    file: OnnxFile,
    input_shape: Sequence[int | None],
    output_shape: Sequence[int | None],
    folder: Path | None = None,
) -> Agreement:
    """Compare ONNX Runtime with numpy on a small patch.

    Parameters
    ----------
    network : DirectNetwork
        The network.
    file : OnnxFile
        What was written of it. The same operations and weights are opened for images of any size,
        and given two items: normal noise, and noise in the middle of zeros, as a small image in
        its padding.
    input_shape, output_shape : sequence of int or None
        (C, *P) and (K, *P).
    folder : Path, optional
        Where there is room for another copy of the file for a while; by default that of the system.

    Returns
    -------
    agreement : Agreement
        The worst of all.

    Raises
    ------
    VerificationError
        If ONNX Runtime refuses the network, or finds something else.
    """
    layers = NumpyLayers(len(network.patch))
    shape = (int(input_shape[0] or 0), *network.patch)
    noise = np.random.default_rng(SEED).standard_normal((2, *shape), dtype=np.float32)
    batch = np.concatenate([noise[:1], padded(noise[1:])])
    # One by one where they can be, so that items of a batch are found to be independent, too.
    given = np.split(batch, len(batch)) if network.has_free_batch else [batch]
    expected = np.concatenate([network.on(layers, items) for items in given])
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        copy = Path(scratch) / "checked.onnx"
        with copy.open("wb") as opened:
            opened.writelines(file.with_free_axes().parts())
        network.weights.forget_pages()
        found = run(open_session(copy), batch)
    pairs = [
        compare(one, other, (output_shape[0], *network.patch))
        for one, other in zip(expected, found, strict=True)
    ]
    return Agreement(*map(max, *pairs))
