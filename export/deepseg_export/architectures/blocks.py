"""Blocks of convolutions of nnU-Net's networks, by the names that their weights have.

Source: dynamic_network_architectures 0.4.4, ``building_blocks.simple_conv_blocks``,
``building_blocks.residual`` and ``building_blocks.regularization``. Dropout and stochastic depth do
nothing at inference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from deepseg_export.architectures.layers import Array, Layers, Maps
from deepseg_export.architectures.modules import Nonlinearity, Take
from deepseg_export.architectures.norms import AnyNorm
from deepseg_export.architectures.weights import Weights

Kernel = tuple[int, ...]


@dataclass(frozen=True)
class Style:
    """What all blocks of a network have in common.

    Attributes
    ----------
    norm, nonlinearity : optional
        After every convolution, in this order.
    has_bias : bool
        Whether convolutions have one.
    has_dropout : bool
        Whether a dropout stands between a convolution and what follows; it only counts for names.
    nonlinearity_first : bool
        Whether the two are the other way round.
    squeezes : bool
        Whether residual blocks weigh their channels.
    """

    norm: AnyNorm | None
    nonlinearity: Nonlinearity | None
    has_bias: bool
    has_dropout: bool
    nonlinearity_first: bool = False
    squeezes: bool = False


@dataclass(frozen=True)
class Blocks:
    """Blocks that take their weights by name.

    Attributes
    ----------
    layers : Layers
        What computes.
    weights : Weights
        The network's.
    style : Style
        What they have in common.
    """

    layers: Layers
    weights: Weights
    style: Style

    def convolution(
        self,
        maps: Maps,
        name: str,
        outputs: int,
        kernel: Kernel,
        stride: Sequence[int],
        *,
        has_bias: bool,
        aliases: Sequence[str] = (),
    ) -> Maps:
        """Return a convolution, padded so that a stride of 1 keeps sizes."""
        take = self.taking(name, *aliases)
        return self.layers.convolution(
            maps,
            take("weight", (outputs, self.layers.channels(maps), *kernel)),
            take("bias", (outputs,)) if has_bias else None,
            stride=stride,
            padding=[(size - 1) // 2 for size in kernel],
        )

    def block(
        self,
        maps: Maps,
        name: str,
        outputs: int,
        kernel: Kernel,
        stride: Sequence[int] | None = None,
        *,
        has_bias: bool | None = None,
        is_last: bool = False,
        drops: bool = True,
    ) -> Maps:
        """Return a convolution, its normalisation, and unless it is the last its nonlinearity.

        Source: ``ConvDropoutNormReLU``; it lists every module by its role and by its place.
        """
        style = self.style
        norm, nonlinearity = style.norm, None if is_last else style.nonlinearity
        bias = style.has_bias if has_bias is None else has_bias
        steps = stride or [1] * len(kernel)
        maps = self.convolution(
            maps,
            f"{name}.conv",
            outputs,
            kernel,
            steps,
            has_bias=bias,
            aliases=[f"{name}.all_modules.0"],
        )
        place = 2 if style.has_dropout and drops else 1
        following: list[tuple[str, Nonlinearity]] = []
        if norm is not None:
            following.append(("norm", norm.on))
        if nonlinearity is not None:
            following.append(("nonlin", nonlinearity))
        if style.nonlinearity_first and len(following) == 2:
            following.reverse()
        for index, (role, function) in enumerate(following, place):
            take = self.taking(f"{name}.{role}", f"{name}.all_modules.{index}")
            maps = function(self.layers, maps, take)
        return maps

    def stacked(
        self, maps: Maps, name: str, count: int, outputs: int, kernel: Kernel, stride: Sequence[int]
    ) -> Maps:
        """Return several blocks in a row, the first with the stride; see ``StackedConvBlocks``."""
        for index in range(count):
            steps = stride if index == 0 else None
            maps = self.block(maps, f"{name}.convs.{index}", outputs, kernel, steps)
        return maps

    def residual(
        self,
        maps: Maps,
        name: str,
        outputs: int,
        kernel: Kernel,
        stride: Sequence[int],
        bottleneck: int | None,
    ) -> Maps:
        """Return a block added to its input; see ``BasicBlockD`` and ``BottleneckD``.

        With ``bottleneck`` channels in the middle it is three convolutions, otherwise two.
        """
        layers, one = self.layers, (1,) * len(kernel)
        skip, changes = maps, layers.channels(maps) != outputs
        if math.prod(stride) != 1:
            skip = layers.average_pool(skip, stride)
        if changes:
            place = 1 if math.prod(stride) != 1 else 0
            skip = self.block(
                skip,
                f"{name}.skip.{place}",
                outputs,
                one,
                has_bias=False,
                is_last=True,
                drops=False,
            )
        if bottleneck is None:
            maps = self.block(maps, f"{name}.conv1", outputs, kernel, stride)
            maps = self.block(maps, f"{name}.conv2", outputs, kernel, is_last=True, drops=False)
        else:
            maps = self.block(maps, f"{name}.conv1", bottleneck, one, drops=False)
            maps = self.block(maps, f"{name}.conv2", bottleneck, kernel, stride)
            maps = self.block(maps, f"{name}.conv3", outputs, one, is_last=True, drops=False)
        if self.style.squeezes:
            maps = self._squeezed(maps, f"{name}.squeeze_excitation")
        maps = layers.add(maps, skip)
        if self.style.nonlinearity is None:
            return maps
        last = "nonlin2" if bottleneck is None else "nonlin3"
        return self.style.nonlinearity(layers, maps, self.taking(f"{name}.{last}"))

    def _squeezed(self, maps: Maps, name: str) -> Maps:
        """Return channels weighted by what all of them are on average; see ``SqueezeExcite``.

        The average is over the first two spatial axes, in three dimensions as well.
        """
        layers, one = self.layers, (1,) * self.layers.axes
        channels = layers.channels(maps)
        within = len(self.weights.take(f"{name}.fc1.weight"))
        shares = layers.reduced(maps, "mean", (2, 3))
        shares = self.convolution(shares, f"{name}.fc1", within, one, one, has_bias=True)
        shares = layers.activation(shares, "relu")
        shares = self.convolution(shares, f"{name}.fc2", channels, one, one, has_bias=True)
        return layers.multiply(maps, layers.activation(shares, "sigmoid"))

    def taking(self, *names: str) -> Take:
        """Return a function that gives the arrays of a module, which is listed by several names."""
        also = [alias for name in names for alias in (name, f"decoder.{name}")]

        def take(part: str, shape: Sequence[int | None]) -> Array:
            return self.weights.take_one([f"{alias}.{part}" for alias in also], shape)

        return take
