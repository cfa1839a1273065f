"""Names of NIfTI files: one idea of them, for reading, checking, stems and outputs."""

from __future__ import annotations

import os
from pathlib import Path

SUFFIXES = (".nii.gz", ".nii")
"""Of files that are written."""
_PAIRS = (".img.gz", ".hdr.gz", ".img", ".hdr")
_READ = (*SUFFIXES, ".nii.bz2", *_PAIRS)


def is_nifti_name(path: Path | str) -> bool:
    """Return whether a path ends in .nii or .nii.gz, in letters of any case."""
    return str(path).lower().endswith(SUFFIXES)


def is_compressed_name(path: Path | str) -> bool:
    """Return whether a file of this name is written compressed."""
    return str(path).lower().endswith(".gz")


def is_image_name(path: Path | str) -> bool:
    """Return whether a file of this name is read as an image; of a pair, the one with voxels."""
    name = str(path).lower()
    return name.endswith(_READ) and not name.endswith((".hdr", ".hdr.gz"))


def stem(path: Path | str) -> str:
    """Return a file's name without the suffix of a NIfTI file or pair."""
    name = os.path.basename(path)  # Path takes eight times as long
    lower = name.lower()
    return next((name[: -len(end)] for end in _READ if lower.endswith(end)), name)


def pair(path: Path) -> tuple[Path, Path] | None:
    """Return the header and the image of a pair that a path is one of; None for a single file."""
    name = path.name
    for suffix in _PAIRS:
        if name.lower().endswith(suffix):
            start = len(name) - len(suffix) + 1
            kinds = ("HDR", "IMG") if name[start : start + 3].isupper() else ("hdr", "img")
            files = [path.with_name(name[:start] + kind + name[start + 3 :]) for kind in kinds]
            return files[0], files[1]
    return None
