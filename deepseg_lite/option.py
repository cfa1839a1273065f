"""Options: each declared once, for the command line and for Python.

A `TypedDict` declares options as keywords of a Python function. The `Annotated` type of each holds
an `Option`: its flags, its help, its default and its checks. The command line makes its own options
from the same declarations.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from deepseg_lite.errors import OptionError

_ARGUMENT = re.compile(r"`(?P<name>[a-z_]+)(?:=(?P<value>[^`]*))?`")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Option:
    """Declaration of an option.

    Attributes
    ----------
    help : str
        Text for users.
    for_python : bool
        Whether the command line does not have it.
    flags : tuple of str
        Flags of the command line; default ``--name``.
    has_opposite : bool
        Whether there is also ``--no-name``; so always where None is a third value.
    choices : tuple of str
        Allowed values; default those of a `Literal` type.
    default : object
        Value where nobody says.
    metavar : str or None
        Name of the value in the help.
    above, minimum, maximum : float or None
        Limits of a number; ``above`` is exclusive.
    is_list : bool
        Whether the value of the flag is a list with commas.
    keys : tuple of str
        Keys of a mapping; there is a flag for each.
    read : callable or None
        Makes the value that is kept of the value that was given.
    show_default : bool
        Whether the help names the default.
    unfit : callable or None
        ``unfit(value, bundle)`` says why a value does not fit a model; None where it fits.
    """

    help: str = ""
    flags: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    default: Any = None
    metavar: str | None = None
    above: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    is_list: bool = False
    keys: tuple[str, ...] = ()
    read: Callable[[Any], Any] | None = None
    show_default: bool = False
    unfit: Callable[[Any, Any], str | None] | None = None
    for_python: bool = False
    has_opposite: bool = False


@dataclass(frozen=True)
class Declared:
    """An option with its name, its type and the choices that the type names."""

    name: str
    option: Option
    kind: Any
    choices: tuple[str, ...]

    def check(self, value: Any) -> Any:
        """Return a value as it is kept.

        Raises
        ------
        OptionError
            If it is none of the choices or outside the limits.
        """
        option = self.option
        if value is not None and self.choices and value not in self.choices:
            raise OptionError(
                f"{self.name} is {value!r}; it must be one of {', '.join(self.choices)}."
            )
        numbers = [value] if not option.keys else dict(value or ()).values()
        for number in numbers if (limits := self._limits()) else ():
            if number is not None and not self._allows(number):
                raise OptionError(f"{self.name} is {number!r}; {limits} is needed.")
        return value if option.read is None else option.read(value)

    def _allows(self, number: Any) -> bool:
        option = self.option
        try:
            return bool(
                (option.above is None or number > option.above)
                and (option.minimum is None or number >= option.minimum)
                and (option.maximum is None or number <= option.maximum)
            )
        except TypeError:
            return False

    def _limits(self) -> str:
        option = self.option
        limits = [
            (option.above, "a number above {:g}"),
            (option.minimum, "at least {:g}"),
            (option.maximum, "up to {:g}"),
        ]
        return " and ".join(text.format(limit) for limit, text in limits if limit is not None)


@cache
def declared(options: type) -> Mapping[str, Declared]:
    """Return the options of a `TypedDict` by their names, in its order."""
    found = {}
    for name, hint in get_type_hints(options, include_extras=True).items():
        kind, option = get_args(hint)
        literals = [part for part in (kind, *get_args(kind)) if get_origin(part) is Literal]
        choices = option.choices or tuple(c for literal in literals for c in get_args(literal))
        found[name] = Declared(name, option, kind, choices)
    return found


def complete(options: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all options of a `TypedDict`: those given, checked, and defaults.

    Raises
    ------
    OptionError
        If a value is not allowed.
    TypeError
        If there is no option of a name, as Python does for its own keywords.
    """
    known = declared(options)
    if unknown := [name for name in given if name not in known]:
        raise TypeError(f"there is no option {unknown[0]!r}; there are {', '.join(known)}")
    return {name: each.check(given.get(name, each.option.default)) for name, each in known.items()}


def words(value: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the words of a list, or of a text with commas; None stays."""
    if value is None:
        return None
    if isinstance(value, str):
        value = value.split(",") if value else ()
    return tuple(word.strip() for word in value)


def texts(value: Any) -> tuple[str, ...]:
    """Return the texts of a list; one that stands alone is a list of one."""
    return (value,) if isinstance(value, str) else tuple(map(str, value))


def takes(options: type) -> Callable[[F], F]:
    """Decorate a function with ``**options`` of a `TypedDict`: its help and signature list them."""

    def describe(function: F) -> F:
        signature = inspect.signature(function)
        kept = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        lines = []
        for name, each in declared(options).items():
            kept.append(
                inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=each.option.default)
            )
            choices = f": {{{', '.join(each.choices)}}}" if each.choices else ""
            lines.append(f"{name}{choices}")
            lines += textwrap.wrap(
                each.option.help, 92, initial_indent="    ", subsequent_indent="    "
            )
        text = "\n".join(["Other Parameters", "----------------", *lines])
        function.__doc__ = f"{inspect.cleandoc(function.__doc__ or '')}\n\n{text}\n"
        function.__signature__ = signature.replace(parameters=kept)  # type: ignore[attr-defined]
        return function

    return describe


def in_flags(text: str) -> str:
    """Return a message of the library in the words of the command line.

    Messages name an argument as `name`, or `name=value`; here it is ``--name``, or
    ``--name value``.
    """

    def flag(match: re.Match[str]) -> str:
        name, value = match["name"], match["value"]
        if name == "contrasts":
            return "-c"
        if name == "box":  # a mapping: a flag for each face
            return f"--box-{value}" if value else "--box-xmin to --box-zmax"
        return f"--{name.replace('_', '-')}" + (f" {value}" if value else "")

    return _ARGUMENT.sub(flag, text)
