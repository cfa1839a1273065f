"""Reviews of runs: the verdict on a case, and its entry in a folder of quality control."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from nibabel.affines import voxel_sizes

from deepseg_lite.atomic import check_folder
from deepseg_lite.bundles.review import Review
from deepseg_lite.errors import DeepsegError, ImageError, OptionError, reason
from deepseg_lite.nifti.checks import check_shape
from deepseg_lite.nifti.reading import load_image, read_voxels
from deepseg_lite.notice import Notice, ignore
from deepseg_lite.option import complete
from deepseg_lite.qc.entry import Place, write_entry
from deepseg_lite.qc.findings import Verdict
from deepseg_lite.qc.options import QualityOptions
from deepseg_lite.qc.rules import judge
from deepseg_lite.qc.view import Shown, View, make_view
from deepseg_lite.volume import AnyArray, voxel_volume
from deepseg_lite.watch import Watch

if TYPE_CHECKING:
    from nibabel.spatialimages import SpatialImage

    from deepseg_lite.api.case import Case
    from deepseg_lite.api.model import Model, Result, ResultFile

PROBLEM = "quality-control"
"""Code of a notice: there is no verdict, or no entry, of a result that is fine."""
OF_RESULTS = ("cut-off", "slices-empty")
"""Codes of notices about what a model found, and not about the image."""


@dataclass(frozen=True)
class Reviewer:
    """Reviewer of the cases of a model; whatever fails in it fails no case.

    Attributes
    ----------
    model : Model
        The model.
    place : Place or None
        Where entries go; None for verdicts alone.
    center : Path or None
        Mask that pictures are centred on in place of the result.
    """

    model: Model
    place: Place | None = None
    center: Path | None = None

    def review(
        self, case: Case, images: Sequence[SpatialImage], result: Result, watch: Watch
    ) -> CaseReview | None:
        """Look at the result of a case before it is written.

        Parameters
        ----------
        case : Case
            The files.
        images : sequence of nibabel images
            As they were opened.
        result : Result
            What will be written.
        watch : Watch
            Has the warnings of the run, and takes those of the review.
        """
        task = self.model.task
        review = Review() if task is None else task.review
        try:
            view = _view(case, images, result, self.center)
            if case.manual:  # the rest is about the result of the model
                told = [notice for notice in watch.notices if notice.code not in OF_RESULTS]
                verdict = judge(view, review, told)
            else:
                verdict = judge(view, review, watch.notices, watch.agreements)
        except Exception as error:  # a verdict that fails must not fail a segmentation
            watch.warn(_problem(error))
            return None
        return CaseReview(self, case, view, verdict, review, watch)


@dataclass(frozen=True, eq=False)
class CaseReview:
    """Review of one case: its verdict, and what an entry is made of."""

    reviewer: Reviewer
    case: Case
    view: View
    verdict: Verdict
    review: Review
    watch: Watch

    def record(self) -> Mapping[str, Any]:
        """Return the fields of the record of the run."""
        agreements = self.watch.agreements
        found = {"Verdict": self.verdict.record()}
        return {**found, "Agreement": agreements} if agreements else found

    def keep(self, command: str) -> None:
        """Write the entry, if there is a place for it."""
        place, model = self.reviewer.place, self.reviewer.model
        if place is None:
            return
        try:
            write_entry(
                place,
                self.case.images[0],
                [self.case.manual.get(path, path) for path in self.case.paths],
                self.view,
                self.verdict,
                self.review,
                task=model.task.name if model.task else model.bundle.name,
                command=command,
            )
        except Exception as error:  # a picture that fails must not fail a segmentation
            self.watch.warn(_problem(error))


def make_reviewer(
    model: Model, options: QualityOptions, cases: Sequence[Case] = ()
) -> Reviewer | None:
    """Return the reviewer of a run, or None if nothing of it was asked for.

    Parameters
    ----------
    model : Model
        The model of the run.
    options : QualityOptions
        As they were given.
    cases : sequence of Case
        The cases of the run.

    Raises
    ------
    OptionError
        If an option is there without the folder that it is about.
    OutputError
        If the folder cannot be written to.
    ImageError
        If the mask that pictures are centred on cannot be read, or is not on the grid of an image.
    """
    given = complete(QualityOptions, options)
    if given["qc"] is None:
        for name in ("qc_dataset", "qc_subject", "qc_plane", "qc_seg"):
            if given[name] is not None:
                raise OptionError(f"`{name}` needs a folder; give `qc`, too.")
        return Reviewer(model) if given["strict"] else None
    folder, mask = Path(given["qc"]), given["qc_seg"]
    check_folder(folder)
    if mask is not None:
        _check_grid(Path(mask), [case.images[0] for case in cases])
    place = Place(folder, given["qc_dataset"], given["qc_subject"], given["qc_plane"])
    return Reviewer(model, place, None if mask is None else Path(mask))


def _view(case: Case, images: Sequence[SpatialImage], result: Result, center: Path | None) -> View:
    grid = result.images[0].shape
    files = [
        Shown(_shown(image, file, case.manual.get(path)), structures_of(file))
        for image, file, path in zip(result.images, case.files, case.paths, strict=True)
    ]
    affine = result.images[0].affine
    channels = [
        read_voxels(image, str(path), ignore, series=True)
        for image, path in zip(images, case.images, strict=True)
    ]
    channels = [array.reshape(*grid, *array.shape[3:]) for array in channels]
    focus = None if center is None else _on_grid(center, grid) > 0
    return make_view(channels, files, affine, voxel_volume(affine, voxel_sizes(affine)), focus)


def structures_of(file: ResultFile) -> Mapping[str, Sequence[int]]:
    """Return the values of each structure in a file."""
    named = {name: (value,) for value, name in file.names.items()}
    return file.values or named or {"+".join(file.structures) or file.suffix: (1,)}


def _shown(image: SpatialImage, file: ResultFile, manual: Path | None) -> AnyArray:
    """Return the voxels of a result, or those of the mask by hand that goes before it."""
    if manual is None:
        return np.asanyarray(image.dataobj)
    mask = _on_grid(manual, image.shape)
    is_map = mask.dtype.kind == "f" and file.kind != "soft"
    return np.round(mask).astype(np.int32) if is_map else mask


def _check_grid(path: Path, images: Sequence[Path]) -> None:
    """Refuse a mask that is not on the grid of every image."""
    mask = load_image(path, ignore).shape
    check_shape(mask, str(path))
    for each in images:
        try:
            image = load_image(each, ignore).shape
        except DeepsegError:
            continue  # it ends its own case
        if _axes(mask) != _axes(image[:3]):
            raise OptionError(
                f"`qc_seg` is {path} of shape {_said(mask)}, but {each} has {_said(image)}; give a "
                "mask on the grid of the image."
            )


def _axes(shape: Sequence[int]) -> list[int]:
    return [size for size in shape if size != 1]


def _said(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _on_grid(path: Path, grid: tuple[int, ...]) -> AnyArray:
    """Return a mask, with the axes of one voxel that a grid has."""
    mask = read_voxels(load_image(path, ignore), str(path), ignore)
    if _axes(mask.shape) != _axes(grid):
        raise ImageError(
            f"{path} has the shape {_said(mask.shape)}, the image {_said(grid)}; make it anew on "
            "the grid of the image."
        )
    return mask.reshape(grid)


def _problem(error: Exception) -> Notice:
    told = str(error) if isinstance(error, DeepsegError) else reason(error)
    return Notice(PROBLEM, f"the result is fine, but not its quality control: {told}")
