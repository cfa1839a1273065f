"""U-Nets of nnU-Net, as its plans describe them.

Source: dynamic_network_architectures 0.4.4, ``architectures.unet`` and the encoders and decoders
that it is made of.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deepseg_export.architectures.blocks import Blocks, Style
from deepseg_export.architectures.layers import Maps
from deepseg_export.architectures.modules import (
    ADVICE,
    class_name,
    dimension_of,
    read_nonlinearity,
)
from deepseg_export.architectures.network import DirectNetwork, small_patch
from deepseg_export.architectures.norms import AxesNorm, read_norm
from deepseg_export.architectures.weights import Weights
from deepseg_export.errors import UnsupportedError

NAMES = ("PlainConvUNet", "ResidualEncoderUNet", "ResidualUNet")
_UNUSED = ("num_batches_tracked",)
_MAX_BLOCKS = 1000
_DROPOUTS = frozenset(
    ("AlphaDropout", "Dropout", "Dropout2d", "Dropout3d", "FeatureAlphaDropout", "Identity")
)
"""Those that take maps and do nothing at inference."""


@dataclass(frozen=True)
class Plan:
    """A U-Net: its stages from the finest to the coarsest, and how they are connected.

    Attributes
    ----------
    axes : int
        Spatial axes, 2 or 3.
    features : sequence of int
        Channels of each stage.
    kernels, strides : sequence of tuple of int
        Kernel of each stage, and by what it is coarser than the one before.
    blocks, decoder_blocks : sequence of int
        Blocks of each stage on the way down, and from the coarsest on the way up.
    bottlenecks : sequence of int or None
        Channels within the residual blocks of each stage; None are blocks of two convolutions.
    stem : int or None
        Channels of the convolution before the first stage; None is none, and plain blocks.
    residual_decoder : bool
        Whether the way up has residual blocks as well.
    pool : str
        What makes a stage coarser: the stride of a convolution (``conv``), or a pooling of the
        largest (``max``) or average (``avg``).
    style : Style
        What all blocks have in common.
    """

    axes: int
    features: Sequence[int]
    kernels: Sequence[tuple[int, ...]]
    strides: Sequence[tuple[int, ...]]
    blocks: Sequence[int]
    decoder_blocks: Sequence[int]
    bottlenecks: Sequence[int | None]
    stem: int | None
    residual_decoder: bool
    pool: str
    style: Style


def read_plan(name: str, arguments: Mapping[str, Any]) -> Plan:
    """Read the arguments that plans give to a class of networks.

    Parameters
    ----------
    name : str
        Of the class, one of `NAMES`.
    arguments : dict
        Its arguments; classes are named by their paths.

    Raises
    ------
    UnsupportedError
        If something is not known here, or does not fit together.
    """
    left = dict(arguments)
    is_plain = name == "PlainConvUNet"
    axes = dimension_of(left.pop("conv_op"), "Conv")
    stages = _whole(left.pop("n_stages"), "n_stages")

    def per_stage(key: str, count: int = stages) -> list[Any]:
        value = left.pop(key)
        values = list(value) if isinstance(value, (list, tuple)) else [value] * count
        if len(values) != count:
            raise UnsupportedError(f"{key} has {len(values)} entries for {count} stages")
        return values

    def sizes(key: str) -> list[tuple[int, ...]]:
        found = []
        for value in per_stage(key):
            each = value if isinstance(value, (list, tuple)) else [value] * axes
            if len(each) != axes:
                raise UnsupportedError(f"{key} has an entry for {len(each)} axes of {axes}")
            found.append(tuple(_whole(size, key) for size in each))
        return found

    def counts(key: str, count: int = stages) -> list[int]:
        return [_whole(value, key) for value in per_stage(key, count)]

    block = "BasicBlockD" if is_plain else str(left.pop("block", "BasicBlockD"))
    bottleneck = None if is_plain else left.pop("bottleneck_channels", None)
    bottlenecks: list[int | None] = [None] * stages
    if block.rpartition(".")[2] == "BottleneckD":
        left["bottleneck_channels"] = bottleneck
        bottlenecks = list(counts("bottleneck_channels"))
    elif block.rpartition(".")[2] != "BasicBlockD":
        raise UnsupportedError(f"block {block[:80]} is unknown; {ADVICE}")
    features = counts("features_per_stage")
    stem = None if is_plain else left.pop("stem_channels", None)
    for ignored in ("dropout_op_kwargs", "deep_supervision", "stochastic_depth_p"):
        left.pop(ignored, None)
    left.pop("squeeze_excitation_reduction_ratio", None)  # the weights have that shape
    pool = str(left.pop("pool" if is_plain else "pool_type", "conv"))
    if pool not in ("conv", "max", "avg"):
        raise UnsupportedError(f"pooling {pool[:20]!r} is unknown; {ADVICE}")
    plan = Plan(
        axes=axes,
        features=features,
        kernels=sizes("kernel_sizes"),
        strides=sizes("strides"),
        blocks=counts("n_conv_per_stage" if is_plain else "n_blocks_per_stage"),
        decoder_blocks=counts("n_conv_per_stage_decoder", stages - 1),
        bottlenecks=bottlenecks,
        stem=None if is_plain else _whole(stem or features[0], "stem_channels"),
        residual_decoder=name == "ResidualUNet",
        pool=pool,
        style=Style(
            norm=read_norm(left.pop("norm_op", None), left.pop("norm_op_kwargs", None), axes),
            nonlinearity=read_nonlinearity(
                left.pop("nonlin", None), left.pop("nonlin_kwargs", None)
            ),
            has_bias=bool(left.pop("conv_bias", False)),
            has_dropout=_has_dropout(left.pop("dropout_op", None)),
            nonlinearity_first=is_plain and bool(left.pop("nonlin_first", False)),
            squeezes=not is_plain and bool(left.pop("squeeze_excitation", False)),
        ),
    )
    if left:
        raise UnsupportedError(f"{name} has no argument {', '.join(map(str, left))[:80]}; {ADVICE}")
    if stages < 2 or sum(plan.blocks) + sum(plan.decoder_blocks) > _MAX_BLOCKS:
        raise UnsupportedError(f"{stages} stages with {sum(plan.blocks)} blocks are no U-Net")
    return plan


def direct_unet(name: str, plan: Plan, heads: int, weights: Weights) -> DirectNetwork:
    """Return a U-Net with its weights.

    Parameters
    ----------
    name : str
        Of its class.
    plan : Plan
        From `read_plan`.
    heads : int
        Output channels.
    weights : Weights
        The state of the network, without prefixes.
    """
    last = len(plan.features) - 2
    weights.leave(
        name
        for name in weights
        if name.endswith(_UNUSED)
        or (name.startswith("decoder.seg_layers.") and f".{last}." not in name)
    )
    patch = small_patch([math.prod(steps) for steps in zip(*plan.strides, strict=True)])
    norm = plan.style.norm
    if isinstance(norm, AxesNorm) and norm.has_fixed_length:  # patches have no other last axis
        patch = (*patch[:-1], plan.stem or plan.features[0])
    return DirectNetwork(
        name,
        lambda layers, image, given: _unet(Blocks(layers, given, plan.style), image, plan, heads),
        weights,
        patch,
    )


def _unet(blocks: Blocks, maps: Maps, plan: Plan, heads: int) -> Maps:
    """Return the logits of an image."""
    layers, one = blocks.layers, (1,) * plan.axes
    if plan.stem is not None:
        maps = blocks.stacked(maps, "encoder.stem", 1, plan.stem, plan.kernels[0], one)
    skips = []
    for stage in range(len(plan.features)):
        maps = _down(blocks, maps, plan, stage)
        skips.append(maps)
    skips.pop()
    for step, count in enumerate(plan.decoder_blocks):
        skip, below = skips.pop(), len(plan.features) - 1 - step
        outputs, kernel = plan.features[below - 1], plan.kernels[below - 1]
        maps = _up(blocks, maps, f"decoder.transpconvs.{step}", outputs, plan.strides[below])
        maps = layers.concatenate([maps, skip])
        name = f"decoder.stages.{step}"
        if plan.residual_decoder:
            for index in range(count):
                maps = blocks.residual(maps, f"{name}.blocks.{index}", outputs, kernel, one, None)
        else:
            maps = blocks.stacked(maps, name, count, outputs, kernel, one)
    head = f"decoder.seg_layers.{len(plan.decoder_blocks) - 1}"
    return blocks.convolution(maps, head, heads, one, one, has_bias=True)


def _down(blocks: Blocks, maps: Maps, plan: Plan, stage: int) -> Maps:
    """Return a stage of the encoder; poolings stand before its blocks and shift their names."""
    stride, kernel, outputs = plan.strides[stage], plan.kernels[stage], plan.features[stage]
    one, name = (1,) * plan.axes, f"encoder.stages.{stage}"
    is_pooled = plan.pool != "conv" and (plan.stem is not None or math.prod(stride) != 1)
    if is_pooled:
        pool = blocks.layers.max_pool if plan.pool == "max" else blocks.layers.average_pool
        maps = pool(maps, stride)
    steps = stride if plan.pool == "conv" else one
    if plan.stem is None:
        name += ".1" if is_pooled else ".0"
        return blocks.stacked(maps, name, plan.blocks[stage], outputs, kernel, steps)
    name += ".1" if is_pooled else ""
    for index in range(plan.blocks[stage]):
        maps = blocks.residual(
            maps,
            f"{name}.blocks.{index}",
            outputs,
            kernel,
            steps if index == 0 else one,
            plan.bottlenecks[stage],
        )
    return maps


def _up(blocks: Blocks, maps: Maps, name: str, outputs: int, stride: tuple[int, ...]) -> Maps:
    take = blocks.taking(name)
    return blocks.layers.transposed_convolution(
        maps,
        take("weight", (blocks.layers.channels(maps), outputs, *stride)),
        take("bias", (outputs,)) if blocks.style.has_bias else None,
        stride=stride,
    )


def _has_dropout(path: str | None) -> bool:
    name = None if path is None else class_name(path, "dropout_op")
    if name is not None and name not in _DROPOUTS:
        raise UnsupportedError(f"dropout_op {path} is not a dropout of maps; {ADVICE}")
    return name is not None


def _whole(value: Any, key: str) -> int:
    if type(value) is not int or value < 1:
        raise UnsupportedError(f"{key} is {str(value)[:40]}; whole numbers above 0 are needed")
    return value
