"""Checkpoints changed at random: bytes, zip headers, instructions of pickles, records, lengths."""

from __future__ import annotations

import io
import pickle
import pickletools
import random
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from helpers import torch_files as files
from helpers.torch_files import Called, Named

from campaigns import pickles

MARKER = "made-by-a-checkpoint"
"""Folder that a file would make, if anything that it says were run."""
NUMBERS = (
    *(0, 1, 2, 7, 16, 255, 256, 65_535, 65_536, 10**6, 2**24, 2**31 - 1, 2**31, 2**32 - 1),
    *(2**32, 2**40, 2**61 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1, -1, -2, -(2**31), -(2**63)),
)
_LARGEST_GENUINE = 2 * 1024**2
_KINDS = (*files.KINDS.values(), "BFloat16Storage", "UntypedStorage", "QInt8Storage", "Storage")
_CALLED = (
    *(("torch._utils", f"_rebuild_{name}") for name in ("tensor", "tensor_v2", "tensor_v3")),
    *(("torch._utils", f"_rebuild_{name}") for name in ("parameter", "qtensor", "sparse_tensor")),
    *(("numpy", "dtype"), ("numpy", "ndarray"), ("numpy._core.multiarray", "_reconstruct")),
    *(("numpy.core.multiarray", "scalar"), ("_codecs", "encode"), ("collections", "OrderedDict")),
    *(("collections", "Counter"), ("builtins", "set"), ("builtins", "bytes"), ("torch", "Size")),
    *(("builtins", "complex"), ("torch", "device"), ("copyreg", "_reconstructor")),
)


def attack(rng: random.Random) -> bytes:
    """Return instructions that would make a folder."""
    expression = pickles.text(f"__import__('os').mkdir({MARKER!r})")
    folder = pickles.text(MARKER)
    return rng.choice(
        [
            pickles.called("os", "mkdir", folder),
            pickles.called("posix", "mkdir", folder),
            pickles.called("builtins", "eval", expression),
            pickles.called("__builtin__", "exec", expression),
            pickles.called("os", "system", pickles.text(f"mkdir {MARKER}")),
            pickles.called("subprocess", "Popen", pickles.text(f"mkdir {MARKER}")),
            pickles.named("os", "mkdir") + folder + b"\x85\x81",
            pickles.named("os", "mkdir") + folder + b"\x85}\x92",
            b"(" + folder + b"ios\nmkdir\n",
            b"(" + pickles.named("os", "mkdir") + folder + b"o",
            pickles.text("os") + pickles.text("mkdir") + b"\x93" + folder + b"\x85R",
            pickles.called("functools", "partial", pickles.named("os", "mkdir"), folder) + b")R",
            pickles.called("operator", "methodcaller", pickles.text("mkdir")) + folder + b"\x85R",
            pickles.called("torch", "load", folder),
            pickles.named("types", "SimpleNamespace") + b")\x81}" + folder + b"Nsb",
        ]
    )


@cache
def _good() -> Mapping[str, Any]:
    """Return the content of small files as frameworks leave them."""
    rng = np.random.default_rng(0)
    shared = files.storage(rng.standard_normal(60, "f4"))
    layer = {
        "weight": files.view(shared, (4, 3, 3), (9, 3, 1)),
        "bias": files.view(shared, (4,), (1,), 36),
        "transposed": files.view(shared, (6, 10), (1, 6)),
        "half": files.tensor(rng.standard_normal(6).astype("f2")),
        "narrow": files.view(files.bfloat16(np.arange(8.0)), (2, 4), (4, 1)),
        "mask": files.tensor(np.array([True, False])),
        "step": files.tensor(np.int64(4)),
        "wide": files.typed(np.arange(3, dtype="u4")),
        "none": files.tensor(np.empty((0, 3), "f8")),
    }
    state = OrderedDict((f"encoder.{name}", value) for name, value in layer.items())
    nnunet = {
        "network_weights": state,
        "optimizer_state": {"state": {0: {"momentum_buffer": layer["weight"]}}, "lr": [1e-2]},
        "logging": {"dice": [np.float32(0.5), np.float64(0.25)], "all": np.arange(6).reshape(2, 3)},
        "init_args": {"configuration": "2d", "device": Called(Named("torch", "device"), ("cpu",))},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 1),
    }
    norm = files.instance("torch.nn.modules.batchnorm", "BatchNorm2d", _module(layer))
    network = files.instance("ivadomed.models", "Unet", _module({}, encoder=norm))
    return {
        "nnunet": nnunet,
        "lightning": {
            "state_dict": {f"net.{key}": files.parameter(value) for key, value in state.items()},
            "hyper_parameters": files.instance(
                "argparse", "Namespace", {"rate": 0.1, "sizes": {1}}
            ),
            "callbacks": {"early": {"best": files.tensor(np.float32(1))}},
        },
        "ivadomed": network,
        "script": files.instance("__torch__.nets.UNet", "Net", {"model": norm, "training": False}),
    }


