"""Reference cases added to a bundle that is there."""

from __future__ import annotations

import shutil
from pathlib import Path

from deepseg_export.families.table import FAMILIES
from deepseg_export.references.kept import keep
from deepseg_export.references.making import with_references
from deepseg_export.references.original import check_software, references_of
from deepseg_export.references.request import Request
from deepseg_export.writing.bundle import write_bundle
from deepseg_export.writing.output import staged_output
from deepseg_lite.bundles.bundle import read_bundle
from deepseg_lite.errors import OptionError


def add_references(
    path: Path, request: Request, model: Path | None = None, kept: Path | None = None
) -> Path:
    """Add reference cases to a bundle: results made elsewhere, or of the original software now.

    Parameters
    ----------
    path : Path
        Bundle directory. Its manifest changes, and so does the hash that locks and pins know.
    request : Request
        Images, labels, and what made these. A case of a name that is there is replaced.
    model : Path, optional
        The trained model that the bundle was made of, for a request without labels.
    kept : Path, optional
        A folder that keeps the cases for later exports of the same model.

    Returns
    -------
    path : Path
        The bundle, read back and checked.

    Raises
    ------
    OptionError, ImageError
        If images or labels do not fit the model, or each other. Nothing is changed.
    OutputError
        If the bundle cannot be written.
    """
    if (model is None) != bool(request.labels):
        raise OptionError("either --labels or --model is needed: results, or what makes them now.")
    if request.labels:
        check_software(request, "--software")
    bundle = read_bundle(path)
    row = FAMILIES[bundle.manifest["source"]["family"]]
    make = references_of(row.original, model, row.options(), request)
    if bundle.lone_file:
        raise OptionError(
            f"{path} is a lone .onnx file, which has no room for references; give a bundle folder."
        )
    with staged_output(path, force=True) as staged:
        shutil.copytree(path, staged)
        copy = read_bundle(staged)
        entries = make(copy, staged.parent)
        write_bundle(with_references(copy.manifest, entries), staged, lone_file=False)
        if kept is not None:
            keep(read_bundle(staged), [entry["name"] for entry in entries], kept)
    return path
