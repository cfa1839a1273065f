"""Fault 10: everything that is parsed has a limit, and the message says which."""

from __future__ import annotations

import json
import os
import random
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from campaigns import pickles
from deepseg_export.errors import CheckpointError, UnsupportedError
from deepseg_export.families.monai.config import resolve
from deepseg_export.reading import archive, containers
from deepseg_export.reading.archive import opened_model
from deepseg_export.reading.checkpoint import load_checkpoint
from deepseg_export.reading.documents import MAX_JSON_BYTES, read_json, read_yaml
from deepseg_export.reading.limits import (
    MAX_DEPTH,
    MAX_VALUES,
    check_file,
    check_numbers,
    check_patch,
    check_tree,
)
from deepseg_export.reading.records import Record
from deepseg_export.reading.weights import MAX_LAYERS, no_larger_than
from helpers import torch_files as files


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint.pth"


def save(path: Path, pickled: bytes, **storages: bytes) -> Path:
    path.write_bytes(pickles.archive(pickled, storages or None))
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Path.mkdir, "is a folder; a file is needed"),
        (os.mkfifo, "is a pipe, socket or device; a file is needed"),
        (lambda path: path.symlink_to("/dev/zero"), "is a pipe, socket or device"),
        (lambda path: path.symlink_to(path.name), "cannot be read: .*symbolic links"),
        (lambda path: None, "does not exist; a file is needed"),
        (lambda path: path.write_bytes(bytes(11)), "more than the 10 bytes that are read"),
    ],
)
def test_only_plain_files_are_opened(path, make, message):
    make(path)
    with pytest.raises(CheckpointError, match=message):
        check_file(path, 10)
    with pytest.raises(CheckpointError, match=r"checkpoint\.pth"):
        load_checkpoint(path)


def test_a_pipe_in_the_place_of_an_archive_is_not_opened(path):
    os.mkfifo(path)
    with (
        pytest.raises(CheckpointError, match="is a pipe"),
        opened_model((path,), lambda name: True),
    ):
        pass


def test_a_document_of_gigabytes_is_not_read(tmp_path):
    file = tmp_path / "plans.json"
    with file.open("wb") as opened:
        opened.truncate(20 * 1024**3)
    with pytest.raises(CheckpointError, match=f"more than the {MAX_JSON_BYTES} bytes"):
        read_json(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a":' * 101 + "1" + "}" * 101, f"deeper than {MAX_DEPTH} levels"),
        ("[" * 100_000 + "]" * 100_000, "cannot be read: .*recursion"),
        ('{"a": ' + "9" * 100 + "}", "a number beyond"),
        ('{"a": [' + "0," * MAX_VALUES + "0]}", f"more than {MAX_VALUES} values"),
    ],
    ids=["deep", "deeper", "large", "many"],
)
def test_json(tmp_path, text, message):
    file = tmp_path / "plans.json"
    file.write_text(text)
    with pytest.raises(CheckpointError, match=message):
        read_json(file)


@pytest.mark.parametrize("merged", [False, True], ids=["lists", "merges"])
def test_aliases_that_expand(tmp_path, merged):
    pytest.importorskip("yaml")
    lines = ["x0: &x0 {a: 1}"]
    for i in range(1, 40):
        both = f"[*x{i - 1}, *x{i - 1}]"
        lines.append(f"x{i}: &x{i} {{<<: {both}}}" if merged else f"x{i}: &x{i} {both}")
    file = tmp_path / "inference.yaml"
    file.write_text("\n".join(lines[:5]))
    assert "x4" in read_yaml(file)
    file.write_text("\n".join(lines))
    with pytest.raises(CheckpointError, match=f"more than {MAX_VALUES} values when its references"):
        read_yaml(file)


def test_references_that_expand():
    levels: dict[str, Any] = {f"x{i}": [f"@x{i + 1}"] * 9 for i in range(9)}
    with pytest.raises(CheckpointError, match="more than 100000 values when its references"):
        resolve({**levels, "x9": "x"}, "@x0")
    assert resolve({**levels, "x9": "x"}, "@x7") == [["x"] * 9] * 9
    chain = {f"x{i}": f"@x{i + 1}" for i in range(40)}
    with pytest.raises(CheckpointError, match="more than 32 steps"):
        resolve(chain, "@x0")


def test_values_that_are_in_several_places_count_each_time(path):
    shared: Any = [0]
    for _ in range(15):
        shared = [shared, shared]
    check_tree(shared, path)
    for _ in range(20):
        shared = [shared, shared]
    with pytest.raises(CheckpointError, match=f"more than {MAX_VALUES} values"):
        check_tree(shared, path)


def test_a_checkpoint_that_inflates(path, monkeypatch):
    monkeypatch.setattr(archive, "_RATIO_MATTERS_ABOVE", 1000)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a/data.pkl", b"\x80\x02}.")
        file.writestr("a/data/0", bytes(100_000))
    with pytest.raises(CheckpointError, match="100004 bytes, over 4 times its own size"):
        load_checkpoint(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", b"\x80\x02}.")
        file.writestr("a/data/0", bytes(100_000))
    assert load_checkpoint(path) == {}


def test_archives_of_too_many_members(path, monkeypatch):
    with zipfile.ZipFile(path, "w") as file:
        for i in range(20):
            file.writestr(f"a/{i}", b"")
    monkeypatch.setattr(archive, "MAX_MEMBERS", 19)
    with pytest.raises(CheckpointError, match="more than 19 members"):
        load_checkpoint(path)
    monkeypatch.setattr(archive, "MAX_DIRECTORY_BYTES", 100)
    with pytest.raises(CheckpointError, match="in more than 100 bytes"):
        load_checkpoint(path)


