"""Configurations of MONAI bundles: references are followed, nothing in them is executed."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepseg_export.errors import CheckpointError
from deepseg_export.reading.documents import read_json, read_yaml

TARGET, DISABLED = "_target_", "_disabled_"
_SEPARATOR = re.compile(r"::|#")
_REFERENCE = re.compile(r"\$?@([A-Za-z_][\w:#]*)")
_MOVED = re.compile(r"\$@([A-Za-z_][\w:#]*)\.to\(@?[\w.'\"]+\)")
_UNTOUCHED = ("_desc_", "_requires_", "_mode_")
_MAX_VALUES = 100_000
_MAX_REFERENCES = 32
_MAX_LITERAL = 10_000


@dataclass(frozen=True)
class Expression:
    """Python of a configuration, which is never evaluated."""

    text: str

    def __str__(self) -> str:
        return f"the expression {self.text[:80]!r}, which is not evaluated"


def read_config(folder: Path, name: str) -> tuple[Path, dict[str, Any]]:
    """Read ``configs/NAME.json`` (or ``.yaml``, ``.yml``) of a bundle.

    Raises
    ------
    CheckpointError
        If there is none, or it is no mapping, or beyond a limit.
    MissingPackageError
        If it is YAML and PyYAML is not installed.
    """
    places = [folder / "configs" / f"{name}{suffix}" for suffix in (".json", ".yaml", ".yml")]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise CheckpointError(f"{folder} has no configs/{name}.json or .yaml.")
    return path, read_json(path) if path.suffix == ".json" else read_yaml(path)


def resolve(document: Mapping[str, Any], value: Any) -> Any:
    """Return a value with its references followed and its literals read.

    Parameters
    ----------
    document : dict
        The whole configuration.
    value : object
        A part of it.

    Returns
    -------
    resolved : object
        Of plain values and `Expression`, which stands for all other Python. Disabled components
        are left out.

    Raises
    ------
    CheckpointError
        If a reference leads nowhere or back to itself, or all of them to too many values.
    """
    return _Resolver(document).resolve(value, ())


class _Resolver:
    """Resolver of one configuration, who counts the values that he writes out."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document, self._count = document, 0

    def resolve(self, value: Any, path: tuple[str, ...]) -> Any:
        """Return a value resolved; ``path`` are the references on the way to it."""
        self._count += 1
        if self._count > _MAX_VALUES:
            raise CheckpointError(
                f"the configuration has more than {_MAX_VALUES} values when its references are "
                "followed; refused."
            )
        if isinstance(value, str):
            reference = _REFERENCE.fullmatch(value) or _MOVED.fullmatch(value)
            return self._followed(reference.group(1), path) if reference else _literal(value)
        if isinstance(value, Mapping):
            return {
                key: self.resolve(item, path)
                for key, item in value.items()
                if key not in _UNTOUCHED
            }
        if isinstance(value, list):
            items = (self.resolve(item, path) for item in value)
            return [item for item in items if not _is_disabled(item)]
        return value

    def _followed(self, name: str, path: tuple[str, ...]) -> Any:
        if name in path:
            raise CheckpointError(f"the configuration refers to @{name[:80]} from within itself.")
        if len(path) == _MAX_REFERENCES:
            raise CheckpointError(
                f"the configuration refers from one value to the next over more than "
                f"{_MAX_REFERENCES} steps; refused."
            )
        return self.resolve(_find(self._document, name), (*path, name))


def _find(document: Mapping[str, Any], name: str) -> Any:
    found: Any = document
    for part in _SEPARATOR.split(name):
        try:
            found = found[int(part)] if isinstance(found, list) else found[part]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise CheckpointError(f"the configuration has no @{name[:80]}.") from error
    return found


def _literal(text: str) -> Any:
    """Return what a string says: itself, a number or list after ``$``, or an expression."""
    if text.startswith(("@", "%")):
        return Expression(text)
    if not text.startswith("$"):
        return text
    if len(text) > _MAX_LITERAL:
        return Expression(text)
    try:
        return ast.literal_eval(text[1:].strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return Expression(text)


def _is_disabled(item: Any) -> bool:
    return isinstance(item, Mapping) and item.get(DISABLED) in (True, "true", "True")
