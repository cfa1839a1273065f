"""Normalisations of torch.nn that plans name, as layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepseg_export.architectures.layers import Layers, Maps
from deepseg_export.architectures.modules import ADVICE, Take, class_name, known_arguments
from deepseg_export.errors import UnsupportedError


@dataclass(frozen=True)
class Norm:
    """A normalisation: of every map by itself, or by what was recorded in training."""

    epsilon: float | None
    """None is the number of channels."""
    is_affine: bool
    is_recorded: bool
    has_bias: bool = True

    def on(self, layers: Layers, maps: Maps, take: Take) -> Maps:
        """Return normalised maps."""
        shape = (layers.channels(maps),)
        epsilon = float(shape[0]) if self.epsilon is None else self.epsilon
        scale = take("weight", shape) if self.is_affine else None
        bias = take("bias", shape) if self.is_affine and self.has_bias else None
        if not self.is_recorded:
            return layers.instance_norm(maps, scale, bias, epsilon=epsilon)
        mean, variance = take("running_mean", shape), take("running_var", shape)
        return layers.batch_norm(maps, mean, variance, scale, bias, epsilon=epsilon)


@dataclass(frozen=True)
class AxesNorm:
    """A normalisation of all values along some axes of (N, C, *P) together.

    Along the last axis alone a plan gives the class the number of channels for its length.
    """

    epsilon: float | None
    """None is the number of channels."""
    axes: Sequence[int]
    """The last one alone, or all but the first."""
    is_affine: bool = False
    has_bias: bool = False
    is_centred: bool = True
    """Whether by mean and variance; otherwise by the mean of squares alone."""

    def on(self, layers: Layers, maps: Maps, take: Take) -> Maps:
        """Return normalised maps."""
        channels = layers.channels(maps)
        if self.has_fixed_length:
            maps = layers.with_last_axis(maps, channels)
        if self.is_centred:
            maps = layers.subtract(maps, self._mean(layers, maps))
        squares = self._mean(layers, layers.multiply(maps, maps))
        above_zero = layers.add(squares, channels if self.epsilon is None else self.epsilon)
        maps = layers.divide(maps, layers.activation(above_zero, "sqrt"))
        if self.is_affine:
            maps = layers.multiply(maps, take("weight", (channels,)))
        return layers.add(maps, take("bias", (channels,))) if self.has_bias else maps

    @property
    def has_fixed_length(self) -> bool:
        """Return whether the last axis must have as many voxels as there are channels."""
        return len(self.axes) == 1

    def _mean(self, layers: Layers, maps: Maps) -> Maps:
        for axis in self.axes:  # one by one: short sums stay precise
            maps = layers.reduced(maps, "mean", [axis])
        return maps


@dataclass(frozen=True)
class LocalNorm:
    """Division by a power of the mean square of the channels around each, in as many as there are.

    A plan gives the class the number of channels for the number of neighbours.
    """

    alpha: float
    beta: float
    k: float
    is_even: bool
    """Whether as many are taken on both sides; otherwise of an even number one more before."""

    def on(self, layers: Layers, maps: Maps, take: Take) -> Maps:
        """Return normalised maps."""
        size = layers.channels(maps)
        behind = (size - 1) // 2
        before = behind if self.is_even else size // 2
        band = np.tri(size, k=behind) * np.tri(size, k=before).T
        if self.is_even:
            band[:, 0] = 1  # torch's class never takes the first channel out of its sum
        weight = band.astype(np.float32).reshape(size, size, *[1] * layers.axes)
        total = layers.convolution(layers.multiply(maps, maps), weight)
        scale = layers.add(layers.multiply(total, self.alpha / size), self.k)
        power = layers.multiply(layers.activation(scale, "log"), -self.beta)
        return layers.multiply(maps, layers.activation(power, "exp"))


AnyNorm = Norm | LocalNorm | AxesNorm


def read_norm(path: str | None, arguments: Mapping[str, Any] | None, axes: int) -> AnyNorm | None:
    """Return the normalisation of a class of torch.nn; None if there is none.

    Raises
    ------
    UnsupportedError
        If it is unknown here, or no network.
    """
    name = "Identity" if path is None else class_name(path, "norm_op")
    if name == "Identity":
        return None
    if name in _LOCAL and not (name == "CrossMapLRN2d" and axes == 3):
        found = known_arguments(name, arguments, {"alpha": 1e-4, "beta": 0.75, "k": 1.0})
        return LocalNorm(**{key: float(n) for key, n in found.items()}, is_even=_LOCAL[name])
    if name in ("LayerNorm", "RMSNorm"):
        return _norm_of_last_axis(name, arguments, axes)
    usual = {"eps": 1e-5, "affine": True, "bias": True, "device": None}
    if name == "GroupNorm":
        # The plan's number of channels is the number of groups: each channel is a group.
        found = known_arguments(name, arguments, {"num_channels": None, **usual})
        return Norm(float(found["eps"]), bool(found["affine"]), False, bool(found["bias"]))
    return _norm_of_channels(name, arguments, axes, usual)


def _norm_of_last_axis(name: str, arguments: Mapping[str, Any] | None, axes: int) -> AxesNorm:
    is_centred = name == "LayerNorm"
    known = {"eps": 1e-5 if is_centred else None, "elementwise_affine": True, "device": None}
    found = known_arguments(name, arguments, known | ({"bias": True} if is_centred else {}))
    epsilon = np.finfo(np.float32).eps if found["eps"] is None else found["eps"]
    is_affine = bool(found["elementwise_affine"])
    has_bias = is_affine and bool(found.get("bias"))
    return AxesNorm(float(epsilon), [axes + 1], is_affine, has_bias, is_centred)


def _norm_of_channels(
    name: str, arguments: Mapping[str, Any] | None, axes: int, usual: Mapping[str, Any]
) -> Norm | AxesNorm:
    is_lazy, kind = name.startswith("Lazy"), name.removeprefix("Lazy")
    of_maps = kind in (f"InstanceNorm{axes}d", "InstanceNorm3d")
    if not of_maps and kind != f"BatchNorm{axes}d" and name != "SyncBatchNorm":
        raise UnsupportedError(f"norm_op {name} of {axes}-D maps is unknown; {ADVICE}")
    has_both = is_lazy or not of_maps
    known = {**usual, "momentum": 0.1, "affine": has_both, "track_running_stats": has_both}
    if is_lazy and "eps" in (arguments or {}):
        raise UnsupportedError(f"{name} takes the number of channels for eps, and no other")
    found = known_arguments(
        name, arguments, known | ({"process_group": None} if name == "SyncBatchNorm" else {})
    )
    epsilon = None if is_lazy else float(found["eps"])
    is_affine, is_recorded = bool(found["affine"]), bool(found["track_running_stats"])
    if kind == f"InstanceNorm{axes + 1}d":
        if is_affine or is_recorded:
            raise UnsupportedError(
                f"{name} takes the items of a batch of {axes}-D maps for channels, which must be "
                "as many as it has weights or statistics"
            )
        return AxesNorm(epsilon, range(axes + 1, 0, -1))
    # nnU-Net gives one patch at a time, whose maps are all that a batch has without statistics.
    return Norm(epsilon, is_affine, is_recorded, bool(found["bias"]))


_LOCAL = {"LocalResponseNorm": False, "CrossMapLRN2d": True}
"""Whether they take as many neighbours on both sides."""
