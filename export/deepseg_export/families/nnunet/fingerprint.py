"""nnU-Net's fingerprint of a data set: the voxel sizes of the training images."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepseg_export.errors import ExportError
from deepseg_export.reading.documents import read_json

FINGERPRINT = "dataset_fingerprint.json"

logger = logging.getLogger(__name__)


def read_training_spacing(folder: Path, plans: Mapping[str, Any]) -> list[list[float]] | None:
    """Return the smallest and largest voxel size of the training images, in mm, for each axis.

    Axes are in the order of the network. None where the model has no fingerprint, or one that
    says nothing: it is no part of what nnU-Net needs to predict.

    Notes
    -----
    Source: nnunetv2 2.8.1, ``DatasetFingerprintExtractor.run``: axes are those of the files, as
    its reader has them, before ``transpose_forward``.
    """
    path = folder / FINGERPRINT
    if not path.is_file():
        return None
    try:
        sizes = [_sizes(spacing) for spacing in read_json(path)["spacings"]]
        order = [int(axis) for axis in plans["transpose_forward"]]
        axes = [[each[axis] for each in sizes] for axis in order]
        return [[min(axis), max(axis)] for axis in axes]
    except (ExportError, KeyError, TypeError, ValueError, IndexError) as error:
        logger.warning("%s is left out: no voxel sizes can be read of it (%s).", path, error)
        return None


def _sizes(spacing: Any) -> list[float]:
    sizes = [float(size) for size in spacing]
    if len(sizes) != 3 or not all(math.isfinite(size) and 0 < size <= 1000 for size in sizes):
        raise ValueError(f"{spacing} are no voxel sizes")
    return sizes
