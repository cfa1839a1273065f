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


@dataclass(frozen=True)
class Expression:
    """Python of a configuration, which is never evaluated."""

    text: str

    def __str__(self) -> str:
        return f"the expression {self.text!r}, which is not evaluated"


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


def resolve(document: Mapping[str, Any], value: Any, path: tuple[str, ...] = ()) -> Any:
    """Return a value with its references followed and its literals read.

    Parameters
    ----------
    document : dict
        The whole configuration.
    value : object
        A part of it.
    path : tuple of str
        References on the way here.

    Returns
    -------
    resolved : object
        Of plain values and `Expression`, which stands for all other Python. Disabled components
        are left out.

    Raises
    ------
    CheckpointError
        If a reference leads nowhere or back to itself.
    """
    if isinstance(value, str):
        reference = _REFERENCE.fullmatch(value) or _MOVED.fullmatch(value)
        if reference:
            name = reference.group(1)
            if name in path:
                raise CheckpointError(f"the configuration refers to @{name} from within itself.")
            return resolve(document, _find(document, name), (*path, name))
        return _literal(value)
    if isinstance(value, Mapping):
        return {
            key: resolve(document, item, path)
            for key, item in value.items()
            if key not in _UNTOUCHED
        }
    if isinstance(value, list):
        items = (resolve(document, item, path) for item in value)
        return [item for item in items if not _is_disabled(item)]
    return value


def _find(document: Mapping[str, Any], name: str) -> Any:
    found: Any = document
    for part in _SEPARATOR.split(name):
        try:
            found = found[int(part)] if isinstance(found, list) else found[part]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise CheckpointError(f"the configuration has no @{name}.") from error
    return found


def _literal(text: str) -> Any:
    """Return what a string says: itself, a number or list after ``$``, or an expression."""
    if text.startswith(("@", "%")):
        return Expression(text)
    if not text.startswith("$"):
        return text
    try:
        return ast.literal_eval(text[1:].strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return Expression(text)


def _is_disabled(item: Any) -> bool:
    return isinstance(item, Mapping) and item.get(DISABLED) in (True, "true", "True")
