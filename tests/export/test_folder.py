"""Finding models in folders and archives, and their folds."""

from __future__ import annotations

import json
import os
import stat
import zipfile
from typing import Any

import pytest
from deepseg_export.errors import CheckpointError
from deepseg_export.families.nnunet import Options, load
from deepseg_export.reading import archive
from helpers.nnunet_models import write_zip

from deepseg_lite.errors import OptionError

torch = pytest.importorskip("torch")
pytest.importorskip("dynamic_network_architectures")
pytestmark = pytest.mark.export


def folds_of(model: Any, **options: Any) -> list[str]:
    return list(load(model, Options(**options)).networks)


@pytest.mark.parametrize("levels", [1, 3])
def test_folder_above_the_model(make_model, tmp_path, levels):
    make_model(root=tmp_path.joinpath("top", *"abc"[: levels - 1]))
    assert folds_of(tmp_path / "top") == ["0"]


@pytest.mark.parametrize("wrapper", ["", "Dataset042_Tiny/", "a/b/"])
def test_zip_of_a_model(make_model, tmp_path, wrapper):
    archive_file = write_zip(tmp_path / "model.zip", make_model(folds=("0", "1")), wrapper)
    checkpoint = load(archive_file, Options())
    assert list(checkpoint.networks) == ["0", "1"]
    assert "fold_0/checkpoint_final.pth" in checkpoint.manifest["source"]["files"]


def test_zip_without_a_model_folder_is_named_after_itself(make_model, tmp_path):
    model = make_model(without=("dataset_name",))
    with zipfile.ZipFile(tmp_path / "release7.zip", "w") as file:
        for path in model.rglob("*.*"):
            file.write(path, path.relative_to(model).as_posix())
        file.writestr("__MACOSX/fold_0/._plans.json", b"junk")
    assert load(tmp_path / "release7.zip", Options()).manifest["name"] == "release7"


def test_several_models_are_listed(make_model, tmp_path):
    make_model(name="a__p__2d", root=tmp_path / "top")
    make_model(name="b__p__2d", root=tmp_path / "top" / "deeper")
    with pytest.raises(CheckpointError, match="2 models: a__p__2d, deeper/b__p__2d"):
        load(tmp_path / "top", Options())


def test_no_model(make_model, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="no trained nnU-Net v2 model"):
        load(tmp_path / "empty", Options())
    with pytest.raises(CheckpointError, match="does not exist"):
        load(tmp_path / "nowhere", Options())
    model = make_model()
    (model / "dataset.json").unlink()
    with pytest.raises(CheckpointError, match=r"lacks dataset\.json"):
        load(model, Options())


@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_damaged_json(make_model, text):
    model = make_model()
    (model / "plans.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"plans\.json"):
        load(model, Options())


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04broken"])
def test_file_that_is_no_zip(tmp_path, content):
    (tmp_path / "model.zip").write_bytes(content)
    with pytest.raises(CheckpointError, match="zip"):
        load(tmp_path / "model.zip", Options())


def test_damaged_zip(make_model, tmp_path):
    file = write_zip(tmp_path / "model.zip", make_model())
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match="zip"):
        load(file, Options())
    file.write_bytes(data[:-100])
    with pytest.raises(CheckpointError, match="zip"):
        load(file, Options())


@pytest.mark.parametrize("name", ["../evil.json", "/evil.json", "a/../../evil.json", "C:/evil"])
def test_zip_with_paths_outside_is_refused(tmp_path, name):
    (tmp_path / "in").mkdir()
    with zipfile.ZipFile(tmp_path / "in" / "model.zip", "w") as file:
        file.writestr(name, b"evil")
    with pytest.raises(CheckpointError, match="outside the archive"):
        load(tmp_path / "in" / "model.zip", Options())
    assert not list(tmp_path.rglob("evil*"))


def test_zip_with_links_is_refused(tmp_path):
    link = zipfile.ZipInfo("fold_0/checkpoint_final.pth")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as file:
        file.writestr(link, "/etc/passwd")
    with pytest.raises(CheckpointError, match="symbolic link"):
        load(tmp_path / "model.zip", Options())


def test_zip_bombs_are_refused(make_model, tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("fold_0/checkpoint_final.pth", bytes(archive._RATIO_MATTERS_ABOVE + 1))
    with pytest.raises(CheckpointError, match="times its own size"):
        load(tmp_path / "bomb.zip", Options())
    model = write_zip(tmp_path / "model.zip", make_model())
    with zipfile.ZipFile(model) as file, pytest.raises(CheckpointError, match="more than the 1000"):
        archive.checked_members(model, file, max_bytes=1000)


def test_unpacked_files_are_removed(make_model, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    file = write_zip(tmp_path / "model.zip", make_model())
    load(file, Options())
    with pytest.raises(OptionError):
        load(file, Options(folds=["7"]))
    assert os.listdir(tmp_path / "tmp") == []


@pytest.mark.parametrize(
    ("there", "asked", "expected"),
    [
        (("0", "1", "2", "3", "4"), None, ["0", "1", "2", "3", "4"]),
        (("10", "2"), None, ["2", "10"]),
        (("all", "0", "1"), None, ["0", "1"]),
        (("all",), None, ["all"]),
        (("all", "0", "1"), ["all"], ["all"]),
        (("0", "1"), ["all"], ["0", "1"]),
        (("0", "1", "2"), ["2", "0"], ["2", "0"]),
        (("0", "1"), ["1", "1"], ["1"]),
        (("all", "0"), ["0", "all"], ["0", "all"]),
    ],
)
def test_folds(make_model, there, asked, expected):
    assert folds_of(make_model(folds=there), folds=asked) == expected


@pytest.mark.parametrize("asked", [["5"], ["0", "5"], ["x"], []])
def test_folds_that_are_not_there(make_model, asked):
    with pytest.raises(OptionError, match="it has 0, 1, all"):
        load(make_model(folds=("0", "1", "all")), Options(folds=asked))


def test_best_checkpoint_is_used_when_there_is_no_final_one(make_model, caplog):
    model = make_model(checkpoint="checkpoint_best.pth")
    manifest = load(model, Options()).manifest
    assert manifest["source"]["details"]["checkpoint"] == "checkpoint_best.pth"
    assert "using checkpoint_best.pth" in caplog.text


def test_checkpoint_named_by_the_user(make_model):
    model = make_model()
    final = model / "fold_0" / "checkpoint_final.pth"
    (model / "fold_0" / "checkpoint_latest.pth").write_bytes(final.read_bytes())
    manifest = load(model, Options(checkpoint="checkpoint_latest.pth")).manifest
    assert manifest["source"]["details"]["checkpoint"] == "checkpoint_latest.pth"
    with pytest.raises(CheckpointError, match="no fold with checkpoint_best"):
        load(model, Options(checkpoint="checkpoint_best.pth"))


def test_fold_folders_without_a_checkpoint_do_not_count(make_model):
    model = make_model()
    (model / "fold_1").mkdir()
    (model / "fold_0_old").mkdir()
    assert folds_of(model) == ["0"]
    assert json.loads((model / "plans.json").read_text())["plans_name"] == "nnUNetPlans"
