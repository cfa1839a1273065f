"""Images of a case as callers give them: paths, nibabel images, or arrays with an affine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from nibabel.spatialimages import SpatialImage

from deepseg_lite.errors import ImageError, OptionError
from deepseg_lite.nifti import reading
from deepseg_lite.nifti.checks import check_affine, check_array, check_series
from deepseg_lite.notice import Warn, log
from deepseg_lite.volume import Affine, AnyArray, Spacing, Volume

Image: TypeAlias = "str | Path | SpatialImage"


@dataclass(frozen=True, eq=False)
class Given:
    """A case: its volume, the first image as it is stored, and what results shall look like.

    ``like`` is None where arrays were given, and arrays are what the caller wants back.
    """

    volume: Volume
    stored: AnyArray
    like: SpatialImage | None


def read_images(
    images: Sequence[Image | npt.NDArray[Any]],
    affine: npt.ArrayLike | None = None,
    warn: Warn = log,
) -> Given:
    """Read the images of one case, one per channel.

    Parameters
    ----------
    images : sequence of paths or nibabel images, or of arrays of shape (X, Y, Z)
        One per channel.
    affine : array of shape (4, 4), optional
        Voxel indices to mm; needed for arrays and only for them.
    warn : callable
        Told of what is doubtful.

    Raises
    ------
    ImageError
        If one cannot be read or used.
    OptionError
        If an affine is missing, or there is one too many.
    """
    if all(isinstance(image, np.ndarray) for image in images):
        volume = _volume_of_arrays(images, affine, warn)
        return Given(volume, np.asarray(images[0]).reshape(volume.shape), None)
    if affine is not None:
        raise OptionError("affine goes with arrays only; paths and images bring their own.")
    opened = [_opened(image, warn) for image in images]
    volume, stored = reading.read_case(opened, [_name(image) for image in images], warn)
    return Given(volume, stored, opened[0])


@dataclass(frozen=True, eq=False)
class GivenSeries:
    """One image as it is stored, that may be a time series, and what it is called in errors.

    ``like`` is as for `Given`, ``spacing`` the header's voxel size in mm.
    """

    data: AnyArray
    affine: Affine
    like: SpatialImage | None
    name: str
    spacing: Spacing | None = None


def read_series(
    image: Image | npt.NDArray[Any],
    affine: npt.ArrayLike | None = None,
    warn: Warn = log,
) -> GivenSeries:
    """Read one image of three or four axes; see `read_images`."""
    if isinstance(image, np.ndarray):
        matrix = _checked_affine(affine)
        return GivenSeries(check_series(image, "the array", warn), matrix, None, "the array")
    if affine is not None:
        raise OptionError("affine goes with arrays only; paths and images bring their own.")
    opened, name = _opened(image, warn), _name(image)
    data, geometry = reading.read_series(opened, name, warn)
    return GivenSeries(data, geometry.affine, opened, name, geometry.spacing)


def _checked_affine(affine: npt.ArrayLike | None) -> Affine:
    if affine is None:
        raise OptionError("an array was given without its affine; pass affine=..., 4 x 4 in mm.")
    check_affine(affine, "affine")
    return np.asarray(affine, np.float64)


def _volume_of_arrays(arrays: Sequence[Any], affine: npt.ArrayLike | None, warn: Warn) -> Volume:
    matrix = _checked_affine(affine)
    channels = [check_array(array, f"array {i}", warn) for i, array in enumerate(arrays)]
    if len({channel.shape for channel in channels}) > 1:
        raise ImageError(
            f"the channels have shapes {', '.join(str(c.shape) for c in channels)}; one grid is "
            "needed. Resample them to the first."
        )
    return Volume.from_array(np.stack(channels), matrix)


def _opened(image: Any, warn: Warn) -> SpatialImage:
    if isinstance(image, str | Path):
        return reading.load_image(image, warn)
    if isinstance(image, SpatialImage):
        return image
    raise ImageError(
        f"{type(image).__name__} was given; a path, a nibabel image or a numpy array is needed, "
        "the same kind for every channel."
    )


def _name(image: Any) -> str:
    """Return what to call an image in a message."""
    return str(image) if isinstance(image, str | Path) else image.get_filename() or "image"
