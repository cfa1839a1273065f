"""Runs of one model in three steps, so that cases can overlap: prepare, predict, finish."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from nibabel.spatialimages import SpatialImage

from deepseg_lite.api.centering import Point, localizer, tell_empty_slices
from deepseg_lite.api.model import Result
from deepseg_lite.api.results import make_result
from deepseg_lite.bundles.bundle import Bundle
from deepseg_lite.bundles.networks import Network
from deepseg_lite.inference.channels import arrange_channels
from deepseg_lite.inference.pipeline import Prediction, Segmentation, complete, predict
from deepseg_lite.inference.preparing import prepare
from deepseg_lite.inference.settings import Settings
from deepseg_lite.inference.sliding_window import Predictor
from deepseg_lite.nifti.reading import read_case
from deepseg_lite.steps.box import crop_to_box
from deepseg_lite.steps.frame import Framed
from deepseg_lite.steps.table import Record, looks_around_middle
from deepseg_lite.volume import AnyArray, Volume
from deepseg_lite.watch import Watch
from deepseg_lite.workflows.cord.crop import CordBox, Finder, describe_crop, find_box


class Opened(Protocol):
    """Model with its networks, as runs use it."""

    @property
    def bundle(self) -> Bundle:
        """The bundle it was opened from."""
        ...

    @property
    def networks(self) -> tuple[Network, ...]:
        """The folds in use."""
        ...

    def predictors(self) -> Iterator[Predictor]:
        """Yield one predictor per fold."""
        ...

    def finder(self) -> Finder:
        """Return the networks that find the cord."""
        ...

    def find_prior(self, volume: Volume, settings: Settings, watch: Watch) -> AnyArray:
        """Return the result of the model that runs first."""
        ...

    def find_center(self, volume: Volume, settings: Settings, watch: Watch) -> Point | None:
        """Return the point in mm to look around; None for the middle of the image."""
        ...


class VolumeRun:
    """Run of one volume.

    Parameters
    ----------
    model : Opened
        The model; its networks may be opened during the run.
    volume : Volume
        Data of shape (C, X, Y, Z).
    stored : array of shape (X, Y, Z) or None
        First channel in the type it is stored in, where that is not float32.
    settings : Settings
        Complete, and checked against the model.
    watch : Watch
        Takes the time.
    soft_labels : sequence of int
        See `deepseg_lite.inference.pipeline.segment`.
    """

    def __init__(
        self,
        model: Opened,
        volume: Volume,
        stored: AnyArray | None,
        settings: Settings,
        watch: Watch,
        soft_labels: Sequence[int] = (),
    ) -> None:
        self.model, self.settings, self.watch = model, settings, watch
        self.soft_labels, self.spacing = soft_labels, volume.spacing
        self.voxel_mm3 = volume.voxel_mm3
        self._volume: Volume | None = volume
        self._stored = stored
        self._prepared: tuple[Volume, list[Record]] | None = None
        self._predicted: Prediction | None = None
        self._crop: tuple[CordBox, Record | None] | None = None
        self._center: Point | None = None

    def prepare(self) -> None:
        """Arrange the channels, crop, and apply the bundle's steps where no network decides."""
        bundle = self.model.bundle
        volume = arrange_channels(self._take_volume(), bundle.inputs, self.settings["contrasts"])
        if bundle.cord_crop is not None:
            stored = self._stored
            with self.watch.stage("crop"):
                cropped = find_box(
                    replace(volume, data=volume.data[:1] if stored is None else stored[None]),
                    bundle.cord_crop,
                    self.settings["box"],
                    self.model.finder,
                    strict=self.settings["strict_crop"],
                    warn=self.watch.warn,
                )
                volume, undo = crop_to_box(volume, cropped.box)
            self._crop = cropped, undo
        self._stored = None
        if bundle.prior is None and localizer(bundle, self.settings) is None:
            self._apply_steps(volume)
        else:
            self._volume = volume

    def predict(self) -> None:
        """Run the networks; a model that crops to the result of another asks that one first."""
        if self._prepared is None:
            self._apply_steps(self._take_volume())
        assert self._prepared is not None
        (prepared, trail), self._prepared = self._prepared, None
        self._trail = trail
        self._predicted = predict(
            prepared.data,
            trail,
            self.model.bundle,
            self.model.predictors(),
            self.settings,
            spacing=self.spacing,
            soft_labels=self.soft_labels,
            fold_count=len(self.model.networks),
            watch=self.watch,
        )

    def finish(self) -> Segmentation:
        """Bring the result to the grid of the image."""
        assert self._predicted is not None
        predicted, self._predicted = self._predicted, None
        found = complete(
            predicted,
            self._trail,
            self.model.bundle,
            self.settings,
            spacing=self.spacing,
            soft_labels=self.soft_labels,
            watch=self.watch,
        )
        if looks_around_middle(self.model.bundle.preprocessing):
            frame = self._trail[0]
            assert isinstance(frame, Framed)
            tell_empty_slices(found.data, frame, self.model.bundle, self.watch.warn)
            found = replace(found, center=self._center)
        if self._crop is None:
            return found
        cropped, undo = self._crop
        data = found.data if undo is None else undo.undo(found.data)
        return Segmentation(
            data, box=cropped.box, crop=describe_crop(cropped, data, self.watch.warn)
        )

    def _apply_steps(self, volume: Volume) -> None:
        """Ask other models what they find, where this one needs that, and prepare the volume."""
        model, settings, watch = self.model, self.settings, self.watch
        prior = model.find_prior(volume, settings, watch) if model.bundle.prior else None
        self._center = model.find_center(volume, settings, watch)
        with watch.stage("preprocess"):
            self._prepared = prepare(
                volume,
                model.bundle,
                prior,
                watch.warn,
                reorient=settings["reorient"],
                center=self._center,
            )

    def _take_volume(self) -> Volume:
        assert self._volume is not None
        volume, self._volume = self._volume, None
        return volume


class CaseRun:
    """Run of one case, from images as they are on disk to images as they are written.

    Parameters
    ----------
    model : Opened
        The model.
    images : sequence of nibabel images
        One per channel.
    names : sequence of str
        Their names, for errors.
    settings : Settings
        Complete, and checked against the model.
    watch : Watch
        Takes the time.
    """

    def __init__(
        self,
        model: Opened,
        images: Sequence[SpatialImage],
        names: Sequence[str],
        settings: Settings,
        watch: Watch,
    ) -> None:
        self.model, self.settings, self.watch = model, settings, watch
        self._images, self._names = images, names

    def prepare(self) -> None:
        """Read the images and prepare their volume."""
        with self.watch.stage("load"):
            volume, stored = read_case(self._images, self._names, self.watch.warn)
        self._run = VolumeRun(self.model, volume, stored, self.settings, self.watch)
        del volume, stored  # the run lets them go as early as it can
        self._run.prepare()

    def predict(self) -> None:
        """Run the networks."""
        self._run.predict()

    def finish(self) -> Result:
        """Make the images that are written."""
        found = self._run.finish()
        with self.watch.stage("postprocess"):
            return make_result(
                found,
                self.model.bundle.outputs,
                self.settings,
                self._images[0],
                self._run.spacing,
                self._run.voxel_mm3,
                self.watch.warn,
            )
