"""Rule: which convolutions are computed by minimal filtering, from shapes alone."""

from __future__ import annotations

from collections.abc import Collection

from deepseg_export.network.rows.filtering import TILE, Layer

BLOCK = 16
"""Channels of which all must be a multiple for ONNX Runtime's blocked kernels (AVX-512)."""
FEW = 32
"""Channels below which what is done beside the products costs more than they save."""
FEW_WITHIN = 64
"""The same where what follows would have stayed in blocks, too."""
WITHIN = frozenset(("AveragePool", "BatchNormalization", "Conv", "LeakyRelu", "MaxPool", "Relu"))
"""Operations that ONNX Runtime computes in blocks, or as a part of the convolution."""
FEW_VOXELS = 256
"""Voxels of a map below which another form of its weights costs more than it saves."""
SHARE = (TILE + 2) / (3 * TILE)
"""Products of minimal filtering for each of direct convolution."""


def is_blocked(*channels: int) -> bool:
    """Return whether maps of so many channels each are laid out in blocks."""
    return not any(count % BLOCK for count in channels)


def is_worth(layer: Layer, followers: Collection[str]) -> bool:
    """Return whether a convolution, behind which some operations come, is faster so."""
    few = FEW_WITHIN if WITHIN.issuperset(followers) else FEW
    enough = min(layer.count, layer.channels) >= few and layer.height * layer.width >= FEW_VOXELS
    return enough and share_of(layer) < 1


def share_of(layer: Layer) -> float:
    """Return the products of minimal filtering for each of direct convolution."""
    return SHARE * TILE * -(-layer.height // TILE) / layer.height
