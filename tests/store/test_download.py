"""Files over HTTP: across processes, full disks, and addresses; see also test_store.py."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.hub import HubServer

from deepseg_lite.errors import ChecksumError, NetworkError, OptionError, OutputError
from deepseg_lite.store import download, transfer
from deepseg_lite.store.addresses import mirror_address
from deepseg_lite.store.download import (
    download_resumed,
    network_forbidden,
    record_of,
)

CONTENT = bytes(range(256)) * 4096
LIMIT = 2**21


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with HubServer() as server:
        server.mirror["a.zip"] = CONTENT
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "a.zip"


def url(server: HubServer) -> str:
    return f"{server.url}/mirror/a.zip"


def cut_off(server: HubServer, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave what a process leaves whose connection broke for good."""
    server.faults["a.zip"] = ["cut"]
    with monkeypatch.context() as patch:
        patch.setattr(download, "ATTEMPTS", 1)
        with pytest.raises(NetworkError, match="cut off after 524288 of 1048576 bytes"):
            download_resumed(url(server), path, limit=LIMIT)
    assert not path.exists()
    assert path.with_name("a.zip.part").stat().st_size == len(CONTENT) // 2
    server.requests.clear()


def ranges(server: HubServer) -> list[str | None]:
    return [asked for _, _, asked in server.requests]


def test_a_file_comes_whole_with_a_record_and_progress(server, path):
    seen: list[tuple[int, int]] = []
    download_resumed(url(server), path, limit=LIMIT, progress=lambda *a: seen.append(a))
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert record_of(path)["url"] == url(server)
    assert sorted(file.name for file in path.parent.iterdir()) == ["a.zip", "a.zip.json"]


def test_another_process_goes_on(server, path, monkeypatch):
    cut_off(server, path, monkeypatch)
    seen: list[int] = []
    download_resumed(url(server), path, limit=LIMIT, progress=lambda done, _: seen.append(done))
    assert path.read_bytes() == CONTENT
    assert ranges(server) == [f"bytes={len(CONTENT) // 2}-"]
    assert min(seen) > len(CONTENT) // 2


def test_a_file_that_changed_on_the_server_starts_over(server, path, monkeypatch):
    cut_off(server, path, monkeypatch)
    server.mirror["a.zip"] = CONTENT[::-1]
    download_resumed(url(server), path, limit=LIMIT)
    assert path.read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize("change", ["other address", "no validator", "no record", "damaged record"])
def test_what_cannot_be_gone_on_with_starts_over(server, path, monkeypatch, change):
    cut_off(server, path, monkeypatch)
    record = path.with_name("a.zip.json")
    known = json.loads(record.read_text())
    texts = {
        "other address": json.dumps({**known, "url": "https://example.org/a.zip"}),
        "no validator": json.dumps({**known, "validator": None}),
        "no record": None,
        "damaged record": "[",
    }
    record.unlink() if texts[change] is None else record.write_text(texts[change])
    download_resumed(url(server), path, limit=LIMIT)
    assert path.read_bytes() == CONTENT
    assert ranges(server) == [None]


def test_a_range_that_the_server_does_not_have_starts_over(server, path, monkeypatch):
    cut_off(server, path, monkeypatch)
    server.faults["a.zip"] = [416]
    download_resumed(url(server), path, limit=LIMIT)
    assert path.read_bytes() == CONTENT
    assert ranges(server) == [f"bytes={len(CONTENT) // 2}-", None]


def test_a_file_that_somebody_else_wrote_to_starts_over(server, path, monkeypatch):
    cut_off(server, path, monkeypatch)
    opened = transfer._opened

    def disturbed(file: Path, mode: str):
        if mode == "ab":
            file.write_bytes(b"other")
        return opened(file, mode)

    monkeypatch.setattr(transfer, "_opened", disturbed)
    download_resumed(url(server), path, limit=LIMIT)
    assert path.read_bytes() == CONTENT


def test_a_full_disk_is_noticed_before_anything_is_written(server, path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=500_000))
    with pytest.raises(OutputError, match=r"needs 1\.0 MB, .* has 0\.5 MB free"):
        download_resumed(url(server), path, limit=LIMIT)
    assert list(path.parent.iterdir()) == []


def test_only_the_rest_must_fit(server, path, monkeypatch):
    cut_off(server, path, monkeypatch)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=600_000))
    download_resumed(url(server), path, limit=LIMIT)
    assert path.read_bytes() == CONTENT


def test_what_is_too_large_is_refused_before_it_comes(server, path):
    with pytest.raises(ChecksumError, match="more than the 1000 bytes"):
        download_resumed(url(server), path, limit=1000)
    assert list(path.parent.iterdir()) == []


def test_what_is_not_there(server, path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        download_resumed(f"{server.url}/mirror/nothing", path, limit=LIMIT)


def test_a_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made"):
        download_resumed(url(server), tmp_path / "file" / "a.zip", limit=LIMIT)


@pytest.mark.parametrize(
    ("variable", "offline", "expected"),
    [
        (None, False, False),
        (None, True, True),
        ("1", False, True),
        ("yes", False, True),
        ("0", False, False),
        ("", False, False),
    ],
)
def test_who_forbids_the_network(monkeypatch, variable, offline, expected):
    if variable is not None:
        monkeypatch.setenv("HF_HUB_OFFLINE", variable)
    assert network_forbidden(offline=offline) is expected


def test_addresses_of_mirrors():
    assert mirror_address("https://host/a/") == "https://host/a"
    for wrong in ("ftp://h/x", "file:///etc", "h/x", "", "http://me:secret@h/x"):
        with pytest.raises(OptionError, match="is not a mirror"):
            mirror_address(wrong)
