"""Pickles that do harm where a reader is less careful, instruction by instruction."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterator, Mapping

GLOBALS = (
    *(("os", "system"), ("posix", "mkdir"), ("nt", "system"), ("subprocess", "Popen")),
    *(("builtins", "eval"), ("builtins", "exec"), ("builtins", "getattr"), ("builtins", "open")),
    *(("__builtin__", "eval"), ("builtins", "__import__"), ("importlib", "import_module")),
    *(("torch", "load"), ("torch.jit", "load"), ("torch.hub", "load"), ("numpy", "load")),
    *(("torch.serialization", "load"), ("torch._utils", "_rebuild_device_tensor_from_numpy")),
    *(("functools", "partial"), ("operator", "attrgetter"), ("pickle", "loads")),
    *(("collections", "defaultdict"), ("numpy._core.multiarray", "_reconstruct")),
    *(("webbrowser", "open"), ("pathlib", "Path"), ("asyncio", "run"), ("pip", "main")),
    *(("a\x1b[2J", "b\r\nerror: fine"), ("x" * 5000, "y" * 5000)),
)
"""Functions and classes that a checkpoint has no use for."""


def text(value: str) -> bytes:
    """Return the instruction for a text."""
    data = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    """Return the instruction for a whole number."""
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def named(module: str, name: str) -> bytes:
    """Return the instruction for a global."""
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


def called(module: str, name: str, *arguments: bytes) -> bytes:
    """Return the instructions for a call."""
    return named(module, name) + b"(" + b"".join(arguments) + b"tR"


def row(*numbers: int) -> bytes:
    """Return the instructions for a tuple of numbers."""
    return b"(" + b"".join(map(number, numbers)) + b"t"


def storage(key: bytes, count: int, kind: str = "FloatStorage") -> bytes:
    """Return the instructions for a storage."""
    parts = (text("storage"), named("torch", kind), key, text("cpu"), number(count))
    return b"(" + b"".join(parts) + b"tQ"


def tensor(source: bytes, offset: int, size: bytes, stride: bytes) -> bytes:
    """Return the instructions for a tensor."""
    arguments = (source, number(offset), size, stride, b"\x89", b"}")
    return called("torch._utils", "_rebuild_tensor_v2", *arguments)


def dictionary(**values: bytes) -> bytes:
    """Return a pickle of a dictionary."""
    return b"\x80\x02}" + b"".join(text(k) + v + b"s" for k, v in values.items()) + b"."


def archive(pickled: bytes, storages: Mapping[str, bytes] | None = None) -> bytes:
    """Return a file of ``torch.save`` around a pickle."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as target:
        target.writestr("archive/data.pkl", pickled)
        target.writestr("archive/byteorder", b"little")
        for key, data in (storages or {"0": bytes(64)}).items():
            target.writestr(f"archive/data/{key}", data)
    return file.getvalue()


def values() -> Iterator[tuple[str, bytes]]:
    """Yield instructions of one value each, which is to be the weights of a network."""
    stored = storage(text("0"), 16)
    yield "beyond", tensor(stored, 0, row(10**6), row(1))
    yield "repeated", tensor(stored, 0, row(10**6, 10**6), row(0, 0))
    yield "negative", tensor(stored, -4, row(4), row(1))
    yield "backwards", tensor(stored, 4, row(4), row(-1))
    yield "axes", tensor(stored, 0, row(*[1] * 200), row(*[1] * 200))
    yield "huge", tensor(storage(text("0"), 2**60), 0, row(2**60), row(1))
    yield "no-member", tensor(storage(text("9"), 16), 0, row(16), row(1))
    yield "path", tensor(storage(text("../../data.pkl"), 16), 0, row(16), row(1))
    yield "key", tensor(storage(row(1), 16), 0, row(16), row(1))
    yield "kind", tensor(storage(text("0"), 16, "Storage"), 0, row(16), row(1))
    yield "count", tensor(storage(text("0"), -1), 0, row(16), row(1))
    yield "no-storage", tensor(b"N", 0, row(16), row(1))
    yield "unknown-reference", b"(" + text("module") + named("os", "system") + b"tQ"
    yield "short-reference", b"(tQ"
    yield "scalar", called("numpy._core.multiarray", "scalar", b"N", b"N")
    objects = called("numpy", "dtype", text("O8"), b"\x89", b"\x88")
    latin = called("_codecs", "encode", text("12345678"), text("latin1"))
    yield "object-scalar", called("numpy._core.multiarray", "scalar", objects, latin)
    wide = called("numpy", "dtype", text("V1000000000"), b"\x89", b"\x88")
    yield "wide-scalar", called("numpy._core.multiarray", "scalar", wide, latin)
    yield "codec", called("_codecs", "encode", text("x"), text("rot13"))
    yield "device", called("torch", "device", text("\x1b[2J" * 100))
    yield "list", b"]" + b"".join(number(i) + b"a" for i in range(9))
    yield "text", text("no weights")
    yield "number", number(2**62)
    yield "nothing", b"N"


def bombs() -> Iterator[tuple[str, bytes]]:
    """Yield pickles that take a reader's time or memory, whatever they say."""
    yield "memo", b"\x80\x02Nr\xff\xff\xff\x7f."
    yield "long-text", b"\x80\x04\x8d" + struct.pack("<Q", 2**60) + b"x."
    yield "long-bytes", b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"x."
    yield "long-number", b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"x."
    yield "frame", b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"N."
    yield "deep", b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."
    yield "deep-tuples", b"\x80\x02)" + b"\x85" * 1_000_000 + b"."
    doubled = b"".join(b"q%c\x86" % i + b"" for i in range(0))
    yield "doubled", b"\x80\x02" + b"K\x01" + b"2\x86" * 64 + doubled + b"."
    yield "doubled-key", b"\x80\x02}K\x01" + b"2\x86" * 64 + b"Ns."
    yield (
        "doubled-set",
        b"\x80\x02" + called("builtins", "set", b"]K\x01" + b"2\x86" * 64 + b"a") + b".",
    )
    yield "itself", b"\x80\x02]q\x00h\x00a."
    copied = b"]q\x00(" + b"N" * 1_000_000 + b"e0"
    again = named("torch", "Size") + b"h\x00\x85R0"
    yield "copied", b"\x80\x02" + copied + again * 100_000 + b"N."
    many = b"](" + number(2**61) * 100_000 + b"eq\x000"
    view = tensor(storage(text("0"), 16), 0, b"h\x00", b"h\x00")
    yield "many-axes", b"\x80\x02" + many + view * 100 + b"."
    yield (
        "long-references",
        b"\x80\x02(" + b"N" * 1_000_000 + b"tq\x00" + b"Q0h\x00" * 100_000 + b".",
    )
    long = text("n" * 1_000_000)
    yield "long-names", b"\x80\x04" + long + b"q\x00" + b"h\x00\x930h\x00" * 100_000 + b"."
    yield "extension", b"\x80\x02\x82\x01."
    yield "instance", b"\x80\x02(ios\nsystem\n."
    yield "object", b"\x80\x02(" + named("os", "system") + text("true") + b"o."
    yield "build", b"\x80\x02}N" + b"b."
    yield "empty-stack", b"\x80\x02R."
    yield "no-end", b"\x80\x02}"
    yield "protocol", b"\x80\xffN."
    yield "buffer", b"\x80\x05\x97."
    yield "get", b"\x80\x02h\x63."
    yield "text-mode", b"cos\nsystem\n(S'true'\ntR."
    yield "surrogates", b"\x80\x02}" + text("\ud800") + text("\udfff") + b"s."
