"""Reference cases made: labels of the original software beside their images, and the entries."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from deepseg_export.references.images import FOLDER, CaseImages, write_images, written
from deepseg_export.references.request import Request
from deepseg_lite.bundles.bundle import Bundle, Outputs
from deepseg_lite.errors import ImageError, OptionError
from deepseg_lite.nifti.reading import load_image, read_voxels
from deepseg_lite.nifti.writing import image_bytes, make_image
from deepseg_lite.volume import AnyArray

logger = logging.getLogger(__name__)

ONE_IN, ONE_IN_LABELLED = 10_000, 100
"""Voxels, and those with a label, of which one may differ where the user says nothing else."""
Segment = Callable[[Sequence[Sequence[Path]]], Iterable[AnyArray]]
"""Gives the original's result for each case of image files."""


def make_references(
    request: Request, bundle: Bundle, work: Path, segment: Segment | None = None
) -> list[dict[str, Any]]:
    """Write the files of reference cases below a bundle.

    Parameters
    ----------
    request : Request
        What is wanted.
    bundle : Bundle
        In a folder that may be written to.
    work : Path
        A folder for what does not stay.
    segment : callable, optional
        The original software, for a request without labels.

    Returns
    -------
    entries : list of dict
        For the manifest's ``references``.

    Raises
    ------
    OptionError, ImageError
        If images or labels do not fit the model, or each other.
    """
    channels = len(bundle.inputs.channel_names)
    cases = list(write_images(request.images, channels, bundle.path, work))
    if request.labels and len(request.labels) != len(cases):
        raise OptionError(
            f"{len(request.labels)} files of labels were given for {len(cases)} cases; one for "
            "each is needed, in the same order."
        )
    results: Iterable[AnyArray] = map(_read, request.labels)
    if not request.labels:
        assert segment is not None
        results = segment([case.paths for case in cases])
    return [
        _entry(case, labels, request, bundle) for case, labels in zip(cases, results, strict=True)
    ]


def with_references(
    manifest: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return a manifest with further reference cases, in place of those of the same names."""
    names = {entry["name"] for entry in entries}
    others = [each for each in manifest.get("references", ()) if each["name"] not in names]
    return {**manifest, "references": [*others, *entries]}


def _read(path: Path) -> AnyArray:
    return read_voxels(load_image(path), str(path), series=True)


def _entry(case: CaseImages, labels: AnyArray, request: Request, bundle: Bundle) -> dict[str, Any]:
    image = load_image(case.paths[0])
    kept = _checked(case, labels, image.shape, bundle.outputs)
    if not kept.any():
        logger.warning(
            "%s: the original finds nothing there, so this case proves little; give another image",
            case.name,
        )
    path = bundle.path / FOLDER / f"{case.name}_labels.nii.gz"
    path.write_bytes(image_bytes(make_image(kept, image), path))
    labelled = int((kept.reshape(*image.shape[:3], -1) > 0).any(axis=-1).sum())
    bound = min(math.prod(image.shape[:3]) // ONE_IN, labelled // ONE_IN_LABELLED)
    return {
        "name": case.name,
        **{"source": request.source or "not stated", "license": request.license},
        **case.facts,
        "labels": written(path, bundle.path),
        "software": request.software,
        "versions": dict(request.versions),
        "date": request.date or f"{date.today():%Y-%m-%d}",
        "bounds": {"fp32": bound, **request.bounds},
    }


def _checked(
    case: CaseImages, labels: AnyArray, shape: Sequence[int], outputs: Outputs
) -> AnyArray:
    """Return labels as they are kept, after a look at their shape and values."""
    grid = tuple(shape[:3]) + ((len(outputs.labels),) if outputs.are_maps else ())
    if labels.size != math.prod(grid) or labels.shape[:3] != grid[:3]:
        raise ImageError(
            f"{case.name}: the labels have shape {labels.shape}, {grid} is needed: that of the "
            "image, and a fourth axis for models whose result is maps."
        )
    labels = labels.reshape(grid)
    whole = np.array_equal(labels, np.round(labels))
    if outputs.are_maps and not (whole and labels.max(initial=0) <= 1):
        return labels.astype(np.float32)
    known = {0, 1} if outputs.are_maps else {0, *outputs.label_values}
    if unknown := sorted(set(np.unique(labels).tolist()) - known):
        raise ImageError(
            f"{case.name}: the labels have the values {', '.join(f'{v:g}' for v in unknown[:5])}, "
            f"which the model never gives ({', '.join(map(str, sorted(known)))}); give the "
            "original's result for this model."
        )
    return labels.astype(np.uint8 if max(known) < 256 else np.uint16)
