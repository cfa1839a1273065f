"""Lock files: a study runs with the bundles it was locked to, or not at all (fault 11)."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.bundles import make_manifest, write_bundle
from helpers.hub import HubServer

import deepseg_lite
from deepseg_lite.errors import BundleError, ChecksumError
from deepseg_lite.store import cache
from deepseg_lite.store.fetch import fetch
from deepseg_lite.store.lock import LOCK_NAME, find_lock
from deepseg_lite.store.locking import write_lock

NAME = "tiny_threshold"


@pytest.fixture(autouse=True)
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in the folder of a study."""
    folder = tmp_path / "study"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("DEEPSEG_LITE_LOCK", raising=False)
    return folder


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    folder = write_bundle(tmp_path / "offered")
    with HubServer() as server:
        for file in folder.iterdir():
            server.mirror[f"{NAME}/{file.name}"] = file.read_bytes()
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def install(name: str = NAME, version: str = "1.0") -> Path:
    return write_bundle(cache.bundle_directory(name), name=name, version=version)


def change(folder: Path) -> None:
    """Make a bundle another release."""
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "version": "2.0"}))


def test_the_lock_lists_hashes_and_sources(server, study):
    fetch(NAME, mirror=f"{server.url}/mirror")
    install("mine")
    lock = write_lock([NAME, "mine"])
    assert lock.path.resolve() == study / LOCK_NAME
    document = json.loads((study / LOCK_NAME).read_text())
    sha256 = hashlib.sha256(server.mirror[f"{NAME}/manifest.json"]).hexdigest()
    assert document["bundles"][NAME] == {
        "version": "1.0",
        "manifest_sha256": sha256,
        "source": {"mirror": f"{server.url}/mirror"},
    }
    assert document["bundles"]["mine"]["source"] == {}


def test_names_are_put_beside_what_is_listed_and_none_means_all(command):
    install("one")
    install("two")
    assert command("lock", "one").out.startswith("one 1.0 ")
    assert [line.split()[0] for line in command("lock", "two").out.splitlines()] == ["one", "two"]
    done = command("lock")
    names = [line.split()[0] for line in done.out.splitlines()]
    assert names == ["one", "sc_gm_t2star", "two"]
    done = command("lock", "nothing")
    assert (done.code, done.out) == (1, "")


def test_a_locked_bundle_runs_here_and_below(study, monkeypatch):
    install()
    write_lock([NAME])
    deepseg_lite.load(NAME, open_networks=False)
    (study / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(study / "a" / "b")
    found = find_lock()
    assert found is not None
    assert found.path == study / LOCK_NAME
    deepseg_lite.load(NAME, open_networks=False)


@pytest.mark.parametrize("way", ["name", "path"])
def test_a_bundle_that_changed_is_refused(way):
    folder = install()
    locked = write_lock([NAME]).sha256(NAME)
    change(folder)
    found = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    with pytest.raises(ChecksumError, match=f"{found}, locked {locked}") as caught:
        deepseg_lite.load(NAME if way == "name" else folder, open_networks=False)
    assert len(str(caught.value)) < 300


def test_a_bundle_that_is_not_listed_is_refused():
    install("one")
    install("two")
    write_lock(["one"])
    with pytest.raises(ChecksumError, match=r"two is not listed in .*deepseg-lite lock two"):
        deepseg_lite.load("two", open_networks=False)
    with pytest.raises(ChecksumError, match="sc_gm_t2star is not listed"):
        deepseg_lite.load("sc_gm_t2star", open_networks=False)


def test_a_companion_that_changed_is_refused():
    prior = {"bundle": "pair.first", "channels": ["t1"]}
    steps = [{"step": "crop_to_prior", "safety_factor": [1.0, 1.0, 1.0]}]
    folder = cache.bundle_directory("pair")
    write_bundle(folder, "channels", name="pair", prior=prior, preprocessing=steps)
    companion = install("pair.first")
    assert list(write_lock(["pair"]).bundles) == ["pair", "pair.first"]
    segmenter = deepseg_lite.load("pair", open_networks=False)
    change(companion)
    with pytest.raises(ChecksumError, match=r"pair\.first is not the bundle of"):
        _ = segmenter._first


def test_the_run_command_refuses_in_one_line(command, image_file):
    change_me = install()
    write_lock([NAME])
    change(change_me)
    done = command("run", NAME, "-i", image_file)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"error: {NAME} is not the bundle of {LOCK_NAME}")
    assert done.err.count("\n") == 1
    assert sorted(path.name for path in image_file.parent.iterdir()) == ["t2.nii.gz"]


