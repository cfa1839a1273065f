"""PNG files: gray pictures, and pictures of a few colours with transparent ground."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np

from deepseg_lite.volume import AnyArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GRAY, _PALETTE = 0, 3
_UP, _PLAIN = 2, 0

Color = tuple[int, int, int]


def gray_png(picture: AnyArray) -> bytes:
    """Return a picture (rows, columns) of 0 to 255 as a PNG file."""
    above = np.vstack([np.zeros_like(picture[:1]), picture[:-1]])
    return _png(picture - above, _GRAY, _UP)


def colored_png(picture: AnyArray, colors: Sequence[Color], opacity: Sequence[int]) -> bytes:
    """Return a picture of colours as a PNG file.

    Parameters
    ----------
    picture : array of shape (rows, columns)
        0 is transparent, n the n-th colour.
    colors : sequence of (red, green, blue)
        At most 255, 0 to 255 each.
    opacity : sequence of int
        Of each colour, 0 to 255.
    """
    palette = bytes([0, 0, 0, *(level for color in colors for level in color)])
    extra = _chunk(b"PLTE", palette) + _chunk(b"tRNS", bytes([0, *opacity]))
    return _png(picture, _PALETTE, _PLAIN, extra)


def _png(rows: AnyArray, kind: int, filtered: int, extra: bytes = b"") -> bytes:
    height, width = rows.shape
    lines = np.empty((height, width + 1), np.uint8)
    lines[:, 0], lines[:, 1:] = filtered, rows
    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    body = zlib.compress(lines.tobytes(), 6)
    chunks = (_chunk(b"IHDR", header), extra, _chunk(b"IDAT", body), _chunk(b"IEND", b""))
    return SIGNATURE + b"".join(chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
