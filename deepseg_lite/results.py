"""What a segmentation becomes: the images that are written, and what is said of them."""

from __future__ import annotations

from collections.abc import Mapping

from nibabel.spatialimages import SpatialImage

from deepseg_lite import nifti
from deepseg_lite.bundle import Outputs
from deepseg_lite.model import Result
from deepseg_lite.output_files import chosen_files, file_contents, volumes_mm3
from deepseg_lite.pipeline import Segmentation
from deepseg_lite.settings import Settings
from deepseg_lite.volume import Spacing


def make_result(
    found: Segmentation,
    outputs: Outputs,
    settings: Settings,
    like: SpatialImage,
    spacing: Spacing,
    loading: Mapping[str, float],
) -> Result:
    """Return what is to be written of one case.

    Parameters
    ----------
    found : Segmentation
        On the grid of ``like``.
    outputs : Outputs
        What the bundle says of labels and files.
    settings : Settings
        Whether probabilities are written, and what is done to the files.
    like : nibabel image
        Whose grid, codes and units the files get.
    spacing : tuple of 3 floats
        Voxel size in mm.
    loading : mapping
        Seconds of the stages before.
    """
    files = chosen_files(outputs, soft=settings.soft)
    arrays = file_contents(found.data, outputs, files, settings.cleaning, spacing)
    return Result(
        tuple(nifti.make_image(array, like) for array in arrays),
        volumes_mm3(arrays, files, outputs, spacing),
        {**loading, **found.timings},
        {label.name: list(label.values) for label in outputs.labels},
        found.box,
        found.crop,
    )
