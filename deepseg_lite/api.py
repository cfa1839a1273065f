"""The parts joined: a bundle that stays warm, called with images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, TypeAlias, overload

import numpy as np
import numpy.typing as npt
from nibabel.spatialimages import SpatialImage

from deepseg_lite import nifti
from deepseg_lite.bundle import Bundle, Network, select_networks
from deepseg_lite.errors import ImageError, OptionError
from deepseg_lite.pipeline import Cancel, Progress, Segmentation, Settings, segment
from deepseg_lite.session import OnnxPredictor, available_threads, choose_provider
from deepseg_lite.sliding_window import Predictor
from deepseg_lite.task_file import Task
from deepseg_lite.tasks import find_bundle
from deepseg_lite.volume import Volume

SINGLE_FOLD = "1"  # the Spinal Cord Toolbox's choice

Image: TypeAlias = "str | Path | SpatialImage"


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
        settings = Settings(step=step, mirror=tta, soft=soft, contrasts=tuple(contrasts))
        if all(isinstance(image, np.ndarray) for image in images):
            volume = self._volume_from_arrays(images, affine)
            return self.segment(volume, settings, progress=progress, cancel=cancel).data
        if affine is not None:
            raise OptionError("affine goes with arrays only; paths and images bring their own.")
        opened = [as_image(image) for image in images]
        volume = nifti.read_volume(opened, [image_name(image) for image in images])
        data = self.segment(volume, settings, progress=progress, cancel=cancel).data
        return nifti.make_image(np.moveaxis(data, 0, -1) if soft else data, like=opened[0])

    def segment(
        self,
        volume: Volume,
        settings: Settings | None = None,
        *,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> Segmentation:
        """Segment a `Volume`; see `deepseg_lite.pipeline.segment`."""
        settings = settings or Settings()
        if settings.step is not None and not 0 < settings.step <= 1:
            raise OptionError(f"step is {settings.step}; a number above 0 and up to 1 is needed.")
        if settings.mirror and not self.bundle.mirror_axes:
            raise OptionError(
                f"{self.bundle.name} was trained without mirroring, so test-time augmentation has "
                "nothing to flip; leave it out."
            )
        started = perf_counter()
        result = segment(
            volume,
            self.bundle,
            self.predictors(),
            settings,
            fold_count=len(self.networks),
            progress=progress,
            cancel=cancel,
        )
        total = round(perf_counter() - started, 4)
        return Segmentation(result.data, {**result.timings, "segment": total})

    def check_channel_count(self, count: int) -> None:
        """Raise `ImageError` unless ``count`` images make one case of this model."""
        names = self.bundle.inputs.channel_names
        if count != len(names):
            raise ImageError(
                f"{count} images were given; {self.bundle.name} needs {len(names)} per case, in "
                f"this order: {', '.join(names)}."
            )

    def _volume_from_arrays(self, arrays: Sequence[Any], affine: npt.ArrayLike | None) -> Volume:
        if affine is None:
            raise OptionError(
                "an array was given without its affine; pass affine=..., 4 x 4 in mm."
            )
        nifti.check_affine(affine, "affine")
        channels = [nifti.check_array(array, f"array {i}") for i, array in enumerate(arrays)]
        if len({channel.shape for channel in channels}) > 1:
            raise ImageError(
                f"the channels have shapes {', '.join(str(c.shape) for c in channels)}; one grid "
                "is needed. Resample them to the first."
            )
        return Volume.from_array(np.stack(channels), affine)


def as_image(image: Any) -> SpatialImage:
    """Return an opened image for a path or a nibabel image."""
    if isinstance(image, str | Path):
        return nifti.load_image(image)
    if isinstance(image, SpatialImage):
        return image
    raise ImageError(
        f"{type(image).__name__} was given; a path, a nibabel image or a numpy array is needed, "
        "the same kind for every channel."
    )


def image_name(image: Any) -> str:
    """Return what to call an image in a message."""
    return str(image) if isinstance(image, str | Path) else image.get_filename() or "image"
