"""The phantom as files: the image, and its true labels where asked."""

from __future__ import annotations

import os
from pathlib import Path

from deepseg_lite.api.phantom import SHAPE, make_phantom
from deepseg_lite.atomic import check_name, make_folder, write_files
from deepseg_lite.errors import OptionError
from deepseg_lite.leftovers import sweep
from deepseg_lite.nifti.names import is_nifti_name
from deepseg_lite.nifti.writing import image_bytes, new_image


def write_phantom(
    image: Path,
    seed: int,
    labels: Path | None = None,
    *,
    shape: tuple[int, int, int] = SHAPE,
    overwrite: bool = False,
) -> list[Path]:
    """Write a synthetic T2*-weighted volume, and its true labels where asked.

    ``shape`` is voxels along x, y and z.

    Raises
    ------
    OptionError
        If a name is not that of a NIfTI file, a file exists, or the shape is too small.
    OutputError
        If a file cannot be written.
    """
    paths = [image] if labels is None else [image, labels]
    for path in paths:
        sweep(path.parent)
        if not is_nifti_name(path):
            raise OptionError(f"{path} must end in .nii or .nii.gz.")
        if os.path.lexists(path) and not overwrite:
            raise OptionError(f"{path} exists; add `overwrite` or give another name.")
    if len({os.path.realpath(path) for path in paths}) < len(paths):
        raise OptionError(f"{image} cannot be both the image and its labels; give another name.")
    for path in paths:
        check_name(path)
    made = make_phantom(seed, shape=shape)
    for path in paths:
        make_folder(path.parent)
    images = zip(paths, (made.image, made.labels), strict=False)
    write_files(
        {path: image_bytes(new_image(data, made.affine), path) for path, data in images},
        overwrite=overwrite,
    )
    return paths
