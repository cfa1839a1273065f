"""ONNX files field by field, without the onnx package: what networks may hold, and may not."""

from __future__ import annotations

import struct


def varint(number: int) -> bytes:
    """Return a number of variable length."""
    number &= (1 << 64) - 1
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


def message(*fields: tuple[int, bytes | str | int]) -> bytes:
    """Return a protobuf message of numbered fields."""
    parts = []
    for number, value in fields:
        if isinstance(value, int):
            parts.append(varint(number << 3) + varint(value))
        else:
            data = value.encode() if isinstance(value, str) else value
            parts.append(varint(number << 3 | 2) + varint(len(data)) + data)
    return b"".join(parts)


def tensor(name: str, values: list[int], dims: list[int] | None = None, *extra) -> bytes:
    """Return a constant of int64."""
    shape = [(1, size) for size in ([len(values)] if dims is None else dims)]
    raw = struct.pack(f"<{len(values)}q", *values)
    return message(*shape, (2, 7), (8, name), (9, raw), *extra)


def node(operator: str, inputs: list[str], output: str, *extra) -> bytes:
    """Return an operator."""
    return message(*((1, name) for name in inputs), (2, output), (4, operator), *extra)


def network(*nodes: bytes, constants: tuple[bytes, ...] = (), extra: tuple = ()) -> bytes:
    """Return a file of operators and constants, from x to y."""

    def value(name: str) -> bytes:
        sizes = message(*((1, message((2, axis))) for axis in "nabc"))
        return message((1, name), (2, message((1, message((1, 1), (2, sizes))))))

    graph = message(
        *((1, each) for each in nodes),
        (2, "g"),
        *((5, each) for each in constants),
        (11, value("x")),
        (12, value("y")),
    )
    return message((1, 9), (7, graph), (8, message((1, ""), (2, 17))), *extra)
