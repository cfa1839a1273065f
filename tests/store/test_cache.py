"""Bundles on their way into the local cache, and out of it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.bundles import make_manifest, write_bundle
from helpers.hub import Files, HubServer

from deepseg_lite import leftovers
from deepseg_lite.errors import (
    BundleError,
    BundleNotFoundError,
    ChecksumError,
    NetworkError,
    OptionError,
    OutputError,
)
from deepseg_lite.store import arrival, cache, download, fetch
from deepseg_lite.store.cache import home, locate

REPO = "someone/models"
NAME = "tiny_folds"


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Return the files of a bundle of two networks."""
    folder = write_bundle(tmp_path / "made", "folds")
    (folder / "README.md").write_text("# A card\n")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """Run the hub on loopback, without pauses between attempts."""
    import threading

    monkeypatch.setattr(time, "sleep", lambda _: None)
    with HubServer() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def hub(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    """Point huggingface_hub at the server."""
    pytest.importorskip(
        "huggingface_hub", reason="huggingface_hub (the extra hub) is not installed"
    )
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    return server


@pytest.fixture
def mirror(server: HubServer, files: Files) -> str:
    """Return the address of a mirror that has the bundle."""
    server.mirror = {f"{NAME}/{name}": data for name, data in files.items()}
    return f"{server.url}/mirror"


@pytest.fixture(params=["mirror", "hub"])
def place(request: pytest.FixtureRequest, server: HubServer, files: Files) -> dict[str, str]:
    """Return where the bundle is, as options of `fetch`: both kinds of place in turn."""
    if request.param == "mirror":
        return {"mirror": request.getfixturevalue("mirror")}
    request.getfixturevalue("hub").commit(REPO, "main", _below(NAME, files))
    return {"repo": REPO}


def _below(folder: str, files: Files) -> Files:
    return {f"{folder}/{name}": data for name, data in files.items()}


def _change(server: HubServer, name: str, data: bytes | None) -> None:
    """Replace or remove a file of the bundle wherever the server has it."""
    for held in (server.mirror, *server.commits.values()):
        path = f"{NAME}/{name}"
        if path in held and data is None:
            del held[path]
        elif path in held:
            held[path] = data


def _left() -> list[Path]:
    folder = cache.home() / "bundles"
    return sorted(folder.iterdir()) if folder.exists() else []


def _forbid_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def _check_installed(files: Files) -> Path:
    directory = cache.locate(NAME)
    assert directory is not None
    assert {path.name for path in directory.iterdir()} == {*files, "source.json"}
    for name, data in files.items():
        assert (directory / name).read_bytes() == data
    assert _left() == [directory]
    return directory


# Where


@pytest.mark.parametrize(
    ("platform", "variable", "expected"),
    [
        ("linux", "XDG_CACHE_HOME", "{}/deepseg_lite"),
        ("linux", None, "~/.cache/deepseg_lite"),
        ("darwin", None, "~/Library/Caches/deepseg_lite"),
        ("win32", "LOCALAPPDATA", "{}/deepseg_lite"),
        ("win32", None, "~/AppData/Local/deepseg_lite"),
    ],
)
def test_the_cache_is_where_the_platform_has_its_caches(
    platform, variable, expected, monkeypatch, tmp_path
):
    for name in ("DEEPSEG_LITE_HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    if variable:
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setattr(sys, "platform", platform)
    assert cache.home() == Path(expected.format(tmp_path)).expanduser()


def test_a_copied_folder_is_found():
    assert cache.locate("tiny_threshold") is None
    folder = write_bundle(cache.bundle_directory("tiny_threshold"))
    assert cache.locate("tiny_threshold") == folder
    assert cache.source_of(folder) == {}


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a\\b", "/", "a\n", "~", "C:"])
def test_hostile_names_are_nowhere(name, mirror, server):
    assert cache.locate(name) is None
    with pytest.raises(BundleNotFoundError):
        cache.remove(name)
    with pytest.raises(BundleNotFoundError, match="not the name of a bundle"):
        fetch.fetch(name, mirror=mirror)
    assert server.requests == []


# Fetching from either kind of place


def test_fetch_installs_every_file(place, files):
    installed = fetch.fetch(NAME, **place)
    directory = _check_installed(files)
    assert installed.fetched
    assert installed.bundle.path == directory
    digest = hashlib.sha256(files["manifest.json"]).hexdigest()
    assert installed.source["manifest_sha256"] == digest
    assert json.loads((directory / "source.json").read_text()) == installed.source


def test_what_is_there_is_not_asked_for(place, server, monkeypatch):
    fetch.fetch(NAME, **place)
    server.requests.clear()
    _forbid_sockets(monkeypatch)
    assert not fetch.fetch(NAME, **place).fetched
    assert not fetch.fetch(NAME, **place, offline=True).fetched
    assert server.requests == []


@pytest.mark.parametrize("way", ["option", "variable"])
@pytest.mark.parametrize("force", [False, True])
def test_offline_opens_no_socket(way, force, place, server, monkeypatch):
    if way == "variable":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    _forbid_sockets(monkeypatch)
    with pytest.raises(NetworkError, match="`offline`, DEEPSEG_LITE_OFFLINE or HF_HUB_OFFLINE"):
        fetch.fetch(NAME, **place, force=force, offline=way == "option")
    assert server.requests == []
    assert _left() == []


def test_force_replaces_it(place, server, files):
    fetch.fetch(NAME, **place)
    files["README.md"] = b"# Another card"
    _change(server, "README.md", files["README.md"])
    for held in list(server.repos.get(REPO, {})):
        server.commit(REPO, held, dict(server.files(REPO, held)))
    assert fetch.fetch(NAME, **place, force=True).fetched
    _check_installed(files)


@pytest.mark.parametrize("damage", ["shorter", "same size", "gone"])
def test_a_damaged_bundle_is_fetched_again(damage, place, files):
    directory = fetch.fetch(NAME, **place).bundle.path
    file = directory / "threshold_3d.onnx"
    data = file.read_bytes()
    changed = {"shorter": data[:-1], "same size": bytes(len(data)), "gone": None}[damage]
    file.unlink()
    if changed is not None:
        file.write_bytes(changed)
    assert fetch.fetch(NAME, **place).fetched
    _check_installed(files)


@pytest.mark.parametrize("change", ["flipped", "longer", "shorter", "gone"])
def test_a_wrong_file_is_refused_and_nothing_is_left(change, place, server, files):
    data = files["threshold_3d_high.onnx"]
    changed = {
        "flipped": bytes([data[0] ^ 1]) + data[1:],
        "longer": data + b"x",
        "shorter": data[:-1],
        "gone": None,
    }
    _change(server, "threshold_3d_high.onnx", changed[change])
    with pytest.raises(ChecksumError):
        fetch.fetch(NAME, **place)
    assert _left() == []


def test_a_truncated_transfer_is_resumed(place, server, files, monkeypatch):
    if "repo" in place:  # huggingface_hub keeps whole pieces
        monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1)
    server.faults["GET threshold_3d.onnx"] = ["cut"]
    fetch.fetch(NAME, **place)
    _check_installed(files)
    half = len(files["threshold_3d.onnx"]) // 2
    ranges = [asked for _, path, asked in server.requests if path.endswith("/threshold_3d.onnx")]
    assert ranges[-1] == f"bytes={half}-"


@pytest.mark.parametrize("file", ["manifest.json", "threshold_3d.onnx"])
def test_a_stumbling_server_is_asked_again(file, place, server, files):
    server.faults[f"GET {file}"] = [500, 503]
    fetch.fetch(NAME, **place)
    _check_installed(files)


@pytest.mark.parametrize("file", ["manifest.json", "threshold_3d.onnx"])
def test_a_broken_server_is_given_up(file, place, server):
    server.faults[f"GET {file}"] = [500] * 99
    with pytest.raises(NetworkError, match="500"):
        fetch.fetch(NAME, **place)
    assert _left() == []


def test_a_server_that_is_gone_is_one_line(place, server):
    server.shutdown()
    server.server_close()
    with pytest.raises(NetworkError, match="network") as caught:
        fetch.fetch(NAME, **place)
    assert "\n" not in str(caught.value)
    assert _left() == []


@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"not JSON",
        b"[" * 100_000,
        b"null",
        b"\xff",
        json.dumps({**make_manifest("folds"), "name": "another"}).encode(),
        json.dumps({**make_manifest("folds"), "surprise": 1}).encode(),
        json.dumps(
            {
                **make_manifest("folds"),
                "networks": [{**make_manifest("folds")["networks"][0], "path": "../../evil.onnx"}],
            }
        ).encode(),
    ],
)
def test_an_invalid_manifest_is_refused_before_its_files_are_fetched(manifest, place, server):
    _change(server, "manifest.json", manifest)
    with pytest.raises(BundleError) as caught:
        fetch.fetch(NAME, **place)
    assert str(cache.home()) not in str(caught.value)
    assert not [path for _, path, _ in server.requests if path.endswith(".onnx")]
    assert _left() == []


