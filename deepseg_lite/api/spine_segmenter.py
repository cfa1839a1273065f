"""Spine segmenter: two networks that label the spine in steps, called with images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy.typing as npt
from nibabel.affines import voxel_sizes
from nibabel.spatialimages import SpatialImage

from deepseg_lite.api.images import GivenSeries, Image, read_series
from deepseg_lite.api.model import Part, Result, ResultFile
from deepseg_lite.api.results import tell_missing
from deepseg_lite.api.segmenter import Segmenter
from deepseg_lite.bundles.bundle import Bundle
from deepseg_lite.bundles.task_file import Task
from deepseg_lite.bundles.workflow import Workflow, WorkflowFile
from deepseg_lite.engines.engine import Engine
from deepseg_lite.errors import ImageError, OptionError
from deepseg_lite.inference.fitting import fit_settings
from deepseg_lite.inference.settings import Settings, changed, make_settings
from deepseg_lite.nifti.writing import make_image, new_image
from deepseg_lite.notice import Notice, Warn, log
from deepseg_lite.option import takes
from deepseg_lite.store.tasks import find_beside
from deepseg_lite.volume import Affine, AnyArray, FloatArray, LabelArray, Volume
from deepseg_lite.watch import Cancel, Progress, Watch
from deepseg_lite.workflows.spine.outputs import (
    OUTPUTS,
    check_choices,
    chosen_files,
    needs_second_step,
    volumes_mm3,
)
from deepseg_lite.workflows.spine.tables import Rules
from deepseg_lite.workflows.spine.workflow import Network, SpineLabels, label_image

if TYPE_CHECKING:
    from typing_extensions import Unpack


@dataclass(eq=False)
class SpineSegmenter:
    """Model of two networks that labels discs, vertebrae, canal and cord; made by `load`.

    Attributes
    ----------
    first : Segmenter
        The network of the first step. That of the second is opened when it is first needed.
    workflow : Workflow
        The steps, from its bundle.
    """

    first: Segmenter
    workflow: Workflow

    @cached_property
    def _second(self) -> Segmenter:
        """The network of the second step."""
        return self.first.companion(find_beside(self.workflow.second, self.bundle))

    @property
    def bundle(self) -> Bundle:
        """The bundle of the first step."""
        return self.first.bundle

    @property
    def task(self) -> Task | None:
        """The task it was found under, if any."""
        return self.first.task

    @property
    def engine(self) -> Engine:
        """The engine of the networks."""
        return self.first.engine

    @property
    def threads(self) -> int:
        """CPU threads."""
        return self.first.threads

    def open(self) -> None:
        """Open the network of the first step now, if it stays in memory between calls."""
        self.first.open()

    @takes(Settings)
    def __call__(
        self,
        image: Image | npt.NDArray[Any],
        *,
        affine: npt.ArrayLike | None = None,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
        notify: Callable[[Notice], None] | None = None,
        **options: Unpack[Settings],
    ) -> dict[str, SpatialImage] | dict[str, AnyArray]:
        """Label the spine in one image.

        Parameters
        ----------
        image : path, nibabel image, or array of shape (X, Y, Z) or (X, Y, Z, T)
            A time series is averaged.
        affine : array of shape (4, 4), optional
            Voxel indices to mm; needed for an array and only for it.
        progress : callable, optional
            ``progress(done, total)``, in patches of each network in turn.
        cancel : callable, optional
            Asked after every patch; returning True ends the run with `Cancelled`.
        notify : callable, optional
            As for `Segmenter`.

        Returns
        -------
        results : dict
            By their names, uint8 and float32 (X, Y, Z): arrays for an array, else images.

        Raises
        ------
        ImageError
            If the image cannot be used, or has no spine.
        OptionError
            If an option does not fit.
        BundleNotFoundError
            If the second step is needed and its bundle is not here.
        Cancelled
            If ``cancel`` returned True.
        """
        settings = fit_settings(make_settings(**options), self.bundle)
        self.check_settings(settings)
        watch = Watch(progress, cancel, notify)
        given = read_series(image, affine, watch.warn)
        if settings["iso"] and given.like is None:
            raise OptionError("iso gives another grid than the array's; give a nibabel image.")
        found = self.label(given, settings, watch)
        tell_missing(found.empty, len(found.arrays), watch.warn)
        if given.like is None:
            return dict(found.arrays)
        made = self._images(found, given.like, settings)
        for image_made in made:
            image_made.extra["warnings"] = tuple(watch.notices)
        return dict(zip(found.arrays, made, strict=True))

    def label(self, given: GivenSeries, settings: Settings, watch: Watch) -> SpineLabels:
        """Label one image; see `deepseg_lite.workflows.spine.workflow.label_image`."""
        plain = _for_networks(settings)

        def network(segmenter: Segmenter) -> Network:
            def predict(
                data: FloatArray, affine: Affine, soft: Sequence[int]
            ) -> tuple[LabelArray, FloatArray | None]:
                x, y, z = (float(size) for size in voxel_sizes(affine))
                found = segmenter.segment(
                    Volume(data, affine, (x, y, z)), plain, soft_labels=soft, watch=watch.inner()
                )
                return found.data, found.probabilities

            return predict

        outputs = tuple(file.output for file in chosen_files(self.workflow, settings))
        try:
            return label_image(
                given.data,
                given.affine,
                outputs,
                network(self.first),
                network(self._second) if needs_second_step(outputs) else None,
                Rules(**self.workflow.rules),
                iso=settings["iso"],
                spacing=given.spacing,
                watch=watch,
            )
        except ImageError as error:
            raise ImageError(f"{given.name}: {str(error).rstrip('.')}.") from error

    def case(
        self,
        images: Sequence[SpatialImage],
        names: Sequence[str],
        settings: Settings,
        watch: Watch,
    ) -> SpineCase:
        """Return the run of one case, not begun; the name of its image is for errors."""
        return SpineCase(self, images, names, settings, watch)

    def result(
        self, found: SpineLabels, image: SpatialImage, settings: Settings, warn: Warn = log
    ) -> Result:
        """Return the images that are written, and the volumes in them."""
        tell_missing(found.empty, len(found.arrays), warn)
        tables = [file.names for file in self.files(settings)]
        suffixes = [file.suffix for file in chosen_files(self.workflow, settings)]
        labels = {
            suffix: {name: [value] for value, name in table.items()}
            for suffix, table in zip(suffixes, tables, strict=True)
            if table
        }
        volumes = {
            suffix: volumes_mm3(array, OUTPUTS[output], table, found.affine)
            for suffix, (output, array), table in zip(
                suffixes, found.arrays.items(), tables, strict=True
            )
            if OUTPUTS[output].kind != "points"
        }
        return Result(self._images(found, image, settings), volumes, labels)

    def _images(
        self, found: SpineLabels, like: SpatialImage, settings: Settings
    ) -> tuple[SpatialImage, ...]:
        """Return results as images: with the header of the input where they are on its grid."""
        if settings["iso"]:
            return tuple(new_image(array, found.affine) for array in found.arrays.values())
        return tuple(make_image(array, like) for array in found.arrays.values())

    def parts(self, settings: Settings) -> tuple[Part, ...]:
        """Return the bundles a run uses, that of the first step first."""
        second = self._second.parts(settings) if self._needs_second(settings) else ()
        return (*self.first.parts(settings), *second)

    def files(self, settings: Settings) -> tuple[ResultFile, ...]:
        """Return the files of a run."""
        return tuple(map(self._result_file, chosen_files(self.workflow, settings)))

    def _result_file(self, file: WorkflowFile) -> ResultFile:
        """Return what a file shows; what a network paints its own bundle names."""
        result, names = OUTPUTS[file.output], OUTPUTS[file.output].names
        if result.kind == "classes":
            outputs = (self.first if result.step == 1 else self._second).bundle.outputs
            painted = outputs.regions_class_order or range(1, len(outputs.labels) + 1)
            names = {v: label.name for v, label in zip(painted, outputs.labels, strict=True)}
        kind = "labels" if result.kind == "classes" else result.kind
        structures = (result.structure,) if result.structure else ()
        return ResultFile(file.suffix, kind, structures, names, has_tables=True)

    def _needs_second(self, settings: Settings) -> bool:
        return needs_second_step(
            tuple(file.output for file in chosen_files(self.workflow, settings))
        )

    def check_settings(self, settings: Settings) -> None:
        """Refuse settings that do not fit, and find what else the model needs, before any work."""
        check_choices(self.bundle.name, self.workflow, settings)
        plain = _for_networks(settings)
        self.first.check_settings(plain)
        if self._needs_second(settings):
            self._second.check_settings(plain)

    def check_channel_count(self, count: int) -> None:
        """Raise `ImageError` unless ``count`` images make one case of this model."""
        self.first.check_channel_count(count)


def _for_networks(settings: Settings) -> Settings:
    """Return what of the settings the networks are told."""
    return changed(
        settings,
        outputs=(),
        label_vert=False,
        iso=False,
        threshold=None,
        keep_largest=None,
        fill_holes=None,
        remove_small=(),
    )


class SpineCase:
    """Run of one case, from its image as it is on disk to images as they are written."""

    def __init__(
        self,
        model: SpineSegmenter,
        images: Sequence[SpatialImage],
        names: Sequence[str],
        settings: Settings,
        watch: Watch,
    ) -> None:
        (self._image,), (self._name,) = images, names
        self._model, self._settings, self._watch = model, settings, watch

    def prepare(self) -> None:
        """Read the image."""
        with self._watch.stage("load"):
            self._given: GivenSeries | None = replace(
                read_series(self._image, warn=self._watch.warn), name=self._name
            )

    def predict(self) -> None:
        """Run both networks and the steps around them."""
        assert self._given is not None
        given, self._given = self._given, None
        self._found = self._model.label(given, self._settings, self._watch)

    def finish(self) -> Result:
        """Make the images that are written."""
        return self._model.result(self._found, self._image, self._settings, self._watch.warn)
