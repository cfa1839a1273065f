"""Files of official releases: mirrors in turn, what is there already, folders of archives."""

from __future__ import annotations

import io
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from deepseg_export.errors import CheckpointError
from deepseg_export.reading.archive import check_zip
from deepseg_export.tasks.downloads import Received, file_name, find_local, obtain
from helpers.hub import HubServer

from deepseg_lite.errors import NetworkError, OptionError, OutputError


def make_zip(name: str = "plans.json") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, bytes(range(256)) * 64)
    return buffer.getvalue()


GOOD = make_zip()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with HubServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def urls(server: HubServer, *folders: str) -> list[str]:
    return [f"{server.url}/mirror/{folder}/m.zip" for folder in folders]


def test_the_first_address_that_has_it_is_used(server, tmp_path):
    server.mirror |= {"a/m.zip": GOOD, "b/m.zip": make_zip("other")}
    received = obtain(tmp_path / "d", urls(server, "a", "b"), check_zip)
    assert received == Received(tmp_path / "d" / "m.zip", urls(server, "a")[0])
    assert received.path.read_bytes() == GOOD


@pytest.mark.parametrize(
    ("first", "fault"),
    [
        (None, None),
        (GOOD, [500] * 5),
        (GOOD, [403]),
        (GOOD, ["cut"] * 5),
        (b"<html>Please log in</html>", None),
        (GOOD[:1000] + b"x" + GOOD[1001:], None),
        (make_zip("../evil"), None),
    ],
    ids=["missing", "broken", "forbidden", "cut off", "a page", "damaged", "hostile"],
)
def test_mirrors_follow_in_turn(server, tmp_path, first, fault):
    server.mirror["b/m.zip"] = GOOD
    if first:
        server.mirror["a/m.zip"] = first
    server.faults["a/m.zip"] = fault or []
    received = obtain(tmp_path, urls(server, "a", "b"), check_zip)
    assert received.url == urls(server, "b")[0]
    assert received.path.read_bytes() == GOOD


def test_a_mirror_of_the_user_comes_first(server, tmp_path):
    server.mirror |= {"a/m.zip": make_zip("other"), "mine/m.zip": GOOD}
    mine = f"{server.url}/mirror/mine"
    received = obtain(tmp_path, urls(server, "a"), check_zip, mirror=f"{mine}/")
    assert received.url == f"{mine}/m.zip"
    with pytest.raises(OptionError, match="is not a mirror"):
        obtain(tmp_path / "x", urls(server, "a"), check_zip, mirror="file:///etc")


def test_every_failure_is_told_when_all_fail(server, tmp_path):
    server.mirror["b/m.zip"] = b"junk"
    with pytest.raises(NetworkError) as caught:
        obtain(tmp_path, urls(server, "a", "b"), check_zip)
    assert "mirror/a/m.zip does not exist" in str(caught.value)
    assert "not a readable zip" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "m.zip").exists()


def test_the_caller_shows_how_far_it_is(server, tmp_path):
    shown = []

    @contextmanager
    def progress(name):
        shown.append(name)
        yield lambda done, total: shown.append((done, total))

    server.mirror["a/m.zip"] = GOOD
    obtain(tmp_path, urls(server, "a"), check_zip, progress=progress)
    assert (shown[0], shown[-1]) == ("m.zip", (len(GOOD), len(GOOD)))


def test_a_large_file_is_refused(server, tmp_path):
    server.mirror["a/m.zip"] = GOOD
    with pytest.raises(NetworkError, match="more than the 1000 bytes"):
        obtain(tmp_path, urls(server, "a"), check_zip, max_bytes=1000)


def test_a_full_disk_ends_it_at_once(server, tmp_path, monkeypatch):
    from types import SimpleNamespace

    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))
    server.mirror |= {"a/m.zip": GOOD, "b/m.zip": GOOD}
    with pytest.raises(OutputError, match=r"needs 0\.0 MB"):
        obtain(tmp_path, urls(server, "a", "b"), check_zip)
    assert len(server.requests) == 1


def test_what_is_there_needs_no_network(server, tmp_path):
    server.mirror["a/m.zip"] = GOOD
    first = obtain(tmp_path, urls(server, "a"), check_zip)
    server.requests.clear()
    assert obtain(tmp_path, ["https://x.org/m.zip"], check_zip, offline=True) == first
    assert server.requests == []


@pytest.mark.parametrize("variable", [False, True])
def test_offline(server, tmp_path, monkeypatch, variable):
    server.mirror["a/m.zip"] = GOOD
    if variable:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(NetworkError, match=r"m\.zip needs the network.*put it into"):
        obtain(tmp_path, urls(server, "a"), check_zip, offline=not variable)
    assert server.requests == []


def test_names_are_those_of_the_first_address():
    assert file_name(["https://h.org/a/my%20model.zip?x=1", "https://o.io/download"]) == (
        "my model.zip"
    )


def test_archives_in_folders(tmp_path):
    archives = [["https://h.org/0.zip"], ["https://h.org/1.zip"]]
    folders = [tmp_path / "a", tmp_path / "b"]
    assert find_local(folders, archives) is None
    assert find_local(folders, []) is None
    (tmp_path / "b").mkdir()
    for name in ("0.zip", "1.zip"):
        (tmp_path / "b" / name).touch()
    assert find_local(folders, archives) == [tmp_path / "b" / "0.zip", tmp_path / "b" / "1.zip"]
    Path(tmp_path / "b" / "1.zip").unlink()
    with pytest.raises(CheckpointError, match=r"only some archives of the release; 1\.zip"):
        find_local(folders, archives)