def test_an_endless_manifest_is_refused(place, server):
    _change(server, "manifest.json", bytes(arrival.MAX_TEXT_BYTES + 1))
    with pytest.raises(ChecksumError, match=str(arrival.MAX_TEXT_BYTES)):
        fetch.fetch(NAME, **place)
    assert _left() == []


def test_a_full_disk_is_seen_before_the_networks_are_fetched(place, server, monkeypatch):
    usage = shutil.disk_usage(".")
    full = {".tmp": usage._replace(free=10)}  # for us; huggingface_hub looks elsewhere
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full.get(Path(path).suffix, usage))
    with pytest.raises(OutputError, match="DEEPSEG_LITE_HOME"):
        fetch.fetch(NAME, **place)
    assert not [path for _, path, _ in server.requests if path.endswith(".onnx")]
    assert _left() == []


def test_the_second_model_of_a_cascade_brings_the_first_along(server, mirror, tmp_path):
    prior = {"bundle": "pair.first", "channels": ["t1"]}
    steps = [{"step": "crop_to_prior", "safety_factor": [1.0, 1.0, 1.0]}]
    write_bundle(tmp_path / "pair", "channels", name="pair", prior=prior, preprocessing=steps)
    write_bundle(tmp_path / "pair.first", name="pair.first")
    for folder in ("pair", "pair.first"):
        for file in (tmp_path / folder).iterdir():
            server.mirror[f"{folder}/{file.name}"] = file.read_bytes()
    installed = fetch.fetch("pair", mirror=mirror)
    assert installed.bundle.name == "pair"
    assert cache.locate("pair.first") is not None
    assert fetch.fetch("pair", offline=True).fetched is False
    cache.remove("pair.first")
    with pytest.raises(NetworkError, match=r"pair\.first needs the network"):
        fetch.fetch("pair", offline=True)


