"""Functional models of Keras 2 as data: layers in order, with their options and inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deepseg_export.errors import UnsupportedError
from deepseg_export.families.problems import Problems, collected
from deepseg_export.reading.limits import check_numbers

_TRAINING = (
    "name", "trainable", "dtype", "rate", "noise_shape", "seed", "momentum", "sparse", "ragged",
    "kernel_initializer", "bias_initializer", "beta_initializer", "gamma_initializer",
    "moving_mean_initializer", "moving_variance_initializer", "kernel_regularizer",
    "bias_regularizer", "beta_regularizer", "gamma_regularizer", "activity_regularizer",
    "kernel_constraint", "bias_constraint", "beta_constraint", "gamma_constraint",
)  # fmt: skip
"""Options that training alone, or nobody, looks at."""


@dataclass(frozen=True)
class Layer:
    """A layer: its name, its class, its options without those of training, its inputs by name."""

    name: str
    kind: str
    options: Mapping[str, Any]
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Model:
    """Layers so that each comes after its inputs, the shape of the input, and which is the output.

    ``shape`` is (C, *P), whatever the order of Keras is; ``channels_last`` says which that is.
    """

    layers: tuple[Layer, ...]
    shape: tuple[int, ...]
    output: str
    channels_last: bool


def read_model(config: Mapping[str, Any]) -> Model:
    """Return the functional model that ``model_config`` describes.

    Raises
    ------
    UnsupportedError
        Listing everything that is not understood.
    """
    kind = config.get("class_name")
    if kind not in ("Model", "Functional"):
        raise UnsupportedError(
            f"The file holds a model of class {str(kind)[:40]}; a functional model of Keras 2 is "
            "needed."
        )
    body = config["config"]
    problems: Problems = []
    for key in ("input_layers", "output_layers"):
        if len(body[key]) != 1:
            problems.append(f"{len(body[key])} {key.replace('_', ' ')}; one is needed")
    layers, known = [], set()
    for each in body["layers"]:
        name = str(each.get("name"))[:80]
        with collected(problems, name):
            options = {k: v for k, v in each["config"].items() if k not in _TRAINING}
            check_numbers({k: v for k, v in options.items() if k != "function"})
            layer = Layer(name, each["class_name"], options, tuple(_inputs(each)))
            if strange := [other for other in layer.inputs if other not in known]:
                problems.append(f"{name}: its input {', '.join(strange)} does not come before it")
            layers.append(layer)
        known.add(name)
    formats = {x.options["data_format"] for x in layers if "data_format" in x.options}
    if len(formats) != 1 or not formats <= {"channels_last", "channels_first"}:
        problems.append(
            f"data_format is {', '.join(map(str, formats)) or 'not said'}; one is needed"
        )
    _refuse(problems)
    last = formats == {"channels_last"}
    first = next(layer for layer in layers if layer.name == body["input_layers"][0][0])
    sizes = first.options["batch_input_shape"][1:]
    if len(sizes) not in (3, 4) or not all(isinstance(size, int) and size > 0 for size in sizes):
        raise UnsupportedError(f"Its input has the shape {sizes}; sizes of 2 or 3 axes are needed.")
    shape = (sizes[-1], *sizes[:-1]) if last else tuple(sizes)
    return Model(tuple(layers), shape, str(body["output_layers"][0][0]), last)


def _inputs(layer: Mapping[str, Any]) -> Iterator[str]:
    nodes = layer["inbound_nodes"]
    if len(nodes) > 1:
        raise UnsupportedError("it is used in several places")
    for name, node, tensor, *_ in nodes[0] if nodes else ():
        if (node, tensor) != (0, 0):
            raise UnsupportedError(f"output {tensor} of use {node} of {name}")
        yield str(name)


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        raise UnsupportedError(f"The model cannot be exported: {'; '.join(problems)}.")
