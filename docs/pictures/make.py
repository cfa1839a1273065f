"""Make pictures of tasks: slices of an image, and the same with its labels drawn on top.

    python docs/pictures/make.py IMAGE LABELS OUT.png [--slices 3 8 13] [--size 120]

Needs pillow (``pip install pillow``). The committed pictures are sub-9709Ses2 of the Spinal Cord
Gray Matter Imaging Challenge (CC0 1.0) with what ``deepseg-lite run TASK`` wrote for it; those of
gm_sct_large and gm_sct_challenge with ``--slices 4 9 14 --size 32``. ``captions.json`` has what
stands below them on the pages of tasks.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

COLORS = {1: (64, 156, 255), 2: (255, 170, 40)}
OPACITY = 0.55
ZOOM = 5
GAP = 6


def main() -> None:
    """Write one PNG: a row of slices, and below it the row with labels."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--slices", type=int, nargs="+", default=[3, 8, 13])
    parser.add_argument("--size", type=int, default=48, help="voxels shown around the cord")
    arguments = parser.parse_args()

    image = nib.as_closest_canonical(nib.load(arguments.image))
    labels = np.asarray(nib.as_closest_canonical(nib.load(arguments.labels)).dataobj)
    gray = to_gray(image.get_fdata())
    centre = [round(float(axis.mean())) for axis in np.nonzero(labels)[:2]]
    window = tuple(slice(max(c - arguments.size // 2, 0), c + arguments.size // 2) for c in centre)
    plain = [tile(gray[(*window, z)], None) for z in arguments.slices]
    drawn = [tile(gray[(*window, z)], labels[(*window, z)]) for z in arguments.slices]
    picture = np.vstack(
        [row(plain), np.full((GAP, row(plain).shape[1], 3), 255, np.uint8), row(drawn)]
    )
    Image.fromarray(picture).save(arguments.out, optimize=True)


def to_gray(data: np.ndarray) -> np.ndarray:
    """Map the 1st to 99.5th percentile to 0..1."""
    low, high = np.percentile(data, (1, 99.5))
    return np.clip((data - low) / (high - low), 0, 1)


def tile(gray: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """Return one slice as an RGB array, anterior up, enlarged."""
    rgb = np.repeat(gray[..., None], 3, axis=-1) * 255
    if labels is not None:
        for value, color in COLORS.items():
            inside = labels == value
            rgb[inside] = (1 - OPACITY) * rgb[inside] + OPACITY * np.array(color)
    upright = Image.fromarray(rgb.astype(np.uint8).transpose(1, 0, 2)[::-1])
    size = (upright.width * ZOOM, upright.height * ZOOM)
    return np.asarray(
        upright.resize(
            size, Image.Resampling.NEAREST if labels is not None else Image.Resampling.BICUBIC
        )
    )


def row(tiles: list[np.ndarray]) -> np.ndarray:
    """Put tiles side by side with a gap."""
    gap = np.full((tiles[0].shape[0], GAP, 3), 255, np.uint8)
    parts = [part for one in tiles for part in (one, gap)][:-1]
    return np.hstack(parts)


if __name__ == "__main__":
    main()
