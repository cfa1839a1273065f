"""Zip files in which Python's reader sees one archive and torch's another."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

_ENTRY = 46
_END = 22


def members_of(data: bytes) -> dict[str, bytes]:
    """Return the files of an archive."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {item.filename: archive.read(item) for item in archive.infolist()}


def with_two_directories(
    shown: Mapping[str, bytes], hidden: Mapping[str, bytes], garbage: bytes = b""
) -> bytes:
    """Return a file that Python reads as ``shown`` and torch as ``hidden``.

    Its end says where the hidden members are listed. Python takes the list right before the end
    instead, and whatever lies between for something in front of an archive.
    """
    count = max(len(shown), len(hidden))
    shown, hidden = _filled(shown, count), _filled(hidden, count)
    size = max(len(_parts(members)[1]) for members in (shown, hidden))
    space = bytes(2 * size + len(garbage))  # so that no place of a member becomes negative
    first, hidden_list = _parts({"start": space, **hidden})
    hidden_list = b"".join(_entries(hidden_list)[1:])
    second, shown_list = _parts(shown)
    shift = size + len(garbage)
    body = first + second
    hidden_list = _padded(hidden_list, size)
    shown_list = _moved(_padded(shown_list, size), len(first) - shift)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, size, len(body), 0)
    return body + hidden_list + garbage + shown_list + end


def _filled(members: Mapping[str, bytes], count: int) -> dict[str, bytes]:
    top = next(iter(members)).partition("/")[0]
    return {**members, **{f"{top}/filler{i}": b"" for i in range(count - len(members))}}


def _parts(members: Mapping[str, bytes]) -> tuple[bytes, bytes]:
    """Return the members of an archive, and the list of them."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)
        start = archive.start_dir
    data = file.getvalue()
    return data[:start], data[start:-_END]


def _entries(listed: bytes) -> list[bytes]:
    entries = []
    while listed:
        length = _ENTRY + sum(struct.unpack("<3H", listed[28:34]))
        entries.append(listed[:length])
        listed = listed[length:]
    return entries


def _padded(listed: bytes, size: int) -> bytes:
    """Return a list made longer by a comment on its last member."""
    *others, last = _entries(listed)
    room = size - len(listed)
    last = last[:32] + struct.pack("<H", room) + last[34:] + b" " * room
    return b"".join((*others, last))


def _moved(listed: bytes, by: int) -> bytes:
    return b"".join(
        entry[:42] + struct.pack("<L", struct.unpack("<L", entry[42:46])[0] + by) + entry[46:]
        for entry in _entries(listed)
    )


def write_script(path: Path, marker: Path) -> Path:
    """Write a TorchScript program that makes a file when it is loaded."""
    import torch

    class Writer(torch.nn.Module):
        def __init__(self, marker: str) -> None:
            super().__init__()
            self.marker, self.kept = marker, torch.zeros(1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

        @torch.jit.export
        def __getstate__(self) -> tuple[str, bool]:
            return self.marker, self.training

        @torch.jit.export
        def __setstate__(self, state: tuple[str, bool]) -> None:
            self.marker, self.training = state
            self.kept = torch.from_file(state[0], True, 16)

    torch.jit.save(torch.jit.script(Writer(str(marker))), path)
    return path
