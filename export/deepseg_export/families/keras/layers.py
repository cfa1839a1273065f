"""Layers of Keras 2, each checked for its options and computed in layers of an architecture.

Maps are (N, C, *P) here, whatever Keras calls the channel axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from deepseg_export.architectures.layers import Layers, Maps
from deepseg_export.architectures.weights import Weights
from deepseg_export.errors import UnsupportedError
from deepseg_export.families.keras.model import Layer, Model
from deepseg_export.families.problems import Problems, collected

ACTIVATIONS = ("linear", "relu", "sigmoid")


@dataclass(frozen=True)
class Call:
    """Call of a layer: what computes, the maps given, the image, and where weights are taken."""

    layers: Layers
    layer: Layer
    given: tuple[Maps, ...]
    image: Maps
    take: Callable[..., Any]

    @property
    def maps(self) -> Maps:
        """The only maps given."""
        (maps,) = self.given
        return maps


def _activated(call: Call, maps: Maps) -> Maps:
    kind = call.layer.options.get("activation", "linear")
    return maps if kind == "linear" else call.layers.activation(maps, kind)


def _convolution(call: Call) -> Maps:
    options = call.layer.options
    size, rate = options["kernel_size"], options["dilation_rate"]
    inputs, outputs = call.layers.channels(call.maps), options["filters"]
    kernel = call.take(0, (*size, inputs, outputs))
    bias = call.take(1, (outputs,)) if options["use_bias"] else None
    padding: list[tuple[int, int]] = []
    for extent, gap in zip(size, rate, strict=True):
        total = (extent - 1) * gap if options["padding"] == "same" else 0
        padding.append((total // 2, total - total // 2))
    axes = len(size)
    weight = kernel.transpose(axes + 1, axes, *range(axes))
    found = call.layers.convolution(call.maps, weight, bias, padding=padding, dilation=rate)
    return _activated(call, found)


def _transposed(call: Call) -> Maps:
    options = call.layer.options
    size, axes = options["kernel_size"], len(options["kernel_size"])
    inputs, outputs = call.layers.channels(call.maps), options["filters"]
    kernel = call.take(0, (*size, outputs, inputs))
    bias = call.take(1, (outputs,)) if options["use_bias"] else None
    weight = kernel.transpose(axes + 1, axes, *range(axes))
    found = call.layers.transposed_convolution(call.maps, weight, bias, stride=options["strides"])
    return _activated(call, found)


def _normalized(call: Call) -> Maps:
    options, shape = call.layer.options, (call.layers.channels(call.maps),)
    number = iter(range(4))
    scale = call.take(next(number), shape) if options["scale"] else None
    shift = call.take(next(number), shape) if options["center"] else None
    mean, variance = call.take(next(number), shape), call.take(next(number), shape)
    epsilon = float(options["epsilon"])
    return call.layers.batch_norm(call.maps, mean, variance, scale, shift, epsilon=epsilon)


def _pooled(call: Call) -> Maps:
    return call.layers.max_pool(call.maps, call.layer.options["pool_size"])


def _upsampled(call: Call) -> Maps:
    return call.layers.upsample(call.maps, factor=call.layer.options["size"])


def _averaged(call: Call) -> Maps:
    return call.layers.reduced(call.maps, "mean", range(2, call.layers.axes + 2))


COMPUTED: Mapping[str, Callable[[Call], Maps]] = {
    "InputLayer": lambda call: call.image,
    "Conv2D": _convolution,
    "Conv3D": _convolution,
    "Conv2DTranspose": _transposed,
    "BatchNormalization": _normalized,
    "Activation": lambda call: _activated(call, call.maps),
    "Dropout": lambda call: call.maps,
    "MaxPooling2D": _pooled,
    "MaxPooling3D": _pooled,
    "UpSampling2D": _upsampled,
    "UpSampling3D": _upsampled,
    "Concatenate": lambda call: call.layers.concatenate(call.given),
    "GlobalAveragePooling2D": _averaged,
    "RepeatVector": lambda call: call.maps,
    "Reshape": lambda call: call.layers.expand(call.maps, call.image),
    "Lambda": lambda call: call.maps,
}
"""What each class of layer computes; `check_model` says with which options."""


def compute(model: Model, layers: Layers, image: Maps, weights: Weights) -> Maps:
    """Return the output of a model, from an image (N, C, *P)."""
    found: dict[str, Maps] = {}
    for layer in model.layers:

        def take(number: int, shape: Any, name: str = layer.name) -> Any:
            return weights.take(f"{name}/{number}", shape)

        given = tuple(found[name] for name in layer.inputs)
        found[layer.name] = COMPUTED[layer.kind](Call(layers, layer, given, image, take))
    return found[model.output]


def check_model(model: Model) -> None:
    """Refuse layers and options that are not computed as Keras does.

    Raises
    ------
    UnsupportedError
        Listing all of them.
    """
    problems: Problems = []
    by_name = {layer.name: layer for layer in model.layers}
    if model.output not in by_name:
        problems.append(f"its output {model.output} is no layer")
    for layer in model.layers:
        if layer.kind not in COMPUTED:
            problems.append(f"{layer.name}: layers of class {layer.kind[:40]}")
            continue
        with collected(problems, layer.name):
            wanted = _wanted(layer, model, by_name)
            for name, value in layer.options.items():
                if name not in wanted:
                    problems.append(f"{layer.name}: its option {name[:40]}")
                elif not wanted[name](value):
                    problems.append(f"{layer.name}: {name} {str(value)[:40]}")
    if problems:
        raise UnsupportedError(f"The model cannot be exported: {'; '.join(problems)}.")


Test = Callable[[Any], bool]


def _is(*values: Any) -> Test:
    return lambda value: any(value == one and type(value) is type(one) for one in values)


def _sizes(axes: int, *values: int) -> Test:
    """Return a test for one number per axis: any from 1 on, or one of some."""
    return lambda found: (
        isinstance(found, (list, tuple))
        and len(found) == axes
        and all(type(n) is int and n >= 1 and (not values or n in values) for n in found)
    )


def _wanted(layer: Layer, model: Model, by_name: Mapping[str, Layer]) -> Mapping[str, Test]:
    """Return the options that a layer may have, and a test of the value of each."""
    axes, options = len(model.shape) - 1, layer.options
    channel = (-1, axes + 1) if model.channels_last else (1,)
    formats: dict[str, Test] = {
        "data_format": _is("channels_last" if model.channels_last else "channels_first")
    }
    is_count: Test = lambda value: type(value) is int and value >= 1  # noqa: E731
    activation: dict[str, Test] = {"activation": _is(*ACTIVATIONS)}
    flags = _is(True, False)
    if layer.kind in ("Conv2D", "Conv3D", "Conv2DTranspose"):
        transposed = layer.kind == "Conv2DTranspose"
        size = options["kernel_size"]
        return {
            **formats,
            **activation,
            "filters": is_count,
            "kernel_size": _sizes(axes),
            "strides": _is(size) if transposed else _sizes(axes, 1),
            "padding": _is("valid") if transposed else _is("same", "valid"),
            "dilation_rate": _sizes(axes, 1) if transposed else _sizes(axes),
            "use_bias": flags,
            "groups": _is(1),
            "output_padding": _is(None),
        }
    if layer.kind == "BatchNormalization":
        is_small: Test = lambda value: isinstance(value, float) and 0 < value < 1  # noqa: E731
        is_axis: Test = lambda value: (value if type(value) is int else value[0]) in channel  # noqa: E731
        return {"axis": is_axis, "epsilon": is_small, "center": flags, "scale": flags}
    if layer.kind.startswith("MaxPooling"):
        same = _is(options["pool_size"])
        return {**formats, "pool_size": _sizes(axes), "strides": same, "padding": _is("valid")}
    if layer.kind.startswith("UpSampling"):
        return {**formats, "size": _sizes(axes), "interpolation": _is("nearest")}
    if layer.kind == "Lambda":
        return _identity(layer)
    if layer.kind in ("RepeatVector", "Reshape"):
        _check_spread(layer, model, by_name)
    return {
        "InputLayer": {"batch_input_shape": lambda _: True},
        "Activation": activation,
        "Concatenate": {"axis": _is(*channel)},
        "GlobalAveragePooling2D": {**formats, "keepdims": _is(False)},
        "RepeatVector": {"n": is_count},
        "Reshape": {"target_shape": _sizes(axes + 1)},
    }.get(layer.kind, {})


def _identity(layer: Layer) -> Mapping[str, Test]:
    """Return the only options of a `Lambda` that is known: a division by a constant of 1.

    Its code is never looked at: what it divides by stands beside it.
    """
    function = layer.options["function"]
    known = isinstance(function, (list, tuple)) and len(function) == 3
    if not known or not layer.name.startswith("temperature") or function[2] != [1.0]:
        raise UnsupportedError("code of its own (Lambda)")
    nothing = _is({}, None)
    return {
        "function": lambda _: True,
        "function_type": _is("lambda"),
        "output_shape": _is(None),
        "output_shape_type": _is("raw"),
        "arguments": nothing,
        "mask": _is(None),
        "module": lambda _: True,
    }


def _check_spread(layer: Layer, model: Model, by_name: Mapping[str, Layer]) -> None:
    """Refuse what is not an average repeated over the whole grid of the input."""
    before = by_name[layer.inputs[0]].kind
    grid = model.shape[1:]
    if layer.kind == "RepeatVector":
        fits = before == "GlobalAveragePooling2D" and layer.options["n"] == math.prod(grid)
    else:
        fits = before == "RepeatVector" and tuple(layer.options["target_shape"][:-1]) == grid
    if not fits or not model.channels_last:
        raise UnsupportedError("something else than an average spread over the whole grid")
