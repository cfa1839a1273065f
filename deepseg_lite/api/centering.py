"""Centre of the field of view: the cord, by a mask, by another model or by the bundle's prior."""

from __future__ import annotations

import numpy as np
from nibabel.affines import apply_affine

from deepseg_lite.bundles.bundle import Bundle
from deepseg_lite.errors import ImageError, OptionError
from deepseg_lite.inference.settings import Settings
from deepseg_lite.nifti.reading import load_image, read_series
from deepseg_lite.notice import Notice, Warn
from deepseg_lite.steps.frame import Framed
from deepseg_lite.volume import Affine, AnyArray, Volume

Point = tuple[float, float, float]
WAYS = ("center", "center_task", "center_prior")
"""Options that say where the cord is."""
OPPOSITE = {"L": "R", "A": "P", "S": "I"}


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


def localizer(bundle: Bundle, settings: Settings) -> str | None:
    """Return the name of the task that finds the cord in a run, if there is one."""
    if settings["center_prior"] and bundle.center is not None:
        return bundle.center.task
    return settings["center_task"]


def usual_place(bundle: Bundle, settings: Settings, image: Volume) -> Point | None:
    """Return the point in mm where a manifest says that the cord usually is, if it is asked for.

    Directions are those of the axes of the image that are closest to them.
    """
    if not settings["center_prior"] or bundle.center is None or not bundle.center.position:
        return None
    place = [(size - 1) / 2 for size in image.shape]
    for letter, share in bundle.center.position.items():
        towards = letter in image.orientation
        axis = image.orientation.index(letter if towards else OPPOSITE[letter])
        place[axis] = (share if towards else 1 - share) * image.shape[axis] - 0.5
    x, y, z = apply_affine(image.affine, place).tolist()
    return x, y, z


def check_ways(settings: Settings) -> None:
    """Refuse more than one way to say where the cord is.

    Raises
    ------
    OptionError
        Naming those that were given.
    """
    given = [f"`{way}`" for way, value in settings.items() if way in WAYS and value]
    if len(given) > 1:
        raise OptionError(f"{' and '.join(given)} were given; one of them is needed.")


def check_center_model(bundle: Bundle, user: Bundle) -> None:
    """Refuse a model that cannot tell where the cord is in the images of another one.

    Raises
    ------
    OptionError
        Saying what is needed.
    """
    names = bundle.inputs.channel_names
    if bundle.workflow is not None or len(names) != 1:
        raise OptionError(
            f"{bundle.name} is a workflow or a model of several images; one that finds the cord in "
            "one image is needed as `center_task`."
        )
    if len(user.inputs.channel_names) != 1:
        raise OptionError(
            f"{user.name} takes several images, and {bundle.name} one; give the cord as a mask, "
            "`center`."
        )


def tell_no_center(name: str, usual: Point | None, warn: Warn) -> None:
    """Tell that another model found nothing to look around, and what was taken in its place."""
    place = "the middle of the image" if usual is None else "the place where the cord usually is"
    text = f"{name} found nothing to look around, so {place} was taken."
    warn(Notice("no-center", text, figures={"task": name}))


def tell_empty_slices(data: AnyArray, frame: Framed, bundle: Bundle, warn: Warn) -> None:
    """Tell of slices in which a model found nothing that looks around the middle alone.

    Parameters
    ----------
    data : array of shape (..., X, Y, Z)
        Result on the grid of the image.
    frame : Framed
        The frame of the network: its first axis is across the slices of a 2-D one.
    bundle : Bundle
        The model.
    warn : callable
        Told of them.
    """
    if bundle.sliding_window.patch_size[0] != 1:
        return
    found = data.reshape(-1, *data.shape[-3:]).max(axis=0) > 0.5
    slices = np.moveaxis(found, frame.source[0], 0)
    empty = [index for index, each in enumerate(slices) if not each.any()]
    if not empty or len(empty) == len(slices):  # nothing at all is told elsewhere
        return
    ways = " or ".join(f"`{way}`" for way in WAYS if way != "center_prior" or bundle.center)
    text = (
        f"nothing was found in {len(empty)} of {len(slices)} slices. This model looks around the "
        f"middle of the image alone: {ways} moves that to the cord."
    )
    warn(Notice("slices-empty", text, figures={"slices": empty, "count": len(slices)}))
