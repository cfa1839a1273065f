"""Pins: a manifest that is not the one it must be is refused (fault 11)."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.bundles import make_manifest, write_bundle
from helpers.hub import HubServer
from helpers.paths import DATA, MODELS

from deepseg_lite.errors import ChecksumError, OptionError
from deepseg_lite.store import cache
from deepseg_lite.store.fetch import fetch
from deepseg_lite.store.pins import pins_of

NAME = "tiny_threshold"
NETWORK = "threshold_3d.onnx"


class Mirror(HubServer):
    """Mirror with a bundle of some name and version; hashes of manifests by version."""

    def offer(self, version: str, name: str = NAME) -> str:
        manifest = json.dumps({**make_manifest(), "name": name, "version": version}).encode()
        self.mirror[f"{name}/manifest.json"] = manifest
        self.mirror[f"{name}/{NETWORK}"] = (DATA / NETWORK).read_bytes()
        return hashlib.sha256(manifest).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with Mirror() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("DEEPSEG_LITE_MIRROR", f"{server.url}/mirror")
        yield server
        server.shutdown()


def version_here(name: str = NAME) -> str | None:
    directory = cache.locate(name)
    return json.loads((directory / "manifest.json").read_text())["version"] if directory else None


def test_a_manifest_with_the_given_hash_comes(server):
    sha256 = server.offer("1")
    assert fetch(NAME, sha256=sha256.upper()).source["manifest_sha256"] == sha256
    assert not fetch(NAME, sha256=sha256).fetched


def test_another_manifest_than_the_given_one_is_refused(server):
    good = server.offer("1")
    bad = server.offer("2")
    with pytest.raises(ChecksumError) as caught:
        fetch(NAME, sha256=good, repin=True)
    assert good in str(caught.value)
    assert bad in str(caught.value)
    assert not [path for _, path, _ in server.requests if path.endswith(".onnx")]
    assert version_here() is None


def test_what_is_here_must_have_the_given_hash_too(server):
    first = server.offer("1")
    fetch(NAME)
    second = server.offer("2")
    with pytest.raises(ChecksumError, match=f"here has SHA-256 {first}.*says {second}; give `for"):
        fetch(NAME, sha256=second)
    assert fetch(NAME, sha256=second, force=True).fetched  # who gives it accepts the change
    assert version_here() == "2"


@pytest.mark.parametrize("sha256", ["", "abc", "g" * 64, "a" * 63, "sha256:" + "a" * 64, "\n"])
def test_what_is_no_hash_is_refused(server, sha256):
    server.offer("1")
    with pytest.raises(OptionError, match="64 hexadecimal digits"):
        fetch(NAME, sha256=sha256)
    assert server.requests == []


@pytest.mark.parametrize("damaged", [False, True], ids=["forced", "damaged"])
def test_a_changed_manifest_is_refused_unless_accepted(server, damaged):
    first = server.offer("1")
    fetch(NAME)
    second = server.offer("2")
    force = not damaged
    if damaged:
        (cache.bundle_directory(NAME) / NETWORK).write_bytes(b"")
    with pytest.raises(ChecksumError, match=f"{first} before, {second} now.*`repin`") as caught:
        fetch(NAME, force=force)
    assert len(str(caught.value)) < 300
    assert version_here() == "1"
    assert fetch(NAME, force=force, repin=True).fetched
    assert version_here() == "2"
    assert not fetch(NAME).fetched


def test_the_same_manifest_comes_again(server):
    server.offer("1")
    fetch(NAME)
    assert fetch(NAME, force=True).fetched


@pytest.mark.parametrize("record", [None, "[", "{}", '{"manifest_sha256": 3}'])
def test_without_a_record_what_is_here_counts(server, record):
    folder = write_bundle(cache.bundle_directory(NAME))
    if record is not None:
        (folder / "source.json").write_text(record)
    server.offer("2")
    with pytest.raises(ChecksumError, match="changed"):
        fetch(NAME, force=True)
    assert version_here() == "1.0"


def test_the_command_says_it_in_flags(server, command):
    server.offer("1")
    fetch(NAME)
    server.offer("2")
    done = command("fetch", NAME, "--force")
    assert (done.code, done.out) == (1, "")
    assert done.err.endswith("If that is meant to be, give --repin.\n")
    assert command("fetch", NAME, "--force", "--repin").code == 0
    done = command("fetch", NAME, "other", "--sha256", "a" * 64)
    assert done.code == 2
    assert "--sha256 is of one bundle" in done.err


@pytest.fixture
def pinned(server: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have a task whose newest release is pinned; return the hash."""
    text = (MODELS / "sc_gm_t2star" / "task.toml").read_text(encoding="utf-8")
    text = text.replace('name = "sc_gm_t2star"', 'name = "tiny"', 1)
    pin = server.offer("9", "tiny")
    text = text.replace("[[releases]]", f'[[releases]]\nmanifest_sha256 = "{pin}"', 1)
    folder = tmp_path / "models" / "tiny"
    folder.mkdir(parents=True)
    (folder / "task.toml").write_text(text, encoding="utf-8")
    monkeypatch.setattr(cache, "models_directory", lambda: folder.parent)
    return pin


def test_a_task_file_may_have_a_pin(server, pinned):
    assert fetch("tiny").source["manifest_sha256"] == pinned
    assert version_here("tiny") == "9"


def test_another_bundle_than_the_task_files_is_refused(server, pinned):
    server.offer("8", "tiny")
    with pytest.raises(ChecksumError, match=f"the task file says {pinned}"):
        fetch("tiny", repin=True)
    assert version_here("tiny") is None


def test_no_pin_of_a_task_file_is_that_of_another_bundle(server, pinned):
    for name in ("tiny.step", "tiny2", "tin"):
        server.offer("1", name)
        assert fetch(name).fetched


def test_a_shipped_bundle_must_have_the_given_hash(command):
    shipped = cache.models_directory() / "sc_gm_t2star" / "bundle" / "manifest.json"
    sha256 = hashlib.sha256(shipped.read_bytes()).hexdigest()
    assert command("fetch", "sc_gm_t2star", "--sha256", sha256).code == 0
    done = command("fetch", "sc_gm_t2star", "--sha256", "0" * 64)
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert sha256 in done.err


def test_what_was_removed_may_be_another_one(server):
    server.offer("1")
    fetch(NAME)
    shutil.rmtree(cache.bundle_directory(NAME))
    server.offer("2")
    assert fetch(NAME).fetched


def test_each_stage_of_a_cascade_has_its_pin(tmp_path, monkeypatch):
    text = (MODELS / "totalspineseg" / "task.toml").read_text(encoding="utf-8")
    text = text.replace('name = "step2"', f'name = "step2"\nmanifest_sha256 = "{"2" * 64}"', 1)
    folder = tmp_path / "totalspineseg"
    folder.mkdir()
    (folder / "task.toml").write_text(text, encoding="utf-8")
    monkeypatch.setattr(cache, "models_directory", lambda: tmp_path)
    monkeypatch.setenv("DEEPSEG_LITE_LOCK", "off")
    for name in ("totalspineseg.step2", "totalspineseg-r20260730.step2"):
        assert [pin.allowed for pin in pins_of(name)] == [("2" * 64,)]
    for name in ("totalspineseg", "totalspineseg.step1", "totalspineseg-r20251124.step2"):
        assert pins_of(name) == []
