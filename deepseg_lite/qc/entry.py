"""Entries: one result in a folder of quality control, written without a lock.

The layout and the keys are those of the Spinal Cord Toolbox (SCT), so that its page and its tools
read the folder, and both programs may write to one. Source: SCT 7.3, ``reports/qc2.py``.
"""

from __future__ import annotations

import gzip
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from deepseg_lite.bundles.review import Review
from deepseg_lite.errors import OutputError, reason
from deepseg_lite.qc.findings import Verdict
from deepseg_lite.qc.pictures import Picture, axial_picture, color_of, sagittal_picture
from deepseg_lite.qc.shape import rows_of, slice_shapes, table_of
from deepseg_lite.qc.view import View

ENTRIES, MEASURES = "_json", "measures.tsv.gz"
KINDS = {
    "seg": ("FILES_SEG", "sct_deepseg"),
    "gmseg": ("FILES_GMSEG", "sct_deepseg_gm"),
    "lesion": ("FILES_LESION", "sct_deepseg_lesion"),
    "labels": ("FILES_LABEL", "sct_label_utils"),
    "rootlets": ("FILES_ROOTLETS", "sct_deepseg"),
}
"""Key of each kind in files of corrections, and the command under which SCT's page sorts it so."""
PLANES = {"axial": "Axial", "sagittal": "Sagittal"}
_TIME = "%Y_%m_%d_%H%M%S.%f"


@dataclass(frozen=True)
class Place:
    """Where entries go.

    Attributes
    ----------
    folder : Path
        The folder of quality control; made when missing.
    dataset, subject : str or None
        What the image belongs to; None for the names of its folders.
    plane : str or None
        The picture that SCT's page shows; None for the task's.
    """

    folder: Path
    dataset: str | None = None
    subject: str | None = None
    plane: str | None = None


def write_entry(
    place: Place,
    image: Path,
    outputs: Sequence[Path],
    view: View,
    verdict: Verdict,
    review: Review,
    *,
    task: str,
    command: str,
) -> Path:
    """Write the entry of one result.

    Parameters
    ----------
    place : Place
        Where it goes.
    image : Path
        First image of the case.
    outputs : sequence of Path
        Files of the result.
    view : View
        Image and result.
    verdict : Verdict
        What the rules say.
    review : Review
        What the task's file says.
    task : str
        Name of the task or bundle.
    command : str
        The command line.

    Returns
    -------
    entry : Path
        Its JSON file, which is written last: without it there is no entry.

    Raises
    ------
    OutputError
        If the folder cannot be written to.
    """
    now = datetime.now()
    name = f"{now.strftime(_TIME)}_{secrets.token_hex(4)}"
    key, sct_command = KINDS[review.kind]
    contrast, subject, dataset = _folders(image)
    owners = (place.dataset or dataset, place.subject or subject, contrast)
    inner = Path(*(_part(owner) for owner in (*owners, sct_command)), name)
    named = review.ordered if review.named else ()
    pictures = {
        "axial": axial_picture(view, named=named),
        "sagittal": sagittal_picture(view, named=named),
    }
    measures = [
        row
        for each in view.structures
        if not each.name.startswith(review.ordered)  # levels do not run from slice to slice
        for row in rows_of(
            image.name, task, each.name, slice_shapes(each.part, view.spacing), view.slices
        )
    ]
    first = place.plane or review.plane
    files = {
        f"{_beginning(plane, first)}{layer}.png": data
        for plane, picture in pictures.items()
        for layer, data in _layers(picture)
    }
    entry = {
        "path": str(image.absolute().parent),
        "cmdline": command,
        "command": sct_command,
        "sctVersion": f"deepseg_lite {version('deepseg-lite')}",
        "dataset": owners[0],
        "subject": owners[1],
        "contrast": owners[2],
        "inputFile": image.name,
        "plane": PLANES[first],
        "backgroundImage": (inner / "background_img.png").as_posix(),
        "overlayImage": (inner / "overlay_img.png").as_posix(),
        "date": now.strftime("%Y-%m-%d %H:%M:%S"),
        "rank": "",
        "qc": "",
        "id": name,
        "task": task,
        "kind": key,
        "results": [str(path.absolute()) for path in outputs],
        "verdict": verdict.record(),
        "structures": _legend(view),
        "measures": (inner / MEASURES).as_posix(),
        "pictures": {
            plane: {
                "folder": inner.as_posix(),
                "beginning": _beginning(plane, first),
                "channels": len(picture.backgrounds),
                **picture.facts,
            }
            for plane, picture in pictures.items()
        },
    }
    files[MEASURES] = gzip.compress(table_of(measures), mtime=0)
    return _write(place.folder, inner, files, name, entry)


def _write(
    folder: Path, inner: Path, files: Mapping[str, bytes], name: str, entry: Mapping[str, Any]
) -> Path:
    """Write the pictures into a folder that is this entry's alone, then its JSON by a rename."""
    target = folder / ENTRIES / f"qc_{name}.json"
    part = target.with_name(f".{target.name}.part")
    try:
        (folder / inner).mkdir(parents=True)
        target.parent.mkdir(exist_ok=True)
        for file, data in files.items():
            (folder / inner / file).write_bytes(data)
        part.write_text(json.dumps(entry, indent=1) + "\n", encoding="utf-8")
        os.replace(part, target)
    except OSError as error:
        raise OutputError(
            f"the quality control in {folder} cannot be written ({reason(error)}); check the "
            "folder, its permissions and the free space."
        ) from error
    return target


def _layers(picture: Picture) -> list[tuple[str, bytes]]:
    backgrounds = [
        ("background_img" if not channel else f"background_img_{channel + 1}", data)
        for channel, data in enumerate(picture.backgrounds)
    ]
    overlays = {
        "overlay": picture.lettered,
        "filled": picture.filled,
        "outline": picture.outline,
    }
    return [*backgrounds, *((f"{name}_img", data) for name, data in overlays.items())]


def _beginning(plane: str, first: str) -> str:
    """Return how the names of a plane's pictures begin; SCT's page shows those without one."""
    return "" if plane == first else f"{plane}_"


def _legend(view: View) -> list[dict[str, Any]]:
    found = [
        {
            "name": each.name,
            "value": each.value,
            "mm3": each.mm3,
            "color": "#{:02x}{:02x}{:02x}".format(*color_of(each.number)),
        }
        for each in view.structures
    ]
    return found + [
        {"name": name, "value": None, "mm3": 0.0, "color": None} for name in view.missing
    ]


def _folders(image: Path) -> tuple[str, str, str]:
    """Return contrast, subject and dataset of an image: its folder, and the two above."""
    names = image.absolute().parent.parts[:0:-1]
    contrast, subject, dataset = [*names, "", "", ""][:3]
    return contrast, subject, dataset


def _part(name: str) -> str:
    """Return a name as one folder of a path."""
    clean = "".join(letter if letter.isalnum() or letter in "-_.+ " else "_" for letter in name)
    return clean.strip(". ")[:100] or "unknown"
