"""Several archives or folders of one model, laid onto one another."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from deepseg_export.errors import CheckpointError
from deepseg_export.families.nnunet import Options, load
from deepseg_export.families.nnunet.folder import is_wanted
from deepseg_export.reading.archive import check_zip, opened_model

LEVEL = "nnUNetTrainer__nnUNetPlans__3d_fullres"
FINAL = "checkpoint_final.pth"


def pack(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def unpack(path: Path, members: dict[str, bytes]) -> Path:
    for name, data in members.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def fold(number: int, plans: bytes = b"plans") -> dict[str, bytes]:
    return {"plans.json": plans, f"fold_{number}/{FINAL}": b"weights %d" % number}


def below(top: str, members: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{top}/{name}": data for name, data in members.items()}


def merged(*sources: Path) -> dict[str, bytes]:
    with opened_model(sources, is_wanted) as root:
        files = [file for file in root.rglob("*") if file.is_file()]
        return {file.relative_to(root).as_posix(): file.read_bytes() for file in files}


ALL = {"plans.json": b"plans", f"fold_0/{FINAL}": b"weights 0", f"fold_1/{FINAL}": b"weights 1"}


@pytest.mark.parametrize("make", [pack, unpack], ids=["zips", "folders"])
@pytest.mark.parametrize(
    ("tops", "expected"),
    [
        (("", ""), ALL),
        (("model_fold0", "model_fold1"), ALL),
        ((LEVEL, LEVEL), below(LEVEL, ALL)),
        ((f"a/{LEVEL}", f"b/{LEVEL}"), below(LEVEL, ALL)),
    ],
    ids=["flat", "own top folders", "trainer level", "own top folders above the trainer level"],
)
def test_one_top_folder_goes_unless_it_is_the_trainers(tmp_path, make, tops, expected, caplog):
    sources = [
        make(tmp_path / f"{i}.zip", below(top, fold(i)) if top else fold(i))
        for i, top in enumerate(tops)
    ]
    assert merged(*sources) == expected
    assert "another" not in caplog.text


def test_a_trained_model_folder_keeps_its_level(tmp_path):
    sources = [unpack(tmp_path / str(i) / LEVEL, fold(i)) for i in range(2)]
    assert merged(*sources) == below(LEVEL, ALL)


def test_folders_and_zips_mix(tmp_path):
    sources = (
        pack(tmp_path / "0.zip", below("model_fold0", fold(0))),
        unpack(tmp_path / "one", fold(1)),
    )
    assert merged(*sources) == ALL


def test_a_file_beside_the_top_folder_keeps_it(tmp_path):
    first = below(LEVEL, fold(0)) | {"crop_metadata.json": b"{}", "__MACOSX/x": b"junk"}
    second = below("wrapper", below(LEVEL, fold(1))) | {"__MACOSX/y": b"junk"}
    found = merged(pack(tmp_path / "0.zip", first), pack(tmp_path / "1.zip", second))
    assert found == below(LEVEL, ALL) | {"crop_metadata.json": b"{}"}


def test_later_ones_win_and_say_so(tmp_path, caplog):
    sources = [pack(tmp_path / f"{i}.zip", fold(i, b"plans %d" % i)) for i in range(2)]
    assert merged(*sources)["plans.json"] == b"plans 1"
    assert caplog.messages[-1] == ("1.zip has another plans.json than what came before; it is used")


def test_sources_stay_as_they_are(tmp_path):
    sources = [unpack(tmp_path / str(i), fold(i)) for i in range(2)]
    before = {file: file.read_bytes() for file in tmp_path.rglob("*.*")}
    merged(*sources)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*.*")} == before


def test_a_file_where_another_has_a_folder(tmp_path):
    first = pack(tmp_path / "0.zip", {"x/plans.json": b"", "dataset.json": b""})
    second = pack(tmp_path / "1.zip", {"x/plans.json/plans.json": b"", "dataset.json": b""})
    with pytest.raises(CheckpointError, match=r"1\.zip cannot be unpacked"):
        merged(first, second)


@pytest.mark.parametrize(
    ("name", "checkpoint", "wanted"),
    [
        ("a/plans.json", None, True),
        ("crop_metadata.json", None, True),
        ("m/fold_0/checkpoint_final.pth", None, True),
        ("m/fold_all/checkpoint_best.pth", None, True),
        ("m/fold_0/checkpoint_latest.pth", None, False),
        ("m/fold_0/checkpoint_latest.pth", "checkpoint_latest.pth", True),
        ("m/fold_0/checkpoint_final.pth", "checkpoint_latest.pth", False),
        ("m/trainer_class.py", None, False),
        ("m/checkpoint_final.pth", None, False),
        ("__MACOSX/m/fold_0/checkpoint_final.pth", None, False),
    ],
)
def test_nothing_but_what_is_read_is_unpacked(name, checkpoint, wanted):
    assert is_wanted(PurePosixPath(name), checkpoint) is wanted


def test_check_zip_reads_everything(tmp_path):
    file = pack(tmp_path / "a.zip", {"notes.txt": b"nothing that is unpacked" * 20})
    check_zip(file)
    data = bytearray(file.read_bytes())
    data[60] ^= 0xFF
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match="not a readable zip"):
        check_zip(file)
    with pytest.raises(CheckpointError, match="outside the archive"):
        check_zip(pack(tmp_path / "b.zip", {"../evil": b""}))


@pytest.mark.export
def test_five_folds_of_one_model(make_model: Any, tmp_path, monkeypatch):
    pytest.importorskip("torch")
    pytest.importorskip("dynamic_network_architectures")
    model = make_model(folds=tuple("01234"), name=LEVEL.replace("3d_fullres", "2d"))
    sources = []
    for number in range(5):
        part = tmp_path / f"model_fold{number}" / model.name
        others = [f"fold_{other}" for other in range(5) if other != number]
        shutil.copytree(model, part, ignore=shutil.ignore_patterns(*others))
        marker = tmp_path / "marker"
        (part / "trainer_class.py").write_text(f"open({str(marker)!r}, 'w')")
        members = {
            file.relative_to(tmp_path).as_posix(): file.read_bytes() for file in part.rglob("*.*")
        }
        sources.append(pack(tmp_path / f"model_fold{number}.zip", members))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    checkpoint = load(sources, Options())
    assert list(checkpoint.networks) == list("01234")
    assert checkpoint.manifest == load(model, Options()).manifest
    assert json.loads(json.dumps(checkpoint.manifest))["source"]["details"]["folder"] == model.name
    assert not marker.exists()
    assert os.listdir(tmp_path / "tmp") == []
