"""A decoder of PNG files that is not ours to write them."""

from __future__ import annotations

import struct
import zlib

import numpy as np

SIGNATURE = bytes([137]) + b"PNG\r\n\x1a\n"


def chunks_of(data: bytes) -> dict[bytes, bytes]:
    """Return the chunks of a PNG file, each with a right checksum."""
    assert data.startswith(SIGNATURE)
    found, place = {}, len(SIGNATURE)
    while place < len(data):
        size, name = struct.unpack(">I4s", data[place : place + 8])
        body = data[place + 8 : place + 8 + size]
        (check,) = struct.unpack(">I", data[place + 8 + size : place + 12 + size])
        assert check == zlib.crc32(name + body)
        found[name] = body
        place += 12 + size
    return found


def decoded(data: bytes) -> np.ndarray:
    """Return the values of an 8-bit PNG without interlacing, of filters none and up."""
    chunks = chunks_of(data)
    width, height, depth, _, compression, filters, interlace = struct.unpack(
        ">IIBBBBB", chunks[b"IHDR"]
    )
    assert (depth, compression, filters, interlace) == (8, 0, 0, 0)
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, width + 1)
    rows = np.zeros((height, width), np.uint8)
    for index, line in enumerate(lines):
        above = rows[index - 1] if index else np.zeros(width, np.uint8)
        assert line[0] in (0, 2)
        rows[index] = line[1:] + (above if line[0] == 2 else 0)
    return rows
