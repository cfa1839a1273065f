"""The parts joined: a bundle that stays warm, called with images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, overload

import numpy as np
import numpy.typing as npt
from nibabel.spatialimages import SpatialImage

from deepseg_lite import nifti
from deepseg_lite.box import FACES, crop_to_box
from deepseg_lite.bundle import Bundle, Network, select_networks
from deepseg_lite.cord_crop import Finder, describe_crop, find_box, open_finder
from deepseg_lite.errors import ImageError, OptionError
from deepseg_lite.images import Image, read_images
from deepseg_lite.pipeline import Cancel, Progress, Segmentation, segment
from deepseg_lite.session import OnnxPredictor, available_threads, choose_provider
from deepseg_lite.settings import Settings, check_settings
from deepseg_lite.sliding_window import Predictor
from deepseg_lite.task_file import Task
from deepseg_lite.tasks import find_bundle
from deepseg_lite.volume import AnyArray, Volume

SINGLE_FOLD = "1"  # the Spinal Cord Toolbox's choice


def load(
    task_or_bundle: str | Path,
    *,
    device: str = "auto",
    threads: int | None = None,
    folds: Sequence[str] | None = None,
    single_fold: bool = False,
    keep_folds_loaded: bool = False,
    release: str | None = None,
    retired: bool = False,
) -> Segmenter:
    """Open a model and keep it warm.

    Parameters
    ----------
    task_or_bundle : str or path
        A task's name (``deepseg-lite list``), a bundle directory, or a lone ``.onnx`` file.
    device : {"auto", "cpu", "cuda"}
        ``cuda`` fails when CUDA is not usable; ``auto`` takes it where it is.
    threads : int, optional
        CPU threads; default what the affinity mask and the cgroup allow.
    folds : sequence of str, optional
        Folds to combine; default all the bundle has.
    single_fold : bool
        Fold 1 alone, or the first where there is no fold 1: a fraction of the work.
    keep_folds_loaded : bool
        Keep the networks of all folds in memory. Otherwise a model of several folds opens them one
        after another in every call.
    release : str, optional
        Release of the task's model; default the one that is here, the newest of several.
    retired : bool
        Open a task that was retired all the same.

    Returns
    -------
    segmenter : Segmenter

    Raises
    ------
    BundleError
        If the name, the bundle or a fold is unknown or invalid.
    OptionError
        If the task is retired and was not asked for as such, or has no such release.
    ProviderError
        If the device is not usable.

    Examples
    --------
    >>> import deepseg_lite
    >>> segment = deepseg_lite.load("sc_gm_t2star", device="cpu")
    >>> [label.name for label in segment.bundle.outputs.labels]
    ['sc', 'gm']
    """
    if threads is not None and threads < 1:
        raise OptionError(f"threads is {threads}; at least 1 is needed.")
    if single_fold and folds is not None:
        raise OptionError("single_fold and folds were given; one of them is needed.")
    bundle, task = find_bundle(str(task_or_bundle), release=release, retired=retired)
    if single_fold:
        known = [network.fold for network in bundle.networks]
        folds = [SINGLE_FOLD if SINGLE_FOLD in known else known[0]]
    segmenter = Segmenter(
        bundle=bundle,
        task=task,
        provider=choose_provider(device),
        threads=threads or available_threads(),
        networks=select_networks(bundle, folds),
        keep_folds_loaded=keep_folds_loaded,
    )
    if segmenter.stays_loaded:
        list(segmenter.predictors())
    return segmenter


@dataclass(eq=False)
class Segmenter:
    """A model that is called with images; made by `load`.

    Attributes
    ----------
    bundle : Bundle
        What the model needs and what its labels mean.
    task : Task or None
        The task it was found under, if any.
    provider : str
        ONNX Runtime's execution provider that does the work.
    threads : int
        CPU threads.
    networks : tuple of Network
        The folds in use.
    """

    bundle: Bundle
    task: Task | None
    provider: str
    threads: int
    networks: tuple[Network, ...]
    keep_folds_loaded: bool = False
    _open: dict[str, OnnxPredictor] = field(default_factory=dict, repr=False)
    _cord_finder: Finder | None = field(default=None, repr=False)

    @property
    def stays_loaded(self) -> bool:
        """Whether networks stay in memory between calls."""
        return self.keep_folds_loaded or len(self.networks) == 1

    def predictors(self) -> Iterator[Predictor]:
        """Yield one predictor per fold, opening networks as they are needed."""
        for network in self.networks:
            predictor = self._open.get(network.fold)
            if predictor is None:
                predictor = OnnxPredictor(self.bundle, network, self.provider, self.threads)
            if self.stays_loaded:
                self._open[network.fold] = predictor
            yield predictor
            del predictor  # so that only one fold's weights are in memory when the next is opened

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
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> Segmentation:
        """Segment a `Volume`; see `deepseg_lite.pipeline.segment`.

        ``stored`` is the first channel (X, Y, Z) in the type it is stored in, where that is not
        float32: models of cropped images look for the cord in it.
        """
        settings = settings or Settings()
        self.check_settings(settings)
        started = perf_counter()
        cropped, crop = None, self.bundle.cord_crop
        part = volume
        if crop is not None:
            data = volume.data[:1] if stored is None else stored[None]
            cropped = find_box(
                Volume(data, volume.affine, volume.spacing),
                crop,
                settings.box,
                self._finder,
                strict=settings.strict_crop,
            )
            part, record = crop_to_box(volume, cropped.box)
        found = perf_counter()
        result = segment(
            part,
            self.bundle,
            self.predictors(),
            settings,
            fold_count=len(self.networks),
            progress=progress,
            cancel=cancel,
        )
        timings = dict(result.timings)
        if cropped is None:
            report, data = None, result.data
        else:
            data = record.undo(result.data)
            report = describe_crop(cropped, data)
            timings = {"crop": round(found - started, 4), **timings}
        timings["segment"] = round(perf_counter() - started, 4)
        return Segmentation(data, timings, cropped.box if cropped else None, report)

    def check_settings(self, settings: Settings) -> None:
        """Refuse settings that do not fit, and find what else the model needs, before any work.

        Raises
        ------
        OptionError
            Saying which and why.
        BundleNotFoundError
            If the model needs another bundle, which is not here.
        """
        check_settings(settings, self.bundle)
        if self.bundle.cord_crop is not None and set(settings.box) != set(FACES):
            self._finder()

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