def test_a_disk_that_fills_up_is_an_output_error(mirror, monkeypatch):
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(OutputError, match="No space left"):
        fetch.fetch(NAME, mirror=mirror)
    assert _left() == []


def test_an_interrupted_fetch_leaves_nothing(mirror):
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch.fetch(NAME, mirror=mirror, progress=interrupt)
    assert _left() == []


def test_a_cache_that_cannot_be_made_is_said(mirror, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("DEEPSEG_LITE_HOME", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="DEEPSEG_LITE_HOME"):
        fetch.fetch(NAME, mirror=mirror)


def test_folders_of_killed_processes_go(mirror):
    """Fault 22; whose they are is asked in test_leftovers.py."""
    folder = cache.home() / "bundles"
    folder.mkdir(parents=True)
    mine = leftovers.working_name(folder / "x")
    (*before, pid, start, end, tmp) = mine.name.split(".")
    gone = folder / ".".join((*before, pid, str(int(start) - 1), end, tmp))
    mine.mkdir()
    gone.mkdir()
    fetch.fetch(NAME, mirror=mirror)
    assert _left() == [mine, folder / NAME]


@pytest.mark.parametrize("options", [[], ["--force"]], ids=["first", "forced"])
def test_processes_at_once_all_succeed(options, place, files):
    (kind, where), *_ = place.items()
    code = "from deepseg_lite.cli.group import main; main()"
    command = [sys.executable, "-c", code, "fetch", NAME, f"--{kind}", where, *options]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(command, **pipes) for _ in range(3)]
    for process in running:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert out == f"{cache.bundle_directory(NAME)}\n"
    _check_installed(files)


def test_the_bundle_of_a_faster_process_stays(mirror, server, files):
    def faster(done: int, total: int) -> None:
        if done == total:
            write_bundle(cache.bundle_directory(NAME), "folds")

    installed = fetch.fetch(NAME, mirror=mirror, progress=faster)
    assert installed.source == {}  # not the one with a record of where it came from
    assert _left() == [cache.bundle_directory(NAME)]


