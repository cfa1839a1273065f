"""Modules of torch.nn that plans name, as layers: what they compute in a trained network.

Names are paths such as ``torch.nn.modules.instancenorm.InstanceNorm3d``, and arguments those of the
class in torch 2. Nothing is imported of either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from deepseg_export.architectures import activations
from deepseg_export.architectures.layers import Array, Layers, Maps
from deepseg_export.errors import UnsupportedError

ADVICE = "with PyTorch installed, --with torch may convert it"
Take = Callable[..., Array]
"""Function that gives an array of a module by its name in it, and the shape it must have."""


def class_name(path: Any, wanted: str) -> str:
    """Return the last part of a path into torch.nn.

    Raises
    ------
    UnsupportedError
        If it is no such path.
    """
    if not isinstance(path, str) or not path.startswith("torch.nn."):
        raise UnsupportedError(
            f"{wanted} is {str(path)[:80]!r}, which is not of torch.nn; {ADVICE}"
        )
    return path.rpartition(".")[2]


def dimension_of(path: Any, kind: str) -> int:
    """Return 2 or 3 for a class such as ``Conv3d``."""
    name = class_name(path, kind)
    if name not in (f"{kind}2d", f"{kind}3d"):
        raise UnsupportedError(f"{name} is not {kind}2d or {kind}3d; {ADVICE}")
    return int(name[-2])


Nonlinearity = Callable[[Layers, Maps, Take], Maps]


def read_nonlinearity(path: str | None, arguments: Mapping[str, Any] | None) -> Nonlinearity | None:
    """Return the nonlinearity of a class of torch.nn; None if there is none.

    Raises
    ------
    UnsupportedError
        If it is unknown here.
    """
    name = "Identity" if path is None else class_name(path, "nonlin")
    if name == "Identity":
        return None
    if name not in _NONLINEARITIES:
        raise UnsupportedError(f"nonlin {path} is unknown; {ADVICE}")
    defaults, make = _NONLINEARITIES[name]
    return make(known_arguments(name, arguments, {"inplace": False, **defaults}))


def known_arguments(
    name: str, arguments: Mapping[str, Any] | None, defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """Return all arguments of a class, those that were given in the place of the defaults."""
    given = dict(arguments or {})
    if strange := sorted(given.keys() - defaults.keys()):
        raise UnsupportedError(f"{name} has no argument {', '.join(map(str, strange))[:80]}")
    return {**defaults, **given}


def _one(kind: Any, **numbers: Callable[[dict[str, Any]], float]) -> Callable[..., Nonlinearity]:
    """Return what makes a nonlinearity of one activation, with numbers made of arguments."""

    def make(arguments: dict[str, Any]) -> Nonlinearity:
        values = {name: float(number(arguments)) for name, number in numbers.items()}
        return lambda layers, maps, take: layers.activation(maps, kind, **values)

    return make


def _several(function: Callable[..., Maps], *names: str) -> Callable[..., Nonlinearity]:
    """Return what makes a nonlinearity of a function of `activations`."""

    def make(arguments: dict[str, Any]) -> Nonlinearity:
        values = [float(arguments[name]) for name in names]
        return lambda layers, maps, take: function(layers, maps, *values)

    return make


def _prelu(arguments: dict[str, Any]) -> Nonlinearity:
    shape = (int(arguments["num_parameters"]),)
    return lambda layers, maps, take: layers.prelu(maps, take("weight", shape))


def _along(function: Callable[..., Maps]) -> Callable[..., Nonlinearity]:
    """Return what makes a nonlinearity of a function along an axis, by default the channels'."""

    def make(arguments: dict[str, Any]) -> Nonlinearity:
        dim = arguments["dim"]

        def on(layers: Layers, maps: Maps, take: Take) -> Maps:
            count = layers.axes + 2
            axis = 1 if dim is None else int(dim) % count
            if axis == 0 or not -count <= int(dim or 0) < count:
                raise UnsupportedError(f"dim {dim} of {count} is not within an image")
            return function(layers, maps, axis)

        return on

    return make


def _gelu(arguments: dict[str, Any]) -> Nonlinearity:
    exact = str(arguments["approximate"]) == "none"
    return _several(activations.gelu if exact else activations.gelu_tanh)(arguments)


_NONLINEARITIES: dict[str, tuple[dict[str, Any], Callable[..., Nonlinearity]]] = {
    "CELU": ({"alpha": 1.0}, _several(activations.celu, "alpha")),
    "ELU": ({"alpha": 1.0}, _one("elu", alpha=lambda given: given["alpha"])),
    "GELU": ({"approximate": "none"}, _gelu),
    "Hardshrink": ({"lambd": 0.5}, _several(activations.hard_shrink, "lambd")),
    "Hardsigmoid": ({}, _one("hard_sigmoid", alpha=lambda _: 1 / 6, beta=lambda _: 0.5)),
    "Hardswish": ({}, _several(activations.hard_swish)),
    "Hardtanh": (
        {"min_val": -1.0, "max_val": 1.0},
        _one("clip", low=lambda given: given["min_val"], high=lambda given: given["max_val"]),
    ),
    "LeakyReLU": (
        {"negative_slope": 0.01},
        _one("leaky_relu", slope=lambda given: given["negative_slope"]),
    ),
    "LogSoftmax": ({"dim": None}, _along(activations.log_softmax)),
    "LogSigmoid": ({}, _several(activations.log_sigmoid)),
    "Mish": ({}, _one("mish")),
    "PReLU": ({"num_parameters": 1, "init": 0.25}, _prelu),
    "RReLU": (
        {"lower": 1 / 8, "upper": 1 / 3},
        _one("leaky_relu", slope=lambda given: (given["lower"] + given["upper"]) / 2),
    ),
    "ReLU": ({}, _one("relu")),
    "ReLU6": ({}, _one("clip", low=lambda _: 0, high=lambda _: 6)),
    "SELU": ({}, _one("selu")),
    "SiLU": ({}, _several(activations.silu)),
    "Sigmoid": ({}, _one("sigmoid")),
    "Softmax": ({"dim": None}, _along(activations.softmax)),
    "Softmax2d": ({"dim": 1}, _along(activations.softmax)),
    "Softmin": ({"dim": None}, _along(activations.softmin)),
    "Softplus": ({"beta": 1.0, "threshold": 20.0}, _several(activations.softplus, "beta")),
    "Softshrink": ({"lambd": 0.5}, _several(activations.softshrink, "lambd")),
    "Softsign": ({}, _one("softsign")),
    "Tanh": ({}, _one("tanh")),
    "Tanhshrink": ({}, _several(activations.tanhshrink)),
    "Threshold": (
        {"threshold": None, "value": None},
        _one(
            "threshold", limit=lambda given: given["threshold"], value=lambda given: given["value"]
        ),
    ),
}
"""Arguments that change nothing at inference, or stand for the usual, are taken as well."""
