"""Report of an examination, as a page for people and as a document for programs."""

from __future__ import annotations

from dataclasses import replace
from importlib import metadata
from typing import Any

from deepseg_lite.doctor.examination import Examination, Section
from deepseg_lite.doctor.finding import OK, Finding
from deepseg_lite.doctor.privacy import without_names
from deepseg_lite.doctor.software import PACKAGE
from deepseg_lite.option import in_flags
from deepseg_lite.text import printable

SCHEMA = 1
"""Number of the form of the document, ``report.schema.json``."""


def without_private(examination: Examination) -> Examination:
    """Return an examination whose texts are single lines without the user's name and home."""
    return Examination(
        tuple(Section(part.name, tuple(map(_told, part.findings))) for part in examination.sections)
    )


def _told(finding: Finding) -> Finding:
    cure = None if finding.cure is None else _line(finding.cure)
    return replace(finding, text=_line(finding.text), cure=cure)


def _line(text: str) -> str:
    return printable(without_names(in_flags(text)))


def document(examination: Examination) -> dict[str, Any]:
    """Return what programs read; its form is ``report.schema.json``."""
    return {
        "schema": SCHEMA,
        "version": _version(),
        "usable": not examination.problems,
        "problems": examination.problems,
        "notes": examination.notes,
        "sections": [
            {
                "name": part.name,
                "findings": [
                    {"level": each.level, "name": each.name, "text": each.text, "cure": each.cure}
                    for each in part.findings
                ],
            }
            for part in examination.sections
        ],
    }


def page(examination: Examination) -> str:
    """Return what people read: what is wrong stands out, and its cure is beneath it."""
    names = [each.name for part in examination.sections for each in part.findings]
    width = min(max(map(len, names), default=0), 20)
    lines = []
    for part in filter(lambda part: part.findings, examination.sections):
        lines += [part.name, *(line for each in part.findings for line in _lines(each, width)), ""]
    return "\n".join([*lines, _summary(examination)])


def _lines(finding: Finding, width: int) -> list[str]:
    mark = "" if finding.level == OK else f"{finding.level}: "
    lines = [f"  {finding.name:<{width}}  {mark}{finding.text}"]
    if finding.cure is not None:
        lines.append(f"  {'':<{width}}  -> {finding.cure}")
    return lines


def _summary(examination: Examination) -> str:
    counts = [
        f"{count} {name}{'s' if count > 1 else ''}"
        for count, name in ((examination.problems, "problem"), (examination.notes, "note"))
        if count
    ]
    found = " and ".join(counts) or "nothing is wrong"
    return f"deepseg-lite {_version() or 'of unknown version'}: {found}."


def _version() -> str | None:
    try:
        return metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        return None
