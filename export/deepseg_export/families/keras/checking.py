"""A network of Keras as ONNX, against numpy on slices of a drawn neck.

Networks that find small structures answer noise with 0 everywhere, so that noise shows nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import special

from deepseg_export.architectures.network import DirectNetwork
from deepseg_export.architectures.numpy_layers import NumpyLayers
from deepseg_export.architectures.onnx_file import write_onnx
from deepseg_export.architectures.weights import Weights
from deepseg_export.families.checkpoint import ReadyGraph
from deepseg_export.families.keras.layers import compute
from deepseg_export.families.keras.model import Model
from deepseg_export.network.conversion import OPSET
from deepseg_export.network.verify import compare, open_session, run
from deepseg_lite.api.phantom import make_phantom

MM = (0.25, 0.25, 3.0)
LEAST = 240
"""Voxels in plane that the drawn neck has at least."""


def drawn_neck(shape: Sequence[int]) -> np.ndarray:
    """Return the middle of a drawn axial neck as a batch (1, C, *P), standardised, float32."""
    channels, *patch = shape
    sizes = [*patch, 1][:3]
    x, y, z = (max(size, least) for size, least in zip(sizes, (LEAST, LEAST, 1), strict=True))
    image = make_phantom(shape=(x, y, z), spacing=MM).image
    middle = tuple(
        slice(whole // 2 - size // 2, whole // 2 - size // 2 + size)
        for whole, size in zip(image.shape, sizes, strict=True)
    )
    seen = image[middle]
    seen = ((seen - seen.mean()) / (seen.std() or 1.0)).astype(np.float32)
    return np.broadcast_to(seen.reshape(patch), (1, channels, *patch)).copy()


def converted(model: Model, weights: Weights, output_shape: tuple[int, ...]) -> ReadyGraph:
    """Return a model as ONNX, checked.

    Raises
    ------
    CheckpointError
        If weights are missing, left over or of other shapes.
    UnsupportedError
        If the model gives another shape.
    VerificationError
        If ONNX Runtime finds something else than numpy.
    """

    def network(one: Model) -> DirectNetwork:
        def on(layers: Any, image: Any, given: Weights) -> Any:
            return compute(one, layers, image, given)

        return DirectNetwork("Keras", on, weights, model.shape[1:])

    image = drawn_neck(model.shape)
    whole = b"".join(write_onnx(network(model), model.shape, output_shape).parts())
    open_end = _without_sigmoid(model)
    ended = network(open_end)
    bare = b"".join(write_onnx(ended, model.shape, output_shape).parts())
    expected = ended.on(NumpyLayers(len(model.shape) - 1), image)
    agreement = compare(expected, run(open_session(bare), image), (1, *output_shape))
    found = run(open_session(whole), image)
    wanted = expected if open_end == model else special.expit(expected)
    facts = {
        "on": "phantom",
        "foreground": int((wanted > 0.5).sum()),
        "differing": int(((wanted > 0.5) != (found > 0.5)).sum()),
    }
    return ReadyGraph(whole, OPSET, {"numpy": agreement}, True, facts)


def _without_sigmoid(model: Model) -> Model:
    """Return a model whose output is what goes into its last sigmoid, if there is one."""
    layers = [
        replace(layer, options={**layer.options, "activation": "linear"})
        if layer.name == model.output and layer.options.get("activation") == "sigmoid"
        else layer
        for layer in model.layers
    ]
    return replace(model, layers=tuple(layers))