def _module(weights: Mapping[str, Any], **parts: Any) -> dict[str, Any]:
    return {
        "training": False,
        "_parameters": OrderedDict((key, files.parameter(w)) for key, w in weights.items()),
        "_buffers": OrderedDict(),
        "_modules": OrderedDict(parts),
    }


def bases(genuine: Path | None) -> list[tuple[str, bytes]]:
    """Return good files: our own, in both containers, and genuine ones from below a folder."""
    found = []
    for name, content in _good().items():
        found.append((f"{name} zip", files.zip_bytes(content)))
        found.append((f"{name} old", files.legacy_bytes(content)))
    deflated = files.zip_bytes(_good()["nnunet"], method=zipfile.ZIP_DEFLATED)
    found.append(("nnunet deflated", deflated))
    paths = sorted(genuine.rglob("*.pth")) if genuine else ()
    small = [path for path in paths if path.stat().st_size <= _LARGEST_GENUINE]
    return found + [(f"genuine {path.parts[-4]}", path.read_bytes()) for path in small]


def mutated(rng: random.Random, good: list[tuple[str, bytes]]) -> tuple[str, bytes]:
    """Return what a bad file is called, and its bytes."""
    name, data = rng.choice(good)
    change = rng.choice(CHANGES)
    return f"{name}, {change.__name__.strip('_')}", change(rng, data)


