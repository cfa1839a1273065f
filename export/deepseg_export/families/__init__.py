"""Checkpoint families: one module each, all with the same ``load``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Checkpoint:
    """A trained model, read and checked, ready to be converted.

    ``manifest`` lacks only ``networks`` and ``export``, which the conversion adds. ``networks``
    maps folds to ``torch.nn.Module`` from float32 (N, *input_shape) to (N, *output_shape).
    """

    manifest: Mapping[str, Any]
    networks: Mapping[str, Any]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
