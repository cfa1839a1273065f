"""Kinds of models, as a plan sees them: networks of whole images, and the workflow of the spine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from nibabel.spatialimages import SpatialImage

from deepseg_lite.api.model import Model, Part
from deepseg_lite.api.results import chosen_files
from deepseg_lite.bundles.detector import read_detector
from deepseg_lite.inference.decoding import label_dtype
from deepseg_lite.inference.settings import Settings, make_settings
from deepseg_lite.nifti.checks import check_shape
from deepseg_lite.nifti.geometry import read_geometry
from deepseg_lite.nifti.reading import read_grid
from deepseg_lite.notice import Warn
from deepseg_lite.performance.plan.grid import isotropic_grid
from deepseg_lite.steps.box import Box, crop_to_box
from deepseg_lite.steps.faces import FACES
from deepseg_lite.store.cache import locate
from deepseg_lite.volume import Volume
from deepseg_lite.workflows.cord.faces import override_faces

if TYPE_CHECKING:
    from deepseg_lite.bundles.bundle import Bundle

MODULES_BYTES = 2**25
"""Room for the modules and small arrays of a workflow, or of what finds the cord."""


@dataclass(frozen=True, eq=False)
class PlainModel:
    """Model of whole images, or of a box around the cord; another model may run before it.

    Attributes
    ----------
    model : Model
        The model itself.
    settings : Settings
        Those of the run.
    """

    model: Model
    settings: Settings
    network_stages: ClassVar[tuple[str, ...]] = ("predict",)
    """Names in a run's record of the stages that are those of the parts' networks, in order."""
    image_waits: ClassVar[bool] = True
    """Whether the image waits in memory while another part than the first runs."""

    @property
    def bundle(self) -> Bundle:
        """The model's own bundle."""
        return self.model.bundle

    @property
    def maps(self) -> bool:
        """Whether some of the files hold maps; otherwise all hold labels."""
        return self.bundle.outputs.are_maps or "soft" in self.file_kinds()

    def file_kinds(self) -> list[str]:
        """Return the kind of each file of the run."""
        return [file.kind for file in chosen_files(self.bundle.outputs, soft=self.settings["soft"])]

    def parts(self) -> list[tuple[Part, Settings, int]]:
        """Return each part, its settings, and its maps: 0 where it gives labels alone.

        The model that runs first has settings of its own.
        """
        own, *others = self.model.parts(self.settings)
        with_settings = [(own, self.settings), *((part, make_settings()) for part in others)]
        return [(part, given, _map_count(part, given)) for part, given in with_settings]

    def grid(self, images: Sequence[SpatialImage], names: Sequence[str], warn: Warn) -> Volume:
        """Return the grid of the images, without channels."""
        return read_grid(images, names, warn)

    def inside(self, whole: Volume) -> tuple[Volume, list[str]]:
        """Return the most that networks are given of an image, and what would make it less."""
        if self.bundle.cord_crop is None:
            return whole, []
        box = override_faces(Box.whole(whole.shape), self.settings["box"], whole.shape)
        unknown = [] if self._box_is_given else ["where the cord is"]
        return crop_to_box(whole, box)[0], unknown

    def resident_bytes(self, inside: Volume, stored_bytes: int) -> int:
        """Return the bytes of what stays in memory beside all networks."""
        if self.bundle.cord_crop is None or self._box_is_given:
            return 0
        path = locate(self.bundle.cord_crop.detector)
        return MODULES_BYTES + (4 * read_detector(path).size if path else 0)

    def file_bytes(self, whole: Volume, inside: Volume) -> list[int]:
        """Return the bytes of each file of the run, before compression."""
        outputs = self.bundle.outputs
        label = np.dtype(label_dtype(outputs.max_value)).itemsize
        voxels = math.prod((inside if self.settings["iso"] else whole).shape)
        return [
            voxels * (4 if outputs.are_maps or kind == "soft" else label)
            for kind in self.file_kinds()
        ]

    @property
    def _box_is_given(self) -> bool:
        return set(self.settings["box"]) == set(FACES)


class SpineModel(PlainModel):
    """Model of the spine: two networks in a workflow that resamples and labels."""

    network_stages = ("step1_network", "step2_network")
    image_waits = False  # `resident_bytes` has it

    def file_kinds(self) -> list[str]:
        """Return the kind of each file of the run."""
        from deepseg_lite.workflows.spine.outputs import OUTPUTS
        from deepseg_lite.workflows.spine.outputs import chosen_files as files_of

        assert self.bundle.workflow is not None
        files = files_of(self.bundle.workflow, self.settings)
        return [OUTPUTS[file.output].kind for file in files]

    def parts(self) -> list[tuple[Part, Settings, int]]:
        """Return the part of each step; the first gives the maps that are asked for, and labels."""
        soft = self.file_kinds().count("soft")
        first, *others = self.model.parts(self.settings)
        maps = soft + 1 if soft else 0
        return [(first, self.settings, maps), *((part, self.settings, 0) for part in others)]

    def grid(self, images: Sequence[SpatialImage], names: Sequence[str], warn: Warn) -> Volume:
        """Return the grid of the image, which may be a time series, without channels."""
        (image,), (name,) = images, names
        check_shape(image.shape[:3] if len(image.shape) == 4 else image.shape, name)
        geometry = read_geometry(image, name)
        for notice in geometry.notices:
            warn(notice)
        return Volume.from_array(np.empty((0, *image.shape[:3])), geometry.affine)

    def inside(self, whole: Volume) -> tuple[Volume, list[str]]:
        """Return the grid of 1 mm."""
        return isotropic_grid(whole.shape, whole.affine), []

    def resident_bytes(self, inside: Volume, stored_bytes: int) -> int:
        """Return the bytes of the image as it is stored, and on the 1 mm grid in two types."""
        return MODULES_BYTES + stored_bytes + math.prod(inside.shape) * 6


def kind_of(model: Model, settings: Settings) -> PlainModel:
    """Return what a plan has to know of a model's kind."""
    return (SpineModel if model.bundle.workflow else PlainModel)(model, settings)


def _map_count(part: Part, settings: Settings) -> int:
    outputs = part.bundle.outputs
    return len(outputs.labels) if settings["soft"] or outputs.values else 0
