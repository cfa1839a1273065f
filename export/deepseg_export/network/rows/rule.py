"""Rule: which convolutions are computed by minimal filtering, from shapes alone."""

from __future__ import annotations

from deepseg_export.network.rows.filtering import TILE, Layer

BLOCK = 16
"""Channels of which all must be a multiple for ONNX Runtime's blocked kernels (AVX-512)."""
FEW = 32
"""Channels below which what is done beside the products costs more than they save."""
FEW_VOXELS = 256
"""Voxels of a map below which another form of its weights costs more than it saves."""
SHARE = (TILE + 2) / (3 * TILE)
"""Products of minimal filtering for each of direct convolution."""


def is_blocked(*channels: int) -> bool:
    """Return whether maps of so many channels each are laid out in blocks."""
    return not any(count % BLOCK for count in channels)


def is_worth(layer: Layer) -> bool:
    """Return whether a convolution is faster by minimal filtering."""
    enough = min(layer.count, layer.channels) >= FEW and layer.height * layer.width >= FEW_VOXELS
    return enough and share_of(layer) < 1


def share_of(layer: Layer) -> float:
    """Return the products of minimal filtering for each of direct convolution."""
    return SHARE * TILE * -(-layer.height // TILE) / layer.height
