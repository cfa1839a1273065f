"""Arguments of a configured component, read one by one, with everything unknown reported."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from deepseg_export.errors import UnsupportedError
from deepseg_export.families.monai.config import DISABLED, TARGET, Expression

_MISSING = object()


def short_name(target: Any) -> str:
    """Return a class's name without its module, a dictionary transform's with its ``d`` at the end.

    MONAI has three names for each of these: ``Spacingd``, ``SpacingD`` and ``SpacingDict``.
    """
    name = str(target).rpartition(".")[2]
    if name.endswith("Dict"):
        return f"{name[:-4]}d"
    return f"{name[:-1]}d" if name.endswith("D") else name


class Arguments:
    """The arguments of one component; each is taken, ignored, or reported by `closed`.

    ``key`` is the item of the data that counts: where an argument is a list with one value per
    key, its value is taken.
    """

    def __init__(self, component: Mapping[str, Any], key: str | None = None) -> None:
        self.name = short_name(component.get(TARGET))
        self._values = {k: v for k, v in component.items() if k not in (TARGET, DISABLED)}
        keys = self._values.pop("keys", []) if key is not None else []
        self.keys = [keys] if isinstance(keys, str) else list(keys)
        self._index = self.keys.index(key) if key in self.keys else None
        self._count = len(self.keys)

    def ignore(self, *names: str) -> None:
        """Leave out arguments that change nothing here."""
        for name in names:
            self._values.pop(name, None)

    def take(self, name: str, default: Any = _MISSING) -> Any:
        """Return an argument.

        Raises
        ------
        UnsupportedError
            If it is an expression, or is needed and not there.
        """
        value = self._values.pop(name, default)
        if value is _MISSING:
            raise UnsupportedError(f"{name} is not given")
        expression = _first_expression(value)
        if expression is not None:
            raise UnsupportedError(f"{name} is {expression}")
        return value

    def take_for_key(self, name: str, default: Any) -> Any:
        """Return an argument that may have one value per key."""
        value = self.take(name, default)
        if isinstance(value, (list, tuple)):
            if len(value) != self._count or self._index is None:
                raise UnsupportedError(f"{name} has {len(value)} values for {self._count} keys")
            return value[self._index]
        return value

    def number(self, name: str, default: Any = _MISSING) -> float:
        """Return an argument that is a number."""
        return as_number(name, self.take(name, default))

    def boolean(self, name: str, default: bool) -> bool:
        """Return an argument that is true or false, maybe one per key."""
        value = self.take_for_key(name, default)
        if not isinstance(value, bool):
            raise UnsupportedError(f"{name} is {value!r}; true or false is needed")
        return value

    def only(self, name: str, *accepted: Any) -> None:
        """Accept an argument that has one of a few values, the first being its default."""
        value = self.take_for_key(name, accepted[0])
        if value not in accepted:
            raise UnsupportedError(f"{name} is {value!r}, and only {accepted[0]!r} is supported")

    def dtype(self, *accepted: str) -> None:
        """Accept a data type of these names; the first is the default."""
        value = self._values.pop("dtype", accepted[0])
        values = value if isinstance(value, (list, tuple)) else [value]
        for item in values:
            text = item.text.lstrip("$") if isinstance(item, Expression) else str(item)
            if text.rpartition(".")[2] not in accepted:
                raise UnsupportedError(f"dtype is {text}, and only {accepted[0]} is supported")

    def expression(self, name: str) -> str | None:
        """Return the text of an argument that is an expression; it is left in place otherwise."""
        value = self._values.get(name)
        return self._values.pop(name).text if isinstance(value, Expression) else None

    def close(self) -> None:
        """Report arguments nobody took.

        Raises
        ------
        UnsupportedError
            Naming them.
        """
        if self._values:
            raise UnsupportedError(f"{', '.join(sorted(self._values))} is not supported")


def as_number(name: str, value: Any) -> float:
    """Return a value that must be a number."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value):
        raise UnsupportedError(f"{name} is {value!r}; a number is needed")
    return float(value)


def as_three(name: str, value: Any) -> list[float | None]:
    """Return three numbers or None of one, or of a list of three."""
    values = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    if len(values) == 1:
        values *= 3
    if len(values) != 3:
        raise UnsupportedError(f"{name} is {value!r}; one or three numbers are needed")
    return [None if item is None else as_number(name, item) for item in values]


def as_sizes(name: str, value: Any) -> list[int | None]:
    """Return three whole numbers; None for what is not positive, MONAI's word for a whole axis."""
    sizes: list[int | None] = []
    for item in as_three(name, value):
        if item is not None and item != int(item):
            raise UnsupportedError(f"{name} is {value!r}; whole numbers are needed")
        sizes.append(None if item is None or item <= 0 else int(item))
    return sizes


def _first_expression(value: Any) -> Expression | None:
    if isinstance(value, Expression):
        return value
    items = value.values() if isinstance(value, Mapping) else value
    if isinstance(value, (Mapping, list, tuple)):
        return next((found for item in items if (found := _first_expression(item))), None)
    return None
