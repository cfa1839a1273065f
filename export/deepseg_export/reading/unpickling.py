"""Pickles, read by a machine that knows a few instructions, and runs nothing that they name.

What a pickle names is a record, unless it is one of the few functions that plain checkpoints use,
for which this package has its own. Keys of dictionaries are plain, so that no instruction takes
longer than its bytes tell.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from deepseg_export.reading import numbers, tensors
from deepseg_export.reading.records import Record

_INSTRUCTIONS = (
    *("PROTO", "STOP", "MARK", "POP", "POP_MARK", "DUP", "NONE", "NEWTRUE", "NEWFALSE"),
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE"),
    *("BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINPERSID"),
    *("EMPTY_LIST", "EMPTY_DICT", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "LIST"),
    *("BINGET", "LONG_BINGET", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GLOBAL", "STACK_GLOBAL"),
)
_PLAIN = (str, bytes, float, bool, type(None), np.floating, np.integer, np.bool_, Record)
_SIZED = (str, bytes, list, tuple, dict)
_MAX_KEY = 2**61 - 1  # from here on, numbers can be chosen that all have one hash
_MAX_PARTS = 16
_MAX_TUPLES = 10_000  # whose hashes can be chosen, too
_RENAMED = {"__builtin__": "builtins", "numpy.core.multiarray": "numpy._core.multiarray"}
_MAX_COPIED = 2**26
_MAX_NAME = 1000
_MAX_REFERENCE = 6


class _Dispatch(dict[int, Any]):
    def __missing__(self, code: int) -> Any:
        raise pickle.UnpicklingError(f"the instruction {code} is not known")


# The one that is written in Python, in which instructions can be left out.
_Machine: Any = pickle._Unpickler


class Unpickler(_Machine):  # type: ignore[misc]
    """Machine of the instructions that ``torch.save`` writes.

    Parameters
    ----------
    file : binary file
        Of one pickle or more.
    find : callable, optional
        What is beside the pickle, given what the pickle says of it.
    """

    def __init__(self, file: Any, find: Callable[..., Any] | None = None) -> None:
        super().__init__(file, encoding="utf-8")
        self._find = find
        self._copied = self._tuples = 0

    def find_class(self, module: str, name: str) -> Record:
        """Return a record of a name."""
        if len(module) + len(name) > _MAX_NAME:
            raise pickle.UnpicklingError(f"it names something in more than {_MAX_NAME} characters")
        self._copy((module, name))
        return Record(f"{_RENAMED.get(module, module)}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        """Return what is beside the pickle."""
        if not isinstance(pid, tuple) or not 2 <= len(pid) <= _MAX_REFERENCE:
            raise pickle.UnpicklingError("it refers to something in no known way")
        kind, *arguments = pid
        if kind == "storage" and self._find is not None:
            return self._find(*arguments)
        if kind == "module" and self._find is not None:  # with its source, which is not looked at
            return arguments[0]
        raise pickle.UnpicklingError("it refers to something of no known kind")

    def load_frame(self) -> None:
        """Pass over the length of a block, which only helps readers that read ahead."""
        self.read(8)

    def load_reduce(self) -> None:
        """Do what a plain checkpoint asks for, or make a record of what another one calls."""
        arguments, named = self.stack.pop(), self.stack.pop()
        if not isinstance(named, Record) or not isinstance(arguments, tuple):
            raise pickle.UnpicklingError(f"{type(named).__name__} is called, which is no function")
        result = NotImplemented
        if named.arguments is None and named.name in _FUNCTIONS:
            self._copy(arguments)
            result = _FUNCTIONS[named.name](*arguments)
        self.append(Record(named.name, arguments) if result is NotImplemented else result)

    def load_newobj(self) -> None:
        """Make a record of an instance."""
        arguments, named = self.stack.pop(), self.stack.pop()
        if not isinstance(named, Record) or not isinstance(arguments, tuple):
            raise pickle.UnpicklingError(f"{type(named).__name__} is called, which is no class")
        self.append(Record(named.name, arguments))

    def load_build(self) -> None:
        """Give a record its state; what torch adds to a dictionary is dropped."""
        state, held = self.stack.pop(), self.stack[-1]
        if isinstance(held, Record):
            held.state = state
        elif isinstance(held, numbers.NumberType):
            held.set_state(state)
        elif isinstance(held, np.ndarray):
            self._copy(state)
            numbers.finish_array(held, state)
        elif not isinstance(held, OrderedDict):
            raise pickle.UnpicklingError(f"{type(held).__name__} has no attributes to set")

    def load_setitem(self) -> None:
        """Put one value into a dictionary."""
        value, key = self.stack.pop(), self.stack.pop()
        self._put([(key, value)])

    def load_setitems(self) -> None:
        """Put values into a dictionary."""
        items = self.pop_mark()
        self._put(zip(items[::2], items[1::2], strict=True))

    def load_append(self) -> None:
        """Put one value into a list."""
        value = self.stack.pop()
        _extend(self.stack[-1], [value])

    def load_appends(self) -> None:
        """Put values into a list."""
        items = self.pop_mark()
        _extend(self.stack[-1], items)

    def _put(self, pairs: Iterable[tuple[Any, Any]]) -> None:
        """Put values into a dictionary, under keys that are as quickly found as others are."""
        target = self.stack[-1]
        if isinstance(target, Record):
            return
        if not isinstance(target, dict):
            raise pickle.UnpicklingError(f"{type(target).__name__} is no dictionary")
        for key, value in pairs:
            parts = key if isinstance(key, tuple) else (key,)
            self._tuples += isinstance(key, tuple)
            if len(parts) > _MAX_PARTS or self._tuples > _MAX_TUPLES:
                raise pickle.UnpicklingError("keys are too many tuples, or too long ones")
            if not all(map(_is_plain, parts)):
                raise pickle.UnpicklingError("a key is neither text nor a number")
            target[key] = value

    def _copy(self, values: Any) -> None:
        """Count a tuple, and what is in it, as they are about to be copied."""
        self._copied += len(values)
        if self._copied <= _MAX_COPIED:
            self._copied += sum(len(value) for value in values if isinstance(value, _SIZED))
        if self._copied > _MAX_COPIED:
            raise pickle.UnpicklingError("it copies the same values again and again")

    dispatch = _Dispatch(
        {
            code: _Machine.dispatch[code]
            for code in (getattr(pickle, name)[0] for name in _INSTRUCTIONS)
        }
        | {
            pickle.FRAME[0]: load_frame,
            pickle.REDUCE[0]: load_reduce,
            pickle.NEWOBJ[0]: load_newobj,
            pickle.BUILD[0]: load_build,
            pickle.SETITEM[0]: load_setitem,
            pickle.SETITEMS[0]: load_setitems,
            pickle.APPEND[0]: load_append,
            pickle.APPENDS[0]: load_appends,
        }
    )


def _is_plain(value: Any) -> bool:
    return isinstance(value, _PLAIN) or (isinstance(value, int) and abs(value) < _MAX_KEY)


def _extend(target: Any, items: Iterable[Any]) -> None:
    if isinstance(target, list):
        target.extend(items)
    elif not isinstance(target, Record):
        raise pickle.UnpicklingError(f"{type(target).__name__} is no list")


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("bytes are written in no known way")
    return text.encode("latin1")


def _no_bytes(*others: Any) -> Any:
    return NotImplemented if others else b""


def _complex(real: float, imaginary: float) -> complex:
    return complex(float(real), float(imaginary))


def _set(items: Iterable[Any] = ()) -> set[Any]:
    items = _tuple(items)
    if not all(map(_is_plain, items)):
        raise pickle.UnpicklingError("a set holds neither text nor numbers")
    return set(items)


def _ordered(items: Any = ()) -> OrderedDict[Any, Any]:
    result: OrderedDict[Any, Any] = OrderedDict()
    pairs = items.items() if isinstance(items, dict) else map(_tuple, _tuple(items))
    for key, value in pairs:
        if not _is_plain(key):
            raise pickle.UnpicklingError("a key is neither text nor a number")
        result[key] = value
    return result


def _tuple(items: Any = ()) -> tuple[Any, ...]:
    if not isinstance(items, (list, tuple)):
        raise pickle.UnpicklingError(f"{type(items).__name__} is no list")
    return tuple(items)


def _device(*parts: Any) -> str:
    return ":".join(str(part)[:20] for part in parts if isinstance(part, (str, int)))


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "_codecs.encode": _encode,
    "builtins.bytes": _no_bytes,
    "builtins.complex": _complex,
    "builtins.set": _set,
    "collections.Counter": _ordered,
    "collections.OrderedDict": _ordered,
    "numpy._core.multiarray._reconstruct": numbers.unfinished_array,
    "numpy._core.multiarray.scalar": numbers.scalar,
    "numpy.dtype": numbers.number_type,
    "torch.Size": _tuple,
    "torch.device": _device,
    "torch._utils._rebuild_parameter": tensors.rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": tensors.rebuild_parameter,
    "torch._utils._rebuild_tensor": tensors.rebuild,
    "torch._utils._rebuild_tensor_v2": tensors.rebuild,
    "torch._utils._rebuild_tensor_v3": tensors.rebuild_typed,
}
"""What is done for the functions and classes that plain checkpoints name."""
