"""Checkpoints become arrays, plain values and records, without torch."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deepseg_export.errors import CheckpointError
from deepseg_export.families.monai.weights import read_weights
from deepseg_export.families.nnunet.trained import read_trained
from deepseg_export.reading.checkpoint import file_sha256, load_checkpoint, read_saved
from deepseg_export.reading.records import Record, record_parts
from helpers import torch_files as files
from helpers.torch_files import Called, Named

both = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "before-1.6"])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint.pth"


def same(found: Any, expected: Any) -> None:
    """Check that an array has the type, shape and bytes of another one."""
    expected = np.asarray(expected)
    assert isinstance(found, np.ndarray)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert found.tobytes() == expected.tobytes()


@both
@pytest.mark.parametrize("name", files.KINDS)
@pytest.mark.parametrize("shape", [(2, 3, 4), (7,), (), (0, 3)])
def test_tensors_of_every_type(path, rng, name, shape, legacy):
    array = rng.integers(0, 2**8, (*shape, 16), np.uint8)[..., : np.dtype(name).itemsize]
    array = np.ascontiguousarray(array).view(name)[..., 0] if name != "bool" else array[..., 0] > 99
    read = load_checkpoint(files.save(path, {"a": files.tensor(array)}, legacy=legacy))
    same(read["a"], array)


@both
def test_bfloat16_becomes_float32_exactly(path, legacy):
    numbers = np.array([1, -2.5, 2.0**-133, 3.389e38, np.inf, -np.inf, np.nan, 0, -0.0], "f4")
    numbers = (numbers.view("u4") & 0xFFFF0000).view("f4")
    source = files.bfloat16(numbers)
    content = {"all": files.view(source, (9,), (1,)), "some": files.view(source, (2, 2), (1, 3), 1)}
    read = load_checkpoint(files.save(path, content, legacy=legacy))
    same(read["all"], numbers)
    same(read["some"], numbers[[[1, 4], [2, 5]]])
    assert np.shares_memory(read["all"], read["some"])


@pytest.mark.parametrize("name", ["uint16", "uint32", "uint64"])
def test_types_without_a_class_of_storages(path, name):
    array = np.array([[1, 2], [3, np.iinfo(name).max]], name)
    same(load_checkpoint(files.save(path, {"a": files.typed(array)}))["a"], array)


@both
def test_views_share_what_is_stored(path, legacy):
    source = files.storage(np.arange(24, dtype="f4"))
    content = {
        "whole": files.view(source, (2, 12), (12, 1)),
        "offset": files.view(source, (3,), (1,), 21),
        "transposed": files.view(source, (12, 2), (1, 12)),
        "every second": files.view(source, (4,), (2,), 1),
        "again": files.view(source, (2, 12), (12, 1)),
    }
    read = load_checkpoint(files.save(path, content, legacy=legacy))
    numbers = np.arange(24, dtype="f4")
    same(read["whole"], numbers.reshape(2, 12))
    same(read["offset"], numbers[21:])
    same(read["transposed"], numbers.reshape(2, 12).T)
    same(read["every second"], numbers[1:9:2])
    assert all(np.shares_memory(read["whole"], each) for each in read.values())


def test_storages_that_are_parts_of_others(path):
    whole = files.storage(np.arange(10, dtype="i8"))
    content = {
        "part": files.view(files.View(whole, 4, 3), (3,), (1,)),
        "whole": files.view(whole, (10,), (1,)),
    }
    read = load_checkpoint(files.save(path, content, legacy=True))
    assert read["part"].tolist() == [4, 5, 6]
    assert np.shares_memory(read["part"], read["whole"])
    content["part"] = files.view(files.View(whole, 9, 3), (3,), (1,))
    with pytest.raises(CheckpointError, match="reaches beyond another one"):
        load_checkpoint(files.save(path, content, legacy=True))


@both
def test_states_parameters_and_what_optimizers_leave(path, legacy):
    state = OrderedDict([("w", files.parameter(files.tensor(np.ones((2, 2), "f4")))), ("n", 3)])
    moments = {"step": files.tensor(np.float32(7)), "exp_avg": files.tensor(np.zeros(3, "f4"))}
    content = {
        "state_dict": state,
        "optimizer_states": [{"state": {0: moments}, "param_groups": [{"betas": (0.9, 0.99)}]}],
        "epoch": 12,
        "size": Called(Named("torch", "Size"), ([1, 2],)),
        "device": Called(Named("torch", "device"), ("cuda", 0)),
        "best": {"a", 1},
        "nothing": None,
        "number": 1 + 2j,
    }
    read = load_checkpoint(files.save(path, content, legacy=legacy))
    assert list(read["state_dict"]) == ["w", "n"]
    same(read["state_dict"]["w"], np.ones((2, 2), "f4"))
    (optimizer,) = read["optimizer_states"]
    assert optimizer["state"][0]["step"] == 7
    assert optimizer["param_groups"] == [{"betas": (0.9, 0.99)}]
    assert (read["epoch"], read["size"], read["device"]) == (12, (1, 2), "cuda:0")
    assert (read["best"], read["nothing"], read["number"]) == ({"a", 1}, None, 1 + 2j)


@both
def test_numbers_and_arrays_of_numpy(path, legacy):
    arrays = [
        *(np.arange(6).reshape(2, 3), np.asfortranarray(np.arange(6.0).reshape(2, 3))),
        *(np.array(5, "i2"), np.zeros((0, 2)), np.array([1, 2], ">f4"), np.array([True, False])),
    ]
    scalars = [np.bool_(True), *(np.dtype(code).type(3) for code in "bBhHiIlLqQefdg")]
    content = {"arrays": arrays, "scalars": scalars, np.int64(4): "key"}
    read = load_checkpoint(files.save(path, content, legacy=legacy))
    for found, expected in zip(read["arrays"], arrays, strict=True):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype.newbyteorder("=")
        assert found.flags.f_contiguous == expected.flags.f_contiguous
    assert read["scalars"] == scalars
    assert [value.dtype for value in read["scalars"]] == [value.dtype for value in scalars]
    assert read[4] == "key"


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_either_numpy_may_have_written(path, module):
    kind = Called(Named("numpy", "dtype"), ("f8", False, True), (3, "<", None, None, None, -1))
    number = Called(Named(module, "scalar"), (kind, np.float64(0.7).tobytes()))
    empty = Called(
        Named(module, "_reconstruct"),
        (Named("numpy", "ndarray"), (0,), b"b"),
        (1, (2,), kind, False, np.array([1.0, 2.0]).tobytes()),
    )
    read = load_checkpoint(files.save(path, {"number": number, "array": empty}))
    assert read["number"] == 0.7
    assert read["array"].tolist() == [1, 2]


def test_other_arrays_of_numpy_stay_records(path):
    for array in (np.array(["text"]), np.array([{}], object), np.zeros(2, "f4,i2")):
        read = load_checkpoint(files.save(path, {"a": array}))["a"]
        assert (read.dtype, read.shape) == (object, ())
        assert read.item().name == "numpy.ndarray"
        assert read.item().state[1] == array.shape
    read = load_checkpoint(files.save(path, {"a": np.str_("text"), "b": np.datetime64(3, "s")}))
    assert [value.name for value in read.values()] == ["numpy._core.multiarray.scalar"] * 2


@pytest.mark.parametrize(
    "state",
    [
        None,
        (1, (2,), "f8", False),
        (1, (3,), None, False, bytes(16)),
        (1, (-1, -2), None, False, bytes(16)),
        (1, [2], None, False, bytes(16)),
        (1, (2,), None, False, [1.0, 2.0]),
        (1, (2**40, 2**40), None, False, bytes(16)),
    ],
)
def test_arrays_of_numpy_have_the_bytes_that_they_say(path, state):
    kind = Called(Named("numpy", "dtype"), ("f8", False, True))
    if state is not None:
        state = tuple(kind if part is None else part for part in state)
    named = Named("numpy._core.multiarray", "_reconstruct")
    array = Called(named, (Named("numpy", "ndarray"), (0,), b"b"), state)
    files.save(path, {"a": array})
    if state is None or state[2] == "f8":
        read = load_checkpoint(path) if state is None else {}
        assert read == {} or read["a"].size == 0
        return
    with pytest.raises(CheckpointError, match="an array"):
        load_checkpoint(path)


@both
def test_what_a_pickle_names_becomes_a_record(path, legacy):
    made = files.instance(
        "trainers.of.somebody", "Settings", {"rate": 0.1, "other": Named("a", "b")}
    )
    content = {
        "instance": made,
        "call": Called(Named("os", "system"), ("true",)),
        "class": Named("torch.nn.modules.conv", "Conv2d"),
        Named("torch", "float32"): "a type as a key",
        "twice": [made, made],
    }
    read = load_checkpoint(files.save(path, content, legacy=legacy))
    instance, call, named = read["instance"], read["call"], read["class"]
    assert (instance.name, instance.arguments) == ("trainers.of.somebody.Settings", ())
    assert instance.state["rate"] == 0.1
    assert instance.state["other"].name == "a.b"
    assert (call.name, call.arguments, call.state) == ("os.system", ("true",), None)
    assert (named.name, named.arguments) == ("torch.nn.modules.conv.Conv2d", None)
    assert read["twice"] == [instance, instance]
    assert "torch.float32" in [key.name for key in read if isinstance(key, Record)]
    assert list(record_parts(call)) == [("true",), None]


def test_records_show_their_names_alone():
    record = Record("a\x1b[2J\n" + "x" * 500, ("secret",))
    assert repr(record).startswith("a\\x1b[2J\\nxxx")
    assert len(repr(record)) == 100


def test_tensors_of_kinds_that_numpy_does_not_know_stay_records(path):
    plain = files.Storage("UntypedStorage", bytes(4), 4)
    typed = Called(
        Named("torch._utils", "_rebuild_tensor_v3"),
        (plain, 0, (4,), (1,), False, OrderedDict(), Named("torch", "float8_e4m3fn")),
    )
    sparse = Called(Named("torch._utils", "_rebuild_sparse_tensor"), ("layout", ()))
    read = load_checkpoint(files.save(path, {"typed": typed, "sparse": sparse}))
    assert read["typed"].name == "torch._utils._rebuild_tensor_v3"
    assert read["sparse"].name == "torch._utils._rebuild_sparse_tensor"
    same(read["typed"].arguments[0], np.zeros(4, np.uint8))
    unknown = files.view(files.Storage("QInt8Storage", bytes(4), 4), (4,), (1,))
    with pytest.raises(CheckpointError, match=r"of no known type: torch\.QInt8Storage"):
        load_checkpoint(files.save(path, {"a": unknown}))


def test_weights_of_a_zip_are_maps_of_the_file(path, tmp_path):
    array = np.arange(1000, dtype="f4")
    files.save(path, {"a": files.tensor(array)})
    read = load_checkpoint(path)["a"]
    assert not read.flags.writeable
    assert not read.flags.owndata
    path.unlink()
    same(read, array)
    packed = files.zip_bytes({"a": files.tensor(array)}, method=zipfile.ZIP_DEFLATED)
    path.write_bytes(packed)
    same(load_checkpoint(path)["a"], array)


@both
def test_weights_that_were_damaged_are_refused(path, legacy):
    array = np.arange(1000, dtype="f4")
    data = bytearray(files.save(path, {"a": files.tensor(array)}, legacy=legacy).read_bytes())
    start = data.index(array[500:510].tobytes())
    data[start] ^= 1
    path.write_bytes(data)
    if legacy:  # it has no checksums
        assert load_checkpoint(path)["a"].size == 1000
        return
    with pytest.raises(CheckpointError, match="Bad CRC-32"):
        load_checkpoint(path)


def test_the_old_container_has_all_that_it_names(path):
    content = {"a": files.tensor(np.ones(4, "f4")), "b": files.tensor(np.ones(2, "f8"))}
    data = files.legacy_bytes(content)
    assert len(load_checkpoint(files.save(path, content, legacy=True))) == 2
    changes = (
        ("within the weights", data[:-1]),
        ("another length", data[:-24] + b"\x03" + data[-23:]),
        ("too early|within", data[: len(data) // 2]),
        ("no file of torch.save", data.replace(b"\x6c\xfc\x9c\x46", b"\x6c\xfc\x9c\x47", 1)),
    )
    for message, changed in changes:
        path.write_bytes(changed)
        with pytest.raises(CheckpointError, match=message):
            load_checkpoint(path)


def test_names_of_storages_are_texts(path):
    """A hash of what is nested 200,000 times takes more than the stack has."""
    data = files.legacy_bytes({"a": files.tensor(np.ones(4, "f4"))})
    keys = pickle.dumps(["0"], protocol=2)
    deep = b"\x80\x02])" + b"\x85" * 200_000 + b"a."
    for changed in (data.replace(keys, deep), data.replace(keys, pickle.dumps([0], protocol=2))):
        assert changed != data
        path.write_bytes(changed)
        with pytest.raises(CheckpointError, match="a name that is no text"):
            load_checkpoint(path)


def test_messages_about_zips_are_short(path):
    data = files.zip_bytes({"a": files.tensor(np.ones(4, "f4"))})
    place = data.index(b"archive/data/0") - 4
    path.write_bytes(data[:place] + b"\xff\xff" + data[place + 2 :])
    with pytest.raises(CheckpointError, match="not a readable zip file") as caught:
        load_checkpoint(path)
    assert len(str(caught.value)) < len(str(path)) + 200


@pytest.mark.parametrize(
    "keys",
    [
        [(i, i) for i in range(10_001)],
        [2**61 - 1],
        [tuple(range(17))],
        [((1, 2), 3)],
    ],
    ids=["tuples", "numbers", "long", "nested"],
)
def test_keys_are_quickly_found(path, keys):
    """Hashes of numbers can be chosen, and a dictionary of many equal ones would take hours."""
    with pytest.raises(CheckpointError, match=r"a key is neither|keys are too many"):
        load_checkpoint(files.save(path, {"a": dict.fromkeys(keys)}))
    assert load_checkpoint(files.save(path, {(1, "a"): 1, 2**60: 2})) == {(1, "a"): 1, 2**60: 2}


@both
def test_families_leave_alone_what_they_do_not_need(path, legacy):
    weights = {"w": files.tensor(np.ones(2, "f4"))}
    foreign = [Evil(path.parent / "made"), files.instance("trainers.of.somebody", "Log", {"a": 1})]
    content = {"network_weights": weights, "state_dict": weights, "logging": foreign}
    files.save(path, content, legacy=legacy)
    trained = read_trained(path, "nnUNetTrainer__nnUNetPlans__2d")
    for found in (trained.weights, read_weights(path)):
        assert list(found) == ["w"]
        same(found["w"], np.ones(2, "f4"))
    weights["foreign"] = foreign[1]
    files.save(path, content, legacy=legacy)
    with pytest.raises(CheckpointError, match="holds no weights of a network"):
        read_weights(path)


def test_weights_of_programs_are_read(path):
    layer = files.instance("__torch__.nets", "Layer", {"w": files.tensor(np.ones(2)), "n": 1})
    files.save(path, files.instance("__torch__.nets", "Net", {"a": layer, "b": layer, "c": [1]}))
    assert {key: value.tolist() for key, value in read_weights(path).items()} == {
        "a.w": [1, 1],
        "b.w": [1, 1],
    }


def test_records_may_hold_themselves(path):
    """Nobody follows the records that are of no interest, and those that are followed are few."""
    loop = files.instance("a", "Loop", {})
    loop.state["self"] = loop
    read = load_checkpoint(files.save(path, {"loop": loop, "a": files.tensor(np.ones(1))}))
    assert read["loop"].state["self"] is read["loop"]
    same(read["a"], np.ones(1))


def test_reading_needs_neither_torch_nor_onnx(path):
    files.save(path, {"a": files.tensor(np.ones(2))})
    script = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(('torch', 'onnx', 'onnxruntime')))\n"
        "from pathlib import Path\n"
        "from deepseg_export.reading.checkpoint import read_saved\n"
        "print(read_saved(Path(sys.argv[1]))['a'].tolist())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[1.0, 1.0]\n"


class Evil:
    """Makes a folder when unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


