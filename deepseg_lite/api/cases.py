"""Cases: files in, files out, and the record of what was done."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from nibabel.spatialimages import SpatialImage

from deepseg_lite import atomic, leftovers
from deepseg_lite.api.case import Case, Reviewer
from deepseg_lite.api.case_errors import errors_of
from deepseg_lite.api.file_options import check_cropbox
from deepseg_lite.api.model import Model
from deepseg_lite.api.record import describe_run, recorded_seconds, slices_found
from deepseg_lite.atomic import check_folder, check_name
from deepseg_lite.errors import DeepsegError, OptionError
from deepseg_lite.inference.overlap import run_through
from deepseg_lite.inference.settings import Settings, make_settings
from deepseg_lite.nifti.names import is_nifti_name, stem
from deepseg_lite.nifti.reading import load_image
from deepseg_lite.nifti.writing import image_bytes, make_image
from deepseg_lite.notice import Warn
from deepseg_lite.steps.box import box_mask
from deepseg_lite.watch import Watch

CROPBOX = "cropbox"


def name_outputs(
    model: Model,
    images: Sequence[Sequence[Path]],
    output: Path | None,
    settings: Settings | None = None,
    *,
    cropbox: bool = False,
    overwrite: bool = False,
) -> list[Case]:
    """Decide what every case writes, before any work starts.

    Parameters
    ----------
    model : Model
        Names the files of a run.
    images : sequence of sequences of paths
        Images of each case, one per channel.
    output : path or None
        A ``.nii`` or ``.nii.gz`` file for one case: its name, or where the case has several files,
        the beginning of their names. Else a folder, made when missing. None writes beside each
        case's first image.
    settings : Settings
        Whether probability maps are written in place of labels, and what is done to them.
    cropbox : bool
        Whether the box around the cord is written, too.
    overwrite : bool
        Whether existing files may be replaced.

    Raises
    ------
    ImageError
        If a case has the wrong number of images.
    OptionError
        If outputs would collide, replace an input or an existing file, or do not fit one file; or
        if an option does not fit the model.
    OutputError
        If the output folder cannot be made or written to, or a name is too long.
    """
    settings = settings or make_settings()
    for case_images in images:
        model.check_channel_count(len(case_images))
    model.check_settings(settings)
    check_cropbox(model, wanted=cropbox)
    files = model.files(settings)
    if settings["center"] is not None and len(images) > 1:
        raise OptionError(
            f"`center` is the mask of one case, but {len(images)} cases will be written; run them "
            "one by one, or find the cord with `center_task`."
        )
    if output is not None and is_nifti_name(output) and len(images) > 1:
        raise OptionError(
            f"{output} is one file, but {len(images)} cases will be written; give a folder."
        )
    cases = []
    for case_images in images:
        first = Path(case_images[0])
        paths = _paths(first, output, [file.suffix for file in files])
        box = _named(first, output, CROPBOX) if cropbox else None
        inputs = tuple(Path(image) for image in case_images)
        cases.append(Case(inputs, files, paths, box, overwrite))
    check_outputs(cases, overwrite=overwrite)
    return cases


def _paths(image: Path, output: Path | None, suffixes: Sequence[str]) -> tuple[Path, ...]:
    """Return where files of these suffixes go."""
    if len(suffixes) == 1 and output is not None and is_nifti_name(output):
        return (output,)
    return tuple(_named(image, output, suffix) for suffix in suffixes)


def _named(image: Path, output: Path | None, suffix: str) -> Path:
    folder, name, extension = image.parent, stem(image), ".nii.gz"
    if output is not None and is_nifti_name(output):
        folder, name = output.parent, stem(output)
        extension = output.name[len(name) :]
    elif output is not None:
        folder = output
    return folder / f"{name}_{suffix.replace('/', '-')}{extension}"


def check_outputs(cases: Sequence[Case], *, overwrite: bool) -> None:
    """Refuse outputs that cannot be written; what killed runs have left goes first.

    Raises
    ------
    OptionError, OutputError
        As `name_outputs`.
    """
    files = [file for case in cases for file in case.written]
    folders = {file.parent for file in files}
    for folder in folders:
        leftovers.sweep(folder)  # half a case of a killed run is no result
    _check_places(cases, overwrite=overwrite)
    for folder in folders:
        check_folder(folder)
    for file in files:
        check_name(file)


def _check_places(cases: Sequence[Case], *, overwrite: bool) -> None:
    written = Counter(os.path.realpath(file) for case in cases for file in case.written)
    for name, count in written.items():
        if count > 1:
            raise OptionError(
                f"{count} cases would be written to {name}; give images with different names, or "
                "run them with different output folders."
            )
    inputs = {os.path.realpath(image) for case in cases for image in case.images}
    for name in written:
        if name in inputs:
            raise OptionError(f"{name} is an input and would be replaced; give another output.")
    existing = [file for case in cases for file in case.written if os.path.lexists(file)]
    if existing and not overwrite:
        more = f" (and {len(existing) - 1} more)" if len(existing) > 1 else ""
        raise OptionError(f"{existing[0]}{more} exists; add `overwrite` or give another output.")
    for file in existing:
        if file.is_dir():
            raise OptionError(f"{file} is a folder, not a file; give another output.")


class FileRun:
    """Run of one case from files to files, in three steps so that cases can overlap.

    Whatever goes wrong in a step is a `DeepsegError` that names the case.

    Parameters
    ----------
    model : Model
        The model.
    case : Case
        From `name_outputs`.
    settings : Settings
        Complete, and checked against the model.
    command : sequence of str
        The command line, for the record.
    watch : Watch, optional
        Takes the time of the stages.
    open_image : callable, optional
        Opens an image, and is given what to tell of doubtful things; default `load_image`.
    reviewer : Reviewer, optional
        Looks at the result; its verdict goes into the record.
    """

    def __init__(
        self,
        model: Model,
        case: Case,
        settings: Settings,
        *,
        command: Sequence[str] = (),
        watch: Watch | None = None,
        open_image: Callable[[Path, Warn], SpatialImage] | None = None,
        reviewer: Reviewer | None = None,
    ) -> None:
        self.model, self.case, self.settings, self.command = model, case, settings, command
        self._open_image, self._reviewer = open_image or load_image, reviewer
        self.watch = watch or Watch()
        self.watch.file = str(case.images[0])
        self.watch.agreements = None if reviewer is None else {}

    def prepare(self) -> None:
        """Read the images, and do all that comes before the networks."""
        with self._named_errors():
            paths = self.case.images
            self._opened = [self._open_image(path, self.watch.warn) for path in paths]
            names = [str(path) for path in paths]
            self._run = self.model.case(self._opened, names, self.settings, self.watch)
            self._run.prepare()

    def predict(self) -> None:
        """Run the networks."""
        with self._named_errors():
            self._run.predict()

    def finish(self) -> dict[str, Any]:
        """Write the files, and return the report; see `run_case`."""
        with self._named_errors():
            return self._write()

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Name the case in errors; what was computed goes, for other cases need the memory."""
        try:
            with errors_of(self.case.images[0]):
                yield
        except DeepsegError:
            vars(self).pop("_run", None)
            raise

    def _write(self) -> dict[str, Any]:
        case, result = self.case, self._run.finish()
        with self.watch.stage("write"):
            contents = {
                path: image_bytes(image, path)
                for path, image in zip(case.paths, result.images, strict=True)
            }
            if case.cropbox is not None and result.box is not None:
                like = self._opened[0]
                mask = make_image(box_mask(result.box, like.shape[:3]), like=like)
                contents[case.cropbox] = image_bytes(mask, case.cropbox)
        review = None
        if self._reviewer is not None:
            with self.watch.stage("review"):
                review = self._reviewer.review(case, self._opened, result, self.watch)
        record = {
            **describe_run(self.model, case.images, self.settings, result.labels, self.command),
            **({} if result.crop is None else {"CordCrop": dict(result.crop)}),
            **({} if result.center is None else {"Center_mm": list(result.center)}),
            "Warnings": [notice.record() for notice in self.watch.notices],
            **({} if review is None else review.record()),
            "Volumes_mm3": dict(result.volumes_mm3),
            "Slices": {
                path.name: slices_found(image)
                for path, image in zip(case.paths, result.images, strict=True)
            },
            "Seconds": recorded_seconds(self.watch.seconds),
            "SHA256": {path.name: sha256(data).hexdigest() for path, data in contents.items()},
            **case.fields,
        }
        outputs = [str(path) for path in contents]
        contents |= case.tables
        text = (json.dumps(record, indent=2) + "\n").encode()
        contents |= dict.fromkeys(case.sidecars, text)
        for path in contents:
            atomic.make_folder(path.parent)
        atomic.write_files(contents, overwrite=case.overwrite)
        if review is not None:
            with self.watch.stage("review"):
                review.keep(record["GeneratedBy"][0]["Command"])
        return {
            "images": [str(path) for path in case.images],
            "outputs": outputs,
            "tables": [str(path) for path in case.tables],
            "sidecars": [str(path) for path in case.sidecars],
            **record,
            "Warnings": [notice.record() for notice in self.watch.notices],
        }


def run_case(
    model: Model,
    case: Case,
    settings: Settings | None = None,
    *,
    command: Sequence[str] = (),
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Segment one case from files to files.

    Returns
    -------
    report : dict
        The record in the sidecars, plus ``images``, ``outputs``, ``tables`` and ``sidecars``
        paths.

    Raises
    ------
    DeepsegError
        Whatever is wrong; nothing is written then.
    """
    settings = settings or make_settings()
    return run_through(FileRun(model, case, settings, command=command, watch=watch))
