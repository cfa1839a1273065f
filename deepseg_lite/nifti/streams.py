"""Streams of files that may be compressed: read piece by piece, by what the file is, checked.

Nothing is held that was not asked for, and a compressed file's own checksum is compared at its end.
"""

from __future__ import annotations

import bz2
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

PIECE = 1 << 16
"""Bytes that are read or inflated at a time."""
MAX_RATIO = 1032
"""Bytes that one byte of deflate can become, at most (zlib's own figure)."""


class Stream:
    """What a file holds, from its start to its end.

    Parameters
    ----------
    path : Path
        Any file; whether and how it is compressed is told by its first bytes.

    Attributes
    ----------
    compression : {None, "gzip", "bzip2"}
        What it is compressed with.
    junk : int
        Bytes after the compressed part, once the end was reached.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self.size = path.stat().st_size
        first = self._file.read(4)
        self._file.seek(0)
        self.junk = 0
        self.compression: str | None = None
        if first[:2] == b"\x1f\x8b":
            self.compression = "gzip"
        elif first[:3] == b"BZh":
            self.compression = "bzip2"
        self._pieces = self._inflated() if self.compression else self._plain()
        self._piece = memoryview(b"")

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def capacity(self) -> int | None:
        """Bytes that the file can hold, at most; None where its size does not tell."""
        if self.compression is None:
            return self.size
        return self.size * MAX_RATIO if self.compression == "gzip" else None

    def read(self, count: int) -> bytes:
        """Return the next bytes, fewer at the end."""
        buffer = bytearray(count)
        return bytes(buffer[: self.fill(memoryview(buffer))])

    def skip(self, count: int) -> int:
        """Go past some bytes, and return how many there were."""
        left = count
        while left and (piece := self._next(left)):
            left -= len(piece)
        return count - left

    def fill(self, buffer: memoryview) -> int:
        """Fill a buffer of bytes, and return how many there were."""
        done = 0
        while done < len(buffer) and (piece := self._next(len(buffer) - done)):
            buffer[done : done + len(piece)] = piece
            done += len(piece)
        return done

    def _next(self, at_most: int) -> memoryview:
        """Return some of the next bytes; none at the end."""
        while not self._piece:
            self._piece = memoryview(next(self._pieces, b""))
            if not self._piece:
                return self._piece
        found, self._piece = self._piece[:at_most], self._piece[at_most:]
        return found

    def _plain(self) -> Iterator[bytes]:
        while piece := self._file.read(PIECE):
            yield piece

    def _inflated(self) -> Iterator[bytes]:
        """Yield what compressed members one after another hold.

        Raises
        ------
        EOFError
            If the last one is cut short.
        zlib.error, OSError
            If one is damaged.
        """
        mark = {"gzip": b"\x1f\x8b", "bzip2": b"BZh"}[str(self.compression)]
        pending = self._file.read(PIECE)
        while pending:
            member = _Member(self.compression == "gzip")
            while not member.is_over:
                if not pending:
                    pending = self._file.read(PIECE)
                piece, pending = member.inflate(pending, PIECE)
                if piece:
                    yield piece
                elif not pending and not member.is_over and _is_at_end(self._file):
                    raise EOFError("it ends before its compressed part does")
            pending = (pending + self._file.read(len(mark))).lstrip(b"\0")  # padding is allowed
            while not pending and (more := self._file.read(PIECE)):
                pending = more.lstrip(b"\0")
            if not pending.startswith(mark):
                self.junk = len(pending) + self.size - self._file.tell()
                return


class _Member:
    """One compressed part of a file; zlib and bz2 differ in how they hold back input."""

    def __init__(self, is_gzip: bool) -> None:
        self._is_gzip = is_gzip
        self._inner: Any = zlib.decompressobj(31) if is_gzip else bz2.BZ2Decompressor()

    @property
    def is_over(self) -> bool:
        return bool(self._inner.eof)

    def inflate(self, data: bytes, at_most: int) -> tuple[bytes, bytes]:
        """Return some of what was compressed, and the input that was not used."""
        piece: bytes = self._inner.decompress(data, at_most)
        if self._inner.eof:
            return piece, self._inner.unused_data
        return piece, self._inner.unconsumed_tail if self._is_gzip else b""


def _is_at_end(file: BinaryIO) -> bool:
    here = file.tell()
    ends = not file.read(1)
    file.seek(here)
    return ends
