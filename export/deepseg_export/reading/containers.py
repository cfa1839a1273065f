"""Containers of ``torch.save``: pickles, and the numbers of the tensors beside them."""

from __future__ import annotations

import io
import mmap
import pickle
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from deepseg_export.errors import CheckpointError
from deepseg_export.reading.archive import checked_members, readable_zip
from deepseg_export.reading.tensors import StorageType
from deepseg_export.reading.unpickling import Unpickler

MAX_PICKLE_BYTES = 16 * 1024**2
MAX_READS = 6_000_000
"""Pieces of a pickle, one or two for each instruction: some seconds."""
MAX_RATIO = 4
"""Bytes of weights for each of the file: torch does not compress at all."""
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_WINDOW = 1024**2
_LOCAL_HEADER = 30


def read_zip(path: Path, file: BinaryIO) -> Any:
    """Read a zip file, as torch writes it since 1.6; arrays are maps of the file, to be read only.

    Source: torch 2.13, ``serialization._load``.
    """
    with readable_zip(path, file) as archive:
        members = {
            item.filename: item for item in checked_members(path, archive, max_ratio=MAX_RATIO)
        }
        roots = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise CheckpointError(
                f"{path} is a zip file with {len(roots)} pickles of torch.save; one is needed."
            )
        top = roots[0].removesuffix("data.pkl")
        if members[roots[0]].file_size > MAX_PICKLE_BYTES:
            raise CheckpointError(
                f"{path} has a pickle of more than the {MAX_PICKLE_BYTES} bytes that are read; "
                "refused."
            )
        order = members.get(f"{top}byteorder")
        if order is not None and archive.read(order) != b"little":
            raise CheckpointError(
                f"{path} was written on a machine of another byte order; save it again on this one."
            )
        whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        storages: dict[str, np.ndarray] = {}

        def stored(kind: Any, key: Any, _location: Any, count: Any) -> np.ndarray:
            if _text(key) not in storages:
                data = _content(archive, members[f"{top}data/{key}"], whole)
                storages[key] = StorageType(kind).numbers(data, count)
            return storages[key]

        return Unpickler(_Pickles(io.BytesIO(archive.read(members[roots[0]]))), stored).load()


def _content(archive: zipfile.ZipFile, member: zipfile.ZipInfo, whole: memoryview) -> Any:
    """Return the bytes of a member, checked against its checksum; mapped if they are stored."""
    with archive.open(member) as source:
        if member.compress_type != zipfile.ZIP_STORED:
            return source.read()
        while source.read(_WINDOW):
            pass
    header = whole[member.header_offset :][:_LOCAL_HEADER]
    names = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    return whole[member.header_offset + _LOCAL_HEADER + names :][: member.file_size]


def read_legacy(path: Path, file: BinaryIO) -> Any:
    """Read pickles one after another, and the storages that they name behind them.

    Source: torch 2.13, ``serialization._legacy_load``.
    """
    room = path.stat().st_size
    pickles = _Pickles(file, min(MAX_PICKLE_BYTES, room))
    storages: dict[str, tuple[StorageType, np.ndarray]] = {}
    named = 0

    def stored(kind: Any, key: Any, _location: Any, count: Any, view: Any = None) -> np.ndarray:
        nonlocal named
        if _text(key) not in storages:
            storage_type = StorageType(kind)
            named += storage_type.byte_size(count)
            if named > room:
                raise pickle.UnpicklingError(f"it names {named} bytes of weights, and has {room}")
            storages[key] = storage_type, storage_type.empty(count)
        numbers = storages[key][1]
        if view is None:
            return numbers
        _, offset, size = view
        if not 0 <= offset <= offset + size <= len(numbers):
            raise pickle.UnpicklingError("a storage reaches beyond another one")
        return numbers[offset : offset + size]

    head = [Unpickler(pickles).load() for _ in range(3)]
    if head[:2] != [MAGIC, PROTOCOL]:
        raise CheckpointError(f"{path} is no file of torch.save; get it again.")
    content = Unpickler(pickles, stored).load()
    for key in Unpickler(pickles).load():
        storage_type, numbers = storages.pop(_text(key))
        if int.from_bytes(_exactly(file, 8), "little") != len(numbers):
            raise pickle.UnpicklingError("a storage has another length than the pickle says")
        for start in range(0, len(numbers), _WINDOW):
            part = numbers[start : start + _WINDOW]
            storage_type.fill(part, _exactly(file, storage_type.byte_size(len(part))))
    if storages:
        raise EOFError("it ends before the weights")
    return content


class _Pickles:
    """Part of a file with pickles, which may not be longer than is said."""

    def __init__(self, file: BinaryIO, left: int = MAX_PICKLE_BYTES) -> None:
        self._file, self._left, self._reads = file, left, 0

    def _take(self, data: bytes, wanted: int) -> bytes:
        self._left -= len(data)
        self._reads += 1
        if self._left < 0 or len(data) < wanted:
            raise EOFError(f"its pickle ends too early, or has more than {MAX_PICKLE_BYTES} bytes")
        if self._reads > MAX_READS:
            raise pickle.UnpicklingError(f"its pickle has more than {MAX_READS} pieces")
        return data

    def read(self, size: int) -> bytes:
        """Return exactly so many bytes."""
        return self._take(self._file.read(min(size, self._left + 1)), size)

    def readline(self) -> bytes:
        """Return a line."""
        return self._take(self._file.readline(self._left + 1), 1)


def _text(key: Any) -> str:
    """Return a text as it is; looking up anything else may take the stack or the time of a hash."""
    if type(key) is not str:
        raise pickle.UnpicklingError("a storage has a name that is no text")
    return key


def _exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise EOFError("it ends within the weights")
    return data
