"""Architectures of files that hold weights alone, told by the names of their layers.

Each is a function from the number of filters to a model. Nothing goes by the names of files.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from deepseg_export.families.keras.model import Layer, Model

GRID = 200


def gray_matter(filters: int) -> Model:
    """Return the network of gray matter.

    Source: Perone, Calabrese and Cohen-Adad, Sci Rep 2018;8:5966, and the names of the layers in
    the Spinal Cord Toolbox's ``large_model.hdf5`` and ``challenge_model.hdf5``.
    """
    made = [Layer("input_1", "InputLayer", {"batch_input_shape": [None, GRID, GRID, 1]}, ())]
    norms = iter(range(1, 17))

    def add(name: str, kind: str, *inputs: str, **options: Any) -> str:
        made.append(Layer(name, kind, options, inputs))
        return name

    def convolution(name: str, given: str, size: int, rate: int, count: int, function: str) -> str:
        return add(
            name,
            "Conv2D",
            given,
            filters=count,
            kernel_size=[size, size],
            strides=[1, 1],
            padding="same",
            data_format="channels_last",
            dilation_rate=[rate, rate],
            activation=function,
            use_bias=True,
        )

    def normalized(given: str) -> str:
        name = f"batch_normalization_{next(norms)}"
        add(name, "BatchNormalization", given, axis=-1, epsilon=1e-3, center=True, scale=True)
        return name

    def block(name: str, given: str, size: int, rate: int, count: int = filters) -> str:
        return normalized(convolution(name, given, size, rate, count, "relu"))

    early = block("conv2d_2", block("conv2d_1", "input_1", 3, 1), 3, 1)
    shared = block("rate2_2", block("rate2_1", early, 3, 2), 3, 2)
    branches = [block("branch1x1_2", block("branch1x1_1", shared, 3, 1), 1, 1)]
    for rate in (6, 12, 18, 24):
        first = block(f"rate{rate}_1", shared, 3, rate)
        branches.append(block(f"rate{rate}_2", first, 3, rate))
    pooled = add("global_average_pooling2d_1", "GlobalAveragePooling2D", early)
    repeated = add("repeat_vector_1", "RepeatVector", pooled, n=GRID * GRID)
    spread = add("reshape_1", "Reshape", repeated, target_shape=[GRID, GRID, filters])
    joined = add("concatenate_1", "Concatenate", *branches[:4], spread, branches[4], axis=-1)
    top = block("amort", normalized(joined), 1, 1, 64)
    convolution("predictions", top, 1, 1, 1, "sigmoid")
    return Model(tuple(made), (1, GRID, GRID), "predictions", channels_last=True)


@dataclass(frozen=True)
class Known:
    """Architecture: the layers with weights that tell it, and what makes it of its filters."""

    layers: frozenset[str]
    make: Callable[[int], Model]


def _with_weights(model: Model) -> frozenset[str]:
    kinds = ("Conv2D", "BatchNormalization")
    return frozenset(layer.name for layer in model.layers if layer.kind in kinds)


KNOWN: Mapping[str, Known] = {
    "gray_matter_aspp": Known(_with_weights(gray_matter(1)), gray_matter),
}


def find_known(layers: Collection[str]) -> str | None:
    """Return the name of the architecture whose layers with weights these are."""
    return next((name for name, known in KNOWN.items() if known.layers == set(layers)), None)
