"""Activations that are made of several others."""

from __future__ import annotations

import math

from deepseg_export.architectures.layers import Layers, Maps


def silu(layers: Layers, maps: Maps) -> Maps:
    """Return x times its sigmoid, also called swish."""
    return layers.multiply(maps, layers.activation(maps, "sigmoid"))


def gelu(layers: Layers, maps: Maps) -> Maps:
    """Return x times the probability that a standard normal value is below it."""
    erf = layers.activation(layers.multiply(maps, 1 / math.sqrt(2)), "erf")
    return layers.multiply(layers.multiply(maps, 0.5), layers.add(erf, 1.0))


def gelu_tanh(layers: Layers, maps: Maps) -> Maps:
    """Return GELU as approximated with the hyperbolic tangent."""
    cube = layers.multiply(layers.multiply(maps, maps), maps)
    inner = layers.add(maps, layers.multiply(cube, 0.044715))
    tanh = layers.activation(layers.multiply(inner, math.sqrt(2 / math.pi)), "tanh")
    return layers.multiply(layers.multiply(maps, 0.5), layers.add(tanh, 1.0))


def hard_swish(layers: Layers, maps: Maps) -> Maps:
    """Return x times a piecewise linear sigmoid."""
    return layers.multiply(maps, layers.activation(maps, "hard_sigmoid", alpha=1 / 6, beta=0.5))


def celu(layers: Layers, maps: Maps, alpha: float = 1.0) -> Maps:
    """Return x, below 0 alpha (exp(x / alpha) - 1)."""
    unit = layers.activation(layers.divide(maps, alpha), "elu", alpha=1.0)
    return layers.multiply(unit, alpha)


def softplus(layers: Layers, maps: Maps, beta: float = 1.0) -> Maps:
    """Return log(1 + exp(beta x)) / beta."""
    if beta == 1:
        return layers.activation(maps, "softplus")
    return layers.divide(layers.activation(layers.multiply(maps, beta), "softplus"), beta)


def log_sigmoid(layers: Layers, maps: Maps) -> Maps:
    """Return the logarithm of the sigmoid."""
    return layers.multiply(layers.activation(layers.multiply(maps, -1.0), "softplus"), -1.0)


def tanhshrink(layers: Layers, maps: Maps) -> Maps:
    """Return x minus its hyperbolic tangent."""
    return layers.subtract(maps, layers.activation(maps, "tanh"))


def softshrink(layers: Layers, maps: Maps, limit: float = 0.5) -> Maps:
    """Return values brought nearer to 0 by a limit, those within it at 0."""
    return layers.subtract(maps, layers.activation(maps, "clip", low=-limit, high=limit))


def hard_shrink(layers: Layers, maps: Maps, limit: float = 0.5) -> Maps:
    """Return values with 0 in the place of those within a limit."""
    above, below = (
        layers.activation(each, "threshold", limit=limit, value=0.0)
        for each in (maps, layers.multiply(maps, -1.0))
    )
    return layers.subtract(above, below)


def softmax(layers: Layers, maps: Maps, axis: float = 1) -> Maps:
    """Return values that sum to 1 along an axis of (N, C, *P)."""
    shifted = layers.subtract(maps, layers.reduced(maps, "max", [int(axis)]))
    shares = layers.activation(shifted, "exp")
    return layers.divide(shares, layers.reduced(shares, "sum", [int(axis)]))


def softmin(layers: Layers, maps: Maps, axis: float = 1) -> Maps:
    """Return `softmax` of the negative values."""
    return softmax(layers, layers.multiply(maps, -1.0), axis)


def log_softmax(layers: Layers, maps: Maps, axis: float = 1) -> Maps:
    """Return the logarithm of `softmax`."""
    shifted = layers.subtract(maps, layers.reduced(maps, "max", [int(axis)]))
    total = layers.reduced(layers.activation(shifted, "exp"), "sum", [int(axis)])
    return layers.subtract(shifted, layers.activation(total, "log"))
