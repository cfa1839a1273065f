"""The manifest inside an ``.onnx`` file, read and written without the onnx package.

An ONNX file is one protobuf message, and protobuf fields may come in any order. So a lone-file
bundle is the exported network's bytes, unchanged, followed by one more ``metadata_props`` entry::

    | network, exactly as its SHA-256 says | field 14: {key: deepseg_lite.manifest, value: JSON} |

Reading walks the top-level fields only; the graph is skipped by its length.
Source: protobuf wire format; ``onnx.proto`` (ModelProto.metadata_props = 14).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

MANIFEST_KEY = "deepseg_lite.manifest"
_METADATA_PROPS = 14
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class ManifestEntry(NamedTuple):
    """The manifest text and the offset at which the network's own bytes end."""

    text: str
    start: int


def split_manifest(data: bytes) -> ManifestEntry | None:
    """Find the manifest that ends an ONNX file.

    Parameters
    ----------
    data : bytes
        The whole file.

    Returns
    -------
    entry : ManifestEntry or None
        None when the file has none.

    Raises
    ------
    ValueError
        If the bytes are not a protobuf message.
    """
    view, position = memoryview(data), 0
    while position < len(data):
        start = position
        number, value, position = _read_field(view, position)
        if number == _METADATA_PROPS and position == len(data) and not isinstance(value, int):
            key, text = read_pair(value)
            if key == MANIFEST_KEY.encode():
                return ManifestEntry(text.decode(), start)
    return None


def append_manifest(network: bytes, manifest: str) -> bytes:
    """Return an ONNX file that is ``network`` followed by the manifest as a metadata entry."""
    pair = _bytes_field(1, MANIFEST_KEY.encode()) + _bytes_field(2, manifest.encode())
    return network + _bytes_field(_METADATA_PROPS, pair)


def read_pair(message: Any) -> tuple[bytes, bytes]:
    """Return key and value of an entry of metadata (``StringStringEntryProto``).

    Raises
    ------
    ValueError
        If it is no such message, or cut short.
    """
    found = {1: b"", 2: b""}
    for number, value in fields(message):
        if number in found:
            found[number] = content(value)
    return found[1], found[2]


def content(value: Any) -> bytes:
    """Return the bytes of a field.

    Raises
    ------
    ValueError
        If it is a number. ``bytes`` of a number would be as many zeros, and a number of a file may
        be any.
    """
    if isinstance(value, int):
        raise ValueError("it has a number where text or data belongs")
    return bytes(value)


def fields(message: Any) -> Iterator[tuple[int, Any]]:
    """Yield the fields of a protobuf message: a number, and an int or a part of the message.

    Raises
    ------
    ValueError
        If it is no such message, or cut short.
    """
    if isinstance(message, int):
        raise ValueError("it has a number where a message belongs")
    position = 0
    while position < len(message):
        number, value, position = _read_field(message, position)
        yield number, value


def _read_field(data: Any, position: int) -> tuple[int, Any, int]:
    """Return field number, content, and the position after the field."""
    tag, position = read_varint(data, position)
    number, wire_type = tag >> 3, tag & 7
    value: Any
    if wire_type == _VARINT:
        value, position = read_varint(data, position)
    elif wire_type in (_BYTES, _FIXED32, _FIXED64):
        length = 4 if wire_type == _FIXED32 else 8
        if wire_type == _BYTES:
            length, position = read_varint(data, position)
        value = data[position : position + length]
        position += length
    else:
        raise ValueError("not a protobuf message")
    if number == 0 or position > len(data):
        raise ValueError("not a protobuf message, or cut short")
    return number, value, position


def read_varint(data: Any, position: int) -> tuple[int, int]:
    """Return a number of variable length, and the position after it."""
    if position < len(data) and data[position] < 0x80:  # most are of one byte
        return data[position], position + 1
    result = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise ValueError("cut short")
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result & (1 << 64) - 1, position
    raise ValueError("not a protobuf message")


def _bytes_field(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(value)) + value


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
