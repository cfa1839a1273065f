"""Tensors of a saved file, made of its bytes and of nothing beyond them."""

from __future__ import annotations

import math
import pickle
from collections.abc import Sequence
from typing import Any

_STORAGES = {
    "BFloat16Storage": "bfloat16",
    "BoolStorage": "bool",
    "ByteStorage": "uint8",
    "CharStorage": "int8",
    "ComplexDoubleStorage": "complex128",
    "ComplexFloatStorage": "complex64",
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "IntStorage": "int32",
    "LongStorage": "int64",
    "ShortStorage": "int16",
    "UntypedStorage": "uint8",
}
STORAGE_MODULES = ("torch", "torch.cuda", "torch.storage")


class StorageType:
    """Type of the numbers of a storage, by the name of its class."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def dtype(self) -> Any:
        """Return torch's type."""
        import torch

        return getattr(torch, _STORAGES[self.name])


class Storage:
    """Numbers in one row, on which tensors are views."""

    def __init__(self, flat: Any) -> None:
        self.flat = flat


def storage_type(name: str) -> StorageType | None:
    """Return the type of a class's name; None where it is no storage."""
    return StorageType(name) if name in _STORAGES else None


def storage_of(kind: Any, count: Any, buffer: bytearray) -> Storage:
    """Return a storage of so many numbers on the first bytes of a buffer.

    Raises
    ------
    UnpicklingError
        If the buffer has fewer.
    """
    import torch

    size = byte_size(kind, count)
    if size > len(buffer):
        raise pickle.UnpicklingError(f"{size} bytes of weights are named, {len(buffer)} are there")
    if not size:
        return Storage(torch.empty(0, dtype=kind.dtype))
    return Storage(torch.frombuffer(buffer, dtype=kind.dtype, count=count))


def byte_size(kind: Any, count: Any) -> int:
    """Return the bytes of so many numbers."""
    if not isinstance(kind, StorageType) or type(count) is not int or count < 0:
        raise pickle.UnpicklingError("a storage is described in no known way")
    return int(count * kind.dtype.itemsize)


def rebuild(storage: Any, offset: Any, size: Any, stride: Any, *_unused: Any) -> Any:
    """Return a view on a storage: what torch calls ``_rebuild_tensor`` and ``_rebuild_tensor_v2``.

    Raises
    ------
    UnpicklingError
        If it reaches beyond the storage, or repeats what is there.
    """
    if not isinstance(storage, Storage):
        raise pickle.UnpicklingError("a tensor has no storage")
    return _view(storage.flat, offset, size, stride)


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
    """Return a view of a type of its own: what torch calls ``_rebuild_tensor_v3``."""
    import torch

    if not isinstance(storage, Storage) or not isinstance(dtype, torch.dtype):
        raise pickle.UnpicklingError("a tensor has no storage or type")
    return _view(storage.flat.view(dtype), offset, size, stride)


def rebuild_parameter(data: Any, *_unused: Any) -> Any:
    """Return the tensor of a parameter."""
    return data


def _view(flat: Any, offset: Any, size: Any, stride: Any) -> Any:
    if not (_is_row(size) and _is_row(stride) and _is_row([offset]) and len(size) == len(stride)):
        raise pickle.UnpicklingError("a tensor is described in no known way")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    count = math.prod(size)
    if count and (last >= len(flat) or count > len(flat)):
        raise pickle.UnpicklingError(f"a tensor of {tuple(size)} reaches beyond what is stored")
    return flat.as_strided(tuple(size), tuple(stride), offset if count else 0)


def _is_row(values: Any) -> bool:
    return isinstance(values, Sequence) and all(
        type(value) is int and 0 <= value < 2**62 for value in values
    )