class EvilExpression:
    """Evaluates an expression when unpickled."""

    def __init__(self, folder: Path) -> None:
        self.expression = f"__import__('os').mkdir({str(folder)!r})"

    def __reduce__(self) -> Any:
        return eval, (self.expression,)


@both
@pytest.mark.parametrize(
    ("kind", "named"), [(Evil, r"(posix|nt)\.mkdir"), (EvilExpression, r"builtins\.eval")]
)
def test_code_is_not_run(path, tmp_path, kind, named, legacy):
    content = {"logging": kind(tmp_path / "made")}
    record = load_checkpoint(files.save(path, content, legacy=legacy))["logging"]
    assert re.fullmatch(named, record.name)
    assert not (tmp_path / "made").exists()
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(CheckpointError):
        load_checkpoint(path)
    pickle.loads(pickle.dumps(content))  # which runs it
    assert (tmp_path / "made").exists()


@both
@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_files_that_were_cut_short(path, keep, legacy):
    content = {"weights": files.tensor(np.ones(50, "f4")), "log": [np.float64(0.5)] * 20}
    data = files.save(path, content, legacy=legacy).read_bytes()
    path.write_bytes(data[: keep if isinstance(keep, int) else int(len(data) * keep)])
    with pytest.raises(CheckpointError, match="get it again") as refusal:
        load_checkpoint(path)
    assert "\n" not in str(refusal.value)


def test_sha256(path):
    path.write_bytes(b"abc" * 1_000_000)
    assert file_sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_is_no_dictionary_is_no_checkpoint(path):
    path.write_text("<html>404</html>")
    with pytest.raises(CheckpointError, match="get it again"):
        load_checkpoint(path)
    for content, shown in ((files.tensor(np.ones(1)), "ndarray"), ([1], "list")):
        with pytest.raises(CheckpointError, match=f"holds a {shown}"):
            load_checkpoint(files.save(path, content))
    script = files.instance("__torch__.nets", "Net", {"w": files.tensor(np.ones(1))})
    files.save(path, script)
    assert read_saved(path).state["w"].tolist() == [1]
    with pytest.raises(CheckpointError, match="TorchScript"):
        load_checkpoint(path)
