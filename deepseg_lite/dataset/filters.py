"""Filters: which images of a data set are wanted, by their names."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from deepseg_lite.bundles.schemas import parse_json
from deepseg_lite.dataset.names import ENTITIES, INDICES, Image
from deepseg_lite.errors import OptionError, reason
from deepseg_lite.text import shown

ANY, NONE = "*", None
Wanted = Collection[str | None]
"""Values that an entity may have; `NONE` is its absence, `ANY` any value at all."""


@dataclass(frozen=True)
class Filter:
    """What the names of images must have, by entity; also ``suffix`` and ``datatype``."""

    wanted: Mapping[str, Wanted] = field(default_factory=dict)

    def takes(self, image: Image) -> bool:
        """Return whether an image has all of it."""
        return all(
            _fits(name, self._value(image, name), wanted) for name, wanted in self.wanted.items()
        )

    def __and__(self, other: Filter) -> Filter:
        """Return both; what the other says of an entity goes before what this one says."""
        return Filter({**self.wanted, **other.wanted})

    @staticmethod
    def _value(image: Image, name: str) -> str | None:
        if name == "suffix":
            return image.suffix or None
        return image.datatype if name == "datatype" else image.entities.get(name)


def _fits(name: str, value: str | None, wanted: Wanted) -> bool:
    if value is None:
        return NONE in wanted
    return ANY in wanted or value in wanted or (name in INDICES and _same_number(value, wanted))


def _same_number(value: str, wanted: Wanted) -> bool:
    """Return whether an index such as 01 is among numbers such as 1."""
    return value.isdecimal() and any(
        each is not None and each.isdecimal() and int(each) == int(value) for each in wanted
    )


def read_words(words: Sequence[str]) -> Filter:
    """Return the filter of words such as ``suffix=T2w`` or ``acq=ax,sag``; none is ``ce=``.

    Raises
    ------
    OptionError
        If a word is none of these, or there is no entity of that name.
    """
    wanted: dict[str, Wanted] = {}
    for word in words:
        name, equals, values = word.partition("=")
        if not equals:
            raise OptionError(
                f"filter is {shown(word)!r}; words such as suffix=T2w or acq=ax,sag are needed."
            )
        wanted[_entity(name)] = _values(name, values.split(",") if values else [None])
    return Filter(wanted)


def _entity(name: str) -> str:
    """Return how an entity is called in names of files."""
    short = ENTITIES.get(name, name)
    if short not in (*ENTITIES.values(), "suffix", "datatype"):
        raise OptionError(
            f"there is no entity {shown(name)!r} in BIDS; there are suffix, datatype, "
            f"{', '.join(ENTITIES.values())}."
        )
    return short


def _values(name: str, values: Sequence[str | None]) -> Wanted:
    """Return values as names of files have them: without the entity itself."""
    prefix = f"{ENTITIES.get(name, name)}-"
    return tuple(None if value is None else value.removeprefix(prefix) for value in values)


def read_labels(entity: str, labels: Sequence[str]) -> Filter:
    """Return the filter of subjects or sessions: labels with or without ``sub-`` or ``ses-``."""
    return Filter({entity: _values(entity, labels)} if labels else {})


def read_filter_file(path: Path) -> dict[str, Filter]:
    """Return the filters of a BIDS filter file, by the names that it gives them.

    It is a JSON object of queries: an entity is a value, a list of values, null for none, or ``*``
    for any. Its names are such as ``t1w``, and for tasks of several images those of their channels.

    Raises
    ------
    OptionError
        If it cannot be read, or is something else.
    """
    try:
        document = parse_json(path.read_text(encoding="utf-8"))
        queries = {name: dict(query) for name, query in document.items()}
        return {name: Filter(_read_query(query)) for name, query in queries.items()}
    except OSError as error:
        raise OptionError(
            f"{shown(path)} cannot be read ({reason(error)}); give a BIDS filter file."
        ) from error
    except OptionError as error:
        raise OptionError(f"{shown(path)}: {error}") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise OptionError(
            f"{shown(path)} is no BIDS filter file ({reason(error)}); it must be JSON such as "
            '{"t2w": {"suffix": "T2w", "acquisition": ["ax", null]}}.'
        ) from error


def _read_query(query: Mapping[str, Any]) -> dict[str, Wanted]:
    found = {}
    for name, value in query.items():
        values = value if isinstance(value, list) else [value]
        if not all(each is None or isinstance(each, str | int) for each in values):
            raise OptionError(f"{name} must be a text, a list of texts, or null.")
        texts = [None if each is None else str(each) for each in values]
        found[_entity(name)] = _values(name, texts)
    return found


@dataclass(frozen=True)
class Listing:
    """List of subjects, sessions and images, as ``sct_run_batch`` reads one.

    ``sub-01``, ``sub-01/ses-02`` and ``ses-02`` are subjects and sessions; ``sub-01_T2w.nii.gz`` is
    an image, also behind a path.
    """

    entries: frozenset[str]

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(entry.rpartition("/")[2] for entry in self.entries)

    def names(self, image: Image) -> bool:
        """Return whether it names an image: itself, or a folder it is in."""
        folders = image.folder.split("/")
        inside = {"/".join(folders[:count]) for count in range(1, len(folders) + 1)}
        return not self.entries.isdisjoint(inside.union(folders)) or not self._names.isdisjoint(
            (image.path.rpartition("/")[2], image.stem)
        )


_ITEM = re.compile(r"-\s+(?P<value>\S.*)")
_KEY = re.compile(r"(?P<key>[^\s#-][^#]*?)\s*:\s*(?P<rest>.*)")


def read_yml(path: Path) -> Listing:
    """Return a list in YAML of subjects, subjects with sessions, or images.

    Such a list is what quality control saves, and what data sets have as ``exclude.yml``: a list,
    or lists below keys, each entry a text, with comments. Nothing else of YAML is read.

    Raises
    ------
    OptionError
        If it cannot be read, or is something else.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(
            f"{shown(path)} cannot be read ({reason(error)}); give a list in YAML."
        ) from error
    entries: list[str] = []
    for number, line in enumerate(lines, 1):
        text = re.sub(r"(^|\s)#.*", "", line).strip()
        if not text or text in ("---", "...", "[]", "{}"):
            continue
        if item := _ITEM.fullmatch(text):
            entries.append(_unquoted(item["value"]))
            continue
        key = _KEY.fullmatch(text)
        rest = key["rest"] if key else ""
        if key and rest.startswith("[") and rest.endswith("]"):
            entries += [_unquoted(part.strip()) for part in rest[1:-1].split(",") if part.strip()]
        elif not key or rest not in ("", "null", "~"):
            raise OptionError(
                f"{shown(path)}, line {number}: a list of subjects or images in YAML is needed, "
                "one to a line after '- '."
            )
    return Listing(frozenset(entries))


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text
