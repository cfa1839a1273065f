"""Models of volumes that were cut out around the cord: ``crop_metadata.json``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepseg_export.errors import CheckpointError

CROP = "crop_metadata.json"
DETECTOR = "sc_crop"
FACES = ("superior", "inferior", "left", "right", "anterior", "posterior")


def find_crop(folder: Path, root: Path) -> Path | None:
    """Return the crop's file: in the trained-model folder, or above it up to the archive's root."""
    above = [place for place in folder.parents if place.is_relative_to(root)]
    places = (folder, folder.parent, *above)
    return next((place / CROP for place in places if (place / CROP).is_file()), None)


def read_crop(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest's ``cord_crop`` for a ``crop_metadata.json``.

    Raises
    ------
    CheckpointError
        Listing what is missing or no length.

    Notes
    -----
    Source: sc-crop 0.12.1, ``write_crop_metadata``; the Spinal Cord Toolbox needs all six.
    """
    wrong = [f"pad_{face}" for face in FACES if not _is_length(content.get(f"pad_{face}"))]
    if wrong:
        raise CheckpointError(
            f"{CROP} does not say {', '.join(wrong)}; millimetres are needed for all six faces of "
            "the box around the cord."
        )
    return {
        "detector": DETECTOR,
        "padding_mm": {face: content[f"pad_{face}"] for face in FACES},
    }


def _is_length(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and value >= 0
