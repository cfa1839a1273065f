"""Reports: the page of a folder of quality control, built from its entries at any time."""

from __future__ import annotations

import gzip
import json
import logging
import os
import re
import shutil
import uuid
import zlib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any

from deepseg_lite.atomic import write_files
from deepseg_lite.errors import OptionError, OutputError, reason
from deepseg_lite.qc.entry import ENTRIES
from deepseg_lite.qc.shape import table_of

PAGE, OTHER_PAGE = "index.html", "deepseg-lite.html"
DATA = "js/datasets.js"
TABLE = "measures.tsv"
MOST_TEXT = 100_000_000
"""Letters of the measures of one entry."""
MARKER = "<!-- deepseg-lite quality control -->"
"""Second line of our page: another program's page is left alone."""
_UUID = re.compile(r"SCT_QC_UUID\s*=\s*['\"]([0-9A-Za-z-]{1,64})['\"]")
_NEEDED = ("path", "inputFile", "backgroundImage", "overlayImage")

_logger = logging.getLogger(__name__)


def read_entries(folder: Path) -> list[dict[str, Any]]:
    """Return the entries of a folder, those of the Spinal Cord Toolbox among them.

    They are in an order that does not depend on when they were written. What cannot be read is
    left out, with a warning.

    Raises
    ------
    OptionError
        If the folder is missing or has no entries.
    """
    found = []
    for path in sorted((folder / ENTRIES).glob("qc_*.json")):
        try:
            entry = json.loads(path.read_text(encoding="utf-8"))
            entry = {"id": path.stem.removeprefix("qc_"), **entry}
            wrong = [key for key in _NEEDED if not isinstance(entry.get(key), str)]
            if wrong:
                raise ValueError(f"no {', '.join(wrong)}")
        except (OSError, ValueError, TypeError, RecursionError) as error:
            _logger.warning("%s is left out: it is no entry (%s).", path, reason(error))
            continue
        found.append(entry)
    if not found:
        raise OptionError(
            f"{folder} has no entries of quality control; give the folder of --qc FOLDER."
        )
    return sorted(found, key=_order)


def _order(entry: dict[str, Any]) -> tuple[str, ...]:
    keys = ("dataset", "subject", "contrast", "inputFile", "task", "command", "id")
    return tuple(str(entry.get(key, "")) for key in keys)


def build_page(folder: Path, others: Sequence[Path] = ()) -> Path:
    """Build the page of a folder.

    Parameters
    ----------
    folder : Path
        The folder of quality control.
    others : sequence of Path
        More of them, whose entries are copied into the first.

    Returns
    -------
    page : Path
        ``index.html``, or where another program's page has that name ``deepseg-lite.html``.

    Raises
    ------
    OptionError
        If a folder is missing or has no entries.
    OutputError
        If the folder cannot be written to.
    """
    for other in others:
        _merge(other, folder)
    entries = read_entries(folder)
    number = _known_uuid(folder / DATA) or str(uuid.uuid4())
    text = f"window.SCT_QC_UUID = '{number}';\nwindow.SCT_QC_DATASETS = {_script(entries)};\n"
    page = folder / PAGE
    if page.is_file() and MARKER not in page.read_text(encoding="utf-8", errors="replace")[:500]:
        page = folder / OTHER_PAGE
    html = files("deepseg_lite.qc").joinpath("page.html").read_bytes()
    try:
        (folder / DATA).parent.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be written to ({reason(error)}); check its permissions."
        ) from error
    contents = {folder / TABLE: _measures(folder, entries), folder / DATA: text.encode()}
    write_files({**contents, page: html}, overwrite=True, synced=False)
    return page


def _measures(folder: Path, entries: Sequence[dict[str, Any]]) -> bytes:
    """Return the tables of all entries as one."""
    rows = []
    for entry in entries:
        if not (inner := _inner(entry.get("measures"))):
            continue
        try:
            with gzip.open(folder / inner, "rt", encoding="utf-8") as file:
                lines = file.read(MOST_TEXT).splitlines()[1:]
        except (OSError, EOFError, ValueError, zlib.error) as error:
            _logger.warning("%s is left out of the measures (%s).", inner, reason(error))
            continue
        rows += [line.split("\t") for line in lines]
    return table_of(rows)


def _inner(path: Any) -> PurePosixPath | None:
    """Return a path within the folder, or None for any other."""
    inner = PurePosixPath(path) if isinstance(path, str) and path else None
    return None if inner is None or inner.is_absolute() or ".." in inner.parts else inner


def _script(entries: Sequence[dict[str, Any]]) -> str:
    """Return entries as JavaScript that no text in them can end."""
    rows = ",\n".join(json.dumps(entry) for entry in entries)
    return "[\n" + rows.replace("<", "\\u003c") + "\n]"


def _known_uuid(path: Path) -> str | None:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            found = _UUID.search(file.read(1000))
    except OSError:
        return None
    return found.group(1) if found else None


def _merge(source: Path, target: Path) -> None:
    """Copy the entries of a folder that the other does not have: pictures first."""
    for path in sorted((source / ENTRIES).glob("qc_*.json")):
        if (target / ENTRIES / path.name).exists():
            continue
        try:
            entry = json.loads(path.read_text(encoding="utf-8"))
            if (picture := _inner(entry["backgroundImage"])) is None:
                raise ValueError("its pictures lie elsewhere")
            inner = picture.parent
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            _logger.warning("%s is left out: it is no entry (%s).", path, reason(error))
            continue
        try:
            shutil.copytree(source / inner, target / inner, dirs_exist_ok=True)
            (target / ENTRIES).mkdir(parents=True, exist_ok=True)
            part = target / ENTRIES / f".{path.name}.part"
            shutil.copyfile(path, part)
            os.replace(part, target / ENTRIES / path.name)
        except (OSError, shutil.Error) as error:
            raise OutputError(
                f"{path} cannot be copied to {target} ({reason(error)}); check permissions and "
                "free space."
            ) from error
