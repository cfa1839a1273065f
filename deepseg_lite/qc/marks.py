"""Marks: what raters said of entries, and the lists of files that are made of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deepseg_lite.errors import OptionError, reason

FAIL, ARTIFACT = "fail", "artifact"
MARKS = ("pass", FAIL, ARTIFACT)
MARKS_FILE = "marks.json"
_QUOTED = tuple("-?:,[]{}#&*!|>'\"%@` ")


def read_marks(path: Path) -> dict[str, dict[str, str]]:
    """Return the marks of a file that the page saved, by the id of the entry.

    Returns
    -------
    marks : dict
        For each entry ``qc``, one of `MARKS` or empty, and ``rank``, a digit or empty.

    Raises
    ------
    OptionError
        If it is missing, damaged or of another kind.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["marks"]
        return {
            str(entry): {"qc": _known(mark.get("qc")), "rank": str(mark.get("rank", ""))}
            for entry, mark in found.items()
        }
    except OSError as error:
        raise OptionError(
            f"{path} cannot be read ({reason(error)}); save the marks in the page, with the button "
            "Save marks, and put the file there."
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise OptionError(
            f"{path} holds no marks of the page; save them there again, with the button Save marks."
        ) from error


def _known(mark: Any) -> str:
    if mark not in (*MARKS, "", None):
        raise ValueError(mark)
    return mark or ""


def list_files(
    entries: Sequence[Mapping[str, Any]],
    marks: Mapping[str, Mapping[str, str]],
    wanted: Iterable[str] = (FAIL,),
) -> str:
    """Return a YAML document of the images whose results are marked so, sorted by kind.

    ``manual_correction.py`` and ``sct_run_batch`` of the Spinal Cord Toolbox read it.
    """
    kinds = set(wanted)
    files: dict[str, set[str]] = {}
    for entry in entries:
        if marks.get(str(entry.get("id")), {}).get("qc") in kinds:
            path = f"{entry['path']}/{entry['inputFile']}"
            files.setdefault(str(entry.get("kind", "FILE_KIND_UNKNOWN")), set()).add(path)
    lines = []
    for kind in sorted(files):
        lines += [f"{kind}:", *(f"- {_scalar(path)}" for path in sorted(files[kind]))]
    return "".join(f"{line}\n" for line in lines)


def _scalar(text: str) -> str:
    """Return a path as YAML: quoted where it could be read as anything else."""
    plain = text.isprintable() and not any(letter in text for letter in _QUOTED[1:])
    return text if plain and not text.startswith("-") else json.dumps(text)
