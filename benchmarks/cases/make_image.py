"""A synthetic neck: a curved cord of levels in smooth noise, the same voxels every time.

python benchmarks/cases/make_image.py IMAGE.nii.gz --shape 320 320 64 --spacing 0.8
"""

from __future__ import annotations

import argparse
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy.ndimage import gaussian_filter

RADIUS_MM = 7.0


def make_volume(
    shape: tuple[int, int, int], spacing: float, levels: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Return intensities (X, Y, Z), int16, and labels, uint8: 1 to ``levels`` along the cord."""
    noise = np.random.default_rng(20260301).normal(size=shape).astype(np.float32)
    texture = gaussian_filter(noise, 2) * 150 + noise * 8
    x, y, z = np.ogrid[tuple(slice(size) for size in shape)]
    along = y / shape[1]
    away = np.hypot(
        x - shape[0] * (0.5 + 0.06 * np.sin(2 * np.pi * along)),
        z - shape[2] * (0.5 + 0.1 * np.sin(3 * along)),
    )
    cord = away * spacing < RADIUS_MM
    fluid = (away * spacing < 1.7 * RADIUS_MM) & ~cord
    level = np.broadcast_to((along * levels).astype(np.uint8) + 1, shape)
    data = 300 + texture - 120 * fluid + cord * (250 + 60 * np.cos(1.7 * level))
    return data.clip(1).astype(np.int16), (level * cord).astype(np.uint8)


def write_image(file: Path, shape: tuple[int, int, int], spacing: float) -> None:
    """Write a volume whose axes point left, anterior and superior."""
    data, _ = make_volume(shape, spacing)
    file.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([-spacing, spacing, spacing, 1.0])
    nib.save(nib.Nifti1Image(data, affine), file)


def main() -> None:
    """Write the image."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--shape", type=int, nargs=3, required=True)
    parser.add_argument("--spacing", type=float, required=True)
    write_image(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
