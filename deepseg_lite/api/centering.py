"""Centre of the field of view: the middle of the cord, by a mask or by what another model finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from nibabel.affines import apply_affine

from deepseg_lite.bundles.bundle import Bundle
from deepseg_lite.errors import ImageError, OptionError
from deepseg_lite.nifti.reading import load_image, read_series
from deepseg_lite.notice import Notice, Warn
from deepseg_lite.steps.frame import Framed
from deepseg_lite.volume import Affine, AnyArray, Volume

Point = tuple[float, float, float]


def middle_of(mask: AnyArray, affine: Affine, image: Volume) -> Point | None:
    """Return the middle, in mm, of the box around those voxels of a mask that are in an image.

    Parameters
    ----------
    mask : array of shape (..., X, Y, Z)
        Anything above 0.5 counts.
    affine : array of shape (4, 4)
        Voxel indices of the mask to mm; its grid need not be that of the image.
    image : Volume
        Its axes are those of the box.

    Returns
    -------
    middle : tuple of 3 floats or None
        None where no voxel is in the image.
    """
    places = np.argwhere((mask > 0.5).reshape(-1, *mask.shape[-3:]).any(axis=0))
    voxels = apply_affine(np.linalg.inv(image.affine) @ affine, places)
    inside = voxels[((voxels > -0.5) & (voxels < np.subtract(image.shape, 0.5))).all(axis=1)]
    if not len(inside):
        return None
    x, y, z = apply_affine(image.affine, (inside.min(axis=0) + inside.max(axis=0)) / 2).tolist()
    return x, y, z


def middle_of_file(path: str, image: Volume, warn: Warn) -> Point:
    """Return `middle_of` a mask in a file.

    Raises
    ------
    ImageError
        If it cannot be read, is no 3-D image, or has no voxel in the image.
    """
    mask, geometry = read_series(load_image(path, warn), path, warn)
    if mask.ndim != 3:
        raise ImageError(f"{path} is a time series; a 3-D mask of the cord is needed.")
    found = middle_of(mask, geometry.affine, image)
    if found is None:
        raise ImageError(
            f"{path} has no voxel above 0.5 inside the image; a mask of the cord in the same space "
            "is needed."
        )
    return found


def check_center_model(bundle: Bundle, user: Bundle) -> None:
    """Refuse a model that cannot tell where the cord is in the images of another one.

    Raises
    ------
    OptionError
        Saying what is needed.
    """
    names = bundle.inputs.channel_names
    if bundle.workflow is not None or bundle.prior is not None or len(names) != 1:
        raise OptionError(
            f"{bundle.name} is a model of several images or steps; one that finds the cord in one "
            "image is needed as `center_task`."
        )
    if len(user.inputs.channel_names) != 1:
        raise OptionError(
            f"{user.name} takes several images; give the cord as a mask, `center`, in place of "
            "`center_task`."
        )


def tell_no_center(name: str, warn: Warn) -> None:
    """Tell that another model found nothing to look around."""
    text = f"{name} found nothing to look around, so the middle of the image was taken."
    warn(Notice("no-center", text, figures={"task": name}))


def tell_empty_slices(data: AnyArray, frame: Framed, patch: Sequence[Any], warn: Warn) -> None:
    """Tell of slices in which a model found nothing that looks around the middle alone.

    Parameters
    ----------
    data : array of shape (..., X, Y, Z)
        Result on the grid of the image.
    frame : Framed
        The frame of the network: its first axis is across the slices of a 2-D one.
    patch : sequence of 3 ints or None
        Of the network.
    warn : callable
        Told of them.
    """
    if patch[0] != 1:
        return
    found = data.reshape(-1, *data.shape[-3:]).max(axis=0) > 0.5
    slices = np.moveaxis(found, frame.source[0], 0)
    empty = [index for index, each in enumerate(slices) if not each.any()]
    if not empty or len(empty) == len(slices):  # nothing at all is told elsewhere
        return
    text = (
        f"nothing was found in {len(empty)} of {len(slices)} slices. This model looks around the "
        "middle of the image alone: `center` or `center_task` moves that to the cord."
    )
    warn(Notice("slices-empty", text, figures={"slices": empty, "count": len(slices)}))
