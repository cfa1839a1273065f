"""A strict reader of BibTeX: what it takes, every program takes."""

from __future__ import annotations

import re

NEEDED = {
    "article": {"journal", "year"},
    "inproceedings": {"author", "title", "booktitle", "year"},
    "misc": set(),
}


def entries(document: str) -> dict[str, tuple[str, dict[str, str]]]:
    """Return kind and fields of entries by their keys; fail at what BibTeX would stumble over."""
    found: dict[str, tuple[str, dict[str, str]]] = {}
    left = document
    while left.strip():
        head = re.match(r"\s*@([a-z]+)\{([a-z0-9-]+),\n", left)
        assert head, left[:80]
        kind, key = head.groups()
        assert key not in found, key
        left = left[head.end() :]
        fields: dict[str, str] = {}
        while not left.startswith("}"):
            name = re.match(r"  ([a-z]+) = \{", left)
            assert name, left[:80]
            value, left = _braced(left[name.end() :])
            assert name[1] not in fields, (key, name[1])
            assert value == value.strip() != "", (key, name[1])
            assert left.startswith(",\n"), left[:80]
            fields[name[1]], left = value, left[2:]
        left = left[1:]
        assert NEEDED[kind] <= fields.keys(), (key, kind, fields.keys())
        found[key] = kind, fields
    return found


def _braced(text: str) -> tuple[str, str]:
    """Split at the brace that closes; those behind a backslash are signs."""
    depth, i = 1, 0
    while depth:
        assert i < len(text), "a brace is not closed"
        if text[i] == "\\" and text[i + 1] in "{}&%$#_":
            i += 2
            continue
        assert text[i] not in "&%$#_" or _is_plain(text), text[:i]
        depth += {"{": 1, "}": -1}.get(text[i], 0)
        i += 1
    return text[: i - 1], text[i:]


def _is_plain(text: str) -> bool:
    """Tell whether a value is a DOI or an address, which is taken as it is."""
    return bool(re.match(r"(10\.\d|https?://)", text))
