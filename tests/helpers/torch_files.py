"""Files as ``torch.save`` writes them, made without torch: the zip and the container before it."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

KINDS = {
    "bool": "BoolStorage",
    "complex64": "ComplexFloatStorage",
    "complex128": "ComplexDoubleStorage",
    "float16": "HalfStorage",
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "int8": "CharStorage",
    "int16": "ShortStorage",
    "int32": "IntStorage",
    "int64": "LongStorage",
    "uint8": "ByteStorage",
}
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


class Named:
    """Function or class of some module, which need not be there."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name

    def __call__(self) -> None:
        """Do nothing: the pickler asks whether it could be called."""


@dataclass(eq=False)
class Called:
    """Call of a function, and the state of what it gives."""

    named: Named
    arguments: tuple[Any, ...]
    state: Any = None


@dataclass(eq=False)
class Storage:
    """Numbers in one row, as bytes."""

    kind: str
    data: bytes
    count: int
    key: str = field(default="", init=False)


@dataclass(eq=False)
class View:
    """Part of another storage, as the old container knows them."""

    storage: Storage
    offset: int
    count: int


def storage(array: Any) -> Storage:
    """Return the numbers of an array."""
    array = np.ascontiguousarray(array)
    return Storage(KINDS[array.dtype.name], array.tobytes(), array.size)


def bfloat16(array: Any) -> Storage:
    """Return the upper halves of numbers that need no more."""
    halves = np.ascontiguousarray(array, "<f4").view("<u4") >> 16
    return Storage("BFloat16Storage", halves.astype("<u2").tobytes(), halves.size)


def view(
    source: Storage | View, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0
) -> Called:
    """Return a tensor on a storage; strides and offset count numbers."""
    arguments = (source, offset, shape, strides, False, OrderedDict())
    return Called(Named("torch._utils", "_rebuild_tensor_v2"), arguments)


def tensor(array: Any) -> Called:
    """Return a tensor with the numbers of an array, on a storage of its own."""
    array = np.asarray(array)
    return view(storage(array), array.shape, steps(array.shape))


def typed(array: np.ndarray) -> Called:
    """Return a tensor of a type that has no class of storages, such as uint16."""
    plain = Storage("UntypedStorage", array.tobytes(), array.nbytes)
    arguments = (plain, 0, array.shape, steps(array.shape), False, OrderedDict())
    named = Named("torch._utils", "_rebuild_tensor_v3")
    return Called(named, (*arguments, Named("torch", array.dtype.name)))


def parameter(data: Any) -> Called:
    """Return a parameter of a network."""
    return Called(Named("torch._utils", "_rebuild_parameter"), (data, True, OrderedDict()))


def instance(module: str, name: str, state: Any) -> Called:
    """Return an instance of some class."""
    return Called(Named("copyreg", "__newobj__"), (Named(module, name),), state)


def steps(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides of a row after row, in numbers."""
    return tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))


class _Pickler(pickle._Pickler):  # type: ignore[name-defined]
    def __init__(self, file: Any, storages: dict[str, Storage], *, is_legacy: bool) -> None:
        super().__init__(file, protocol=2)
        self.storages, self.is_legacy = storages, is_legacy

    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, (Storage, View)):
            return None
        whole = obj.storage if isinstance(obj, View) else obj
        if not whole.key:
            whole.key = str(len(self.storages))
            self.storages[whole.key] = whole
        module = "torch.storage" if whole.kind == "UntypedStorage" else "torch"
        found = ("storage", Named(module, whole.kind), whole.key, "cpu", whole.count)
        if not self.is_legacy:
            return found
        part = (f"{whole.key}-view", obj.offset, obj.count) if isinstance(obj, View) else None
        return (*found, part)

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Named):
            return obj.name
        if not isinstance(obj, Called):
            return NotImplemented
        named = copy_new if obj.named.name == "__newobj__" else obj.named
        return (named, obj.arguments) if obj.state is None else (named, obj.arguments, obj.state)

    def save_reduce(
        self, func: Any, args: Any, state: Any = None, *rest: Any, obj: Any = None, **others: Any
    ) -> None:
        if func is not copy_new:
            super().save_reduce(func, args, state, *rest, obj=obj, **others)
            return
        self.save(args[0])
        self.save(())
        self.write(pickle.NEWOBJ)
        self.memoize(obj)
        self.save(state)
        self.write(pickle.BUILD)

    def save_global(self, obj: Any, name: str | None = None) -> None:
        if not isinstance(obj, Named):
            super().save_global(obj, name)
            return
        self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        self.memoize(obj)


def copy_new() -> None:
    """Stand for the instruction that makes an instance."""


def _pickled(content: Any, storages: dict[str, Storage], *, is_legacy: bool) -> bytes:
    file = io.BytesIO()
    _Pickler(file, storages, is_legacy=is_legacy).dump(content)
    return file.getvalue()


def zip_bytes(content: Any, *, method: int = zipfile.ZIP_STORED) -> bytes:
    """Return a file as torch writes it since 1.6."""
    storages: dict[str, Storage] = {}
    pickled = _pickled(content, storages, is_legacy=False)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/byteorder", b"little")
        for key, each in storages.items():
            archive.writestr(f"archive/data/{key}", each.data)
            each.key = ""
        archive.writestr("archive/version", b"3\n")
    return file.getvalue()


def legacy_bytes(content: Any) -> bytes:
    """Return a file as torch wrote it before 1.6."""
    storages: dict[str, Storage] = {}
    system = {"protocol_version": PROTOCOL, "little_endian": True, "type_sizes": {"int": 4}}
    parts = [pickle.dumps(value, protocol=2) for value in (MAGIC, PROTOCOL, system)]
    parts.append(_pickled(content, storages, is_legacy=True))
    parts.append(pickle.dumps(list(storages), protocol=2))
    for each in storages.values():
        parts += [struct.pack("<q", each.count), each.data]
        each.key = ""
    return b"".join(parts)


def save(path: Path, content: Any, *, legacy: bool = False) -> Path:
    """Write a file."""
    path.write_bytes(legacy_bytes(content) if legacy else zip_bytes(content))
    return path
