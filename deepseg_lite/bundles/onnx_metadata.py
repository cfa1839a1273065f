"""The manifest inside an ``.onnx`` file, read and written without the onnx package.

An ONNX file is one protobuf message, and protobuf fields may come in any order. So a lone-file
bundle is the exported network's bytes, unchanged, followed by one more ``metadata_props`` entry::

    | network, exactly as its SHA-256 says | field 14: {key: deepseg_lite.manifest, value: JSON} |

Reading walks the top-level fields only; the graph is skipped by its length.
Source: protobuf wire format; ``onnx.proto`` (ModelProto: ir_version = 1, graph = 7,
metadata_props = 14).
"""

from __future__ import annotations

from mmap import mmap
from typing import NamedTuple

MANIFEST_KEY = "deepseg_lite.manifest"
_IR_VERSION, _GRAPH, _METADATA_PROPS = 1, 7, 14
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
    position = 0
    while position < len(data):
        start = position
        number, value, position = _read_field(data, position)
        if number == _METADATA_PROPS and position == len(data) and value is not None:
            key, text = _read_pair(value)
            if key == MANIFEST_KEY:
                return ManifestEntry(text, start)
    return None


def is_onnx(data: bytes | mmap) -> bool:
    """Return whether bytes are those of an ONNX file, as far as its outermost fields say."""
    numbers, position = set(), 0
    try:
        while position < len(data):
            number, _, position = _read_field(data, position)
            numbers.add(number)
    except ValueError:
        return False
    return {_IR_VERSION, _GRAPH} <= numbers


def append_manifest(network: bytes, manifest: str) -> bytes:
    """Return an ONNX file that is ``network`` followed by the manifest as a metadata entry."""
    pair = _bytes_field(1, MANIFEST_KEY.encode()) + _bytes_field(2, manifest.encode())
    return network + _bytes_field(_METADATA_PROPS, pair)


def _read_pair(message: bytes) -> tuple[str, str]:
    fields: dict[int, bytes] = {}
    position = 0
    while position < len(message):
        number, value, position = _read_field(message, position)
        fields[number] = value or b""
    return fields.get(1, b"").decode(), fields.get(2, b"").decode()


def _read_field(data: bytes | mmap, position: int) -> tuple[int, bytes | None, int]:
    """Return field number, content if it is of bytes, and the position after the field."""
    tag, position = _read_varint(data, position)
    number, wire_type = tag >> 3, tag & 7
    value = None
    if wire_type == _VARINT:
        _, position = _read_varint(data, position)
    elif wire_type == _BYTES:
        length, position = _read_varint(data, position)
        value = (
            data[position : position + length] if number <= 2 or number == _METADATA_PROPS else None
        )
        position += length
    elif wire_type in (_FIXED32, _FIXED64):
        position += 4 if wire_type == _FIXED32 else 8
    else:
        raise ValueError("not a protobuf message")
    if number == 0 or position > len(data):
        raise ValueError("not a protobuf message, or cut short")
    return number, value, position


def _read_varint(data: bytes | mmap, position: int) -> tuple[int, int]:
    result = 0
    for shift in range(0, 64, 7):
        if position >= len(data):
            raise ValueError("cut short")
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
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