def test_a_tar_is_not_unpacked(path):
    path.write_bytes(b"storages".ljust(257, b"\0") + b"ustar\x0000" + bytes(1000))
    with pytest.raises(CheckpointError, match="is a tar file, as torch wrote before 2017"):
        load_checkpoint(path)


def test_a_pickle_of_too_many_instructions(path, monkeypatch):
    monkeypatch.setattr(containers, "MAX_READS", 100)
    with pytest.raises(CheckpointError, match="more than 100 pieces"):
        load_checkpoint(save(path, b"\x80\x02" + b"N0" * 100 + b"N."))


BOMBS = {name: pickled for name, pickled in pickles.bombs() if name != "surrogates"}


@pytest.mark.parametrize("name", BOMBS)
def test_pickles_that_take_time_or_memory(path, name):
    for content in (pickles.archive(BOMBS[name]), BOMBS[name]):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"checkpoint\.pth"):
            load_checkpoint(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("beyond", "reaches beyond what is stored"),
        ("repeated", "reaches beyond what is stored"),
        ("huge", "bytes of weights are named, 64 are there"),
    ],
)
def test_tensors_are_no_larger_than_what_is_stored(path, name, message):
    value = dict(pickles.values())[name]
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(save(path, pickles.dictionary(weights=value)))


def test_a_tensor_may_be_any_view_of_what_is_stored(path):
    stored = pickles.storage(pickles.text("0"), 6)
    value = pickles.tensor(stored, 1, pickles.row(2, 2), pickles.row(1, 2))
    data = np.arange(6, dtype="f4").tobytes()
    loaded = load_checkpoint(save(path, pickles.dictionary(a=value), **{"0": data}))
    assert loaded["a"].tolist() == [[1, 3], [2, 4]]


def test_nothing_that_a_pickle_names_is_called(path):
    for module, name in pickles.GLOBALS:
        call = pickles.called(module, name, pickles.text("true"))
        save(path, pickles.dictionary(a=call))
        if "\n" in name or len(name) > 1000:
            with pytest.raises(CheckpointError):
                load_checkpoint(path)
            continue
        record = load_checkpoint(path)["a"]
        assert isinstance(record, Record)
        assert record.arguments == ("true",)
        assert repr(record).isprintable()
        assert len(repr(record)) <= 100


@pytest.mark.parametrize("seed", range(5))
def test_changed_bytes_are_an_error_of_one_kind_or_a_dictionary(path, seed):
    """Nothing but `CheckpointError` comes of a changed file."""
    rng = random.Random(seed)
    for legacy in (False, True):
        weights = {"a": files.tensor(np.arange(6, dtype="f4"))}
        content = {"network_weights": weights, "name": "x", "sizes": (1, 2)}
        good = files.save(path, content, legacy=legacy).read_bytes()
        for _ in range(100):
            data = bytearray(good)
            for _ in range(rng.randint(1, 4)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            path.write_bytes(data)
            with suppress(CheckpointError):
                assert isinstance(load_checkpoint(path), dict)


def test_numbers_of_a_network():
    check_numbers({"features": [32, 64], "ratio": 0.5, "name": "x"})
    for value, message in (
        ({"n_conv_per_stage": [2, 10**8]}, "n_conv_per_stage is 1e"),
        ({"a": {"kernel_sizes": [[3, 3, 1e9]]}}, "kernel_sizes is 1e"),
        ({"features": [1] * 2000}, "features has 2000 items; 1024 are the most"),
    ):
        with pytest.raises(UnsupportedError, match=message):
            check_numbers(value)
    check_patch([None, 512, 512])
    with pytest.raises(UnsupportedError, match="a patch of 1024 x 1024 x 1024 has more than"):
        check_patch([1024] * 3)


@pytest.mark.export
@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda nn: nn.Sequential(*[nn.ReLU() for _ in range(MAX_LAYERS + 1)]), "layers"),
        (lambda nn: nn.Linear(10_000, 10_000), "bytes of weights, the file fewer"),
        (lambda nn: nn.BatchNorm2d(10**8), "bytes of weights, the file fewer"),
    ],
)
def test_a_network_is_stopped_while_it_is_built(build: Callable[[Any], Any], message: str):
    torch = pytest.importorskip("torch")
    with pytest.raises(UnsupportedError, match=message), no_larger_than({"a": np.zeros(10)}):
        build(torch.nn)
    with no_larger_than({"a": np.zeros(10)}):
        assert torch.nn.Linear(3, 3)(torch.zeros(3)).shape == (3,)
    assert torch.nn.Linear(3000, 3000).weight.numel() == 9_000_000  # allowed again


@pytest.mark.export
def test_a_plan_of_many_convolutions_is_refused(make_model):
    """Fault 10: ``n_conv`` of 10^8 is refused, and what lies below every bound is not built."""
    pytest.importorskip("torch")
    from deepseg_export.families.nnunet import Options, load

    folder = make_model()
    plans = json.loads((folder / "plans.json").read_text())
    arguments = plans["configurations"]["2d"]["architecture"]["arch_kwargs"]
    for value, message in (
        (10**8, "n_conv_per_stage is 1e"),
        (60_000, "60002 blocks are no U-Net"),
    ):
        arguments["n_conv_per_stage"] = [value, 1, 1]
        (folder / "plans.json").write_text(json.dumps(plans))
        with pytest.raises(UnsupportedError, match=message):
            load(folder, Options())
