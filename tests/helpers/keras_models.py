"""Files as Keras 2 writes them, made with h5py alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

SMALL_GRAY_MATTER = 2
"""Filters of a small network of gray matter."""


def layer(kind: str, name: str, inputs: Sequence[str] = (), **options: Any) -> dict[str, Any]:
    """Return a layer of ``model_config``."""
    nodes = [[[one, 0, 0, {}] for one in inputs]] if inputs else []
    return {
        "class_name": kind,
        "name": name,
        "config": {"name": name, "trainable": True, **options},
        "inbound_nodes": nodes,
    }


def convolution(
    name: str, given: str, size: Sequence[int], filters: int, **options: Any
) -> dict[str, Any]:
    """Return a convolution with the options that Keras writes."""
    axes = len(size)
    last = options.pop("last", True)
    return layer(
        f"Conv{axes}D",
        name,
        [given],
        **{
            "filters": filters,
            "kernel_size": list(size),
            "strides": [1] * axes,
            "padding": "same",
            "data_format": "channels_last" if last else "channels_first",
            "dilation_rate": [1] * axes,
            "activation": "linear",
            "use_bias": True,
            "kernel_initializer": {"class_name": "VarianceScaling", "config": {"scale": 1.0}},
            "bias_regularizer": None,
            **options,
        },
    )


def norm(name: str, given: str, axis: int) -> dict[str, Any]:
    options = {"axis": axis, "momentum": 0.99, "epsilon": 1e-3, "center": True, "scale": True}
    return layer("BatchNormalization", name, [given], **options)


def model(layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a ``model_config`` from the first layer to the last."""
    ends = [[layers[0]["name"], 0, 0]], [[layers[-1]["name"], 0, 0]]
    config = {
        "name": "model_1",
        "layers": list(layers),
        "input_layers": ends[0],
        "output_layers": ends[1],
    }
    return {"class_name": "Model", "config": config}


def unet_2d(size: int = 16) -> dict[str, Any]:
    """Return a network with every layer of the centreline networks but the Lambda."""
    pool = {"pool_size": [2, 2], "strides": [2, 2], "padding": "valid"}
    format_ = {"data_format": "channels_last"}
    return model(
        [
            layer("InputLayer", "input_1", batch_input_shape=[None, size, size, 1], sparse=False),
            convolution("conv2d_1", "input_1", (3, 3), 3, dilation_rate=[2, 2]),
            norm("batch_normalization_1", "conv2d_1", 3),
            layer("Activation", "activation_1", ["batch_normalization_1"], activation="relu"),
            layer("Dropout", "dropout_1", ["activation_1"], rate=0.2, noise_shape=None, seed=None),
            layer("MaxPooling2D", "max_pooling2d_1", ["dropout_1"], **pool, **format_),
            convolution("conv2d_2", "max_pooling2d_1", (3, 3), 4, activation="relu"),
            layer(
                "Conv2DTranspose",
                "conv2d_transpose_1",
                ["conv2d_2"],
                filters=2,
                kernel_size=[2, 2],
                strides=[2, 2],
                padding="valid",
                activation="linear",
                use_bias=True,
                **format_,
            ),
            layer("Concatenate", "concatenate_1", ["conv2d_transpose_1", "activation_1"], axis=3),
            convolution("conv2d_3", "concatenate_1", (1, 1), 1, padding="valid"),
            layer("Activation", "activation_2", ["conv2d_3"], activation="sigmoid"),
        ]
    )


def unet_3d(size: int = 8) -> dict[str, Any]:
    """Return a network with every layer of the lesion networks, channels first."""
    pool = {"pool_size": [2, 2, 2], "strides": [2, 2, 2], "padding": "valid"}
    format_ = {"data_format": "channels_first"}
    return model(
        [
            layer("InputLayer", "input_1", batch_input_shape=[None, 1, size, size, size]),
            convolution("conv3d_1", "input_1", (3, 3, 3), 3, last=False),
            norm("batch_normalization_1", "conv3d_1", 1),
            layer("Activation", "activation_1", ["batch_normalization_1"], activation="relu"),
            layer("MaxPooling3D", "max_pooling3d_1", ["activation_1"], **pool, **format_),
            convolution("conv3d_2", "max_pooling3d_1", (3, 3, 3), 3, last=False),
            layer("UpSampling3D", "up_sampling3d_1", ["conv3d_2"], size=[2, 2, 2], **format_),
            layer("Concatenate", "concatenate_1", ["up_sampling3d_1", "activation_1"], axis=1),
            convolution("conv3d_3", "concatenate_1", (1, 1, 1), 1, last=False, padding="valid"),
            layer("Activation", "activation_2", ["conv3d_3"], activation="sigmoid"),
        ]
    )


