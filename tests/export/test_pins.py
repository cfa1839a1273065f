"""What a release was made of when it was first exported."""

from __future__ import annotations

import json
import os

import pytest
from deepseg_export.errors import CheckpointError
from deepseg_export.tasks.pins import check_pins, pin_file, record_pins

A, B, C = ("a" * 64, "b" * 64, "c" * 64)


def pin(files: dict[str, str], **choices: bool) -> None:
    record_pins("task", "r1", files, {"m.zip": C}, **choices)


def test_the_first_export_pins_and_the_same_files_pass():
    check_pins("task", "r1", {"plans.json": A})
    assert not pin_file("task", "r1").exists()
    pin({"plans.json": A})
    content = json.loads(pin_file("task", "r1").read_text())
    assert content["files"]["plans.json"]["sha256"] == A
    assert content["archives"] == {"m.zip": C}
    check_pins("task", "r1", {"plans.json": A})
    assert [file.name for file in pin_file("task", "r1").parent.iterdir()] == ["r1.json"]


def test_another_file_is_an_error_that_names_everything():
    pin({"plans.json": A, "fold_0/checkpoint_final.pth": A})
    day = json.loads(pin_file("task", "r1").read_text())["files"]["plans.json"]["pinned"]
    with pytest.raises(CheckpointError) as caught:
        check_pins("task", "r1", {"plans.json": A, "fold_0/checkpoint_final.pth": B})
    for part in ("fold_0/checkpoint_final.pth", "task r1", "bbbbbbbbbbbb", "aaaaaaaaaaaa", day):
        assert part in str(caught.value)
    assert "--repin" in str(caught.value)
    check_pins("task", "r2", {"plans.json": B})


def test_a_subset_compares_and_adds_what_it_has():
    pin({"plans.json": A, "fold_0": A})
    check_pins("task", "r1", {"plans.json": A, "fold_1": B})
    pin({"plans.json": A, "fold_1": B})
    files = json.loads(pin_file("task", "r1").read_text())["files"]
    assert {name: known["sha256"] for name, known in files.items()} == {
        "plans.json": A,
        "fold_0": A,
        "fold_1": B,
    }


def test_repin_forgets_what_was_before():
    pin({"plans.json": A, "fold_0": A})
    pin({"plans.json": B}, repin=True)
    check_pins("task", "r1", {"plans.json": B, "fold_0": C})
    with pytest.raises(CheckpointError):
        check_pins("task", "r1", {"plans.json": A})


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"files": {"a": 1}, "archives": {}}'])
def test_pins_that_cannot_be_read(text):
    pin({"plans.json": A})
    pin_file("task", "r1").write_text(text)
    with pytest.raises(CheckpointError, match=r"r1\.json.*give --repin"):
        check_pins("task", "r1", {"plans.json": A})
    pin({"plans.json": A}, repin=True)
    check_pins("task", "r1", {"plans.json": A})


def test_a_bundle_without_pins_is_a_warning(caplog, monkeypatch):
    file = pin_file("task", "r1")
    os.makedirs(file.parent.parent)
    file.parent.write_text("in the way")
    pin({"plans.json": A})
    assert "task r1 could not be pinned" in caplog.text
