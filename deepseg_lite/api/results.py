"""Results: labels or probabilities as the files that a bundle names, cleaned on request."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from nibabel.spatialimages import SpatialImage

from deepseg_lite.api.model import Result, ResultFile
from deepseg_lite.bundles.bundle import Label, OutputFile, Outputs
from deepseg_lite.errors import OptionError
from deepseg_lite.inference.cleaning import Cleaning
from deepseg_lite.inference.pipeline import Segmentation
from deepseg_lite.inference.settings import Settings
from deepseg_lite.nifti.writing import make_image
from deepseg_lite.notice import EMPTY, STRUCTURE_EMPTY, Notice, Warn, log
from deepseg_lite.steps.components import count_values, fill_holes, keep_largest, remove_small
from deepseg_lite.volume import AnyArray, Spacing

SOFT_SUFFIX = "softseg"


def chosen_files(outputs: Outputs, *, soft: bool) -> tuple[OutputFile, ...]:
    """Return the files of a run: those of probabilities for soft runs, else the others.

    Where a bundle names no file of probabilities there is one for every label.
    """
    files = tuple(file for file in outputs.files if (file.kind == "soft") == soft)
    if files or not soft:
        return files or outputs.files
    return tuple(
        OutputFile(f"{label.name}_{SOFT_SUFFIX}", "soft", (label.name,)) for label in outputs.labels
    )


def result_file(file: OutputFile, outputs: Outputs, cleaning: Cleaning) -> ResultFile:
    """Return what a file of a run shows; a map of one label is a mask."""
    if file.kind == "labels" and len(outputs.labels) > 1:
        values = {label.name: label.values for label in outputs.labels}
        return ResultFile(file.suffix, "labels", names=value_names(outputs.labels), values=values)
    is_soft = file.kind == "soft" and not cleaning.threshold
    names = file.labels or tuple(label.name for label in outputs.labels)
    return ResultFile(file.suffix, "soft" if is_soft else "mask", names)


def value_names(labels: Sequence[Label]) -> dict[int, str]:
    """Return the name of each value: of the labels that have it, the one with the fewest."""
    by_size = sorted(labels, key=lambda label: len(label.values), reverse=True)
    names = {value: label.name for label in by_size for value in label.values}
    return dict(sorted(names.items()))


def returned_files(outputs: Outputs, *, soft: bool) -> tuple[OutputFile, ...]:
    """Return the result in memory as if it were files: one label map, or a map for each label."""
    names = [label.name for label in outputs.labels]
    if soft:
        return tuple(OutputFile(name, "soft", (name,)) for name in names)
    return (OutputFile("the result", "labels", ()),)


def cleaned(data: AnyArray, outputs: Outputs, settings: Settings, spacing: Spacing) -> AnyArray:
    """Return a result in memory, cleaned as the files of `returned_files` would be."""
    cleaning = Cleaning.of(settings)
    if outputs.are_maps or cleaning == Cleaning():
        return data
    files = returned_files(outputs, soft=settings["soft"])
    contents = file_contents(data, outputs, files, cleaning, spacing)
    return np.stack(contents) if settings["soft"] else contents[0]


def check_cleaning(files: Sequence[OutputFile], outputs: Outputs, cleaning: Cleaning) -> None:
    """Refuse what cannot be done to these files, before any work starts.

    Raises
    ------
    OptionError
        If holes are to be filled in what is not a mask, or the numbers of sizes and files differ.
    """
    for file in () if outputs.are_maps else files:
        is_soft = file.kind == "soft" and not cleaning.threshold
        is_map = file.kind == "labels" and len(outputs.labels) > 1
        if cleaning.fill_holes and (is_soft or is_map):
            kind = "probabilities" if is_soft else "several labels"
            advice = "add `threshold`" if is_soft else "leave `fill_holes` out"
            raise OptionError(
                f"holes can be filled in a mask of 0 and 1, and {file.suffix} holds {kind}; "
                f"{advice}."
            )
    if len(cleaning.remove_small) not in (0, 1, len(files)):
        raise OptionError(
            f"{len(cleaning.remove_small)} sizes of small objects were given; one is needed, or "
            f"one for each of {len(files)} files ({', '.join(file.suffix for file in files)})."
        )


def file_contents(
    data: AnyArray,
    outputs: Outputs,
    files: Sequence[OutputFile],
    cleaning: Cleaning,
    spacing: Spacing,
) -> list[AnyArray]:
    """Return the voxels of each file.

    Parameters
    ----------
    data : array
        Labels (X, Y, Z), or probabilities or maps (L, X, Y, Z).
    outputs : Outputs
        What the labels mean.
    files : sequence of OutputFile
        As `chosen_files` gave them.
    cleaning : Cleaning
        What is done to each; to maps it has been done.
    spacing : tuple of 3 floats
        Voxel size in mm.

    Returns
    -------
    contents : list of arrays of shape (X, Y, Z)
        Masks of a label map are uint8; all else has the type of ``data``.
    """
    names = [label.name for label in outputs.labels]
    contents = []
    for index, file in enumerate(files):
        own = [names.index(name) for name in file.labels or names]
        if data.ndim == 4:
            array = data[own[0]] if len(own) == 1 else data[own].max(axis=0)
        elif file.kind == "mask":
            values = [value for label in own for value in outputs.labels[label].values]
            array = np.isin(data, values).astype(np.uint8)
        else:
            array = data
        contents.append(
            array if outputs.are_maps else _cleaned(array, file, index, cleaning, spacing)
        )
    return contents


def _cleaned(
    array: AnyArray, file: OutputFile, index: int, cleaning: Cleaning, spacing: Spacing
) -> AnyArray:
    if cleaning.threshold and file.kind == "soft":
        array = (array > cleaning.threshold).astype(np.uint8)
    if cleaning.keep_largest:
        array = keep_largest(array)
    if cleaning.fill_holes:
        array = fill_holes(array)
    if cleaning.remove_small:
        array = remove_small(array, cleaning.minimum_voxels(index, spacing))
    return array


def volumes_mm3(
    contents: Sequence[AnyArray], files: Sequence[OutputFile], outputs: Outputs, voxel: float
) -> dict[str, float]:
    """Return the volume of each structure as written; of probabilities, their sum.

    A label map has one entry per label, any other file one for all its labels. ``voxel`` is the
    volume of a voxel in mm3.
    """
    volumes = {}
    for array, file in zip(contents, files, strict=True):
        if file.kind == "labels":
            for label in outputs.labels:
                volumes[label.name] = float(np.isin(array, label.values).sum()) * voxel
        else:
            name = structure(file, outputs)
            volumes[name] = float(array.sum(dtype=np.float64)) * voxel
    return {name: round(volume, 2) for name, volume in volumes.items()}


def structure(file: OutputFile, outputs: Outputs) -> str:
    """Return what a file of one map shows: the names of its labels."""
    return "+".join(file.labels or [label.name for label in outputs.labels])


def notice_empty(
    contents: Sequence[AnyArray], files: Sequence[OutputFile], outputs: Outputs, warn: Warn = log
) -> None:
    """Tell of structures of which nothing was found; of probabilities, nothing above 0.5."""
    missing, count = [], 0
    for array, file in zip(contents, files, strict=True):
        if array.dtype.kind == "f":
            found = {structure(file, outputs): bool(array.max() > 0.5)}
        elif file.kind == "labels":
            values = set(np.flatnonzero(count_values(array)).tolist())
            found = {label.name: bool(values & set(label.values)) for label in outputs.labels}
        else:
            found = {structure(file, outputs): bool(array.any())}
        count += len(found)
        missing += [name for name, is_there in found.items() if not is_there]
    tell_missing(missing, count, warn)


def tell_missing(missing: Sequence[str], count: int, warn: Warn) -> None:
    """Tell of structures without a voxel, of so many."""
    if not missing:
        return
    names = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if missing[5:] else "")
    if len(missing) == count:
        text = (
            f"the result is empty: nothing was found of {names}. Check the image and its contrast."
        )
        warn(Notice(EMPTY, text, figures={"structures": list(missing)}))
    else:
        text = f"nothing was found of {names}."
        warn(Notice(STRUCTURE_EMPTY, text, figures={"structures": list(missing)}))


def make_result(
    found: Segmentation,
    outputs: Outputs,
    settings: Settings,
    like: SpatialImage,
    spacing: Spacing,
    voxel_mm3: float,
    warn: Warn = log,
) -> Result:
    """Return what is to be written of one case.

    Parameters
    ----------
    found : Segmentation
        On the grid of ``like``.
    outputs : Outputs
        What the bundle says of labels and files.
    settings : Settings
        Whether probabilities are written, and what is done to the files.
    like : nibabel image
        Whose grid, codes and units the files get.
    spacing : tuple of 3 floats
        Voxel size in mm.
    voxel_mm3 : float
        Volume of a voxel.
    warn : callable
        Told of what is empty.
    """
    files = chosen_files(outputs, soft=settings["soft"])
    arrays = file_contents(found.data, outputs, files, Cleaning.of(settings), spacing)
    notice_empty(arrays, files, outputs, warn)
    return Result(
        tuple(make_image(array, like) for array in arrays),
        volumes_mm3(arrays, files, outputs, voxel_mm3),
        {label.name: list(label.values) for label in outputs.labels},
        found.box,
        found.crop,
        found.center,
    )
