"""NumPy's numbers and arrays in a pickle."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np

from deepseg_export.reading.limits import MAX_AXES
from deepseg_export.reading.records import Record

_CODES = {np.dtype(code).str[1:] for code in "?bBhHiIlLqQefdgFD"}
_ORDERS = ("<", ">", "=", "|")
_UNFINISHED = np.dtype("V1")


class NumberType:
    """NumPy's type of a plain number, whose order of bytes follows."""

    def __init__(self, code: str) -> None:
        self._code, self._order = code, "="

    def set_state(self, state: Any) -> None:
        """Take the order of bytes of the state that NumPy saves."""
        if isinstance(state, tuple) and len(state) > 1 and state[1] in _ORDERS:
            self._order = state[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the type."""
        return np.dtype(self._code).newbyteorder(self._order)  # type: ignore[arg-type]


def number_type(code: Any, *_unused: Any) -> Any:
    """Return the type of a code such as ``f8``; `NotImplemented` for one that is no number's."""
    return NumberType(code) if isinstance(code, str) and code in _CODES else NotImplemented


def scalar(kind: Any, data: Any) -> Any:
    """Return a number; files of NumPy 1 and 2 name the function for it differently."""
    if isinstance(kind, Record):
        return NotImplemented
    if not isinstance(kind, NumberType) or not isinstance(data, bytes):
        raise pickle.UnpicklingError("a number is written in no known way")
    if len(data) != kind.dtype.itemsize:
        raise pickle.UnpicklingError("a number has other bytes than its type")
    return np.frombuffer(data, kind.dtype)[0]


def unfinished_array(kind: Any, *_unused: Any) -> Any:
    """Return an array whose shape, type and content follow; `NotImplemented` for other classes."""
    is_plain = isinstance(kind, Record) and kind.name == "numpy.ndarray"
    return np.empty(0, _UNFINISHED) if is_plain else NotImplemented


def finish_array(array: np.ndarray, state: Any) -> None:
    """Give an array its shape, type and numbers, in place.

    One of anything but numbers becomes an array of no axes, with a record of it.

    Raises
    ------
    UnpicklingError
        If its bytes are not those of its shape and type.
    """
    if array.dtype != _UNFINISHED or not isinstance(state, tuple) or len(state) != 5:
        raise pickle.UnpicklingError("an array is written in no known way")
    version, shape, kind, is_fortran, data = state
    if isinstance(kind, NumberType):
        if not _is_shape(shape) or not isinstance(data, bytes):
            raise pickle.UnpicklingError("an array is written in no known way")
        if math.prod(shape) * kind.dtype.itemsize != len(data):
            raise pickle.UnpicklingError("an array has other bytes than its shape and type")
        new: Any = (1, shape, kind.dtype, bool(is_fortran), data)
    else:
        record = Record("numpy.ndarray", ())
        record.state = (version, shape, kind, is_fortran, data)
        new = (1, (), np.dtype(object), False, [record])
    array.__setstate__(new)


def _is_shape(value: Any) -> bool:
    is_short = isinstance(value, tuple) and len(value) <= MAX_AXES
    return is_short and all(type(size) is int and size >= 0 for size in value)
