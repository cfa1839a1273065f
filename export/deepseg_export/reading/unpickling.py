"""Pickles, read by a machine that knows a few instructions, and runs nothing that they name.

What a pickle names becomes a function of this package, or a holder of attributes; anything else is
refused. Keys of dictionaries are plain, so that no instruction takes longer than its bytes tell.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from deepseg_export.reading.limits import parts_of
from deepseg_export.reading.tensors import (
    STORAGE_MODULES,
    rebuild,
    rebuild_parameter,
    rebuild_typed,
    storage_type,
)

_INSTRUCTIONS = (
    *("PROTO", "STOP", "MARK", "POP", "POP_MARK", "DUP", "NONE", "NEWTRUE", "NEWFALSE"),
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE"),
    *("BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINPERSID"),
    *("EMPTY_LIST", "EMPTY_DICT", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "LIST"),
    *("BINGET", "LONG_BINGET", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GLOBAL", "STACK_GLOBAL"),
)
_PLAIN = (str, bytes, int, float, bool, type(None))
_SIZED = (str, bytes, list, tuple, dict)
_MAX_KEY = 16
_RENAMED = {"__builtin__": "builtins", "numpy.core.multiarray": "numpy._core.multiarray"}
_NUMBERS = "?bBhHiIlLqQefdg"
_TORCH_TYPES = (
    *("bfloat16", "bool", "complex64", "complex128", "float16", "float32", "float64"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)
_MAX_COPIED = 2**26


class Holder:
    """Holder of the attributes of an instance of a class that is never imported."""


class Inert(Holder):
    """Holder of nothing, for any class or function that is of no interest."""


class ForbiddenGlobal(pickle.UnpicklingError):
    """A pickle names something that is not on the list."""


def holder_parts(value: Any) -> Iterable[Any]:
    """Return what a value of a pickle is made of."""
    return vars(value).values() if isinstance(value, Holder) else parts_of(value)


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
    others : callable
        Class of holders for a module and a name that are not known; None where there is none.
    find : callable, optional
        What is beside the pickle, given what the pickle says of it.
    """

    def __init__(
        self,
        file: Any,
        others: Callable[[str, str], type[Holder] | None],
        find: Callable[..., Any] | None = None,
    ) -> None:
        super().__init__(file, encoding="utf-8")
        self._others, self._find = others, find
        self._known = _functions()
        self._callable = {id(function) for function in self._known.values()}
        self._copied = 0

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a name."""
        module = _RENAMED.get(module, module)
        found: Any = self._known.get((module, name))
        if found is None and module in STORAGE_MODULES:
            found = storage_type(name) or _torch_dtype(module, name)
        if found is None:
            found = self._others(module, name)
        if found is None:
            shown = f"{module}.{name}".encode("unicode_escape").decode()
            raise ForbiddenGlobal(shown[:100])
        return found

    def persistent_load(self, pid: Any) -> Any:
        """Return what is beside the pickle."""
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
        """Call what stands for a name."""
        arguments, function = self.stack.pop(), self.stack.pop()
        if id(function) in self._callable and isinstance(arguments, tuple):
            self._copied += sum(len(a) for a in arguments if isinstance(a, _SIZED))
            if self._copied > _MAX_COPIED:
                raise pickle.UnpicklingError("it copies the same values again and again")
            self.append(function(*arguments))
        else:
            self.append(_held(function))

    def load_newobj(self) -> None:
        """Make a holder."""
        self.stack.pop()
        self.append(_held(self.stack.pop()))

    def load_build(self) -> None:
        """Give a holder its attributes; what torch adds to a dictionary is dropped."""
        state, held = self.stack.pop(), self.stack[-1]
        if isinstance(held, (Inert, OrderedDict)):
            return
        if isinstance(held, _NumberType):
            held.set_order(state)
        elif isinstance(held, Holder) and isinstance(state, dict):
            if not all(isinstance(name, str) for name in state):
                raise pickle.UnpicklingError("attributes have other names than text")
            vars(held).update(state)
        else:
            raise pickle.UnpicklingError(f"{type(held).__name__} has no attributes to set")

    def load_setitem(self) -> None:
        """Put one value into a dictionary."""
        value, key = self.stack.pop(), self.stack.pop()
        _put(self.stack[-1], [(key, value)])

    def load_setitems(self) -> None:
        """Put values into a dictionary."""
        items = self.pop_mark()
        _put(self.stack[-1], zip(items[::2], items[1::2], strict=True))

    def load_append(self) -> None:
        """Put one value into a list."""
        value = self.stack.pop()
        _extend(self.stack[-1], [value])

    def load_appends(self) -> None:
        """Put values into a list."""
        items = self.pop_mark()
        _extend(self.stack[-1], items)

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


def _functions() -> Mapping[tuple[str, str], Callable[..., Any]]:
    """Return what is called for the functions and classes that plain checkpoints name."""
    return {
        ("_codecs", "encode"): _encode,
        ("builtins", "complex"): _complex,
        ("builtins", "set"): _set,
        ("collections", "Counter"): _ordered,
        ("collections", "OrderedDict"): _ordered,
        ("numpy", "dtype"): _NumberType,
        ("numpy._core.multiarray", "scalar"): _scalar,
        ("torch", "Size"): _tuple,
        ("torch", "device"): _device,
        ("torch._utils", "_rebuild_parameter"): rebuild_parameter,
        ("torch._utils", "_rebuild_parameter_with_state"): rebuild_parameter,
        ("torch._utils", "_rebuild_tensor"): rebuild,
        ("torch._utils", "_rebuild_tensor_v2"): rebuild,
        ("torch._utils", "_rebuild_tensor_v3"): rebuild_typed,
    }


def _torch_dtype(module: str, name: str) -> Any:
    import torch

    return getattr(torch, name, None) if module == "torch" and name in _TORCH_TYPES else None


def _held(kind: Any) -> Holder:
    if not isinstance(kind, type) or not issubclass(kind, Holder):
        raise pickle.UnpicklingError(f"{type(kind).__name__} is called, which is no class")
    return object.__new__(kind)


def _is_key(value: Any) -> bool:
    if isinstance(value, tuple):
        return len(value) <= _MAX_KEY and all(isinstance(item, _PLAIN) for item in value)
    return isinstance(value, _PLAIN)


def _put(target: Any, pairs: Iterable[tuple[Any, Any]]) -> None:
    if isinstance(target, Inert):
        return
    if not isinstance(target, dict):
        raise pickle.UnpicklingError(f"{type(target).__name__} is no dictionary")
    for key, value in pairs:
        if not _is_key(key):
            raise pickle.UnpicklingError("a key is neither text nor a number")
        target[key] = value


def _extend(target: Any, items: Iterable[Any]) -> None:
    if isinstance(target, list):
        target.extend(items)
    elif not isinstance(target, Inert):
        raise pickle.UnpicklingError(f"{type(target).__name__} is no list")


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("bytes are written in no known way")
    return text.encode("latin1")


def _complex(real: float, imaginary: float) -> complex:
    return complex(float(real), float(imaginary))


def _set(items: Iterable[Any] = ()) -> set[Any]:
    items = _tuple(items)
    if not all(map(_is_key, items)):
        raise pickle.UnpicklingError("a set holds neither text nor numbers")
    return set(items)


def _ordered(items: Any = ()) -> OrderedDict[Any, Any]:
    result: OrderedDict[Any, Any] = OrderedDict()
    pairs = items.items() if isinstance(items, dict) else map(_tuple, _tuple(items))
    _put(result, pairs)
    return result


def _tuple(items: Any = ()) -> tuple[Any, ...]:
    if not isinstance(items, (list, tuple)):
        raise pickle.UnpicklingError(f"{type(items).__name__} is no list")
    return tuple(items)


def _device(*parts: Any) -> str:
    return ":".join(str(part)[:20] for part in parts if isinstance(part, (str, int)))


class _NumberType:
    """NumPy's type of a plain number."""

    def __init__(self, code: Any, *_unused: Any) -> None:
        self.code, self.order = code, "="

    def set_order(self, state: Any) -> None:
        """Take the order of bytes of the state that NumPy saves."""
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">", "=", "|"):
            self.order = state[1]


def _scalar(kind: Any, data: Any) -> Any:
    """Return a number; files of NumPy 1 and 2 name the function for it differently."""
    import numpy as np

    if not isinstance(kind, _NumberType) or not isinstance(data, bytes):
        raise pickle.UnpicklingError("a number is written in no known way")
    known = {np.dtype(code).str[1:] for code in _NUMBERS}
    if kind.code not in known:
        raise pickle.UnpicklingError("a number is of no known type")
    dtype = np.dtype(kind.code).newbyteorder(kind.order)
    if len(data) != dtype.itemsize:
        raise pickle.UnpicklingError("a number has other bytes than its type")
    return np.frombuffer(data, dtype)[0]
