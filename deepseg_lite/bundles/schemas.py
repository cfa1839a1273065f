"""JSON Schemas that ship with the package, and everything wrong with a document by one of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from math import inf, isfinite
from typing import Any

from deepseg_lite.text import shortened

MAX_DEPTH, MAX_ITEMS, MAX_VALUES, MAX_TEXT, MAX_NUMBER = 32, 1000, 50_000, 4000, 10**15
"""Bounds of every document, far above what a model needs."""
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@cache
def read_schema(name: str) -> Mapping[str, Any]:
    """Return ``deepseg_lite/bundles/<name>.schema.json``."""
    text = files("deepseg_lite.bundles").joinpath(f"{name}.schema.json").read_text(encoding="utf-8")
    schema: Mapping[str, Any] = json.loads(text)
    return schema


@cache
def _validator(name: str) -> Any:
    """Return a validator with strict types.

    1.0 is no integer, NaN and infinity are no numbers, control characters make no string.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    def is_integer(_: Any, value: Any) -> bool:
        return type(value) is int

    def is_number(_: Any, value: Any) -> bool:
        return type(value) is int or (type(value) is float and isfinite(value))

    def is_string(_: Any, value: Any) -> bool:
        return type(value) is str and not _UNPRINTABLE.search(value)

    types = Draft202012Validator.TYPE_CHECKER.redefine_many(
        {"integer": is_integer, "number": is_number, "string": is_string}
    )
    return extend(Draft202012Validator, type_checker=types)(read_schema(name))


def schema_problems(name: str, document: Any) -> list[str]:
    """Return every reason why a document does not fit the schema of that name, in its order.

    A rule of the schema that has a ``$comment`` is told in its words. What is too large to be
    looked at is the only problem.
    """
    if problem := _too_large(document):
        return [f"{name}: {problem}"]
    errors = _validator(name).iter_errors(document)
    return [
        f"{_place(error.absolute_path) or name}: {_message(error)}"
        for error in sorted(errors, key=lambda error: [str(part) for part in error.absolute_path])
    ]


def _message(error: Any) -> str:
    rule = error.schema if isinstance(error.schema, dict) else {}
    message: str = rule.get("$comment", error.message)
    return shortened(message, 120)


def in_words(problems: Sequence[str], length: int = 160) -> str:
    """Return problems as one text for a message: all, or how many more there are."""
    told = list(problems[:1])
    for problem in problems[1:]:
        if len("; ".join([*told, problem])) > length:
            return f"{'; '.join(told)}; and {len(problems) - len(told)} more"
        told.append(problem)
    return "; ".join(told)


def parse_json(text: str) -> Any:
    """Return a JSON document.

    Raises
    ------
    ValueError
        If it is none, has a key twice, or is nested without end.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for key, value in pairs:
        if key in table:
            raise ValueError(f"the key {shortened(key, 40)!r} is there twice")
        table[key] = value
    return table


def _too_large(document: Any) -> str | None:
    """Return why a document cannot be one of ours by its size alone, in linear time."""
    level, values = [document], 0
    for _ in range(MAX_DEPTH):
        values += len(level)
        if values > MAX_VALUES:
            return f"it has more than {MAX_VALUES} values"
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict | list):
                if len(value) > MAX_ITEMS:
                    return f"a list of it has {len(value)} items, more than {MAX_ITEMS}"
                below += value
                below += value.values() if isinstance(value, dict) else ()
            elif isinstance(value, str):
                if len(value) > MAX_TEXT:
                    return f"a text of it has {len(value)} characters, more than {MAX_TEXT}"
            elif isinstance(value, int | float) and MAX_NUMBER < abs(value) < inf:
                return f"a number of it is beyond {MAX_NUMBER:.0e}"
        level = below
        if not level:
            return None
    return f"it is nested more than {MAX_DEPTH} deep"


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
