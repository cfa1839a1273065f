"""Images in and out: the only module that reads or writes image files."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError, SpatialImage

from deepseg_lite.api.checks import check_affine, check_array, check_series, check_shape
from deepseg_lite.atomic import reason
from deepseg_lite.errors import ImageError
from deepseg_lite.volume import AnyArray, Spacing, Volume

SUFFIXES = (".nii.gz", ".nii")


def is_nifti_name(path: Path | str) -> bool:
    """Return whether a path ends in .nii or .nii.gz."""
    return str(path).endswith(SUFFIXES)


def stem(path: Path | str) -> str:
    """Return a file's name without .nii or .nii.gz."""
    name = Path(path).name
    for suffix in SUFFIXES:
        if name.endswith(suffix):
            return name[: -len(suffix)]
    return name


def load_image(path: Path | str) -> SpatialImage:
    """Open a NIfTI file; voxels are read later.

    Raises
    ------
    ImageError
        If the file is missing, unreadable or not NIfTI.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise ImageError(f"{path} does not exist; give an existing NIfTI image.") from None
    except OSError as error:
        raise ImageError(
            f"{path} cannot be opened ({reason(error)}); give an existing NIfTI image."
        ) from error
    if path.is_dir():
        raise ImageError(f"{path} is a folder; give NIfTI images, one -i for each.")
    if size == 0:
        raise ImageError(f"{path} is an empty file; get the image again.")
    try:
        image = nib.load(path)
    except (ImageFileError, HeaderDataError, OSError, EOFError, zlib.error, ValueError) as error:
        raise ImageError(
            f"{path} cannot be read as NIfTI ({reason(error)}); a .nii or .nii.gz file is needed."
        ) from error
    if not isinstance(image, nib.Nifti1Pair):
        raise ImageError(
            f"{path} is a {type(image).__name__}; a .nii or .nii.gz file is needed. Convert it."
        )
    return image


def read_volume(images: Sequence[SpatialImage], names: Sequence[str]) -> Volume:
    """Read the channels of one case; see `read_case`."""
    return read_case(images, names)[0]


def read_case(images: Sequence[SpatialImage], names: Sequence[str]) -> tuple[Volume, AnyArray]:
    """Read the channels of one case.

    Parameters
    ----------
    images : sequence of nibabel images
        One per channel, all on the same grid.
    names : sequence of str
        What to call each image in an error.

    Returns
    -------
    volume : Volume
        Data of shape (C, X, Y, Z), float32.
    stored : array of shape (X, Y, Z)
        The first channel in the type it is stored in.

    Raises
    ------
    ImageError
        If an image is not 3-D, empty, all zero, not finite, not of real numbers, truncated, has no
        usable affine, or lies on another grid than the first.
    """
    stored = [_voxels(image, name) for image, name in zip(images, names, strict=True)]
    channels = [check_array(array, name) for array, name in zip(stored, names, strict=True)]
    grid = read_grid(images, names)
    return Volume(np.stack(channels), grid.affine, grid.spacing), stored[0].reshape(grid.shape)


def read_grid(images: Sequence[SpatialImage], names: Sequence[str]) -> Volume:
    """Return the one grid of several images from their headers alone.

    Parameters
    ----------
    images, names
        See `read_case`.

    Returns
    -------
    grid : Volume
        Data of shape (0, X, Y, Z): no channels.

    Raises
    ------
    ImageError
        If an image is not 3-D, has no usable affine, or lies on another grid than the first.
    """
    first = images[0]
    for image, name in zip(images, names, strict=True):
        check_shape(image.shape, name)
        check_affine(image.affine, name)
        if image.shape[:3] != first.shape[:3]:
            raise ImageError(
                f"{name} has shape {image.shape[:3]} and {names[0]} has {first.shape[:3]}; all "
                "channels must be on one grid. Resample one to the other."
            )
        if not np.allclose(image.affine, first.affine, atol=1e-2):
            raise ImageError(
                f"{name} and {names[0]} lie differently in space (their affines differ); all "
                "channels must be on one grid. Register or resample one to the other."
            )
    grid = Volume.from_array(np.empty((0, *first.shape[:3])), first.affine)
    return Volume(grid.data, grid.affine, _spacing(first, grid.spacing))


def read_series(image: SpatialImage, name: str) -> AnyArray:
    """Read one image that may be a time series.

    Returns
    -------
    stored : array of shape (X, Y, Z) or (X, Y, Z, T)
        In the type it is stored in.

    Raises
    ------
    ImageError
        As `read_case`, for an image that is neither 3-D nor 4-D.
    """
    check_affine(image.affine, name)
    return check_series(_voxels(image, name, series=True), name)


def _voxels(image: SpatialImage, name: str, *, series: bool = False) -> AnyArray:
    if len(image.shape) not in ((3, 4) if series else (3,)):  # before megabytes are read
        check_shape(image.shape, name)
    try:
        return np.asanyarray(_verified(image).dataobj)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise ImageError(
            f"{name} is truncated or damaged ({reason(error)}); get the file again."
        ) from error


def _verified(image: SpatialImage) -> SpatialImage:
    """Return an image whose voxels, if they are still in a .nii.gz, pass the file's checksum.

    nibabel stops reading after the last voxel and never gets to the checksum.
    """
    file = str(getattr(image.dataobj, "file_like", ""))
    if not isinstance(image, nib.Nifti1Image) or not file.endswith(".gz"):
        return image
    return type(image).from_bytes(gzip.decompress(Path(file).read_bytes()))


def header_spacing(image: SpatialImage) -> Spacing:
    """Return the voxel size in mm that a header has, whatever its affine."""
    x, y, z = (float(size) for size in image.header.get_zooms()[:3])
    return x, y, z


def _spacing(image: SpatialImage, from_affine: Spacing) -> Spacing:
    """Return the header's voxel sizes unless they contradict the affine.

    The two differ in the last digits, which can decide how a shape is rounded; the original
    software takes the header's.
    """
    spacing = header_spacing(image)
    return spacing if np.allclose(spacing, from_affine, rtol=1e-3) else from_affine


def make_image(data: npt.NDArray[Any], like: SpatialImage) -> SpatialImage:
    """Return an image of ``data`` (X, Y, Z) with the grid, codes and units of another.

    The header's data type follows ``data``; there is no scaling.
    """
    header = like.header.copy()
    header.set_data_dtype(data.dtype)
    if isinstance(like, nib.Nifti1Pair):
        header.set_slope_inter(1, 0)
        header["cal_min"], header["cal_max"] = 0, 0
        kind = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
        if kind is nib.Nifti1Image:
            header = nib.Nifti1Header.from_header(header)
        return kind(data, like.affine, header)
    return nib.Nifti1Image(data, like.affine)


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
    return gzip.compress(data, compresslevel=4, mtime=0) if path.suffix == ".gz" else data
