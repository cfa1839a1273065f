"""Case plan: the patches, time, memory and disk of one case, from headers alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nibabel.spatialimages import SpatialImage

from deepseg_lite.api.model import Model
from deepseg_lite.inference.settings import Settings
from deepseg_lite.nifti.checks import check_type
from deepseg_lite.nifti.reading import load_image
from deepseg_lite.notice import Warn, ignore
from deepseg_lite.performance.plan.costs import Costs
from deepseg_lite.performance.plan.models import kind_of
from deepseg_lite.performance.plan.network import CaseSizes, PartPlan, peak_together, plan_part
from deepseg_lite.volume import Shape, Spacing

EMPTY = "which patches are empty"
"""A fact that a header does not tell; the kinds of models and the steps have others."""
RECORD_BYTES = 2**14
"""Room for the record and the tables beside each file."""


@dataclass(frozen=True)
class CasePlan:
    """Plan of one case.

    Attributes
    ----------
    images : tuple of str
        Files of the case.
    shape : tuple of 3 ints
        Voxels of the image.
    spacing : tuple of 3 floats
        Voxel size in mm.
    parts : tuple of PartPlan
        The model's own, then those of the models that belong to it.
    rest_seconds : float or None
        Seconds of reading, preparing, restoring and writing; None where no such run is kept.
    result_bytes : int
        Bytes of all results, before compression.
    disk_bytes : int
        Bytes of everything the case writes, at most.
    unknown : tuple of str
        Facts that a header does not tell, so that counts, time and memory are the most there can
        be.
    """

    images: tuple[str, ...]
    shape: Shape
    spacing: Spacing
    parts: tuple[PartPlan, ...]
    rest_seconds: float | None
    result_bytes: int
    disk_bytes: int
    unknown: tuple[str, ...]

    @property
    def network_seconds(self) -> float | None:
        """Seconds of all networks; None where those of one are not known."""
        seconds = [part.seconds for part in self.parts if part.seconds is not None]
        return sum(seconds) if len(seconds) == len(self.parts) else None

    @property
    def seconds(self) -> float | None:
        """Seconds of all stages of this case; None where some are not known."""
        if self.network_seconds is None or self.rest_seconds is None:
            return None
        return self.network_seconds + self.rest_seconds

    @property
    def memory_bytes(self) -> int:
        """Bytes of the process at its worst moment."""
        return peak_together(self.parts)


def memory_of(cases: Sequence[CasePlan], settings: Settings) -> int:
    """Return the bytes of the process that runs some cases, at its worst moment."""
    most = [case.memory_bytes for case in cases[:1]]
    most += [peak_together(case.parts, warm=True) for case in cases[1:]]
    beside = [part.overlap_bytes for case in cases for part in case.parts]
    overlap = settings["overlap_cases"] and len(cases) > 1
    return max(most, default=0) + (max(beside) if overlap else 0)


def seconds_of(cases: Sequence[CasePlan]) -> float | None:
    """Return the seconds of some cases one after another; None where those of one are not known."""
    seconds = [case.seconds for case in cases if case.seconds is not None]
    return sum(seconds) if len(seconds) == len(cases) else None


def plan_case(
    model: Model, images: Sequence[Path], settings: Settings, costs: Costs, warn: Warn = ignore
) -> CasePlan:
    """Return the plan of one case.

    Parameters
    ----------
    model : Model
        Its networks need not be open.
    images : sequence of paths
        One per channel; voxels are not read.
    settings : Settings
        As the run will have them.
    costs : Costs
        Costs of networks and of past runs on this machine.
    warn : callable
        Told of what is doubtful in the headers.

    Raises
    ------
    ImageError
        If an image cannot be read, or the number of channels is wrong.
    OptionError
        If an option does not fit the model.
    ProviderError
        If a network had to be measured and could not be run.
    """
    model.check_channel_count(len(images))
    model.check_settings(settings)
    kind = kind_of(model, settings)
    opened, names = [load_image(path, warn) for path in images], [str(path) for path in images]
    for image, name in zip(opened, names, strict=True):
        check_type(image.get_data_dtype(), name)
    whole = kind.grid(opened, names, warn)
    inside, unknown = kind.inside(whole)
    file_bytes = kind.file_bytes(whole, inside)
    stored_bytes = sum(map(_stored_bytes, opened))
    case = CaseSizes(
        shape=whole.shape,
        inside=inside,
        stored_bytes=stored_bytes,
        result_bytes=sum(file_bytes),
        resident_bytes=kind.resident_bytes(inside, stored_bytes),
    )
    plans: list[PartPlan] = []
    in_use = kind.parts()
    for part, own, maps in in_use:
        waiting = bool(plans) and kind.image_waits
        planned, looked_at = plan_part(part, case, own, costs, maps=maps, waiting=waiting)
        plans.append(planned)
        unknown += [step for step in looked_at if step not in unknown]
    if settings["skip_empty"]:
        unknown.append(EMPTY)
    voxels = work_voxels(whole.shape, plans)
    rest = costs.rest_seconds(
        in_use[0][0], maps=kind.maps, voxels=voxels, result_bytes=case.result_bytes
    )
    return CasePlan(
        images=tuple(names),
        shape=whole.shape,
        spacing=whole.spacing,
        parts=tuple(plans),
        rest_seconds=rest,
        result_bytes=case.result_bytes,
        disk_bytes=case.result_bytes + RECORD_BYTES * len(file_bytes),
        unknown=tuple(unknown),
    )


def work_voxels(image: Shape, parts: Sequence[PartPlan]) -> int:
    """Return the voxels that are read, prepared and restored: of the image and of each grid."""
    return sum(math.prod(image) + math.prod(part.grid) for part in parts)


def _stored_bytes(image: SpatialImage) -> int:
    """Return the bytes of an image's voxels as they are read: float64 where they are scaled."""
    proxy = image.dataobj
    scaled = (proxy.slope, proxy.inter) != (1, 0)
    width = 8 if scaled else int(image.get_data_dtype().itemsize)
    return int(math.prod(image.shape)) * width
