"""Bad inputs by kind: headers field by field, streams, voxels, names, manifests, networks.

Every function yields `Bad` inputs in an order that a seed decides, so that a share of them is the
same every time.
"""

from __future__ import annotations

import bz2
import copy
import gzip
import hashlib
import json
import os
import random
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from helpers.bundles import make_affine, make_data, make_manifest, write_bundle
from helpers.onnx_files import message, network, node, tensor

SHAPE = (10, 9, 8)
NUMBERS = (0, -1, 1, 2, 7, 127, 32767, -32768, 2**31 - 1, -(2**31), 2**62)
REALS = (
    0.0,
    -0.0,
    -1.0,
    1e-45,
    1e-30,
    0.001,
    1e30,
    3.4e38,
    float("inf"),
    float("-inf"),
    float("nan"),
)
NASTY: tuple[Any, ...] = (
    *(None, True, 0, -1, 1, 2**31, 2**63, 10**30, 0.5, 1e300, -1e300, float("nan"), float("inf")),
    *("", "x", "../x", "a\0b", "\x1b[2J", "\ud800", "x" * 5000, "NaN", "con", "~", "a/b"),
    *([], {}, [1], [[]], {"a": 1}, [None] * 3, [0, 0, 0], [1e300] * 3, list(range(2000))),
)


@dataclass(frozen=True)
class Bad:
    """One bad input.

    Attributes
    ----------
    name : str
        What it is.
    make : callable
        Writes it into a folder that holds a bundle, and returns the image and the bundle to use.
    must_fail : bool
        Whether it cannot be used; else it may be read, and then is said to be odd or is harmless.
    """

    name: str
    make: Callable[[Path], tuple[Path, Path]]
    must_fail: bool = True


def plain(kind: Any = nib.Nifti1Image) -> bytes:
    """Return a good image as the bytes of a .nii file."""
    data = (make_data(SHAPE) * 1000).astype(np.int16)
    image = kind(data, make_affine("LPS"))
    image.set_qform(make_affine("LPS"), 1)
    image.set_sform(make_affine("LPS"), 1)
    return image.to_bytes()


def _image(data: bytes, name: str = "t2.nii") -> Callable[[Path], tuple[Path, Path]]:
    def make(folder: Path) -> tuple[Path, Path]:
        (folder / name).write_bytes(data)
        return folder / name, folder / "bundle"

    return make


def headers(rng: random.Random) -> Iterator[Bad]:
    """Yield images of which one field of the header is odd, of both versions."""
    for kind in (nib.Nifti1Image, nib.Nifti2Image):
        content = plain(kind)
        size = int.from_bytes(content[:4], "little")
        header_class = kind.header_class
        dtype = header_class(content[:size], check=False).structarr.dtype
        for field in dtype.names:
            part, shape = dtype[field].base, dtype[field].shape or (1,)
            values: tuple[Any, ...] = NUMBERS if part.kind in "iu" else REALS
            if part.kind == "S":
                values = (b"", b"\xff" * part.itemsize, b"\x1b[2J\0\n"[: part.itemsize])
            for index in range(min(shape[0], 4)):
                for value in values:
                    raw = header_class(content[:size], check=False).structarr.copy()
                    with np.errstate(all="ignore"):
                        if part.kind in "iu":
                            limits = np.iinfo(part)
                            value = max(min(int(value), int(limits.max)), int(limits.min))
                        target = raw[field] if dtype[field].shape else None
                        if target is not None:
                            target[index] = value
                        else:
                            raw[field] = value
                    data = raw.tobytes() + content[size:]
                    packed = rng.random() < 0.3
                    yield Bad(
                        f"header {size} {field}[{index}] = {value!r}",
                        _image(
                            gzip.compress(data, 1) if packed else data, f"t2.nii{'.gz' * packed}"
                        ),
                        must_fail=False,
                    )