def arrays_of(config: Mapping[str, Any], rng: np.random.Generator) -> dict[str, list[np.ndarray]]:
    """Return random weights for the layers of a model, in Keras' layout."""
    channels: dict[str, int] = {}
    made: dict[str, list[np.ndarray]] = {}
    for each in config["config"]["layers"]:
        name, options = each["name"], each["config"]
        given = [one[0] for one in (each["inbound_nodes"] or [[]])[0]]
        count = sum(channels[one] for one in given)
        made[name] = []
        if each["class_name"] == "InputLayer":
            count = 1
        elif "filters" in options:
            out, size = options["filters"], options["kernel_size"]
            ends = (out, count) if "Transpose" in each["class_name"] else (count, out)
            made[name] = [rng.normal(0, 0.3, (*size, *ends)), rng.normal(0, 0.1, out)]
            count = out
        elif each["class_name"] == "BatchNormalization":
            made[name] = [rng.uniform(0.5, 1.5, count) for _ in range(4)]
        channels[name] = count
    return {name: [one.astype(np.float32) for one in arrays] for name, arrays in made.items()}


ENDINGS = {2: ("kernel:0", "bias:0"), 4: ("gamma:0", "beta:0", "moving_mean:0", "moving_var:0")}


def write_weights(group: h5py.Group, arrays: Mapping[str, Sequence[np.ndarray]]) -> None:
    """Write weights as Keras 2 does."""
    group.attrs["layer_names"] = [name.encode() for name in arrays]
    for name, own in arrays.items():
        made = group.create_group(name)
        names = [f"{name}/{ending}" for ending in ENDINGS.get(len(own), ())]
        made.attrs["weight_names"] = [each.encode() for each in names]
        for each, array in zip(names, own, strict=True):
            made[each] = array


def write_model(
    path: Path,
    config: Mapping[str, Any],
    arrays: Mapping[str, Sequence[np.ndarray]] | None = None,
    seed: int = 0,
) -> Path:
    """Write a whole model, with an optimizer's state beside it."""
    if arrays is None:
        arrays = arrays_of(config, np.random.default_rng(seed))
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config).encode()
        file.attrs["keras_version"] = b"2.0.6"
        write_weights(file.create_group("model_weights"), arrays)
        file.create_group("optimizer_weights")["iterations"] = np.zeros(())
    return path


def write_gray_matter(path: Path, filters: int = SMALL_GRAY_MATTER, seed: int = 0) -> Path:
    """Write the weights of a network of gray matter, without an architecture."""
    rng = np.random.default_rng(seed)
    arrays: dict[str, list[np.ndarray]] = {"input_1": []}

    def convolve(name: str, size: int, given: int, made: int) -> None:
        kernel = rng.normal(0, 0.2, (size, size, given, made))
        arrays[name] = [kernel.astype(np.float32), np.zeros(made, np.float32)]

    f = filters
    convolve("conv2d_1", 3, 1, f)
    names = ["conv2d_2", "rate2_1", "rate2_2", "branch1x1_1", "branch1x1_2"]
    names += [f"rate{rate}_{number}" for rate in (6, 12, 18, 24) for number in (1, 2)]
    for name in names:
        convolve(name, 1 if name == "branch1x1_2" else 3, f, f)
    convolve("amort", 1, 6 * f, 64)
    convolve("predictions", 1, 64, 1)
    widths = [f] * 14 + [6 * f, 64]
    for number, width in enumerate(widths, 1):
        own = [rng.uniform(0.5, 1.5, width).astype(np.float32) for _ in range(4)]
        arrays[f"batch_normalization_{number}"] = own
    with h5py.File(path, "w") as file:
        write_weights(file, arrays)
    path.with_suffix(".json").write_text(json.dumps({"filters": f, "mean_train": 1.0}))
    return path
