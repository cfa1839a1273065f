"""Images of reference cases: files without anything personal in their headers, and phantoms."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepseg_export.reading.checkpoint import file_sha256
from deepseg_lite.errors import ImageError, OptionError
from deepseg_lite.nifti.reading import load_image, read_case, read_voxels
from deepseg_lite.nifti.writing import image_bytes, make_image
from deepseg_lite.verification.cases import draw_phantom

FOLDER = "reference"
PHANTOM = re.compile(r"phantom(?::(\d{1,9}))?")
PHANTOM_SHAPE = (256, 256, 4)
_PHANTOM_SOURCE = "drawn by deepseg_lite from formulas; no image was copied"


@dataclass(frozen=True)
class CaseImages:
    """Images of one case: their files, and what the manifest says of them."""

    name: str
    paths: tuple[Path, ...]
    facts: Mapping[str, Any]


def write_images(
    words: Sequence[str], channels: int, bundle: Path, work: Path
) -> Iterator[CaseImages]:
    """Write the images of every case below a bundle, and yield them.

    Parameters
    ----------
    words : sequence of str
        Image files, or ``phantom`` and ``phantom:SEED``.
    channels : int
        Images of one case.
    bundle : Path
        The bundle's folder.
    work : Path
        A folder for phantoms, which the bundle holds as recipes.

    Raises
    ------
    OptionError
        If the images do not make whole cases.
    ImageError
        If one cannot be read.
    """
    if not words or len(words) % channels:
        raise OptionError(
            f"{len(words)} images were given for references; {channels} per case are needed."
        )
    (bundle / FOLDER).mkdir(exist_ok=True)
    taken: set[str] = set()
    for first in range(0, len(words), channels):
        case = words[first : first + channels]
        phantom = PHANTOM.fullmatch(case[0])
        name = _free(f"phantom-{phantom[1] or 0}" if phantom else _stem(case[0]), taken)
        if not phantom:
            yield _copied(name, [Path(word) for word in case], bundle)
        elif channels == 1:
            yield _drawn(name, int(phantom[1] or 0), work)
        else:
            raise OptionError(
                f"a phantom is one image, and the model has {channels} channels; give images."
            )


def written(path: Path, bundle: Path) -> dict[str, Any]:
    """Return what a manifest says of a file that was written."""
    name, size = path.relative_to(bundle).as_posix(), path.stat().st_size
    return {"path": name, "sha256": file_sha256(path), "size": size}


def _drawn(name: str, seed: int, work: Path) -> CaseImages:
    image, recipe = draw_phantom(seed, PHANTOM_SHAPE)
    path = work / f"{name}.nii.gz"
    path.write_bytes(image_bytes(image, path))
    facts = asdict(recipe)
    phantom = {**facts, "shape": list(recipe.shape), "spacing": list(recipe.spacing)}
    return CaseImages(
        name, (path,), {"phantom": phantom, "source": _PHANTOM_SOURCE, "license": "CC0-1.0"}
    )


def _copied(name: str, paths: Sequence[Path], bundle: Path) -> CaseImages:
    """Copy images: voxels and grid alone, whatever else their headers hold."""
    images = [load_image(path) for path in paths]
    read_case(images, [str(path) for path in paths])  # all that a run would refuse
    copies = []
    for index, (path, image) in enumerate(zip(paths, images, strict=True)):
        if image.ndim != 3:
            raise ImageError(f"{path} has {image.ndim} axes; a reference needs a 3-D image.")
        data = read_voxels(image, str(path))
        if data.dtype == np.float64:  # scaled values; what networks see is float32
            data = data.astype(np.float32)
        number = f"_{index}" if len(paths) > 1 else ""
        copy = bundle / FOLDER / f"{name}{number}.nii.gz"
        copy.write_bytes(image_bytes(make_image(data, image), copy))
        copies.append(copy)
    facts = {"images": [written(copy, bundle) for copy in copies]}
    return CaseImages(name, tuple(copies), facts)


def _stem(word: str) -> str:
    """Return a name for a case from the name of its first image."""
    plain = re.sub(r"\.nii(\.gz)?$", "", Path(word).name)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip("-._") or "image"


def _free(name: str, taken: set[str]) -> str:
    number, free = 1, name
    while free.casefold() in taken:
        number += 1
        free = f"{name}-{number}"
    taken.add(free.casefold())
    return free
