"""Gray matter as the Spinal Cord Toolbox finds it, step by step and written for the tests alone.

Source: main branch of August 2026, ``deepseg_/gm.py`` and ``resampling.py``. All slices are
prepared at once, nothing is reoriented, and none of the package's code is used.

Run as a program (`in_a_process`) it has OpenBLAS round as on processors with AVX2, where SCT's own
results were made: with AVX-512 the inverse of an affine has other last bits, and single voxels
differ.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.processing import resample_from_to

SIZE, PIXEL = 200, 0.25
Network = Callable[[np.ndarray], np.ndarray]


def find_gray_matter(image: Any, network: Network, threshold: float = 0.999) -> np.ndarray:
    """Return the mask (X, Y, Z), uint8, of an image.

    ``network`` takes slices (Z, 200, 200, 1) and gives probabilities of that shape.
    """
    raw = np.asanyarray(image.dataobj)
    data = raw if raw.dtype.kind == "f" else raw.astype(np.float64)
    zooms = image.header.get_zooms()
    source = nib.Nifti1Image(data, image.affine)
    source.header.set_zooms(zooms)
    fine = _resample(source, (PIXEL, PIXEL, float(zooms[2])))
    volume = np.asarray(fine.dataobj)
    slices = np.stack([_fit(volume[..., z]) for z in range(volume.shape[2])])[..., None]
    slices = slices.astype(np.float32)
    slices -= slices.mean()
    with np.errstate(invalid="ignore"):
        slices /= slices.std()
    maps = np.nan_to_num(network(slices), nan=0.0)
    masks = (maps > np.float32(threshold)).astype(np.uint8)[..., 0]
    found = np.stack([_unfit(mask, volume.shape[:2]) for mask in masks], axis=-1)
    back = _resample(nib.Nifti1Image(found, fine.affine), tuple(map(float, zooms)))
    return (np.asarray(back.dataobj) > 0.5).astype(np.uint8)


def _resample(image: Any, sizes: tuple[float, ...]) -> Any:
    own = image.header.get_zooms()
    shape = [
        int(np.round(n * float(p) / q)) for n, p, q in zip(image.shape, own, sizes, strict=True)
    ]
    ratio = np.diag([n / m for n, m in zip(image.shape, shape, strict=True)] + [1.0])
    target = (tuple(shape), image.affine @ ratio)
    return resample_from_to(image, target, order=1, mode="nearest", cval=0.0)


def _fit(plane: np.ndarray) -> np.ndarray:
    """Return the 200 x 200 pixels around the middle of a slice, reflected where it is smaller."""
    for axis, size in enumerate(plane.shape):
        first = size // 2 - SIZE // 2
        if size >= SIZE:
            plane = plane.take(range(first, first + SIZE), axis)
        else:
            widths = [(0, 0), (0, 0)]
            widths[axis] = (-first, SIZE - size + first)
            plane = np.pad(plane, widths, mode="symmetric")
    return plane


def _unfit(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return a mask of 200 x 200 pixels at its place in a slice."""
    whole = np.zeros(shape, np.uint8)
    inner, outer = [], []
    for size in shape:
        first = size // 2 - SIZE // 2
        outer.append(slice(max(first, 0), max(first, 0) + min(size, SIZE)))
        inner.append(slice(max(-first, 0), max(-first, 0) + min(size, SIZE)))
    whole[tuple(outer)] = mask[tuple(inner)]
    return whole


def in_a_process(image: Path, network: Path, threshold: float, result: Path) -> np.ndarray:
    """Return the mask of an image file by an ONNX file, from a process of its own."""
    subprocess.run(
        [sys.executable, __file__, *map(str, (image, network, threshold, result))],
        env={**os.environ, "OPENBLAS_CORETYPE": "Haswell"},
        check=True,
    )
    return np.load(result)


def main() -> None:
    """Segment a file, slice by slice: with all at once the network takes gigabytes."""
    import onnxruntime

    image, network, threshold, result = sys.argv[1:]
    session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])

    def run(slices: np.ndarray) -> np.ndarray:
        given = slices.reshape(-1, 1, 1, SIZE, SIZE)
        maps = [session.run(None, {session.get_inputs()[0].name: each})[0] for each in given]
        return np.concatenate(maps).reshape(slices.shape)

    np.save(result, find_gray_matter(nib.load(image), run, float(threshold)))


if __name__ == "__main__":
    main()
