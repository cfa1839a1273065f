"""What a run writes: labels or probabilities as the files a bundle names, cleaned on request."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deepseg_lite.bundle import OutputFile, Outputs
from deepseg_lite.components import fill_holes, keep_largest, remove_small
from deepseg_lite.errors import OptionError
from deepseg_lite.volume import AnyArray, Spacing

SOFT_SUFFIX = "softseg"
_SIZE = re.compile(r"(\d+)(vox|mm3)?")


@dataclass(frozen=True)
class Cleaning:
    """What is done to every file before it is written, in this order.

    Attributes
    ----------
    threshold : float or None
        Probabilities above it become 1 and the rest 0; None and 0 leave them as they are.
    keep_largest, fill_holes : bool
        See `deepseg_lite.components`.
    remove_small : tuple of int
        Smallest object that stays: one number for all files, or one for each; empty for none.
    unit : {"vox", "mm3"}
        Of ``remove_small``.

    Notes
    -----
    Source: the Spinal Cord Toolbox, options ``-thr``, ``-largest``, ``-fill-holes`` and
    ``-remove-small``, and their order.
    """

    threshold: float | None = None
    keep_largest: bool = False
    fill_holes: bool = False
    remove_small: tuple[int, ...] = ()
    unit: str = "vox"

    def minimum_voxels(self, index: int, spacing: Spacing) -> int:
        """Return the smallest object that stays in the file of that index; voxel sizes in mm."""
        size = self.remove_small[index if len(self.remove_small) > 1 else 0]
        return round(size / float(np.prod(spacing))) if self.unit == "mm3" else size


def parse_sizes(texts: Sequence[str]) -> tuple[tuple[int, ...], str]:
    """Return sizes such as ``5mm3`` or ``10`` (voxels) as numbers, and the unit of them all.

    Raises
    ------
    OptionError
        If one is no whole number with vox, mm3 or nothing behind it, or the units differ.
    """
    sizes, units = [], []
    for text in texts:
        match = _SIZE.fullmatch(text)
        if match is None:
            raise OptionError(
                f"{text!r} is not the size of an object; give whole voxels or mm3, as 10vox, 10 or "
                "5mm3."
            )
        sizes.append(int(match[1]))
        units.append(match[2])
    unit = (units[-1] if units else None) or "vox"
    if any(other not in (None, unit) for other in units):
        raise OptionError(f"{' '.join(texts)} mixes units; give all sizes in vox or all in mm3.")
    return tuple(sizes), unit


def chosen_files(outputs: Outputs, *, soft: bool) -> tuple[OutputFile, ...]:
    """Return the files of a run: those of probabilities for soft runs, else the others.

    Where a bundle names no file of probabilities there is one for every label.
    """
    files = tuple(file for file in outputs.files if (file.kind == "soft") == soft)
    if files or not soft:
        return files
    return tuple(
        OutputFile(f"{label.name}_{SOFT_SUFFIX}", "soft", (label.name,)) for label in outputs.labels
    )


def check_cleaning(files: Sequence[OutputFile], outputs: Outputs, cleaning: Cleaning) -> None:
    """Refuse what cannot be done to these files, before any work starts.

    Raises
    ------
    OptionError
        If holes are to be filled in what is not a mask, or the numbers of sizes and files differ.
    """
    for file in files:
        is_soft = file.kind == "soft" and not cleaning.threshold
        is_map = file.kind == "labels" and len(outputs.labels) > 1
        if cleaning.fill_holes and (is_soft or is_map):
            kind = "probabilities" if is_soft else "several labels"
            advice = "add --threshold" if is_soft else "leave --fill-holes out"
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
        Labels (X, Y, Z), or probabilities (L, X, Y, Z) where the files are soft.
    outputs : Outputs
        What the labels mean.
    files : sequence of OutputFile
        As `chosen_files` gave them.
    cleaning : Cleaning
        What is done to each.
    spacing : tuple of 3 floats
        Voxel size in mm.

    Returns
    -------
    contents : list of arrays of shape (X, Y, Z)
        Masks are uint8, label maps have the type of ``data``, probabilities are float32.
    """
    names = [label.name for label in outputs.labels]
    contents = []
    for index, file in enumerate(files):
        own = [names.index(name) for name in file.labels or names]
        if file.kind == "soft":
            array = data[own[0]]
        elif file.kind == "mask":
            values = [value for label in own for value in outputs.labels[label].values]
            array = np.isin(data, values).astype(np.uint8)
        else:
            array = data
        contents.append(_cleaned(array, file, index, cleaning, spacing))
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
    contents: Sequence[AnyArray], files: Sequence[OutputFile], outputs: Outputs, spacing: Spacing
) -> dict[str, float]:
    """Return the volume of each structure as written; of probabilities, their sum.

    A label map has one entry per label, any other file one for all its labels.
    """
    voxel = float(np.prod(spacing))
    volumes = {}
    for array, file in zip(contents, files, strict=True):
        if file.kind == "labels":
            for label in outputs.labels:
                volumes[label.name] = float(np.isin(array, label.values).sum()) * voxel
        else:
            name = "+".join(file.labels or [label.name for label in outputs.labels])
            volumes[name] = float(array.sum(dtype=np.float64)) * voxel
    return {name: round(volume, 2) for name, volume in volumes.items()}
