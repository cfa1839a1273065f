"""Versions of packages, compared as far as requirements here need it."""

from __future__ import annotations

import re
from collections.abc import Callable
from operator import eq, ge, gt, le, lt, ne

_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][\w.-]*)\s*(?:\[[^]]*\])?\s*\(?([^;)]*)\)?\s*(?:;(.*))?")
_CLAUSE = re.compile(r"(>=|<=|==|!=|~=|>|<)\s*(\d+(?:\.\d+)*)(\.\*)?")
_SIGNS: dict[str, Callable[[tuple[int, ...], tuple[int, ...]], bool]] = {
    ">=": ge, "<=": le, "==": eq, "!=": ne, ">": gt, "<": lt,
}  # fmt: skip


def canonical(name: str) -> str:
    """Return the name of a package as all its spellings have it.

    >>> canonical("Huggingface_Hub")
    'huggingface-hub'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def parse_requirement(text: str) -> tuple[str, str, str]:
    """Return the package, the versions and the marker of a requirement.

    >>> parse_requirement('numpy>=1.24,!=2.0; extra == "cpu"')
    ('numpy', '>=1.24,!=2.0', 'extra == "cpu"')
    """
    found = _REQUIREMENT.fullmatch(text)
    if found is None:
        return text, "", ""
    return canonical(found[1]), found[2].strip(), (found[3] or "").strip()


def fits(version: str, allowed: str) -> bool:
    """Return whether a version is one of those allowed; only the numbers of a release count.

    >>> fits("1.24.1", ">=1.19,!=1.24.1"), fits("2.0rc1", ">=1.19"), fits("1.25.3", "==1.25.*")
    (False, True, True)
    """
    return all(_holds(_release(version), *clause) for clause in _CLAUSE.findall(allowed))


def _holds(version: tuple[int, ...], sign: str, wanted: str, any_end: str) -> bool:
    limit = _release(wanted)
    if any_end:
        return _SIGNS[sign](version[: len(limit)], limit)
    if sign == "~=":
        return version >= limit and version[: len(limit) - 1] == limit[:-1]
    length = max(len(version), len(limit))
    return _SIGNS[sign](_padded(version, length), _padded(limit, length))


def _release(version: str) -> tuple[int, ...]:
    """Return the numbers of a release: ``1.24.1.post1+cu12`` is (1, 24, 1)."""
    found = re.match(r"v?(?:\d+!)?(\d+(?:\.\d+)*)", version)
    return tuple(map(int, found[1].split("."))) if found else ()


def _padded(release: tuple[int, ...], length: int) -> tuple[int, ...]:
    return release + (0,) * (length - len(release))
