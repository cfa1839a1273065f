"""Checkpoints: files of ``torch.save`` by strangers, read without running their code.

A file is parsed here alone, and never handed to torch: two readers may see two files in one.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from deepseg_export.errors import CheckpointError
from deepseg_export.reading.archive import checked_members, readable_zip
from deepseg_export.reading.limits import check_file, check_tree, unreadable
from deepseg_export.reading.tensors import Storage, byte_size, storage_of
from deepseg_export.reading.unpickling import ForbiddenGlobal, Holder, Unpickler, holder_parts

MAX_BYTES = 16 * 1024**3
MAX_PICKLE_BYTES = 16 * 1024**2
MAX_READS = 6_000_000
"""Pieces of a pickle, one or two for each instruction: some seconds."""
MAX_RATIO = 4
"""Bytes of weights for each of the file: torch does not compress at all."""
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_ZIP, _PICKLE, _TAR = b"PK\x03\x04", b"\x80", b"ustar"
_WINDOW = 64 * 1024**2

Others = Callable[[str, str], "type[Holder] | None"]


def read_saved(path: Path, others: Others) -> Any:
    """Read a file of ``torch.save``, in its zip or in what was there before torch 1.6.

    Parameters
    ----------
    path : Path
        The file.
    others : callable
        Class of holders for a module and a name that plain checkpoints do not have, or None.

    Returns
    -------
    content : object
        Of plain values, tensors on the CPU and holders.

    Raises
    ------
    ForbiddenGlobal
        If it names anything else.
    CheckpointError
        If it is damaged, of another kind or beyond a limit.
    """
    check_file(path, MAX_BYTES)
    try:
        with path.open("rb") as file:
            start = file.read(512)
            file.seek(0)
            if start.startswith(_ZIP):
                content = _read_zip(path, file, others)
            elif start.startswith(_PICKLE):
                content = _read_legacy(path, file, others)
            elif _TAR in start[250:270]:
                raise CheckpointError(
                    f"{path} is a tar file, as torch wrote before 2017; load it with torch where "
                    "you trust it, and save it again."
                )
            else:
                raise CheckpointError(f"{path} is no file of torch.save; get it again.")
    except (CheckpointError, ForbiddenGlobal):
        raise
    except OSError as error:
        raise unreadable(path, error) from error
    except Exception as error:  # a damaged pickle may raise anything at all
        raise _damaged(path, error) from error
    check_tree(content, path, holder_parts)
    return content


def load_trusted(path: Path, *, is_script: bool = False) -> Any:
    """Return what torch itself makes of a file, which runs whatever code the file names.

    Raises
    ------
    ImportError
        If it names a package that is not installed.
    CheckpointError
        If it is damaged.
    """
    import torch

    check_file(path, MAX_BYTES)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if is_script:
                return torch.jit.load(str(path), map_location="cpu")
            return torch.load(path, map_location="cpu", weights_only=False)
    except ImportError:
        raise
    except Exception as error:  # a pickle may raise anything at all
        raise _damaged(path, error) from error


def load_checkpoint(path: Path, *, trust: bool = False) -> dict[str, Any]:
    """Read a checkpoint of plain values and tensors.

    Parameters
    ----------
    path : Path
        The ``.pth`` file.
    trust : bool
        Unpickle without restriction, which runs whatever code the file names.

    Returns
    -------
    checkpoint : dict
        Tensors on the CPU.

    Raises
    ------
    CheckpointError
        If the file is damaged, is not a dictionary, or names what is not on the list.
    """
    try:
        content = load_trusted(path) if trust else read_saved(path, lambda module, name: None)
    except ForbiddenGlobal as error:
        raise CheckpointError(
            f"{path} would run code of its own when loaded: it names {error}. If you "
            "trust where it comes from, give --trust-checkpoint."
        ) from error
    except ImportError as error:
        raise _damaged(path, error) from error
    return checked_dictionary(path, content)


def checked_dictionary(path: Path, content: Any) -> dict[str, Any]:
    """Return the content of a file, if it is a dictionary.

    Raises
    ------
    CheckpointError
        If it is not.
    """
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{path} holds a {type(content).__name__}; a checkpoint dictionary is needed."
        )
    return content


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1024**2):
            digest.update(block)
    return digest.hexdigest()


def _read_zip(path: Path, file: BinaryIO, others: Others) -> Any:
    with readable_zip(path, file) as archive:
        members = {
            item.filename: item for item in checked_members(path, archive, max_ratio=MAX_RATIO)
        }
        if any(name.endswith("/constants.pkl") for name in members):
            raise CheckpointError(
                f"{path} is a TorchScript program, which runs code of its own when it is loaded; a "
                "pickled network is needed."
            )
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
        storages: dict[str, Storage] = {}

        def stored(kind: Any, key: Any, _location: Any, count: Any) -> Storage:
            if type(key) is not str:
                raise pickle.UnpicklingError("a storage has a name that is no text")
            if key not in storages:
                storages[key] = storage_of(kind, count, _content(archive, members, top, key))
            return storages[key]

        return Unpickler(
            _Pickles(io.BytesIO(archive.read(members[roots[0]]))), others, stored
        ).load()


def _content(
    archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], top: str, key: Any
) -> bytearray:
    """Return the bytes of a storage."""
    member = members[f"{top}data/{key}"]
    buffer = bytearray(member.file_size)
    with archive.open(member) as source:
        _fill(memoryview(buffer), source)
        source.read(1)  # only its end is checked against its checksum
    return buffer


def _read_legacy(path: Path, file: BinaryIO, others: Others) -> Any:
    """Read pickles one after another, and the storages that they name behind them.

    Source: torch 2.13, ``serialization._legacy_load``.
    """
    room = path.stat().st_size
    pickles = _Pickles(file, min(MAX_PICKLE_BYTES, room))
    storages: dict[str, tuple[Storage, memoryview]] = {}
    named = 0

    def stored(kind: Any, key: Any, _location: Any, count: Any, view: Any = None) -> Storage:
        nonlocal named
        if key not in storages:
            named += byte_size(kind, count)
            if named > room:
                raise pickle.UnpicklingError(f"it names {named} bytes of weights, and has {room}")
            buffer = bytearray(byte_size(kind, count))
            storages[key] = storage_of(kind, count, buffer), memoryview(buffer)
        whole = storages[key][0]
        if view is None:
            return whole
        _, offset, size = view
        return Storage(whole.flat.narrow(0, offset, size))

    head = [Unpickler(pickles, others).load() for _ in range(3)]
    if head[:2] != [MAGIC, PROTOCOL]:
        raise CheckpointError(f"{path} is no file of torch.save; get it again.")
    content = Unpickler(pickles, others, stored).load()
    for key in Unpickler(pickles, others).load():
        storage, buffer = storages[key]
        count = int.from_bytes(_exactly(file, 8), "little")
        if count != len(storage.flat):
            raise pickle.UnpicklingError("a storage has another length than the pickle says")
        _fill(buffer, file)
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


def _fill(buffer: memoryview, source: Any) -> None:
    """Read as many bytes as a buffer has."""
    place = 0
    while place < len(buffer):
        count = source.readinto(buffer[place : place + _WINDOW])
        if not count:
            raise EOFError("it ends within the weights")
        place += count


def _exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise EOFError("it ends within the weights")
    return data


def _damaged(path: Path, error: Exception) -> CheckpointError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return CheckpointError(
        f"{path} is not a readable checkpoint ({lines[0][:120].rstrip('.')}); get it again."
    )