# Mirrors


def test_progress_of_a_mirror_ends_at_the_size_of_all_networks(mirror, server):
    seen: list[tuple[int, int]] = []
    server.faults["GET threshold_3d.onnx"] = ["cut"]
    installed = fetch.fetch(NAME, mirror=mirror, progress=lambda *step: seen.append(step))
    assert seen[-1] == (installed.bundle.size, installed.bundle.size)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_file_that_changed_on_the_way_starts_over(server, tmp_path):
    server.mirror["file"] = b"a" * 1000

    def change(count: int) -> None:
        server.mirror["file"] = b"b" * 900

    server.faults["file"] = ["cut"]
    download.download(f"{server.url}/mirror/file", tmp_path / "f", limit=1000, received=change)
    assert (tmp_path / "f").read_bytes() == b"b" * 900


def test_a_mirror_without_the_bundle_is_one_line(mirror):
    with pytest.raises(BundleNotFoundError, match=r"other/manifest\.json does not exist"):
        fetch.fetch("other", mirror=mirror)


@pytest.mark.parametrize("url", ["ftp://h/x", "file:///etc", "h/x", "", "http://me:secret@h/x"])
def test_other_addresses_are_not_mirrors(url):
    with pytest.raises(OptionError, match="not a mirror"):
        fetch.fetch(NAME, mirror=url)


# The hub


def test_the_revision_is_pinned(hub, files):
    sha = hub.commit(REPO, "main", _below(NAME, files))
    source = fetch.fetch(NAME, repo=REPO).source
    assert source["repo"] == REPO
    assert source["revision"] == sha
    resolved = [path for _, path, _ in hub.requests if "/resolve/" in path]
    assert resolved
    assert all(f"/resolve/{sha}/" in path for path in resolved)


def test_an_older_revision_can_be_had(hub, files):
    sha = hub.commit(REPO, "main", _below(NAME, files))
    hub.commit(REPO, "main", {"README.md": b"all gone"})
    assert fetch.fetch(NAME, repo=REPO, revision=sha).source["revision"] == sha
    _check_installed(files)


def test_another_revision_than_the_one_that_is_here_needs_force(hub, files):
    first = hub.commit(REPO, "main", _below(NAME, files))
    fetch.fetch(NAME, repo=REPO, revision="main")
    hub.commit(REPO, "next", _below(NAME, files))
    for revision in (None, "main", first):
        assert not fetch.fetch(NAME, repo=REPO, revision=revision).fetched
    with pytest.raises(OptionError, match=f"at revision {first}; give `force`"):
        fetch.fetch(NAME, repo=REPO, revision="next")
    assert fetch.fetch(NAME, repo=REPO, revision="next", force=True).fetched


@pytest.mark.parametrize("revision", [None, NAME])
def test_a_branch_may_be_the_bundle(revision, hub, files):
    hub.commit(REPO, "main", {"README.md": b"one branch per bundle"})
    sha = hub.commit(REPO, NAME, files)
    assert fetch.fetch(NAME, repo=REPO, revision=revision).source["revision"] == sha
    _check_installed(files)


def test_what_exists_is_named(hub, files):
    hub.commit(REPO, "main", {**_below("one", files), **_below("two", files)})
    with pytest.raises(BundleNotFoundError, match="bundles there: one, two"):
        fetch.fetch(NAME, repo=REPO)
    with pytest.raises(BundleNotFoundError, match="no such revision"):
        fetch.fetch(NAME, repo=REPO, revision="nowhere")
    with pytest.raises(BundleNotFoundError, match="no repository someone/else"):
        fetch.fetch(NAME, repo="someone/else")
    with pytest.raises(OptionError, match="OWNER/NAME"):
        fetch.fetch(NAME, repo="a/b/c")
    assert _left() == []


def test_without_huggingface_hub_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(OptionError, match=r"deepseg-lite\[hub\]"):
        fetch.fetch(NAME, repo=REPO)


# Several places


def test_the_mirror_stands_in_for_the_repository(hub, mirror, files, monkeypatch):
    monkeypatch.setenv("DEEPSEG_LITE_REPO", "someone/else")
    monkeypatch.setenv("DEEPSEG_LITE_MIRROR", mirror)
    assert fetch.fetch(NAME).source["url"] == f"{mirror}/{NAME}"
    with pytest.raises(BundleNotFoundError, match=r"someone/else.*nothing/manifest\.json"):
        fetch.fetch("nothing")


