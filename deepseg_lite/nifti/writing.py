"""Writing of images: results on the grid of an input, with headers that hold nothing else of it."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.spatialimages import SpatialImage

from deepseg_lite.nifti.header import clean_header
from deepseg_lite.nifti.names import is_compressed_name


def make_image(data: npt.NDArray[Any], like: SpatialImage) -> SpatialImage:
    """Return an image of ``data`` (X, Y, Z) with the grid, codes and units of another.

    The header is a new one: nothing of the other's texts and extensions is in it. Its data type
    follows ``data``; there is no scaling.
    """
    if not isinstance(like, nib.Nifti1Pair):
        return nib.Nifti1Image(data, like.affine)
    header = clean_header(like.header)
    header.set_data_dtype(data.dtype)
    kind = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    return kind(data, like.affine, header)


def new_image(data: npt.NDArray[Any], affine: npt.NDArray[np.float64]) -> SpatialImage:
    """Return a NIfTI image of ``data`` (X, Y, Z) in mm, with scanner coordinates."""
    image = nib.Nifti1Image(data, affine)
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    image.header.set_xyzt_units("mm")
    return image


def image_bytes(image: SpatialImage, path: Path) -> bytes:
    """Return an image as the bytes of a file of that name; equal images give equal bytes."""
    stream = io.BytesIO()
    image.to_stream(stream)
    data = stream.getvalue()
    return gzip.compress(data, compresslevel=4, mtime=0) if is_compressed_name(path) else data
