"""Tensors of a saved file: arrays on its bytes, and on nothing beyond them."""

from __future__ import annotations

import math
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np

from deepseg_export.reading.limits import MAX_AXES
from deepseg_export.reading.records import Record, kind_of

_MODULES = ("torch", "torch.cuda", "torch.storage")
_STORED = {
    "BFloat16Storage": "<u2",
    "BoolStorage": "?",
    "ByteStorage": "<u1",
    "CharStorage": "<i1",
    "ComplexDoubleStorage": "<c16",
    "ComplexFloatStorage": "<c8",
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "IntStorage": "<i4",
    "LongStorage": "<i8",
    "ShortStorage": "<i2",
    "UntypedStorage": "<u1",
}
_WIDENED = "BFloat16Storage"
_TYPED = {"torch.uint16": "<u2", "torch.uint32": "<u4", "torch.uint64": "<u8"}
"""Types of tensors, each on a storage of plain bytes."""


class StorageType:
    """Type of the numbers of a storage.

    Parameters
    ----------
    kind : object
        What the pickle says: a record of the class.

    Raises
    ------
    UnpicklingError
        If it is no class of storages that is known.
    """

    def __init__(self, kind: Any) -> None:
        module, _, name = kind.name.rpartition(".") if isinstance(kind, Record) else ("", "", "")
        if module not in _MODULES or name not in _STORED:
            raise pickle.UnpicklingError(f"a storage is of no known type: {kind_of(kind)}")
        self._stored = np.dtype(_STORED[name])
        self._is_widened = name == _WIDENED

    def byte_size(self, count: Any) -> int:
        """Return the bytes of so many numbers."""
        if type(count) is not int or count < 0:
            raise pickle.UnpicklingError("a storage is described in no known way")
        return count * self._stored.itemsize

    def numbers(self, data: Any, count: Any) -> np.ndarray:
        """Return the numbers of the first bytes of a buffer: views on it, but for bfloat16.

        Raises
        ------
        UnpicklingError
            If it has fewer.
        """
        size = self.byte_size(count)
        if size > len(data):
            raise pickle.UnpicklingError(
                f"{size} bytes of weights are named, {len(data)} are there"
            )
        if size and not self._is_widened:
            return np.frombuffer(data, self._stored, count)
        result = self.empty(count)
        if size:
            self.fill(result, data[:size])
        return result

    def empty(self, count: int) -> np.ndarray:
        """Return room for so many numbers."""
        return np.empty(count, "<f4" if self._is_widened else self._stored)

    def fill(self, numbers: np.ndarray, data: Any) -> None:
        """Put numbers where there is room for them; those of bfloat16 are upper halves."""
        stored: np.ndarray = np.frombuffer(data, self._stored)
        if self._is_widened:
            np.left_shift(stored, 16, out=numbers.view("<u4"), dtype="<u4")
        else:
            numbers[:] = stored


def rebuild(storage: Any, offset: Any, size: Any, stride: Any, *_unused: Any) -> Any:
    """Return a view on a storage: what torch calls ``_rebuild_tensor`` and ``_rebuild_tensor_v2``.

    Raises
    ------
    UnpicklingError
        If it reaches beyond the storage, or repeats what is there.
    """
    if not isinstance(storage, np.ndarray) or storage.ndim != 1:
        raise pickle.UnpicklingError("a tensor has no storage")
    if not (_is_row(size) and _is_row(stride) and _is_row([offset]) and len(size) == len(stride)):
        raise pickle.UnpicklingError("a tensor is described in no known way")
    count = math.prod(size)
    if not count:
        return np.empty(tuple(size), storage.dtype)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if last >= len(storage) or count > len(storage):
        raise pickle.UnpicklingError(f"a tensor of {tuple(size)} reaches beyond what is stored")
    width = storage.itemsize
    steps = tuple(step * width for step in stride)
    return np.ndarray(tuple(size), storage.dtype, storage, offset * width, steps)


def rebuild_typed(
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    _gradient: Any = None,
    _hooks: Any = None,
    dtype: Any = None,
    *_unused: Any,
) -> Any:
    """Return a view of a type of its own, which torch calls ``_rebuild_tensor_v3``.

    `NotImplemented` where the type is none of NumPy's.
    """
    name = dtype.name if isinstance(dtype, Record) else ""
    if name not in _TYPED:
        return NotImplemented
    if not isinstance(storage, np.ndarray) or storage.dtype != np.uint8:
        raise pickle.UnpicklingError("a tensor has no storage")
    kind = np.dtype(_TYPED[name])
    whole = storage[: len(storage) // kind.itemsize * kind.itemsize]
    return rebuild(whole.view(kind), offset, size, stride)


def rebuild_parameter(data: Any, *_unused: Any) -> Any:
    """Return the tensor of a parameter."""
    return data


def _is_row(values: Any) -> bool:
    is_short = isinstance(values, Sequence) and len(values) <= MAX_AXES
    return is_short and all(type(value) is int and 0 <= value < 2**62 for value in values)