def test_an_option_counts_more_than_the_environment(server, mirror, monkeypatch):
    monkeypatch.setenv("DEEPSEG_LITE_REPO", REPO)
    assert fetch.fetch(NAME, mirror=mirror).fetched
    assert all(path.startswith("/mirror/") for _, path, _ in server.requests)


def test_no_place_is_a_hint():
    with pytest.raises(BundleNotFoundError, match="`repo=OWNER/NAME` or `mirror=URL`"):
        fetch.fetch(NAME)
    with pytest.raises(OptionError, match="`revision`"):
        fetch.fetch(NAME, revision="main")


# The commands


def test_fetch_and_remove_on_the_command_line(command, mirror, files):
    done = command("fetch", NAME, "--mirror", mirror)
    assert done == (0, f"{_check_installed(files)}\n", "")
    again = command("fetch", NAME, "--json", "--offline")
    (result,) = json.loads(again.out)["results"]
    assert (result["name"], result["fetched"]) == (NAME, False)
    assert result["source"]["url"] == f"{mirror}/{NAME}"
    removed = command("remove", NAME)
    assert removed.code == 0
    assert removed.out.startswith(f"{NAME}: 0.0 MB freed")
    assert _left() == []


def test_the_command_goes_on_after_a_failure(command, mirror):
    done = command("fetch", "other", NAME, "--mirror", mirror)
    assert done.code == 1
    assert done.out == f"{cache.bundle_directory(NAME)}\n"
    assert done.err.startswith("error: other is not there")
    report = command("fetch", "other", NAME, "--mirror", mirror, "--json")
    assert report.code == 1
    assert [len(json.loads(report.out)[key]) for key in ("results", "errors")] == [1, 1]


def test_tasks_may_be_given_by_any_of_their_names(command, server, files):
    name = "seg_sc_epi"
    manifest = json.dumps({**make_manifest("folds"), "name": name}).encode()
    server.mirror = _below(name, {**files, "manifest.json": manifest})
    done = command("fetch", "Seg-SC-EPI", "--mirror", f"{server.url}/mirror")
    assert done == (0, f"{cache.bundle_directory(name)}\n", "")
    assert command("remove", "seg-sc-epi").out.startswith(f"{name}: ")


def test_what_ships_is_not_fetched(command):
    done = command("fetch", "sc_gm_t2star")
    assert done == (0, f"{cache.models_directory() / 'sc_gm_t2star' / 'bundle'}\n", "")


def test_failures_are_one_line_and_exit_code_1(command, hub):
    for arguments in (["fetch", NAME], ["remove", NAME], ["fetch", NAME, "--repo", REPO]):
        done = command(*arguments)
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith("error: ")
        assert done.err.count("\n") == 1


def test_removing_a_link_keeps_what_it_points_to(tmp_path):
    bundle = write_bundle(tmp_path / "mine")
    link = cache.bundle_directory("mine")
    link.parent.mkdir(parents=True)
    try:
        link.symlink_to(bundle, target_is_directory=True)
    except OSError:
        pytest.skip("this system has no links")
    cache.remove("mine")
    assert not link.exists()
    assert (bundle / "manifest.json").is_file()


@pytest.mark.skipif(os.name == "nt", reason="HOME is not asked there")
@pytest.mark.parametrize("chosen", [None, "~/models", "~nobody-of-that-name/models"])
def test_without_a_home_folder_the_cache_is_empty_and_nothing_else(monkeypatch, chosen):
    """Fault 25: with an unknown user even the shipped model died."""

    def unknown(_):
        raise KeyError

    monkeypatch.setattr("pwd.getpwuid", unknown)
    for name in ("HOME", "XDG_CACHE_HOME", "DEEPSEG_LITE_HOME"):
        monkeypatch.delenv(name, raising=False)
    if chosen is not None:
        monkeypatch.setenv("DEEPSEG_LITE_HOME", chosen)
    assert home().parts[:2] == ("/", "nonexistent")
    assert locate("t2") is None


def test_a_cache_that_may_not_be_read_has_nothing(monkeypatch):
    """Fault 25: ``list`` died on somebody's cache. Root may read all, hence the patch."""

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "stat", refuse)
    found = locate("t2")
    monkeypatch.undo()
    assert found is None