def streams(rng: random.Random) -> Iterator[Bad]:
    """Yield images that are cut, changed, packed oddly, or that hold far more or less."""
    content = plain()
    packed = gzip.compress(content, 6)
    blocks = b"".join(gzip.compress(content[i : i + 300]) for i in range(0, len(content), 300))
    for name, data in {"nii": content, "nii.gz": packed, "nii.bz2": bz2.compress(content)}.items():
        for _ in range(25):
            end = rng.randrange(len(data))
            yield Bad(f"{name} cut at {end}", _image(data[:end], f"t2.{name}"))
    for _ in range(60):
        changed, places = bytearray(packed), []
        for _ in range(rng.choice([1, 2, 20])):
            places.append(rng.randrange(len(changed)))
            changed[places[-1]] ^= 1 << rng.randrange(8)
        yield Bad(
            f"gz changed at {places[:3]}", _image(bytes(changed), "t2.nii.gz"), must_fail=False
        )
    for _ in range(20):
        changed = bytearray(blocks)
        changed[rng.randrange(10, len(changed))] ^= 255
        yield Bad("members, one changed", _image(bytes(changed), "t2.nii.gz"), must_fail=False)
    packer = zlib.compressobj(9, wbits=31)
    zeros = [packer.compress(bytes(1 << 20)) for _ in range(256)]
    bomb = packer.compress(content) + b"".join(zeros) + packer.flush()
    yield Bad("256 MB behind the voxels", _image(bomb, "t2.nii.gz"))
    yield Bad("256 MB of zeros", _image(gzip.compress(bytes(1 << 28), 9), "t2.nii.gz"))
    yield Bad("bzip2 of 256 MB", _image(bz2.compress(content + bytes(1 << 28)), "t2.nii.bz2"))
    for shape in ((2000, 2000, 2000), (32767, 32767, 1), (32767, 32767, 32767), (30000, 4, 4)):
        raw = nib.Nifti1Header(content[:348], check=False)
        raw["dim"][1:4] = shape
        data = raw.binaryblock + content[348:]
        yield Bad(f"header tells of {shape}", _image(data))
        yield Bad(f"packed header tells of {shape}", _image(gzip.compress(data), "t2.nii.gz"))
        yield Bad(f"bzip2 header tells of {shape}", _image(bz2.compress(data), "t2.nii.bz2"))
    for name, data in {
        "gzip twice": gzip.compress(packed),
        "gzip of nothing": gzip.compress(b""),
        "only a gzip header": packed[:10],
        "zlib without gzip": zlib.compress(content),
        "empty": b"",
        "zeros": bytes(1000),
        "text": b"not an image\n" * 100,
        "page": b"<!DOCTYPE html><html></html>" * 20,
        "annex pointer": b"/annex/objects/MD5E-s1--0.nii.gz\n",
        "lfs pointer": b"version https://git-lfs.github.com/spec/v1\n",
        "dicom": bytes(128) + b"DICM" + bytes(500),
        "header twice": content[:348] * 2,
        "wrong byte order": content[:4][::-1] + content[4:],
    }.items():
        for suffix in ("nii", "nii.gz"):
            yield Bad(f"{name} as {suffix}", _image(data, f"t2.{suffix}"))
    for count in range(40):
        yield Bad(
            f"random bytes {count}", _image(rng.randbytes(rng.randrange(1, 3000)), "t2.nii.gz")
        )


