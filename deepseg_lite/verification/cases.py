"""Reference cases opened: images and the original's labels, checked against the manifest."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from nibabel.spatialimages import SpatialImage

from deepseg_lite.api.phantom import make_phantom
from deepseg_lite.bundles.bundle import Bundle
from deepseg_lite.bundles.files import check_file
from deepseg_lite.bundles.references import PhantomRecipe, Reference
from deepseg_lite.errors import BundleError
from deepseg_lite.nifti.reading import load_image, read_voxels
from deepseg_lite.nifti.writing import new_image
from deepseg_lite.notice import Notice, Warn, log
from deepseg_lite.volume import AnyArray


@dataclass(frozen=True, eq=False)
class ReferenceCase:
    """A reference case in memory.

    Attributes
    ----------
    reference : Reference
        What the manifest says of it.
    images : tuple of nibabel images
        One per channel.
    labels : array of shape (X, Y, Z) or (X, Y, Z, L)
        Result of the original software: a label map, or maps.
    """

    reference: Reference
    images: tuple[SpatialImage, ...]
    labels: AnyArray


def open_case(bundle: Bundle, reference: Reference, warn: Warn = log) -> ReferenceCase:
    """Read a reference case of a bundle.

    Parameters
    ----------
    bundle : Bundle
        Where its files are.
    reference : Reference
        The case.
    warn : callable
        Told of a phantom whose voxels are not those that the labels were made for.

    Raises
    ------
    ChecksumError
        If a file is missing or was changed.
    ImageError
        If a file is no image.
    BundleError
        If labels and image have different shapes.
    """
    if reference.phantom is not None:
        images: tuple[SpatialImage, ...] = (_draw(reference, reference.phantom, warn),)
    else:
        images = tuple(load_image(check_file(bundle, image), warn) for image in reference.images)
    path = check_file(bundle, reference.labels)
    labels = read_voxels(load_image(path, warn), str(path), warn, series=True)
    grid = images[0].shape[:3]
    if bundle.outputs.are_maps:
        grid = (*grid, len(bundle.outputs.labels))
    if labels.size != math.prod(grid) or labels.shape[:3] != grid[:3]:
        raise BundleError(
            f"{path} has {_times(labels.shape)} voxels, and the result for reference "
            f"{reference.name} has {_times(grid)}; make the reference again."
        )
    return ReferenceCase(reference, images, labels.reshape(grid))


def _times(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def draw_phantom(seed: int, shape: tuple[int, int, int]) -> tuple[SpatialImage, PhantomRecipe]:
    """Return a phantom as an image, and the recipe that a manifest keeps."""
    spacing, noise = (0.6, 0.6, 3.0), 0.04
    made = make_phantom(seed, shape=shape, spacing=spacing, noise=noise)
    sha256 = voxels_sha256(made.image)
    recipe = PhantomRecipe(seed=seed, shape=shape, spacing=spacing, noise=noise, sha256=sha256)
    return new_image(made.image, made.affine), recipe


def _draw(reference: Reference, recipe: PhantomRecipe, warn: Warn) -> SpatialImage:
    made = make_phantom(recipe.seed, shape=recipe.shape, spacing=recipe.spacing, noise=recipe.noise)
    if (found := voxels_sha256(made.image)) != recipe.sha256:
        text = (
            f"the phantom of reference {reference.name} is drawn with other voxels here (SHA-256 "
            f"{found[:12]}..., {recipe.sha256[:12]}... where its labels were made), as another "
            "processor, numpy or scipy rounds otherwise; labels that differ may come from that."
        )
        warn(Notice("phantom-differs", text, figures={"sha256": found}))
    return new_image(made.image, made.affine)


def voxels_sha256(voxels: AnyArray) -> str:
    """Return the SHA-256 of voxels as little-endian float32, the last axis fastest."""
    return hashlib.sha256(np.ascontiguousarray(voxels, "<f4").tobytes()).hexdigest()