def _bytes(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        place = rng.randrange(len(changed))
        changed[place] = rng.choice((0, 0xFF, rng.randrange(256), changed[place] ^ 1))
    return bytes(changed)


def _pieces(rng: random.Random, data: bytes) -> bytes:
    start = rng.randrange(len(data))
    end = min(len(data), start + rng.choice((1, 2, 8, 100, len(data))))
    middle = rng.choice((b"", data[start:end] * 2, rng.randbytes(end - start), bytes(end - start)))
    return data[:start] + middle + data[end:]


def _headers(rng: random.Random, data: bytes) -> bytes:
    """Change fields of the headers of a zip; of another file, numbers of four and eight bytes."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        mark, size = rng.choice(((b"PK\x01\x02", 46), (b"PK\x03\x04", 30), (b"PK\x05\x06", 22)))
        places = [place for place in range(len(data)) if data.startswith(mark, place)]
        start = rng.choice(places) if places else rng.randrange(max(1, len(data) - 50))
        place, width = start + rng.randrange(4, size), rng.choice((1, 2, 4, 8))
        number = rng.choice(NUMBERS) % 256**width
        changed[place : place + width] = number.to_bytes(width, "little")
    return bytes(changed)


def _members(rng: random.Random, data: bytes) -> bytes:
    """Change what members of a zip are called, how long they are, and which there are."""
    members = _unzipped(data)
    if members is None:
        return _pieces(rng, data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        place = rng.randrange(len(members))
        name, content = members[place]
        other = rng.choice(members)[0]
        members[place] = rng.choice(
            [
                (name, content[: rng.randrange(len(content) + 1)]),
                (name, content + rng.randbytes(rng.choice((1, 8, 10_000)))),
                (rng.choice((other, "../" + name, name.upper(), "a/b/c", name + "/")), content),
                (f"{name[:1]}/data.pkl", attack(rng) + b"."),
                (name, rng.randbytes(len(content))),
            ]
        )
        if rng.random() < 0.2:
            del members[rng.randrange(len(members))]
        if not members:
            break
    return _zipped(rng, members)


def _instructions(rng: random.Random, data: bytes) -> bytes:
    """Change the instructions of the pickle of a file."""
    members = _unzipped(data)
    if members is not None:
        for place, (name, content) in enumerate(members):
            if name.endswith("data.pkl"):
                members[place] = name, _rewritten(rng, content)
        return _zipped(rng, members)
    ends, place = [0], 0
    for _ in range(5):
        place += _length(data[place:])
        ends.append(place)
    which = rng.choice((3, 3, 3, 4, 0, 1, 2))
    start, end = ends[which], ends[which + 1]
    return data[:start] + _rewritten(rng, data[start:end]) + data[end:]


def _length(data: bytes) -> int:
    file = io.BytesIO(data)
    for _ in pickletools.genops(file):
        pass
    return file.tell()


def _rewritten(rng: random.Random, pickled: bytes) -> bytes:
    places = [place for _, _, place in pickletools.genops(pickled) if place is not None]
    parts = [
        pickled[start:end] for start, end in zip(places, [*places[1:], len(pickled)], strict=True)
    ]
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        place = rng.randrange(len(parts))
        rng.choice(_REWRITES)(rng, parts, place)
    return b"".join(parts)


def _drop(_rng: random.Random, parts: list[bytes], place: int) -> None:
    parts[place] = b""


def _double(rng: random.Random, parts: list[bytes], place: int) -> None:
    parts[place] *= rng.choice((2, 2, 3, 1000))


def _swap(rng: random.Random, parts: list[bytes], place: int) -> None:
    other = rng.randrange(len(parts))
    parts[place], parts[other] = parts[other], parts[place]


def _attack(rng: random.Random, parts: list[bytes], place: int) -> None:
    parts[place] = rng.choice((b"", parts[place])) + attack(rng) + rng.choice((b"", b"0"))


def _opcode(rng: random.Random, parts: list[bytes], place: int) -> None:
    parts[place] = bytes([rng.randrange(256)]) + parts[place][1:]


def _number(rng: random.Random, parts: list[bytes], place: int) -> None:
    kinds = (b"K", b"M", b"J", b"\x8a")
    found = [i for i, part in enumerate(parts) if part[:1] in kinds] or [place]
    parts[rng.choice(found)] = pickles.number(rng.choice(NUMBERS))


def _size(rng: random.Random, parts: list[bytes], place: int) -> None:
    found = [i for i, part in enumerate(parts) if part[:1] in (b"X", b"B", b"T")] or [place]
    place = rng.choice(found)
    length = struct.pack("<I", rng.choice(NUMBERS) % 2**32)
    parts[place] = parts[place][:1] + length + parts[place][5:]


def _memo(rng: random.Random, parts: list[bytes], place: int) -> None:
    code, width = rng.choice(((b"h", 1), (b"q", 1), (b"j", 4), (b"r", 4)))
    number = rng.choice((rng.randrange(64), rng.randrange(64), 2**31 - 1)) % 256**width
    parts[place] += code + number.to_bytes(width, "little")


def _name(rng: random.Random, parts: list[bytes], place: int) -> None:
    found = [i for i, part in enumerate(parts) if part[:1] == b"c"] or [place]
    pool = (*_CALLED, *pickles.GLOBALS, *(("torch", kind) for kind in _KINDS))
    parts[rng.choice(found)] = pickles.named(*rng.choice(pool))


def _nest(rng: random.Random, parts: list[bytes], place: int) -> None:
    depth = rng.choice((50, 99, 101, 5000, 200_000))
    parts[place] += rng.choice((b"\x85", b"]" + b"2", b"2\x86")) * depth


_REWRITES: tuple[Callable[..., None], ...] = (
    *(_drop, _double, _swap, _attack, _attack, _opcode, _number, _number, _size, _memo, _name),
    *(_name, _nest),
)


def _records(rng: random.Random, data: bytes) -> bytes:
    """Return a file of things that nobody saves: odd tensors, arrays, records, keys."""
    content = {"network_weights": _value(rng, 0), "state_dict": {"net.a": _value(rng, 0)}}
    whole: Any = rng.choice((content, content, _value(rng, 0)))
    try:
        return rng.choice((files.zip_bytes, files.legacy_bytes))(whole)
    except (TypeError, AttributeError, RecursionError, pickle.PicklingError, struct.error):
        return _instructions(rng, data)  # of what cannot be written


def _value(rng: random.Random, depth: int) -> Any:
    made = rng.choice(_VALUES if depth < 4 else _VALUES[:4])
    return made(rng, depth + 1)


def _some(rng: random.Random, depth: int) -> list[Any]:
    return [_value(rng, depth) for _ in range(rng.randrange(5))]


def _row(rng: random.Random) -> Any:
    row = tuple(rng.choice((1, 2, 3, 4, rng.choice(NUMBERS))) for _ in range(rng.randrange(5)))
    return rng.choice((row, row, row, list(row), rng.choice(NUMBERS), None))


def _plain(rng: random.Random, _depth: int) -> Any:
    return rng.choice((*NUMBERS, None, True, "text", "\ud800", b"bytes", 0.5, float("nan"), ()))


def _tensor(rng: random.Random, _depth: int) -> Any:
    data = rng.randbytes(rng.choice((0, 1, 4, 64, 256)))
    count = rng.choice((len(data), len(data) // 4, len(data) // 8, rng.choice(NUMBERS)))
    source = files.Storage(rng.choice(_KINDS), data, count)
    shape, strides = _row(rng), _row(rng)
    if rng.random() < 0.5:
        shape, strides = (2, 2), (2, 1)
    offset = rng.choice((0, 0, 1, rng.choice(NUMBERS)))
    name = rng.choice(("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3"))
    more = (Named("torch", rng.choice(("uint16", "uint64", "float8_e5m2", "os"))),)
    arguments = (source, offset, shape, strides, False, OrderedDict(), *more)
    return Called(Named("torch._utils", name), arguments[: rng.choice((7, 7, 6, 3, 4))])


def _array(rng: random.Random, depth: int) -> Any:
    code = rng.choice(("f8", "f4", "i8", "b1", "O8", "U5", "V100", "M8[s]", "f16", "x", "", None))
    order = rng.choice(("<", ">", "|", "=", "!", None))
    state = (3, order, None, None, None, rng.choice(NUMBERS), -1, 0)
    kind = Called(Named("numpy", "dtype"), (code, False, True), rng.choice((state, state, None, 3)))
    data = rng.choice((bytes(8), bytes(16), bytes(32), rng.randbytes(5), _some(rng, depth)))
    if rng.random() < 0.3:
        return Called(Named("numpy._core.multiarray", "scalar"), (kind, data))
    built = (1, _row(rng), kind, rng.choice((True, False, 3)), data)
    make = Named("numpy._core.multiarray", "_reconstruct")
    return Called(make, (Named("numpy", "ndarray"), (0,), b"b"), rng.choice((built, built, (), 7)))


def _record(rng: random.Random, depth: int) -> Any:
    module, name = rng.choice((*_CALLED, *pickles.GLOBALS))
    if "\n" in module + name or len(name) > 100:
        module, name = "os", "mkdir"
    named = Named(module, name)
    made = Called(named, tuple(_some(rng, depth)), rng.choice((None, {}, _value(rng, depth))))
    if isinstance(made.state, dict) and rng.random() < 0.3:
        made.state["itself"] = made
    return rng.choice((named, made, made, files.instance(module, name, made.state or {})))


def _container(rng: random.Random, depth: int) -> Any:
    values = _some(rng, depth)
    keys = [rng.choice(("a", "b", 1, 2.0, None, (1, 2), Named("a", "b"))) for _ in values]
    return rng.choice((values, tuple(values), dict(zip(keys, values, strict=True))))


_VALUES: tuple[Callable[..., Any], ...] = (
    *(_plain, _tensor, _tensor, _array, _record, _record, _container, _container),
)
CHANGES: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    *(_bytes, _pieces, _headers, _members, _instructions, _instructions, _records, _records),
)


def _unzipped(data: bytes) -> list[tuple[str, bytes]] | None:
    if not data.startswith(b"PK"):
        return None
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(item.filename, archive.read(item)) for item in archive.infolist()]


def _zipped(rng: random.Random, members: list[tuple[str, bytes]]) -> bytes:
    import warnings

    file = io.BytesIO()
    method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", method) as archive:
        warnings.simplefilter("ignore")  # of two members of one name
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


def fixed() -> Iterator[tuple[str, bytes]]:
    """Yield bad files that are the same each time: bombs, calls, odd tensors."""
    for name, content in pickles.bombs():
        yield f"bomb {name}", pickles.archive(content)
        yield f"bomb {name}, alone", content
        head = [pickle.dumps(value, protocol=2) for value in (files.MAGIC, files.PROTOCOL, {})]
        yield f"bomb {name}, old", b"".join((*head, content, b"\x80\x02]."))
    for module, name in pickles.GLOBALS:
        call = pickles.called(module, name, pickles.text(MARKER))
        yield f"call {(module, name)!r:.50}", pickles.archive(pickles.dictionary(a=call))
    for name, value in pickles.values():
        content = pickles.dictionary(network_weights=value, state_dict=value)
        yield f"value {name}", pickles.archive(content)
