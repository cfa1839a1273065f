"""What a run will take, before any work: patches, time, memory and disk, from headers alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from nibabel.spatialimages import SpatialImage

from deepseg_lite.api import nifti
from deepseg_lite.api.checks import check_affine, check_finite, check_shape
from deepseg_lite.api.model import Model, Part
from deepseg_lite.api.results import chosen_files
from deepseg_lite.bundles.detector import read_detector
from deepseg_lite.inference.decoding import label_dtype
from deepseg_lite.inference.settings import Settings, make_settings
from deepseg_lite.performance.calibration import Rates
from deepseg_lite.performance.plan.costs import Costs
from deepseg_lite.performance.plan.grid import Shape, isotropic_grid
from deepseg_lite.performance.plan.network import CaseSizes, PartPlan, plan_part, together
from deepseg_lite.steps.box import Box, crop_to_box
from deepseg_lite.steps.faces import FACES
from deepseg_lite.store.cache import locate
from deepseg_lite.volume import Spacing, Volume
from deepseg_lite.workflows.cord.faces import override_faces

if TYPE_CHECKING:
    from deepseg_lite.bundles.bundle import Bundle


CORD, EMPTY = "where the cord is", "which patches are empty"
"""Facts that a header does not tell; steps have others."""
RECORD_BYTES = 2**14
"""Room for the record and the tables beside each file."""
BESIDE_BYTES = 2**25
"""Room for the modules and small arrays of a workflow, or of what finds the cord."""


@dataclass(frozen=True)
class CasePlan:
    """What one case will take.

    Attributes
    ----------
    images : tuple of str
        Its files.
    shape, spacing : tuple of 3
        Its grid: voxels, and mm.
    parts : tuple of PartPlan
        The model's own, then those of the models that belong to it.
    around : dict or None
        Seconds of the program's start, of reading images and of writing results; None where the
        machine was not measured.
    disk : int
        Bytes of everything it writes, at most.
    unknown : tuple of str
        What a header does not tell, so that counts, time and memory are the most there can be.
    """

    images: tuple[str, ...]
    shape: Shape
    spacing: Spacing
    parts: tuple[PartPlan, ...]
    around: dict[str, float] | None
    disk: int
    unknown: tuple[str, ...]

    @property
    def network_seconds(self) -> float | None:
        """Seconds of all networks; None where those of one are not known."""
        seconds = [part.seconds for part in self.parts if part.seconds is not None]
        return sum(seconds) if len(seconds) == len(self.parts) else None

    @property
    def seconds(self) -> float | None:
        """Seconds of a program that runs this case alone; None where some are not known."""
        around = [self.around, *(part.around for part in self.parts)]
        known = [sum(stages.values()) for stages in around if stages is not None]
        networks = self.network_seconds
        return None if networks is None or len(known) < len(around) else networks + sum(known)

    @property
    def memory(self) -> int:
        """Bytes of the process at its worst moment."""
        return together(self.parts)


def memory_of(cases: Sequence[CasePlan], settings: Settings) -> int:
    """Return the bytes of the process that runs some cases, at its worst moment."""
    most = [case.memory for case in cases[:1]]
    most += [together(case.parts, later=True) for case in cases[1:]]
    beside = [part.beside for case in cases for part in case.parts]
    overlap = settings["overlap_cases"] and len(cases) > 1
    return max(most, default=0) + (max(beside) if overlap else 0)


def seconds_of(cases: Sequence[CasePlan]) -> float | None:
    """Return the seconds of a program that runs some cases; a network that stays is opened once."""
    seconds = [case.seconds for case in cases if case.seconds is not None]
    if len(seconds) < len(cases):
        return None
    once = [(case.around or {})["start"] for case in cases[1:]]
    parts = [part for case in cases[1:] for part in case.parts if part.folds == 1]
    once += [(part.around or {})["open"] for part in parts]
    return sum(seconds) - sum(once)


def plan_case(model: Model, images: Sequence[Path], settings: Settings, costs: Costs) -> CasePlan:
    """Return what one case will take.

    Parameters
    ----------
    model : Model
        Its networks need not be open.
    images : sequence of paths
        One per channel; voxels are not read.
    settings : Settings
        As the run will have them.
    costs : Costs
        What networks cost on this machine.

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
    opened = [nifti.load_image(path) for path in images]
    whole = _read_grid(model.bundle, opened, [str(path) for path in images])
    inside, unknown = _inside(model.bundle, whole, settings)
    label_bytes, map_bytes = _written(model, whole, inside, settings)
    writes = [*label_bytes, *map_bytes]
    stored = sum(map(_stored_bytes, opened))
    held = _held(model.bundle, inside, stored, settings)
    case = CaseSizes(whole.shape, inside, stored, sum(writes), held)
    parts: list[PartPlan] = []
    for part, own in _parts_with_settings(model, settings):
        waiting = bool(parts) and model.bundle.workflow is None
        maps = _map_count(model, part, own)
        planned, looked_at = plan_part(part, case, own, costs, maps=maps, waiting=waiting)
        parts.append(planned)
        unknown += [step for step in looked_at if step not in unknown]
    if settings["skip_empty"]:
        unknown.append(EMPTY)
    return CasePlan(
        tuple(str(path) for path in images),
        whole.shape,
        whole.spacing,
        tuple(parts),
        _around(costs.rates, stored, sum(label_bytes), sum(map_bytes)),
        sum(writes) + RECORD_BYTES * len(writes),
        tuple(unknown),
    )


