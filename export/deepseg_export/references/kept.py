"""Reference cases kept for later exports: of a model whose files are the same, so are the labels.

A task's folder has them in ``reference/RELEASE/``: ``references.json`` with the hashes of the
model's files, the names of its networks and the entries of the manifest, and the files of these.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deepseg_export.reading.checkpoint import file_sha256
from deepseg_lite.atomic import make_folder
from deepseg_lite.bundles.bundle import Bundle
from deepseg_lite.bundles.files import BundleFile
from deepseg_lite.bundles.references import Reference, parse_references
from deepseg_lite.errors import BundleError, OutputError, reason

KEPT = "references.json"


def keep(bundle: Bundle, names: Sequence[str], folder: Path) -> None:
    """Write reference cases of a bundle into a folder, in place of those that are there.

    Parameters
    ----------
    bundle : Bundle
        That has the cases.
    names : sequence of str
        Their names.
    folder : Path
        Made where it is not there.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    entries = [each for each in bundle.manifest["references"] if each["name"] in names]
    document = {**_made_of(bundle), "references": entries}
    make_folder(folder)
    try:
        for file in _files(parse_references(document)):
            shutil.copyfile(bundle.path / file.path, folder / Path(file.path).name)
        text = json.dumps(document, indent=2, ensure_ascii=False)
        (folder / KEPT).write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {reason(error)}.") from error


def take_kept(bundle: Bundle, folder: Path) -> list[dict[str, Any]]:
    """Copy kept reference cases into a bundle, if they were made with the files it was made of.

    Parameters
    ----------
    bundle : Bundle
        In a folder that may be written to.
    folder : Path
        Where cases may be kept.

    Returns
    -------
    entries : list of dict
        For the manifest's ``references``; empty where there are none for these files.

    Raises
    ------
    BundleError
        If what is kept cannot be read, or is not what it was.
    """
    document = _read(folder)
    if document is None or not _is_of(document, bundle):
        return []
    for file in _files(parse_references(document)):
        kept, copy = folder / Path(file.path).name, bundle.path / file.path
        copy.parent.mkdir(exist_ok=True)
        try:
            shutil.copyfile(kept, copy)
        except OSError as error:
            raise BundleError(f"{kept} cannot be read: {reason(error)}.") from error
        if file_sha256(copy) != file.sha256:
            raise BundleError(f"{kept} is not what it was when it was made; get it again.")
    entries: list[dict[str, Any]] = document["references"]
    return entries


def _read(folder: Path) -> dict[str, Any] | None:
    path = folder / KEPT
    if not path.is_file():
        return None
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be read: {reason(error)}.") from error
    return document


def _made_of(bundle: Bundle) -> dict[str, Any]:
    """Return the files that a bundle was made of, and its networks."""
    folds = [network.fold for network in bundle.networks]
    return {"files": bundle.manifest["source"]["files"], "networks": folds}


def _is_of(document: Mapping[str, Any], bundle: Bundle) -> bool:
    """Tell whether a bundle is made of these files, whatever they are called and lie beside."""
    made_of = _made_of(bundle)
    same_files = set(document["files"].values()) <= set(made_of["files"].values())
    return same_files and bool(document["networks"] == made_of["networks"])


def _files(references: Sequence[Reference]) -> list[BundleFile]:
    return [file for reference in references for file in reference.files]