def test_what_is_shown_does_not_need_the_lock(command):
    folder = install()
    write_lock([NAME])
    change(folder)
    assert command("info", NAME).code == 0


def test_the_variable_names_a_lock_or_none(study, monkeypatch, tmp_path):
    change_me = install()
    monkeypatch.setenv("DEEPSEG_LITE_LOCK", str(tmp_path / "my.lock"))
    assert write_lock([NAME]).path == tmp_path / "my.lock"
    change(change_me)
    with pytest.raises(ChecksumError):
        deepseg_lite.load(NAME, open_networks=False)
    monkeypatch.setenv("DEEPSEG_LITE_LOCK", "off")
    deepseg_lite.load(NAME, open_networks=False)
    monkeypatch.setenv("DEEPSEG_LITE_LOCK", str(tmp_path / "nothing"))
    with pytest.raises(BundleError, match="not a usable lock: No such file"):
        deepseg_lite.load(NAME, open_networks=False)


@pytest.mark.parametrize(
    "text",
    [
        b"", b"[]", b"{", b"\xff", b"[" * 10**5, b'{"schema": 1, "schema": 1, "bundles": {}}',
        b'{"schema": 2, "bundles": {}}', b'{"schema": 1, "bundles": {"../x": {}}}',
        bytes(2_000_000),
        b'{"schema": 1, "bundles": {"a": {"version": "1", "manifest_sha256": "0", "source": {}}}}',
        b'{"schema": 1, "bundles": {"\\u0000": {}}}',
    ],
    ids=range(11),
)  # fmt: skip
def test_what_is_no_lock_is_one_line(text, study, command):
    install()
    (study / LOCK_NAME).write_bytes(text)
    with pytest.raises(BundleError, match="not a usable lock") as caught:
        deepseg_lite.load(NAME, open_networks=False)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300
    assert command("lock").code == 0  # writes it anew


# Fetching


def test_without_a_name_all_that_is_locked_is_fetched(server, command):
    fetch(NAME, mirror=f"{server.url}/mirror")
    command("lock", NAME, "sc_gm_t2star")
    command("remove", NAME)
    done = command("fetch")
    assert done.code == 0, done.err
    assert len(done.out.splitlines()) == 2
    assert cache.locate(NAME) is not None


def test_what_is_not_the_locked_bundle_is_not_fetched(server, command):
    fetch(NAME, mirror=f"{server.url}/mirror")
    write_lock([NAME])
    cache.remove(NAME)
    changed = json.dumps({**make_manifest(), "version": "2.0"}).encode()
    server.mirror[f"{NAME}/manifest.json"] = changed
    done = command("fetch", "--repin")
    assert (done.code, done.out) == (1, "")
    assert f"{LOCK_NAME} says" in done.err
    assert hashlib.sha256(changed).hexdigest() in done.err
    assert cache.locate(NAME) is None


def test_what_is_here_and_not_the_locked_bundle_is_said(server):
    fetch(NAME, mirror=f"{server.url}/mirror")
    write_lock([NAME])
    change(cache.bundle_directory(NAME))
    with pytest.raises(ChecksumError, match=r"here has SHA-256.*give `force`"):
        fetch(NAME)
    assert fetch(NAME, force=True).bundle.version == "1.0"


def test_without_a_name_and_a_lock_a_name_is_needed(command):
    done = command("fetch")
    assert done.code == 2
    assert "NAME is needed" in done.err
