"""JSON Schemas that ship with the package, and everything wrong with a document by one of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from math import isfinite
from typing import Any


@cache
def read_schema(name: str) -> Mapping[str, Any]:
    """Return ``deepseg_lite/bundles/<name>.schema.json``."""
    text = files("deepseg_lite.bundles").joinpath(f"{name}.schema.json").read_text(encoding="utf-8")
    schema: Mapping[str, Any] = json.loads(text)
    return schema


@cache
def _validator(name: str) -> Any:
    """Return a validator that takes 1.0 for no integer and NaN or infinity for no number."""
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    def is_integer(_: Any, value: Any) -> bool:
        return type(value) is int

    def is_number(_: Any, value: Any) -> bool:
        return type(value) is int or (type(value) is float and isfinite(value))

    types = Draft202012Validator.TYPE_CHECKER.redefine_many(
        {"integer": is_integer, "number": is_number}
    )
    return extend(Draft202012Validator, type_checker=types)(read_schema(name))


def schema_problems(name: str, document: Any) -> list[str]:
    """Return every reason why a document does not fit the schema of that name, in its order."""
    errors = _validator(name).iter_errors(document)
    return [
        f"{_place(error.absolute_path) or name}: {error.message}"
        for error in sorted(errors, key=lambda error: [str(part) for part in error.absolute_path])
    ]


def _place(path: Iterable[str | int]) -> str:
    """Return a place in a document: ``files['a.json'][0]``; jsonschema's differ by its version."""
    is_plain = re.compile(r"[A-Za-z]\w*").fullmatch
    parts = (f".{part}" if is_plain(str(part)) else f"[{part!r}]" for part in path)
    return "".join(parts).removeprefix(".")


def frozen(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table of a document with tuples in place of lists, for a frozen dataclass."""
    return {key: _frozen(value) for key, value in table.items()}


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