def voxels(rng: random.Random) -> Iterator[Bad]:
    """Yield images whose voxels, or their number, cannot be segmented."""
    for dtype in ("f4", "f8", ">f4", "<f8"):
        for value in (np.nan, np.inf, -np.inf, 1e16, -1e30, 3e38):
            for count in (1, 5, 720):
                data = make_data(SHAPE).astype(dtype)
                data.reshape(-1)[rng.sample(range(720), count)] = value
                image = nib.Nifti1Image(data, make_affine("LPS"))
                yield Bad(f"{count} voxels of {value} in {dtype}", _image(image.to_bytes()))
    for dtype in ("u1", "i2", "f4", "i4", "u2", "c8", "c16", "f8"):
        zeros = nib.Nifti1Image(np.zeros(SHAPE, dtype), make_affine("LPS"))
        yield Bad(f"zeros in {dtype}", _image(zeros.to_bytes()))
    rgb = np.zeros(SHAPE, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    yield Bad("colours", _image(nib.Nifti1Image(rgb, make_affine("LPS")).to_bytes()))
    for shape in ((5,), (5, 5, 5, 2), (5, 5, 5, 1, 2), (2,) * 7, (1, 5, 5, 5, 3)):
        data = np.ones(shape, "f4")
        yield Bad(f"shape {shape}", _image(nib.Nifti1Image(data, np.eye(4)).to_bytes()))
    for slope, inter in ((np.nan, 1), (1e30, 0), (1, 1e30), (1, np.inf), (1, -np.inf), (-1e25, 5)):
        raw = nib.Nifti1Header(plain()[:348], check=False)
        raw["scl_slope"], raw["scl_inter"] = slope, inter
        must_fail = not np.isnan(slope)
        yield Bad(f"scaled by {slope}, {inter}", _image(raw.binaryblock + plain()[348:]), must_fail)
    for matrix in (np.zeros((3, 4)), np.full((3, 4), np.nan), np.ones((3, 4)), np.eye(3, 4) * 1e30):
        raw = nib.Nifti1Header(plain()[:348], check=False)
        raw["qform_code"] = 0
        for axis, row in zip("xyz", matrix, strict=True):
            raw[f"srow_{axis}"] = row
        must_fail = matrix.max() != 1e30
        yield Bad("odd sform", _image(raw.binaryblock + plain()[348:]), must_fail)


def names(rng: random.Random) -> Iterator[Bad]:
    """Yield paths that are no images, or hard to print."""

    def path(name: str) -> Callable[[Path], tuple[Path, Path]]:
        return lambda folder: (folder / name, folder / "bundle")

    def special(prepare: Callable[[Path], None]) -> Callable[[Path], tuple[Path, Path]]:
        def make(folder: Path) -> tuple[Path, Path]:
            prepare(folder / "t2.nii")
            return folder / "t2.nii", folder / "bundle"

        return make

    odd = [
        "\n",
        "\x1b[2J",
        "\t",
        "\u202e",
        "\udcff\udcfe",
        "\x7f",
        "\u2028",
        "\r",
        "ä" * 100,
        "x" * 240,
    ]
    for part in odd:
        yield Bad(f"missing, {part[:9]!r}", path(f"a{part}b.nii"))
        content = rng.randbytes(100)

        def make(folder: Path, name: str = f"a{part}b.nii", content: bytes = content):
            (folder / name).write_bytes(content)
            return folder / name, folder / "bundle"

        yield Bad(f"no image, {part[:9]!r}", make)
    for name in ("x" * 300 + ".nii", "a/b/c.nii", "..", ".", "bundle/manifest.json", "bundle"):
        yield Bad(f"path {name[:20]}", path(name))
    yield Bad("fifo", special(os.mkfifo))
    yield Bad("loop", special(lambda file: file.symlink_to(file)))
    yield Bad("dangling", special(lambda file: file.symlink_to("nowhere")))
    yield Bad("annexed", special(lambda file: file.symlink_to(".git/annex/objects/x/y")))
    yield Bad("folder", special(Path.mkdir))
    for device in (
        "/dev/zero",
        "/dev/null",
        "/dev/random",
        "/proc/self/mem",
        "/proc/kmsg",
        "/dev/tty",
    ):
        yield Bad(device, special(lambda file, device=device: file.symlink_to(device)))


def _places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items: Any = ()
    if isinstance(document, dict):
        items = document.items()
    elif isinstance(document, list):
        items = enumerate(document)
    return [path, *(place for key, value in items for place in _places(value, (*path, key)))]


def manifests(rng: random.Random) -> Iterator[Bad]:
    """Yield bundles whose manifest is odd in one place, or is no JSON."""
    good = _image(plain())

    def with_text(text: bytes) -> Callable[[Path], tuple[Path, Path]]:
        def make(folder: Path) -> tuple[Path, Path]:
            (folder / "bundle" / "manifest.json").write_bytes(text)
            return good(folder)

        return make

    document = make_manifest()
    for place in _places(document):
        for value in rng.sample(NASTY, 7):
            changed: Any = copy.deepcopy(document)
            target: Any = changed
            if place:
                for key in place[:-1]:
                    target = target[key]
                if rng.random() < 0.2 and isinstance(target, dict):
                    del target[place[-1]]
                    value = "(gone)"
                else:
                    target[place[-1]] = value
            else:
                changed = value
            text = json.dumps(changed).encode("utf-8", errors="surrogatepass")
            where = ".".join(map(str, place))
            yield Bad(f"manifest {where} = {str(value)[:20]!r}", with_text(text), must_fail=False)
    text = json.dumps(document).encode()
    for name, data in {
        "empty": b"",
        "cut": text[:-20],
        "not UTF-8": text.replace(b"tiny", b"\xff\xfe"),
        "NUL": text.replace(b"tiny", b"ti\0y"),
        "nested": b"[" * 100_000,
        "nested objects": b'{"a":' * 50_000,
        "long text": b'{"schema": 1, "name": "' + b"x" * 3_000_000 + b'"}',
        "10 MB": b" " * 10_000_000 + text,
        "key twice": text[:-1] + b', "name": "other"}',
        "long number": b'{"schema": ' + b"9" * 100_000 + b"}",
        "UTF-16": text.decode().encode("utf-16"),
    }.items():
        yield Bad(f"manifest {name}", with_text(data))
    for _ in range(60):
        changed_text = bytearray(text)
        for _ in range(rng.choice([1, 4])):
            changed_text[rng.randrange(len(text))] = rng.randrange(256)
        yield Bad("manifest with other bytes", with_text(bytes(changed_text)), must_fail=False)


def networks(rng: random.Random) -> Iterator[Bad]:
    """Yield bundles that are whole, and whose network is hostile, damaged or odd."""
    good = _image(plain())

    def with_network(content: bytes) -> Callable[[Path], tuple[Path, Path]]:
        def make(folder: Path) -> tuple[Path, Path]:
            bundle = folder / "bundle"
            manifest = json.loads((bundle / "manifest.json").read_text())
            row = manifest["networks"][0]
            (bundle / row["path"]).write_bytes(content)
            row |= {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
            (bundle / "manifest.json").write_text(json.dumps(manifest))
            return good(folder)

        return make

    relu = node("Relu", ["x"], "y")
    inner = message((1, "body"), (6, message((1, relu))), (20, 5))
    for operator in ("Loop", "If", "Scan", "SequenceMap", "Optional", "RandomNormal", "Bernoulli"):
        yield Bad(operator, with_network(network(node(operator, ["x"], "y", (5, inner)))))
    for operator, sizes in (
        ("Expand", [2**20] * 3),
        ("Tile", [10**6] * 5),
        ("ConstantOfShape", [2**40]),
    ):
        constants = (tensor("s", sizes),)
        content = network(node(operator, ["x", "s"], "y"), constants=constants)
        yield Bad(f"{operator} to {sizes}", with_network(content))
    for extra in ((13, message((1, "location"), (2, "/etc/passwd"))), (14, 1)):
        content = network(node("Add", ["x", "w"], "y"), constants=(tensor("w", [1], None, extra),))
        yield Bad("weights elsewhere", with_network(content))
    for operator in (
        "Relu",
        "Neg",
        "Log",
        "Shape",
        "Size",
        "NonZero",
        "Not",
        "Transpose",
        "Squeeze",
    ):
        yield Bad(f"{operator} alone", with_network(network(node(operator, ["x"], "y"))))
    yield Bad("many operators", with_network(network(*[relu] * 60_000)))
    yield Bad(
        "name with escapes",
        with_network(network(node("Relu", ["\x1b[2J\n"], "y", (3, "\x1b]0;x\a")))),
    )
    content = (Path(__file__).parents[1] / "data" / "threshold_3d.onnx").read_bytes()
    for end in (0, 1, 10, len(content) // 2, len(content) - 1):
        yield Bad(f"network cut at {end}", with_network(content[:end]))
    for _ in range(150):
        changed = bytearray(content)
        for _ in range(rng.choice([1, 2, 8])):
            changed[rng.randrange(len(content))] = rng.randrange(256)
        yield Bad("network with other bytes", with_network(bytes(changed)), must_fail=False)


KINDS = {
    "headers": headers,
    "streams": streams,
    "voxels": voxels,
    "names": names,
    "manifests": manifests,
    "networks": networks,
}


def all_inputs(seed: int) -> Iterator[tuple[str, Bad]]:
    """Yield every bad input with its kind."""
    for kind, inputs in KINDS.items():
        for bad in inputs(random.Random(f"{seed} {kind}")):
            yield kind, bad


def write_good(folder: Path) -> None:
    """Write the bundle that bad inputs are made from."""
    write_bundle(folder / "bundle")