def _around(rates: Rates | None, stored: int, labels: int, maps: int) -> dict[str, float] | None:
    """Return the seconds of the stages before and after all that its parts do for a case."""
    if rates is None:
        return None
    write = rates.write * labels + rates.write_maps * maps
    return {"start": rates.start, "read": rates.read * stored, "write": write}


def _read_grid(bundle: Bundle, images: Sequence[SpatialImage], names: Sequence[str]) -> Volume:
    """Return the grid of a case without channels; a workflow's image may be a time series."""
    for image, name in zip(images, names, strict=True):
        check_finite(np.empty(0, image.get_data_dtype()), name)
    if bundle.workflow is None:
        return nifti.read_grid(images, names)
    (image,), (name,) = images, names
    check_shape(image.shape[:3] if len(image.shape) == 4 else image.shape, name)
    check_affine(image.affine, name)
    return Volume.from_array(np.empty((0, *image.shape[:3])), image.affine)


def _inside(bundle: Bundle, whole: Volume, settings: Settings) -> tuple[Volume, list[str]]:
    """Return what of an image the pipeline is given at most, and what decides about less."""
    if bundle.workflow is not None:
        return isotropic_grid(whole.shape, whole.affine), []
    if bundle.cord_crop is None:
        return whole, []
    box = override_faces(Box.whole(whole.shape), settings["box"], whole.shape)
    unknown = [] if set(settings["box"]) == set(FACES) else [CORD]
    return crop_to_box(whole, box)[0], unknown


def _held(bundle: Bundle, inside: Volume, stored: int, settings: Settings) -> int:
    """Return the bytes of what stays beside all networks."""
    if bundle.workflow is not None:  # the image as it is, and on the other grid in two types
        return BESIDE_BYTES + stored + math.prod(inside.shape) * 6
    if bundle.cord_crop is None or set(settings["box"]) == set(FACES):
        return 0
    path = locate(bundle.cord_crop.detector)
    return BESIDE_BYTES + (4 * read_detector(path).size if path else 0)


def _parts_with_settings(model: Model, settings: Settings) -> Iterator[tuple[Part, Settings]]:
    """Yield each part and what it is told: the first of a cascade has its own ways."""
    own, *others = model.parts(settings)
    yield own, settings
    for part in others:
        yield part, settings if model.bundle.workflow else make_settings()


def _map_count(model: Model, part: Part, settings: Settings) -> int:
    """Return how many maps are made of what a part's networks say, 0 for labels alone."""
    outputs = part.bundle.outputs
    if model.bundle.workflow is None:
        return len(outputs.labels) if settings["soft"] or outputs.values else 0
    soft = _kinds(model, settings).count("soft")
    return soft + 1 if soft and part.bundle is model.bundle else 0


def _kinds(model: Model, settings: Settings) -> list[str]:
    """Return the kind of each file of a run."""
    if model.bundle.workflow is None:
        return [file.kind for file in chosen_files(model.bundle.outputs, soft=settings["soft"])]
    from deepseg_lite.workflows.spine.outputs import OUTPUTS
    from deepseg_lite.workflows.spine.outputs import chosen_files as files_of

    return [OUTPUTS[file.output].kind for file in files_of(model.bundle.workflow, settings)]


def _written(
    model: Model, whole: Volume, inside: Volume, settings: Settings
) -> tuple[list[int], list[int]]:
    """Return the bytes of each label map and of each other map, before they are compressed."""
    outputs = model.bundle.outputs
    label = 1 if model.bundle.workflow else np.dtype(label_dtype(outputs.max_value)).itemsize
    kinds = _kinds(model, settings)
    voxels = math.prod((inside if settings["iso"] else whole).shape)
    maps = len(kinds) if outputs.are_maps else kinds.count("soft")
    return [voxels * label] * (len(kinds) - maps), [voxels * 4] * maps


def _stored_bytes(image: SpatialImage) -> int:
    """Return the bytes of an image's voxels as they are read: float64 where they are scaled."""
    proxy = image.dataobj
    scaled = (proxy.slope, proxy.inter) != (1, 0)
    width = 8 if scaled else int(image.get_data_dtype().itemsize)
    return int(math.prod(image.shape)) * width
