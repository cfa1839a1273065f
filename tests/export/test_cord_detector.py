"""deepseg-export cord-detector, with stand-ins for the official networks; needs no torch."""

from __future__ import annotations

import hashlib
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from deepseg_export.cli.group import cli
from deepseg_export.families.nnunet.crop import DETECTOR
from deepseg_export.families.sc_crop import NAME, OFFICIAL_SHA256
from helpers.click_runner import invoke
from helpers.detector import FILES
from helpers.hub import HubServer
from helpers.paths import DATA

from deepseg_lite.bundles.detector import read_detector
from deepseg_lite.store import cache


def run(*arguments: Any) -> Result:
    return invoke(cli, ["cord-detector", *arguments])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with both files, as official as it gets without a network."""
    (tmp_path / "files").mkdir()
    for name, stand_in in zip(OFFICIAL_SHA256, FILES.values(), strict=True):
        shutil.copy(DATA / stand_in, tmp_path / "files" / name)
        digest = hashlib.sha256((DATA / stand_in).read_bytes()).hexdigest()
        monkeypatch.setitem(OFFICIAL_SHA256, name, digest)
    return tmp_path / "files"


def test_models_look_for_it_under_its_name():
    assert DETECTOR == NAME


def test_a_folder_with_the_files_becomes_the_bundle_of_the_cache(folder):
    result = run("--from", folder)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{cache.bundle_directory('sc_crop')}\n"
    assert read_detector(cache.bundle_directory("sc_crop")).name == "sc_crop"
    assert len(list(folder.iterdir())) == 2
    again = run("--from", folder)
    assert (again.exit_code, again.stdout) == (1, "")
    assert "exists" in again.stderr
    assert run("--from", folder, "--force").exit_code == 0


def test_a_download_is_checked_and_removed(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with HubServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        server.mirror |= {f"x/{file.name}": file.read_bytes() for file in folder.iterdir()}
        result = run("--mirror", f"{server.url}/mirror/x", "-o", tmp_path / "detector")
        server.shutdown()
        thread.join()
    assert result.exit_code == 0, result.output
    assert read_detector(tmp_path / "detector").version == "v0.0.11"
    assert not [file for file in cache.home().rglob("*") if file.is_file()]


def test_files_that_are_not_the_official_ones(folder, tmp_path):
    (folder / "cls_model.onnx").write_bytes(b"other")
    result = run("--from", folder, "-o", tmp_path / "detector")
    assert result.exit_code == 1
    assert "cls_model.onnx" in result.stderr
    assert not (tmp_path / "detector").exists()


def test_offline(tmp_path):
    result = run("--offline", "-o", tmp_path / "detector")
    assert result.exit_code == 1
    assert "downloading det_model.onnx needs the network" in result.stderr
