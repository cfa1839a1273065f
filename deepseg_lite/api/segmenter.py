"""A bundle that stays warm, called with images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, overload

import numpy as np
import numpy.typing as npt
from nibabel.spatialimages import SpatialImage

from deepseg_lite.api import nifti
from deepseg_lite.api.images import Image, read_images
from deepseg_lite.api.model import Part, Result, ResultFile
from deepseg_lite.api.results import check_cleaning, chosen_files, make_result
from deepseg_lite.bundles.bundle import Bundle, Network
from deepseg_lite.bundles.task_file import Task
from deepseg_lite.engines.engine import Engine
from deepseg_lite.engines.predictors import WarmNetworks
from deepseg_lite.errors import ImageError
from deepseg_lite.inference.channels import arrange_channels
from deepseg_lite.inference.overlap import Stages, run_through, timed
from deepseg_lite.inference.pipeline import Cancel, Progress, Segmentation, segment_in_stages
from deepseg_lite.inference.settings import Settings, check_settings
from deepseg_lite.inference.sliding_window import Predictor
from deepseg_lite.steps.box import FACES, crop_to_box
from deepseg_lite.store.tasks import find_beside
from deepseg_lite.volume import AnyArray, Volume
from deepseg_lite.workflows.cord.crop import Finder, describe_crop, find_box, open_finder


@dataclass(eq=False)
class Segmenter:
    """A model that is called with images; made by `load`.

    Attributes
    ----------
    bundle : Bundle
        What the model needs and what its labels mean.
    task : Task or None
        The task it was found under, if any.
    engine : Engine
        What runs the networks.
    threads : int
        CPU threads.
    networks : tuple of Network
        The folds in use.
    """

    bundle: Bundle
    task: Task | None
    engine: Engine
    threads: int
    networks: tuple[Network, ...]
    keep_folds_loaded: bool = False
    _cord_finder: Finder | None = field(default=None, repr=False)
    _first_model: Segmenter | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self._warm = WarmNetworks(
            self.bundle, self.networks, self.engine, self.threads, self.keep_folds_loaded
        )

    def predictors(self) -> Iterator[Predictor]:
        """Yield one predictor per fold, opening networks as they are needed."""
        return self._warm.predictors()

    def open(self) -> None:
        """Open networks that stay in memory between calls now, not in the first call."""
        if self._warm.stay:
            list(self.predictors())

    @overload
    def __call__(
        self,
        *images: Image,
        soft: bool = ...,
        tta: bool = ...,
        step: float | None = ...,
        contrasts: Sequence[str] = ...,
        box: Mapping[str, int] | None = ...,
        progress: Progress | None = ...,
        cancel: Cancel | None = ...,
    ) -> SpatialImage: ...

    @overload
    def __call__(
        self,
        *images: npt.NDArray[Any],
        affine: npt.ArrayLike,
        soft: bool = ...,
        tta: bool = ...,
        step: float | None = ...,
        contrasts: Sequence[str] = ...,
        box: Mapping[str, int] | None = ...,
        progress: Progress | None = ...,
        cancel: Cancel | None = ...,
    ) -> npt.NDArray[Any]: ...

    def __call__(
        self,
        *images: Image | npt.NDArray[Any],
        affine: npt.ArrayLike | None = None,
        soft: bool = False,
        tta: bool = False,
        step: float | None = None,
        contrasts: Sequence[str] = (),
        box: Mapping[str, int] | None = None,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> SpatialImage | npt.NDArray[Any]:
        """Segment one case.

        Parameters
        ----------
        *images : path, nibabel image, or array of shape (X, Y, Z)
            One per channel of the model, in the order of ``bundle.inputs.channel_names``.
        affine : array of shape (4, 4), optional
            Voxel indices to mm; needed for arrays and only for them.
        soft : bool
            Return probabilities instead of labels.
        tta : bool
            Average over the flips the model allows (test-time augmentation).
        step : float, optional
            Distance of neighbouring patches as a fraction of the patch, above 0 to 1.
        contrasts : sequence of str
            Contrast of each image, for models that tell them apart.
        box : mapping, optional
            Faces of the box around the cord, ``xmin`` to ``zmax``, that replace those found; for
            models of cropped images. They are voxel indices inside the box.
        progress : callable, optional
            ``progress(done, total)``, in patches.
        cancel : callable, optional
            Asked after every patch; returning True ends the run with `Cancelled`.

        Returns
        -------
        labels : nibabel image or array
            On the grid of the input: an array for arrays, an image for paths and images. Labels
            are uint8 or uint16 of shape (X, Y, Z). Probabilities are float32 of shape (L, X, Y, Z)
            for arrays, and (X, Y, Z, L) for images, in the order of ``bundle.outputs.labels``.

        Raises
        ------
        ImageError
            If an image cannot be segmented, or the number of channels is wrong.
        OptionError
            If an option does not fit.
        Cancelled
            If ``cancel`` returned True.
        """
        self.check_channel_count(len(images))
        settings = Settings(
            step=step, mirror=tta, soft=soft, contrasts=tuple(contrasts), box=box or {}
        )
        given = read_images(images, affine)
        data = self.segment(
            given.volume, settings, stored=given.stored, progress=progress, cancel=cancel
        ).data
        if given.like is None:
            return data
        return nifti.make_image(np.moveaxis(data, 0, -1) if data.ndim == 4 else data, given.like)

    def segment(
        self,
        volume: Volume,
        settings: Settings | None = None,
        *,
        stored: AnyArray | None = None,
        soft_labels: Sequence[int] = (),
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> Segmentation:
        """Segment a `Volume`; see `deepseg_lite.inference.pipeline.segment`.

        ``stored`` is the first channel (X, Y, Z) in the type it is stored in, where that is not
        float32: models of cropped images look for the cord in it. ``soft_labels`` are for models
        of whole images.
        """
        settings = settings or Settings()
        self.check_settings(settings)
        return run_through(self._in_stages(volume, settings, stored, soft_labels, progress, cancel))

    def _in_stages(
        self,
        volume: Volume,
        settings: Settings,
        stored: AnyArray | None,
        soft_labels: Sequence[int],
        progress: Progress | None,
        cancel: Cancel | None,
    ) -> Stages[Segmentation]:
        timings: dict[str, float] = {}
        volume = arrange_channels(volume, self.bundle.inputs, settings.contrasts)
        undo, cropped = None, None
        if self.bundle.cord_crop is not None:
            with timed(timings, "crop"):
                cropped = find_box(
                    replace(volume, data=volume.data[:1] if stored is None else stored[None]),
                    self.bundle.cord_crop,
                    settings.box,
                    self._finder,
                    strict=settings.strict_crop,
                )
                volume, undo = crop_to_box(volume, cropped.box)
        stages = segment_in_stages(
            volume,
            self.bundle,
            self.predictors(),
            settings,
            prior=partial(self._prior, volume, settings, cancel) if self.bundle.prior else None,
            soft_labels=soft_labels,
            fold_count=len(self.networks),
            progress=progress,
            cancel=cancel,
        )
        del volume, stored  # not needed beside the networks
        result = yield from stages
        timings |= result.timings
        if undo is None or cropped is None:
            return replace(result, timings=timings)
        data = undo.undo(result.data)
        return Segmentation(data, timings, cropped.box, describe_crop(cropped, data))

    def _prior(self, volume: Volume, settings: Settings, cancel: Cancel | None) -> AnyArray:
        """Return what the model that runs first finds, shape (X, Y, Z)."""
        prior = self.bundle.prior
        assert prior is not None
        names = self.bundle.inputs.channel_names
        channels = volume.data[[names.index(name) for name in prior.channels]]
        first = Volume(channels, volume.affine, volume.spacing)
        found = self._first().segment(first, Settings(cleaning=settings.cleaning), cancel=cancel)
        return found.data[0] if found.data.ndim == 4 else found.data

    def _first(self) -> Segmenter:
        """Return the model that runs first; opened when it is first needed."""
        assert self.bundle.prior is not None
        if self._first_model is None:
            bundle = find_beside(self.bundle.prior.bundle, self.bundle)
            self._first_model = Segmenter(
                bundle, None, self.engine, self.threads, bundle.networks, self.keep_folds_loaded
            )
        return self._first_model

    def parts(self, settings: Settings) -> tuple[Part, ...]:
        """Return the bundles a run uses, its own first."""
        first = self._first().parts(settings) if self.bundle.prior else ()
        return (Part(self.bundle, self.networks), *first)

    def files(self, settings: Settings) -> tuple[ResultFile, ...]:
        """Return the files of a run; refuse what cannot be done to them."""
        files = chosen_files(self.bundle.outputs, soft=settings.soft)
        check_cleaning(files, self.bundle.outputs, settings.cleaning)
        return tuple(ResultFile(file.suffix) for file in files)

    def run_in_stages(
        self,
        images: Sequence[SpatialImage],
        names: Sequence[str],
        settings: Settings,
        *,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> Stages[Result]:
        """Return what is to be written for the images of one case, whose names are for errors."""
        timings: dict[str, float] = {}
        with timed(timings, "load"):
            volume, stored = nifti.read_case(images, names)
        spacing = volume.spacing
        stages = self._in_stages(volume, settings, stored, (), progress, cancel)
        del volume, stored  # not needed beside the networks
        found = yield from stages
        return make_result(found, self.bundle.outputs, settings, images[0], spacing, timings)

    def check_settings(self, settings: Settings) -> None:
        """Refuse settings that do not fit, and find what else the model needs, before any work."""
        check_settings(settings, self.bundle)
        if self.bundle.cord_crop is not None and set(settings.box) != set(FACES):
            self._finder()
        if self.bundle.prior is not None:
            self._first()

    def _finder(self) -> Finder:
        """Return what finds the cord; opened when it is first needed."""
        assert self.bundle.cord_crop is not None
        if self._cord_finder is None:
            self._cord_finder = open_finder(self.bundle.cord_crop.detector, self.threads)
        return self._cord_finder

    def check_channel_count(self, count: int) -> None:
        """Raise `ImageError` unless ``count`` images make one case of this model."""
        names = self.bundle.inputs.channel_names
        if count != len(names):
            raise ImageError(
                f"{count} images were given; {self.bundle.name} needs {len(names)} per case, in "
                f"this order: {', '.join(names)}."
            )
