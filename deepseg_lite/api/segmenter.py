"""Segmenter: a model that stays in memory and is called with images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt
from nibabel.spatialimages import SpatialImage

from deepseg_lite.api import centering
from deepseg_lite.api.images import Image, read_images
from deepseg_lite.api.model import Part, ResultFile
from deepseg_lite.api.results import (
    check_cleaning,
    chosen_files,
    cleaned,
    notice_empty,
    result_file,
    returned_files,
)
from deepseg_lite.api.runs import CaseRun, VolumeRun
from deepseg_lite.bundles.bundle import Bundle
from deepseg_lite.bundles.networks import Network
from deepseg_lite.bundles.task_file import Task
from deepseg_lite.engines.engine import Engine
from deepseg_lite.engines.predictors import WarmNetworks
from deepseg_lite.errors import ImageError
from deepseg_lite.inference.cleaning import Cleaning
from deepseg_lite.inference.fitting import check_settings, fit_settings
from deepseg_lite.inference.overlap import run_through
from deepseg_lite.inference.pipeline import Segmentation
from deepseg_lite.inference.settings import Settings, make_settings
from deepseg_lite.inference.sliding_window import Predictor
from deepseg_lite.nifti.writing import make_image
from deepseg_lite.notice import Notice
from deepseg_lite.option import takes
from deepseg_lite.steps.faces import FACES
from deepseg_lite.store.tasks import find_beside, find_bundle
from deepseg_lite.volume import AnyArray, Volume
from deepseg_lite.watch import Cancel, Progress, Watch
from deepseg_lite.workflows.cord.crop import Finder, open_finder

if TYPE_CHECKING:
    from typing_extensions import Unpack


@dataclass(eq=False)
class Segmenter:
    """Model that is called with images; made by `load`.

    Attributes
    ----------
    bundle : Bundle
        The model as data.
    task : Task or None
        The task it was found under, if any.
    engine : Engine
        The engine of the networks.
    threads : int
        CPU threads.
    networks : tuple of Network
        The folds in use.
    keep_folds_loaded : bool
        Whether the networks of several folds stay in memory.
    """

    bundle: Bundle
    task: Task | None
    engine: Engine
    threads: int
    networks: tuple[Network, ...]
    keep_folds_loaded: bool = False
    _center_models: dict[str, Segmenter] = field(default_factory=dict, repr=False)

    @cached_property
    def _warm(self) -> WarmNetworks:
        return WarmNetworks(
            self.bundle, self.networks, self.engine, self.threads, self.keep_folds_loaded
        )

    @cached_property
    def _finder(self) -> Finder:
        assert self.bundle.cord_crop is not None
        return open_finder(self.bundle.cord_crop.detector, self.threads)

    @cached_property
    def _first(self) -> Segmenter:
        """The model that runs first."""
        assert self.bundle.prior is not None
        return self.companion(find_beside(self.bundle.prior.bundle, self.bundle))

    def companion(self, bundle: Bundle) -> Segmenter:
        """Return another model that runs as this one does, with networks of its own."""
        return Segmenter(
            bundle, None, self.engine, self.threads, bundle.networks, self.keep_folds_loaded
        )

    def predictors(self) -> Iterator[Predictor]:
        """Yield one predictor per fold, opening networks as they are needed."""
        return self._warm.predictors()

    def finder(self) -> Finder:
        """Return the networks that find the cord; opened when they are first needed."""
        return self._finder

    def open(self) -> None:
        """Open networks that stay in memory between calls now, not in the first call."""
        if self._warm.stay:
            list(self.predictors())

    @overload
    def __call__(
        self,
        *images: Image,
        progress: Progress | None = ...,
        cancel: Cancel | None = ...,
        notify: Callable[[Notice], None] | None = ...,
        **options: Unpack[Settings],
    ) -> SpatialImage: ...

    @overload
    def __call__(
        self,
        *images: npt.NDArray[Any],
        affine: npt.ArrayLike,
        progress: Progress | None = ...,
        cancel: Cancel | None = ...,
        notify: Callable[[Notice], None] | None = ...,
        **options: Unpack[Settings],
    ) -> npt.NDArray[Any]: ...

    @takes(Settings)
    def __call__(
        self,
        *images: Image | npt.NDArray[Any],
        affine: npt.ArrayLike | None = None,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
        notify: Callable[[Notice], None] | None = None,
        **options: Unpack[Settings],
    ) -> SpatialImage | npt.NDArray[Any]:
        """Segment one case.

        Parameters
        ----------
        *images : path, nibabel image, or array of shape (X, Y, Z)
            One per channel of the model, in the order of ``bundle.inputs.channel_names``.
        affine : array of shape (4, 4), optional
            Voxel indices to mm; needed for arrays and only for them.
        progress : callable, optional
            ``progress(done, total)``, in patches.
        cancel : callable, optional
            Asked after every patch; returning True ends the run with `Cancelled`.
        notify : callable, optional
            Told of every `Notice`, that is, of what is doubtful. An image that is returned has
            them all in ``image.extra["warnings"]``.

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
        settings, outputs = fit_settings(make_settings(**options), self.bundle), self.bundle.outputs
        files = returned_files(outputs, soft=settings["soft"])
        check_cleaning(files, outputs, Cleaning.of(settings))
        watch = Watch(progress, cancel, notify)
        given = read_images(images, affine, watch.warn)
        found = self.segment(given.volume, settings, stored=given.stored, watch=watch)
        data = cleaned(found.data, outputs, settings, given.volume.spacing)
        has_maps = data.ndim == 4
        shown = returned_files(outputs, soft=has_maps)
        notice_empty(list(data) if has_maps else [data], shown, outputs, watch.warn)
        if given.like is None:
            return data
        image = make_image(np.moveaxis(data, 0, -1) if has_maps else data, given.like)
        image.extra["warnings"] = tuple(watch.notices)
        return image

    def segment(
        self,
        volume: Volume,
        settings: Settings | None = None,
        *,
        stored: AnyArray | None = None,
        soft_labels: Sequence[int] = (),
        watch: Watch | None = None,
    ) -> Segmentation:
        """Segment a `Volume`; see `deepseg_lite.inference.pipeline.segment`.

        ``stored`` is the first channel (X, Y, Z) in the type it is stored in, where that is not
        float32: models of cropped images look for the cord in it. ``soft_labels`` are for models
        of whole images.
        """
        if not isinstance(volume, Volume):
            raise ImageError("segment takes a Volume; give images and arrays to the model itself.")
        settings = settings or make_settings()
        self.check_settings(settings)
        run = VolumeRun(self, volume, stored, settings, watch or Watch(), soft_labels)
        del volume, stored  # the run lets them go as early as it can
        return run_through(run)

    def find_prior(self, volume: Volume, settings: Settings, watch: Watch) -> AnyArray:
        """Return the result of the model that runs first, shape (X, Y, Z)."""
        prior = self.bundle.prior
        assert prior is not None
        names = self.bundle.inputs.channel_names
        channels = volume.data[[names.index(name) for name in prior.channels]]
        first = Volume(channels, volume.affine, volume.spacing)
        own = make_settings(
            threshold=settings["threshold"],
            keep_largest=settings["keep_largest"],
            fill_holes=settings["fill_holes"],
            remove_small=settings["remove_small"],
        )
        found = self._first.segment(first, own, watch=watch.inner(tells_progress=False))
        return found.data[0] if found.data.ndim == 4 else found.data

    def find_center(
        self, volume: Volume, settings: Settings, watch: Watch
    ) -> centering.Point | None:
        """Return the point in mm to look around; None for the middle of the image."""
        if settings["center"] is not None:
            return centering.middle_of_file(settings["center"], volume, watch.warn)
        usual = centering.usual_place(self.bundle, settings, volume)
        if (name := centering.localizer(self.bundle, settings)) is None:
            return usual
        found = self._center_model(name).segment(volume, watch=watch.inner(tells_progress=False))
        point = centering.middle_of(found.data, volume.affine, volume)
        if point is None:
            centering.tell_no_center(name, usual, watch.warn)
        return point or usual

    def _center_model(self, name: str) -> Segmenter:
        """Return the model that finds what to look around; opened when it is first needed."""
        if name not in self._center_models:
            bundle, _ = find_bundle(name)
            centering.check_center_model(bundle, self.bundle)
            self._center_models[name] = self.companion(bundle)
        return self._center_models[name]

    def parts(self, settings: Settings) -> tuple[Part, ...]:
        """Return the bundles a run uses, its own first."""
        own = make_settings()
        first = self._first.parts(own) if self.bundle.prior else ()
        name = centering.localizer(self.bundle, settings)
        center = () if name is None else self._center_model(name).parts(own)
        return (Part(self.bundle, self.networks), *first, *center)

    def files(self, settings: Settings) -> tuple[ResultFile, ...]:
        """Return the files of a run; refuse what cannot be done to them."""
        outputs, cleaning = self.bundle.outputs, Cleaning.of(settings)
        files = chosen_files(outputs, soft=settings["soft"])
        check_cleaning(files, outputs, cleaning)
        return tuple(result_file(file, outputs, cleaning) for file in files)

    def case(
        self,
        images: Sequence[SpatialImage],
        names: Sequence[str],
        settings: Settings,
        watch: Watch,
    ) -> CaseRun:
        """Return the run of one case, not begun; the names of its images are for errors."""
        return CaseRun(self, images, names, settings, watch)

    def check_settings(self, settings: Settings) -> None:
        """Refuse settings that do not fit, and find what else the model needs, before any work."""
        check_settings(settings, self.bundle)
        if self.bundle.cord_crop is not None and set(settings["box"]) != set(FACES):
            self.finder()
        if self.bundle.prior is not None:
            _ = self._first
        centering.check_ways(settings)
        if (name := centering.localizer(self.bundle, settings)) is not None:
            self._center_model(name).check_settings(make_settings())

    def check_channel_count(self, count: int) -> None:
        """Raise `ImageError` unless ``count`` images make one case of this model."""
        names = self.bundle.inputs.channel_names
        if count != len(names):
            raise ImageError(
                f"{count} images were given; {self.bundle.name} needs {len(names)} per case, in "
                f"this order: {', '.join(names)}."
            )
