"""Labelled axial volumes for the training: real ones, and how much is known about each voxel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from registration import forth, register
from scipy import ndimage

# Labels. The last two are for images of which only one mask exists.
OUTSIDE, WHITE, GRAY, CORD_OF_SOME_KIND, PERHAPS_WHITE = range(5)
LABEL_COUNT = 5
MODEL_ORIENTATION = "LAS"
MAX_WHITE_MATTER_MM = 9.0  # no white matter is further from the gray matter
MIN_CORRELATION = 0.95  # of a repeated slice, for the masks to be carried over

CHALLENGE = {  # scan -> person
    "sub-10062Ses1": "10062",
    "sub-10062Ses2": "10062",
    "sub-9418": "9418",
    "sub-9584": "9584",
    "sub-9709Ses1": "9709",
    "sub-9709Ses2": "9709",
}
PERSONS = tuple(dict.fromkeys(CHALLENGE.values()))
CORD_ONLY = {
    "fmri/sub-leipzigR01_mean_bold": "fmri/sub-leipzigR01_spinalcord_mask",
    "sct_testing/mt1": "sct_testing/mt1_seg",
    "sct_testing/t1w": "sct_testing/t1w_seg-manual",
    "sct_testing/t2": "sct_testing/t2_seg-manual",
    "sct_testing/t2_fake_lesion": "sct_testing/t2_fake_lesion_sc_seg",
}
GRAY_ONLY = {"sct_testing/t2s_uncropped": "sct_testing/t2s_uncropped_gmseg_manual"}


@dataclass(frozen=True)
class Stack:
    """Axial slices with their labels.

    Attributes
    ----------
    image : ndarray
        Signal from 0 to about 1, shape (Z, Y, X), float32; y to the front, x to the left.
    labels : ndarray
        The label values above, shape (Z, Y, X), uint8.
    spacing : tuple of 2 floats
        Pixel size along y and x in mm.
    is_volume : bool
        Whether neighbours in the stack are neighbours in a body.
    """

    image: npt.NDArray[np.float32]
    labels: npt.NDArray[np.uint8]
    spacing: tuple[float, float]
    is_volume: bool = True


def read_challenge(data: Path, left_out: str | None) -> dict[str, list[Stack]]:
    """Read the scans of the gray matter challenge, by person, without one person's.

    Each scan was repeated. The repetition has no masks of its own; those of the first run are
    carried over.
    """
    scans: dict[str, list[Stack]] = {}
    for scan, person in CHALLENGE.items():
        if person != left_out:
            first = read_scan(data, scan)
            repeated = data / "gm_challenge/more" / f"{scan}_run-2_T2starw"
            stacks = (first, _carry_over(first, repeated))
            scans.setdefault(person, []).extend(stack for stack in stacks if len(stack.image))
    return scans


def read_scan(data: Path, scan: str) -> Stack:
    """Read a scan of the challenge with its masks."""
    stem = data / "gm_challenge" / f"{scan}_T2starw"
    cord, gray = (_read_mask(f"{stem}_{kind}-manual") for kind in ("seg", "gmseg"))
    return _make_stack(stem, np.where(gray, GRAY, np.where(cord, WHITE, OUTSIDE)))


def _carry_over(first: Stack, stem: Path) -> Stack:
    """Return a repeated scan with the masks of the first, where the slices could be registered."""
    image = load_image(stem)
    planes = scale_signal(slices_of(image))
    if planes.shape != first.image.shape or not np.allclose(pixel_size(image), first.spacing):
        raise ValueError(f"{stem} is not on the grid of its first run.")
    labels, kept = np.zeros_like(first.labels), []
    for z in np.flatnonzero((first.labels != OUTSIDE).any(axis=(1, 2))):
        cord = first.labels[z] != OUTSIDE
        move = register(first.image[z], planes[z], cord, first.spacing)
        if move.correlation >= MIN_CORRELATION:
            cord, gray = (
                forth(mask.astype(np.float32), move) >= 0.5
                for mask in (cord, first.labels[z] == GRAY)
            )
            labels[z] = np.where(gray, GRAY, np.where(cord, WHITE, OUTSIDE))
            kept.append(z)
    return Stack(planes[kept], labels[kept], first.spacing)


def read_cord_only(data: Path) -> list[Stack]:
    """Read the images with a mask of the cord, but none of the gray matter."""
    return [
        _make_stack(data / image, np.where(_read_mask(data / mask), CORD_OF_SOME_KIND, OUTSIDE))
        for image, mask in CORD_ONLY.items()
    ]


def read_gray_only(data: Path) -> list[Stack]:
    """Read the images with a mask of the gray matter, but none of the cord."""
    stacks = []
    for image, mask in GRAY_ONLY.items():
        gray = _read_mask(data / mask)
        spacing = (
            1e6,
            *pixel_size(load_image(data / image)),
        )  # slices have nothing to do with each other
        near = ndimage.distance_transform_edt(~gray, spacing) <= MAX_WHITE_MATTER_MM
        labels = np.where(gray, GRAY, np.where(near, PERHAPS_WHITE, OUTSIDE))
        marked = gray.any(axis=(1, 2))
        stack = _make_stack(data / image, labels)
        stacks.append(Stack(stack.image[marked], stack.labels[marked], stack.spacing))
    return stacks


def scale_signal(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Bring the signal to about 0 to 1, by its percentiles."""
    low, high = np.percentile(image, (0.5, 99.5))
    return np.clip((image - low) / (high - low), 0, 1.5).astype(np.float32)


def _make_stack(stem: Path, labels: npt.NDArray[np.int_]) -> Stack:
    """Join an image and its labels."""
    image = load_image(stem)
    return Stack(scale_signal(slices_of(image)), labels.astype(np.uint8), pixel_size(image))


def load_image(stem: str | Path) -> nib.Nifti1Image:
    """Load an image in the orientation of the model."""
    image = nib.load(f"{stem}.nii.gz")
    turn = ornt_transform(io_orientation(image.affine), axcodes2ornt(MODEL_ORIENTATION))
    return image.as_reoriented(turn)


def slices_of(image: nib.Nifti1Image) -> npt.NDArray[np.float32]:
    """Return the voxels in the order z, y, x."""
    return np.asarray(image.dataobj, np.float32).transpose(2, 1, 0)


def _read_mask(stem: str | Path) -> npt.NDArray[np.bool_]:
    """Return a mask in the order z, y, x."""
    return slices_of(load_image(stem)) > 0


def pixel_size(image: nib.Nifti1Image) -> tuple[float, float]:
    """Return the pixel size along y and x."""
    x_mm, y_mm, _ = image.header.get_zooms()
    return float(y_mm), float(x_mm)
