"""Cache: folders that cannot be written to, models that are not whole."""

from __future__ import annotations

import os
import sys
import tempfile
from collections import namedtuple

import pytest
from helpers.bundles import write_bundle

from deepseg_lite.doctor import cache
from deepseg_lite.doctor.finding import NOTE, OK, PROBLEM
from deepseg_lite.store.cache import home
from deepseg_lite.store.locking import write_lock

on_unix = pytest.mark.skipif(os.name == "nt", reason="permissions of Unix are needed")
Usage = namedtuple("Usage", "total used free")


def by_name(findings):
    return {each.name: each for each in findings}


def test_a_cache_that_is_not_there_yet_is_not_made():
    found = by_name(cache.check_folder())
    assert found["cache"].level == OK
    assert found["cache"].text == f"{home()} (not made yet)"
    assert not home().exists()


def test_a_cache_that_is_a_file_is_a_problem(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DEEPSEG_LITE_HOME", str(tmp_path / "file" / "cache"))
    found = by_name(cache.check_folder())["cache"]
    assert (found.level, found.cure) == (
        PROBLEM,
        "Set DEEPSEG_LITE_HOME to a folder that you may write to.",
    )
    assert "is a file, and a folder is needed" in found.text


@pytest.mark.skipif(sys.platform != "linux", reason="Linux' own folders are needed")
def test_a_cache_that_cannot_be_written_to_is_a_problem(monkeypatch):
    monkeypatch.setenv("DEEPSEG_LITE_HOME", "/proc/deepseg_lite")
    found = by_name(cache.check_folder())["cache"]
    assert found.level == PROBLEM
    assert "/proc/deepseg_lite cannot be written to: /proc: " in found.text


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_cache_is_a_problem():
    home().mkdir(parents=True)
    home().chmod(0o555)
    assert by_name(cache.check_folder())["cache"].level == PROBLEM


@on_unix
def test_a_cache_that_everybody_may_change_is_a_note():
    home().mkdir(parents=True)
    home().chmod(0o777)
    found = by_name(cache.check_folder())["permissions"]
    assert (found.level, found.cure) == (NOTE, f"Run chmod o-w {home()}.")
    home().chmod(0o755)
    assert "permissions" not in by_name(cache.check_folder())


@on_unix
def test_a_cache_of_another_user_is_a_note(monkeypatch):
    home().mkdir(parents=True)
    owner = home().stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    found = by_name(cache.check_folder())
    assert ("permissions" in found) == (owner != 0)


@pytest.mark.parametrize(("free", "level"), [(10**10, OK), (10**9, NOTE), (10**6, PROBLEM)])
def test_free_space(monkeypatch, free, level):
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda folder: Usage(0, 0, free))
    assert by_name(cache.check_folder())["free space"].level == level
    assert by_name(cache.check_temporary())["temporary files"].level == level


def test_no_folder_for_temporary_files_is_a_problem(monkeypatch):
    def none():
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    (found,) = cache.check_temporary()
    assert found.level == PROBLEM


def test_models_that_are_whole_are_named():
    write_bundle(home() / "bundles" / "tiny_threshold")
    (found,) = cache.check_bundles(full=True)
    assert found.level == OK
    assert "tiny_threshold" in found.text
    assert found.text.endswith("all hashes are right")


def change(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


@pytest.mark.parametrize(
    ("damage", "is_seen_by_size"),
    [(change, False), (lambda data: data[:-1], True)],
    ids=["changed", "cut"],
)
def test_a_model_that_is_not_whole_is_a_problem(damage, is_seen_by_size):
    folder = write_bundle(home() / "bundles" / "tiny_threshold")
    (network,) = folder.glob("*.onnx")
    network.write_bytes(damage(network.read_bytes()))
    assert (by_name(cache.check_bundles()).get("tiny_threshold") is not None) == is_seen_by_size
    found = by_name(cache.check_bundles(full=True))["tiny_threshold"]
    assert (found.level, found.cure) == (PROBLEM, "Run deepseg-lite fetch tiny_threshold --force.")


def test_a_broken_manifest_is_a_problem_and_a_strange_folder_a_note():
    folder = write_bundle(home() / "bundles" / "tiny_threshold")
    (folder / "manifest.json").write_text("{")
    (home() / "bundles" / "stranger").mkdir()
    found = by_name(cache.check_bundles())
    assert found["tiny_threshold"].level == PROBLEM
    assert found["stranger"].level == NOTE


def test_a_model_that_is_not_the_one_of_the_lock_is_a_problem(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = write_bundle(home() / "bundles" / "tiny_threshold")
    write_lock(["tiny_threshold"])
    (found,) = cache.check_lock()
    assert found.text.endswith("deepseg-lite.lock lists tiny_threshold")
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(f"{text}\n")
    found = by_name(cache.check_lock())["tiny_threshold"]
    assert found.level == PROBLEM
    assert "deepseg-lite lock tiny_threshold" in found.cure


def test_without_a_lock_nothing_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert list(cache.check_lock()) == []
