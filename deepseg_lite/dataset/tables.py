"""Tables of cases, made from the records at any time: ``cases.tsv`` and ``cases.json``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from deepseg_lite.atomic import write_files
from deepseg_lite.dataset.state import read_record
from deepseg_lite.dataset.walking import list_files
from deepseg_lite.notice import ignore
from deepseg_lite.text import printable

MISSING = "n/a"
FIRST = ("case", "task", "status", "verdict", "warnings", "seconds", "slices", "date")
Row = dict[str, Any]


def write_tables(out: Path) -> list[Row]:
    """Write both tables of a folder of results, and return their rows.

    Raises
    ------
    OutputError
        If they cannot be written.
    """
    rows = rows_of(out)
    document = json.dumps(rows, indent=2) + "\n"
    files = {out / "cases.tsv": _as_tsv(rows), out / "cases.json": document}
    write_files({path: text.encode() for path, text in files.items()}, overwrite=True, synced=False)
    return rows


def rows_of(out: Path) -> list[Row]:
    """Return a row of each case and task of which there is a record, sorted by both.

    A case is done where a record stands beside its results, and has failed where a record stands
    in the folder of logs: that goes when the case is done.
    """
    rows: dict[tuple[str, str], Row] = {}
    for record in _records(out):
        try:
            row = _row(record)
        except (TypeError, ValueError, LookupError, AttributeError):
            continue  # somebody else's
        place = (row["case"], row["task"])
        if place not in rows or _rank(row) > _rank(rows[place]):
            rows[place] = row
    return [rows[place] for place in sorted(rows)]


def _rank(row: Row) -> tuple[bool, str]:
    """Return what decides between records of one case and task: failures, then the latest."""
    return row["status"] == "failed", row["date"]


def _records(out: Path) -> Iterator[Mapping[str, Any]]:
    for file in list_files(out, bids=False, warn=ignore):
        if file.path.endswith(".json") and (record := read_record(out / file.path)):
            yield record


def _row(record: Mapping[str, Any]) -> Row:
    slices = record.get("Slices") or {}
    row: Row = {
        "case": str(record["Case"]),
        "task": str(record.get("Task", MISSING)),
        "status": "failed" if "Error" in record else "done",
        "verdict": (record.get("Verdict") or {}).get("level"),
        "warnings": [warning["code"] for warning in record.get("Warnings", ())],
        "seconds": round(sum((record.get("Seconds") or {}).values()), 3),
        "slices": max(slices.values(), default=None),
        "date": str((record.get("GeneratedBy") or [{}])[0].get("Date", "")),
    }
    for name, volume in (record.get("Volumes_mm3") or {}).items():
        inner = volume.items() if isinstance(volume, Mapping) else [("", volume)]
        for key, value in inner:
            row["_".join(filter(None, ("mm3", name, key)))] = value
    if "Error" in record:
        row["error"] = record["Error"]
    return row


def _as_tsv(rows: list[Row]) -> str:
    columns = dict.fromkeys((*FIRST, *(name for row in rows for name in row)))
    lines = ["\t".join(map(printable, columns))]
    lines += ["\t".join(_cell(row.get(name)) for name in columns) for row in rows]
    return "".join(f"{line}\n" for line in lines)


def _cell(value: Any) -> str:
    if isinstance(value, list):
        value = ",".join(value)
    return printable(MISSING if value is None or value == "" else value)
