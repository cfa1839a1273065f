"""Description of the folder of results, as BIDS wants one of derivatives."""

from __future__ import annotations

import json
import os
import string
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from deepseg_lite.atomic import make_folder, write_files
from deepseg_lite.dataset.walking import DESCRIPTION
from deepseg_lite.errors import OutputError

BIDS_VERSION = "1.10.0"
RAW = "raw"
"""How records name the data set of the images: ``bids:raw:sub-01/...``."""
README = """\
# Segmentations by deepseg-lite

Beside every result is a record (.json) of what made it: model, settings, warnings, volumes, and
hashes of the image and the files. cases.tsv and cases.json have a row for each case; they are made
of the records. The folder logs has what was said of each case, and how models are cited.

For research, not for diagnosis.
"""
IGNORED = ("logs/", "cases.tsv", "cases.json", "*_labels.json", "*_labels.tsv")
"""What of the results is not in BIDS."""


def describe(root: Path, out: Path, *, names_source: bool) -> dict[str, Any]:
    """Return ``dataset_description.json`` of results.

    Parameters
    ----------
    root : Path
        Folder of the images.
    out : Path
        Folder of the results.
    names_source : bool
        Whether the images are a BIDS data set, which records refer to.
    """
    number = version("deepseg-lite")
    description: dict[str, Any] = {
        "Name": "Segmentations of the spinal cord by deepseg-lite",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [
            {
                "Name": "deepseg-lite",
                "Version": number,
                "CodeURL": f"pkg:pypi/deepseg-lite@{number}",
            }
        ],
    }
    if names_source:
        description["SourceDatasets"] = [_source(root, out)]
        description["DatasetLinks"] = {RAW: description["SourceDatasets"][0]["URL"]}
    return description


def _source(root: Path, out: Path) -> dict[str, str]:
    """Return the data set of the images: where it is from here, and what it says of itself."""
    where = Path(os.path.relpath(os.path.realpath(root), os.path.realpath(out))).as_posix()
    source = {"URL": _as_url(where)}
    with suppress(OSError, ValueError, AttributeError):
        document = json.loads((root / DESCRIPTION).read_bytes())
        doi = document.get("DatasetDOI")
        if isinstance(doi, str):
            source["DOI"] = doi
    return source


def _as_url(path: str) -> str:
    """Return a relative path with all but letters, digits and ``-._~/`` as their bytes."""
    plain = f"{string.ascii_letters}{string.digits}-._~/".encode()
    return "".join(chr(b) if b in plain else f"%{b:02X}" for b in os.fsencode(path))


def write_description(root: Path, out: Path, *, names_source: bool) -> None:
    """Write the description, and what of the results is not in BIDS; what is there stays.

    Raises
    ------
    OutputError
        If the folder cannot be written to.
    """
    make_folder(out)
    text = json.dumps(describe(root, out, names_source=names_source), indent=2) + "\n"
    files = {
        DESCRIPTION: text,
        "README.md": README,
        ".bidsignore": "".join(f"{line}\n" for line in IGNORED),
    }
    for name, content in files.items():
        if not (out / name).exists():
            try:
                write_files({out / name: content.encode()})
            except OutputError:
                if not (out / name).exists():  # another run was not faster
                    raise
