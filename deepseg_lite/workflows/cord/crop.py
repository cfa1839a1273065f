"""Crop around the cord: its place, the user's changes to it, and faces that a result touches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepseg_lite.bundles.bundle import CordCrop
from deepseg_lite.bundles.detector import read_detector
from deepseg_lite.engines.engine import cpu_engine
from deepseg_lite.errors import BundleNotFoundError, ImageError
from deepseg_lite.notice import Notice, Warn, log
from deepseg_lite.steps.box import Box
from deepseg_lite.steps.faces import FACES
from deepseg_lite.store.cache import locate
from deepseg_lite.store.lock import check_lock
from deepseg_lite.volume import AnyArray, Volume
from deepseg_lite.workflows.cord.faces import override_faces, pad_box, truncated_faces
from deepseg_lite.workflows.cord.find import find_cord

Finder = Callable[[Volume], Box | None]
"""One image, in the type it is stored in, to the box of the cord before padding."""


@dataclass(frozen=True)
class CordBox:
    """Box that an image is cropped to.

    Attributes
    ----------
    box : Box
        Box in the voxels of the image.
    found : bool or None
        Whether a cord was found; None where the user gave every face.
    given : tuple of str
        Faces that the user gave.
    """

    box: Box
    found: bool | None
    given: tuple[str, ...]


def find_box(
    image: Volume,
    crop: CordCrop,
    faces: Mapping[str, int],
    finder: Callable[[], Finder],
    *,
    strict: bool,
    warn: Warn = log,
) -> CordBox:
    """Return where an image is to be cropped.

    Parameters
    ----------
    image : Volume
        Data of shape (1, X, Y, Z) **in the type it is stored in**.
    crop : CordCrop
        How much is added around the cord.
    faces : mapping
        Voxel indices, inside the box, that replace what is found, by the names of `box.FACES`.
    finder : callable
        Gives what finds the cord; not asked where all faces are given.
    strict : bool
        Whether to fail where no cord is found. Otherwise the box is the whole image.
    warn : callable
        Told where no cord is found.

    Raises
    ------
    ImageError
        If no cord is found and ``strict``.
    OptionError
        If the faces leave no box.

    Notes
    -----
    Source: the Spinal Cord Toolbox after 7.3, which calls sc-crop 0.12.1, except that it ends in an
    error where no cord is found and no face is given.
    """
    found = None
    box = Box.whole(image.shape)
    if set(faces) != set(FACES):
        cord = finder()(image)
        padded = pad_box(cord, crop.padding_mm, image) if cord else box
        found = cord is not None and not padded.is_empty
        if found:
            box = padded
        elif strict:
            raise ImageError(
                "no spinal cord was found to crop around; give the box yourself (`box`), or leave "
                "`strict_crop` out to segment the whole image."
            )
        else:
            text = (
                "no spinal cord was found to crop around: the whole image is segmented, which this "
                "model was not trained for. Check the result, or give the box (`box`)."
            )
            warn(Notice("no-cord", text))
    if faces:
        box = override_faces(box, faces, image.shape)
    return CordBox(box, found, tuple(face for face in FACES if face in faces))


def describe_crop(cropped: CordBox, result: AnyArray, warn: Warn = log) -> dict[str, Any]:
    """Return the record of a crop, and warn of faces that the result touches.

    Parameters
    ----------
    cropped : CordBox
        Where the image was cropped.
    result : array of shape (..., X, Y, Z)
        Labels or probabilities on the grid of the image.
    warn : callable
        Told of faces that are touched.
    """
    anywhere = np.asarray(result.reshape(-1, *result.shape[-3:]).any(axis=0))
    touched = truncated_faces(anywhere, cropped.box)
    if touched:
        text = (
            f"the result touches {' and '.join(touched)} of the box around the cord and may be cut "
            f"off there; move the box with `box={touched[0]}`."
        )
        warn(Notice("cut-off", text, figures={"faces": touched}))
    return {
        "found": cropped.found,
        "box": cropped.box.faces,
        "given": list(cropped.given),
        "truncated": touched,
    }


def open_finder(name: str, threads: int) -> Finder:
    """Open the bundle that finds the cord, on the CPU: its networks are small.

    Raises
    ------
    BundleNotFoundError
        If it is not in the local cache; the message ends with the command that gets it.
    """
    path = locate(name)
    if path is None:
        raise BundleNotFoundError(
            f"{name}, which finds the cord for this model, is not on this machine; give all six "
            f"faces of the box around the cord, `box`, or get it: deepseg-lite fetch {name}"
        )
    bundle = read_detector(path)
    check_lock(bundle)
    engine = cpu_engine()
    detector, classifier = (engine.open(bundle, network, threads) for network in bundle.networks)
    return lambda image: find_cord(image, detector, classifier, bundle.settings)
