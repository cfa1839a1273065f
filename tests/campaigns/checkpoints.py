"""Bad checkpoints of every family: odd files, broken zips, hostile pickles, absurd numbers."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import socket
import stat
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from campaigns import pickles

Write = Callable[[Path], Any]
Make = Callable[[Path], Path]
Case = tuple[str, Make, tuple[str, ...]]
"""What it is called, what writes it and returns its path, and the command that gets that path."""

COMMANDS = {"nnunet": "nnunet", "pickle": "ivadomed", "onnx": "ivadomed", "bundle": "monai-bundle"}
WEIGHTS = {
    "nnunet": "fold_0/checkpoint_final.pth",
    "pickle": "m.pt",
    "onnx": "m.onnx",
    "bundle": "models/model.pt",
}
TEXTS = {
    "nnunet": ("plans.json", "dataset.json"),
    "pickle": ("m.json",),
    "onnx": ("m.json",),
    "bundle": ("configs/inference.json", "configs/metadata.json"),
}


def cases(rng: random.Random) -> Iterator[Case]:
    """Yield bad checkpoints; the same seed gives the same ones."""
    for command in ("nnunet", "ivadomed", "monai-bundle", "monai-ckpt"):
        for name, write in _odd_files(rng, b"PK\x03\x04"):
            yield f"{command} is {name}", _alone(write, ""), (command,)
            yield f"{command} zip is {name}", _alone(write, ".zip"), (command,)
        for name, data in _zips(rng):
            yield f"{command} zip has {name}", _alone(_bytes(data), ".zip"), (command,)
    for name, data in (*_zips(rng), *((n, pickles.archive(p)) for n, p in pickles.bombs())):
        yield f"ckpt is {name}", _alone(_bytes(data), ".ckpt"), ("monai-ckpt",)
    for family, command in COMMANDS.items():
        for file in (*TEXTS[family], WEIGHTS[family]):
            for name, write in _odd_files(rng, _model(family)[file]):
                yield f"{family} {file} is {name}", _with(family, {file: write}), (command,)
        for file in TEXTS[family]:
            for name, data in _texts():
                if (file, name) == ("configs/metadata.json", "an empty object"):
                    continue
                yield f"{family} {file} is {name}", _with(family, {file: _bytes(data)}), (command,)
    for family in ("nnunet", "pickle", "bundle"):
        for name, data in _weights(rng, _model(family)[WEIGHTS[family]]):
            change = {WEIGHTS[family]: _bytes(data)}
            yield f"{family} weights: {name}", _with(family, change), (COMMANDS[family],)
    for family, changes in (("nnunet", _plans()), ("pickle", _settings()), ("bundle", _configs())):
        for name, file, content in changes:
            change = {file: _bytes(json.dumps(content).encode())}
            yield f"{family} {file}: {name}", _with(family, change), (COMMANDS[family],)
    for name, file, data in _yaml():
        change = {"configs/inference.json": None, file: _bytes(data)}
        yield f"bundle {file}: {name}", _with("bundle", change), ("monai-bundle",)
    for name, data in _graphs():
        yield f"onnx: {name}", _with("onnx", {"m.onnx": _bytes(data)}), ("ivadomed",)
    for name in (b"\x1b[2J\nerror", b"\xff\xfe", b"n" * 200, "\u202egnp".encode()):
        yield f"name {name[:20]!r}", _renamed(name), ("nnunet",)


@cache
def _model(family: str) -> Mapping[str, bytes]:
    """Return the files of a small good model."""
    with tempfile.TemporaryDirectory() as work, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = _write_model(family, Path(work))
        return {
            file.relative_to(folder).as_posix(): file.read_bytes()
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        }


def _write_model(family: str, work: Path) -> Path:
    if family == "nnunet":
        from helpers.nnunet_models import write_model

        return write_model(work)
    if family == "bundle":
        from helpers.monai_models import ZOO, write_bundle

        return write_bundle(work / "b", ZOO["ct_organ"]())
    from helpers import ivadomed_models as ivadomed

    if family == "onnx":
        return ivadomed.write_model(
            work / "m", ivadomed.make_settings(), onnx=ivadomed.make_onnx(opset=17)
        )
    network = ivadomed.make_unet()
    return ivadomed.write_model(work / "m", ivadomed.make_settings(), network)


def _bytes(data: bytes) -> Write:
    return lambda path: path.write_bytes(data)


def _alone(write: Write, suffix: str) -> Make:
    def make(folder: Path) -> Path:
        path = folder / f"model{suffix}"
        write(path)
        return path

    return make


def _with(family: str, changes: Mapping[str, Write | None]) -> Make:
    """Return what writes a model some of whose files are others, or left out."""

    def make(folder: Path) -> Path:
        root = folder / "nnUNetTrainer__nnUNetPlans__2d"
        for name, data in {**_model(family), **changes}.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(data, bytes):
                path.write_bytes(data)
            elif data is not None:
                data(path)
        return root

    return make


def _renamed(name: bytes) -> Make:
    def make(folder: Path) -> Path:
        root = _with("nnunet", {"dataset.json": _bytes(b"{}")})(folder)
        target = Path(os.fsdecode(os.path.join(os.fsencode(folder), name)))
        return root.rename(target)

    return make


def _odd_files(rng: random.Random, good: bytes) -> Iterator[tuple[str, Write]]:
    """Yield what may be where a file is expected."""
    yield "missing", lambda path: None
    yield "empty", _bytes(b"")
    yield "a folder", lambda path: path.mkdir()
    yield "a pipe", os.mkfifo
    yield "a loop of links", lambda path: path.symlink_to(path.name)
    yield "a link to nothing", lambda path: path.symlink_to("nothing")
    yield "a link to a device", lambda path: path.symlink_to("/dev/zero")
    yield "a socket", _socket
    yield "a line of text", _bytes(b"version https://git-lfs.github.com/spec/v1\n")
    yield "a web page", _bytes(b"<!DOCTYPE html><html><title>404</title></html>")
    yield "random bytes", _bytes(rng.randbytes(1000))
    yield "a good start", _bytes(good[:4] + rng.randbytes(500))
    yield "zeros", _bytes(bytes(1000))
    yield "compressed", _bytes(gzip.compress(good))
    yield "cut short", _bytes(good[: max(1, rng.randrange(len(good)))])
    yield "too large", _sparse


def _socket(path: Path) -> None:
    os.mknod(path, stat.S_IFSOCK | 0o600) if len(str(path)) > 100 else _bound(path)


def _bound(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(100 * 1024**3)


def _zip(**members: bytes) -> bytes:
    return _zipped(list(members.items()))


def _zipped(members: list[tuple[Any, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", method) as archive:
        warnings.simplefilter("ignore")  # of two members of one name
        for name, data in members:
            archive.writestr(name, data)
    return file.getvalue()


def _zips(rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Yield zip files with something wrong about them."""
    link = zipfile.ZipInfo("fold_0/checkpoint_final.pth")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    good = _zip(**{f"fold_0/{i}.json": rng.randbytes(100) for i in range(5)})
    yield "no members", _zip()
    yield "a path outside", _zipped([("../../evil.json", b"{}")])
    yield "an absolute path", _zipped([("/tmp/evil.json", b"{}")])
    yield "a link", _zipped([(link, b"/etc/passwd")])
    yield "two of a name", _zipped([("fold_0/plans.json", b"{}")] * 2)
    yield (
        "a bomb",
        _zipped([("fold_0/checkpoint_final.pth", bytes(80 * 1024**2))], zipfile.ZIP_DEFLATED),
    )
    yield "another method", _zipped([("m.json", b"{}")], zipfile.ZIP_LZMA)
    yield "control characters", _zipped([("fold_0/\x1b[2J\r\nplans.json", b"{}")])
    yield "a long name", _zipped([("fold_0/" + "n" * 5000 + ".ckpt", b"{}")])
    yield "a folder of a file's name", _zipped([("m.json/m.json", b"{}"), ("m.json", b"{}")])
    yield "nothing of use", _zipped([("README.md", b"# Nothing")])
    yield "a start that is none", b"garbage" + good
    yield "a middle that is none", good[: len(good) // 2] + b"garbage" + good[len(good) // 2 :]
    broken = bytearray(good)
    for place in rng.sample(range(len(good) - 200, len(good)), 20):
        broken[place] ^= 0xFF
    yield "a broken list", bytes(broken)


def _texts() -> Iterator[tuple[str, bytes]]:
    """Yield documents that are no settings of anything."""
    yield "a list", b"[]"
    yield "an empty object", b"{}"
    yield "null", b"null"
    yield "a text", b'"plans"'
    yield "not UTF-8", b'{"a": "\xff\xfe"}'
    yield "deep", b"[" * 100_000 + b"]" * 100_000
    yield "deep objects", b'{"a":' * 200 + b"1" + b"}" * 200
    yield "a long number", b'{"a": ' + b"9" * 1_000_000 + b"}"
    yield "a number too large", b'{"a": ' + b"9" * 100 + b"}"
    yield "many values", b'{"a": [' + b"0," * 3_000_000 + b"0]}"


def _weights(rng: random.Random, good: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield files in the place of weights."""
    for module, name in pickles.GLOBALS:
        call = pickles.called(module, name, pickles.text("true"))
        yield (
            f"calls {(module, name[:20])!r:.60}",
            pickles.archive(pickles.dictionary(network_weights=call)),
        )
    for name, value in pickles.values():
        content = pickles.dictionary(network_weights=value, state_dict=value)
        yield name, pickles.archive(content)
    for name, content in pickles.bombs():
        yield name, pickles.archive(content)
        yield f"{name}, alone", content
    empty = b"\x80\x02}."
    yield "a large storage", pickles.archive(empty, {"0": bytes(70 * 1024**2)})[:-1]
    yield "two pickles", _zipped([("a/data.pkl", empty), ("b/data.pkl", empty)])
    yield "no pickle", _zipped([("a/data/0", bytes(8))])
    yield "another order", _zipped([("a/data.pkl", empty), ("a/byteorder", b"big")])
    yield "a script", _zipped([("a/data.pkl", empty), ("a/constants.pkl", empty)])
    yield "a long pickle", _zipped([("a/data.pkl", b"\x80\x02" + b"N0" * 9_000_000 + b"N.")])
    yield "a tar", b"pickle".ljust(257, b"\0") + b"ustar\x0000" + bytes(1000)
    members = zipfile.ZipFile(io.BytesIO(good))
    packed = [(item.filename, members.read(item)) for item in members.infolist()]
    yield (
        "compressed zeros",
        _zipped([*packed, ("archive/data/zeros", bytes(70 * 1024**2))], zipfile.ZIP_DEFLATED),
    )
    stored = [name for name, data in packed if "/data/" in name and data]
    lost = rng.choice(stored)
    yield "a storage missing", _zipped([item for item in packed if item[0] != lost])
    shorter = [(name, data[:-1] if name == lost else data) for name, data in packed]
    yield "a storage too short", _zipped(shorter)
    nans = [(name, b"\xff" * len(data) if name in stored else data) for name, data in packed]
    yield "not a number", _zipped(nans)


_ODD: tuple[Any, ...] = (None, "x", -1, 10**8, 1e300, [], {}, [10**8] * 3, [[1]] * 2000, "\ud800")


def _plans() -> Iterator[tuple[str, str, Any]]:
    plans = json.loads(_model("nnunet")["plans.json"])
    dataset = json.loads(_model("nnunet")["dataset.json"])
    (configuration,) = plans["configurations"].values()
    arguments = configuration["architecture"]["arch_kwargs"]

    def changed(place: dict[str, Any], key: str, value: Any, whole: Any) -> Any:
        before = place[key]
        place[key] = value
        copy = json.loads(json.dumps(whole))
        place[key] = before
        return copy

    for key in ("n_conv_per_stage", "features_per_stage", "kernel_sizes", "strides", "n_stages"):
        for value in _ODD:
            yield f"{key} {str(value)[:20]}", "plans.json", changed(arguments, key, value, plans)
    for value in ([10**8] * 3, [1, 1, 1, 1], ["1"] * 3, [2000] * 3):
        whole = changed(arguments, "n_conv_per_stage", value, plans)
        yield f"n_conv_per_stage {value}", "plans.json", whole
    for key in ("patch_size", "normalization_schemes", "architecture"):
        for value in _ODD:
            if (key, value) != ("architecture", None):
                whole = changed(configuration, key, value, plans)
                yield f"{key} {str(value)[:20]}", "plans.json", whole
    for key in ("configurations", "transpose_forward"):
        for value in _ODD:
            yield f"{key} {str(value)[:20]}", "plans.json", changed(plans, key, value, plans)
    for key in ("channel_names", "labels"):
        for value in (
            *_ODD,
            {"0": "a", "x": "b"},
            {"background": 1},
            {"background": 0, "a": 1e300},
        ):
            yield f"{key} {str(value)[:20]}", "dataset.json", changed(dataset, key, value, dataset)
    for name in ("os.system", "torch.nn.functional", "builtins.eval", "torch.load", "\x1b[2J"):
        yield f"conv_op {name!r}", "plans.json", changed(arguments, "conv_op", name, plans)
        described = {**configuration["architecture"], "network_class_name": name}
        whole = changed(configuration, "architecture", described, plans)
        yield f"class {name!r}", "plans.json", whole
    chain = {str(i): {"inherits_from": str(i + 1)} for i in range(50_000)}
    chain["2d"] = {"inherits_from": "0"}
    yield "a long chain", "plans.json", {**plans, "configurations": chain}
    for name in ("\ud800", "\x00"):
        labels = {**dataset, "labels": {"background": 0, f"sc{name}": 1}}
        yield f"a label {name!r}", "dataset.json", labels
        yield f"a channel {name!r}", "dataset.json", {**dataset, "channel_names": {"0": name}}
    circle = {"2d": {"inherits_from": "2d"}}
    yield "a circle", "plans.json", {**plans, "configurations": circle}
    legacy = {**configuration, "architecture": None, "UNet_class_name": "PlainConvUNet"}
    legacy |= {"n_conv_per_stage_encoder": [1] * 100_000, "UNet_base_num_features": 2}
    yield "many stages", "plans.json", {**plans, "configurations": {"2d": legacy}}


_NO_MATTER = (
    *(("batch_size", value) for value in (10**8, -1, 1e300)),
    ("target_suffix", "x"),
)


def _settings() -> Iterator[tuple[str, str, Any]]:
    settings = json.loads(_model("pickle")["m.json"])
    for place, key in (
        *(("loader_parameters", "target_suffix"), ("loader_parameters", "slice_axis")),
        *(("transformation", "Resample"), ("transformation", "CenterCrop")),
        ("training_parameters", "batch_size"),
    ):
        for value in _ODD:
            if (key, value) not in _NO_MATTER:
                changed = {**settings, place: {**settings[place], key: value}}
                yield f"{key} {str(value)[:20]}", "m.json", changed
    for size in ([10**6, 10**6], [0, 0], ["a", "b"], [1, 2, 3]):
        crop = {**settings["transformation"], "CenterCrop": {"size": size}}
        yield f"crop {size}", "m.json", {**settings, "transformation": crop}
    yield "3-D", "m.json", {**settings, "default_model": {"is_2d": False}}
    yield "FiLM", "m.json", {**settings, "FiLMedUnet": {"applied": True}}


def _configs() -> Iterator[tuple[str, str, Any]]:
    config = json.loads(_model("bundle")["configs/inference.json"])
    file = "configs/inference.json"
    levels = {f"x{i}": [f"@x{i + 1}"] * 9 for i in range(9)} | {"x9": "x"}
    yield "references that grow", file, {**config, **levels, "preprocessing": "@x0"}
    chain = {f"x{i}": f"@x{i + 1}" for i in range(5000)} | {"x5000": "x"}
    yield "a chain of references", file, {**config, **chain, "preprocessing": "@x0"}
    yield "a circle", file, {**config, "preprocessing": ["@preprocessing"]}
    key = "network_def" if "network_def" in config else "network"
    network = config[key]
    for argument in ("in_channels", "channels", "strides", "num_res_units", "kernel_size"):
        for value in (10**8, -1, "x", [10**6] * 5, [1] * 5000, {"a": 1}, "$__import__('os')"):
            changed = {**config, key: {**network, argument: value}}
            yield f"{argument} {str(value)[:20]}", file, changed
    for target in ("os.system", "builtins.eval", "torch.load", "monai.networks.nets.X", "", None):
        yield f"target {target!r}", file, {**config, key: {**network, "_target_": target}}
    swin = {"_target_": "UNETR", "in_channels": 1, "out_channels": 2, "img_size": [60_000] * 3}
    yield "a large image", file, {**config, key: swin}
    for place in ("preprocessing", "inferer", "postprocessing", key):
        for value in (1, "x", [1], {}, [{}] * 3000, "$eval('1')", "@nowhere", {"_target_": "X"}):
            yield f"{place} {str(value)[:20]}", file, {**config, place: value}
    for size in ([10**6] * 3, ["a"] * 3, [1.5, 1, 1], [1, 2], {"a": 1}):
        window = {"_target_": "SlidingWindowInferer", "roi_size": size}
        yield f"roi_size {size}", file, {**config, "inferer": window}


def _yaml() -> Iterator[tuple[str, str, bytes]]:
    file = "configs/inference.yaml"
    lists = "\n".join(f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 9)}]" for i in range(1, 10))
    yield "aliases that grow", file, f"x0: &x0 [1]\n{lists}\n".encode()
    merges = "\n".join(f"x{i}: &x{i}\n  <<: [*x{i - 1}, *x{i - 1}]" for i in range(1, 40))
    yield "merges that grow", file, f"x0: &x0 {{a: 1}}\n{merges}\n".encode()
    yield "an alias of itself", file, b"a: &a [*a]\n"
    yield "a tag", file, b"a: !!python/object/apply:os.system ['true']\n"
    yield "a date", file, b"a: 2001-99-99\n"
    yield "a long number", file, b"a: " + b"9" * 5000 + b"\n"
    yield "deep", file, b"[" * 5000 + b"]" * 5000
    yield "tabs", file, b"a:\n\t- b\n"
    yield "large", file, b"# " + b"x" * 200_000
    yield "two documents", file, b"a: 1\n---\nb: 2\n"


def _graphs() -> Iterator[tuple[str, bytes]]:
    from helpers.ivadomed_models import make_onnx
    from onnx import TensorProto, helper, load_model_from_string

    def changed(change: Callable[[Any], Any]) -> bytes:
        model = load_model_from_string(make_onnx(opset=17))
        change(model)
        return bytes(model.SerializeToString())

    def external(model: Any) -> None:
        weight = model.graph.initializer[0]
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        weight.external_data.add(key="location", value="/etc/passwd")

    def hidden(model: Any) -> None:
        value = TensorProto(name="c", dims=[1], data_type=1, data_location=TensorProto.EXTERNAL)
        value.external_data.add(key="location", value="../m.json")
        model.graph.node.add(op_type="Constant", output=["c"]).attribute.add(
            name="value", type=4, t=value
        )

    def loop(model: Any) -> None:
        body = helper.make_graph([], "body", [], [])
        model.graph.node.append(helper.make_node("Loop", ["", ""], ["o"], body=body))

    yield "weights elsewhere", changed(external)
    yield "a constant elsewhere", changed(hidden)
    yield "a loop", changed(loop)
    yield "another domain", changed(lambda m: m.opset_import.add(domain="evil", version=1))
    yield "no nodes", changed(lambda m: m.ClearField("graph"))
    yield "an unknown operator", changed(lambda m: setattr(m.graph.node[0], "op_type", "Evil\x1b"))
    yield "two classes", make_onnx(classes=2, opset=17)
    yield "three axes", make_onnx(axes=3, opset=17)
    yield "another size", make_onnx(opset=17, shape=(1, 1, 48, 48))
