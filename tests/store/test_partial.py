"""Transfers that end early, never end, or lead elsewhere (fault 19)."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPMessage
from pathlib import Path
from urllib.request import Request

import pytest
from helpers.bundles import make_manifest
from helpers.hub import HubServer
from helpers.paths import DATA

from deepseg_lite.bundles.files import NetworkFile
from deepseg_lite.errors import ChecksumError, NetworkError
from deepseg_lite.store import cache, download, partial, transfer
from deepseg_lite.store.download import download_resumed
from deepseg_lite.store.fetch import fetch
from deepseg_lite.store.partial import KEPT_S, partial_directory, sweep
from deepseg_lite.store.sources import mirror_source

CONTENT = bytes(range(256)) * 4096
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HALF = len(CONTENT) // 2


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with HubServer() as server:
        server.mirror["a.onnx"] = CONTENT
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


NETWORK = NetworkFile(path="a.onnx", sha256=SHA256, size=len(CONTENT))


def get(server: HubServer, path: Path) -> list[int]:
    seen: list[int] = []
    source = mirror_source(server.url, "mirror")
    source.get_listed(NETWORK, path, lambda done, _: seen.append(done))
    return seen


def ranges(server: HubServer) -> list[str | None]:
    return [asked for _, _, asked in server.requests]


def part() -> Path:
    (found,) = (partial_directory() / SHA256).glob("*.part")
    return found


def left() -> list[str]:
    return sorted(path.name for path in partial_directory().iterdir())


def cut_off(server: HubServer, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.faults["a.onnx"] = ["cut"]
    with monkeypatch.context() as patch:
        patch.setattr(download, "ATTEMPTS", 1)
        with pytest.raises(NetworkError, match="cut off after 524288 of 1048576 bytes"):
            get(server, path)
    assert not path.exists()
    server.requests.clear()


def test_what_came_is_kept_by_its_hash_and_gone_on_with(server, tmp_path, monkeypatch):
    cut_off(server, tmp_path / "one", monkeypatch)
    assert left() == [SHA256, f"{SHA256}.lock"]
    seen = get(server, tmp_path / "two")
    assert ranges(server) == [f"bytes={HALF}-"]
    assert min(seen) > HALF
    assert (tmp_path / "two").read_bytes() == CONTENT
    assert left() == [f"{SHA256}.lock"]


@pytest.mark.parametrize("damage", ["flipped", "too long", "whole", "empty"])
def test_the_whole_file_has_the_hash_in_the_end(server, tmp_path, monkeypatch, damage):
    cut_off(server, tmp_path / "one", monkeypatch)
    texts = {"flipped": b"x" * HALF, "too long": CONTENT * 2, "whole": CONTENT, "empty": b""}
    part().write_bytes(texts[damage])
    get(server, tmp_path / "one")
    assert (tmp_path / "one").read_bytes() == CONTENT
    assert len(server.requests) == {"flipped": 2, "whole": 0}.get(damage, 1)


def test_a_server_that_cannot_go_on_starts_over(server, tmp_path, monkeypatch):
    cut_off(server, tmp_path / "one", monkeypatch)
    server.faults["a.onnx"] = [416]
    get(server, tmp_path / "two")
    assert ranges(server) == [f"bytes={HALF}-", None]
    assert (tmp_path / "two").read_bytes() == CONTENT


def test_a_wrong_file_is_refused_and_nothing_of_it_is_kept(server, tmp_path, monkeypatch):
    cut_off(server, tmp_path / "one", monkeypatch)
    server.mirror["a.onnx"] = CONTENT[::-1]
    with pytest.raises(ChecksumError, match=f"not {SHA256[:12]}"):
        get(server, tmp_path / "two")
    assert list((partial_directory() / SHA256).iterdir()) == []


def test_a_second_process_receives_on_its_own(server, tmp_path, monkeypatch):
    cut_off(server, tmp_path / "one", monkeypatch)
    with partial._alone(partial_directory() / f"{SHA256}.lock") as is_alone:
        assert is_alone
        get(server, tmp_path / "two")
    assert ranges(server) == [None]
    assert part().stat().st_size == HALF
    get(server, tmp_path / "three")
    assert (tmp_path / "two").read_bytes() == (tmp_path / "three").read_bytes() == CONTENT


def test_old_parts_are_swept(server, tmp_path, monkeypatch):
    cut_off(server, tmp_path / "one", monkeypatch)
    sweep()
    assert len(left()) == 2
    for file in partial_directory().rglob("*"):
        os.utime(file, (0, time.time() - KEPT_S - 60))
    os.utime(part())
    sweep()
    assert len(left()) == 1
    os.utime(part(), (0, time.time() - KEPT_S - 60))
    sweep()
    assert left() == []


# The text of a model (field 6 of ModelProto), 2**20 bytes long.
LARGE_REMARK = b"\x32\x80\x80\x40" + b"x" * 2**20
FETCH = "from deepseg_lite.cli.group import main; main()"


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_fetch_is_gone_on_with(server, number):
    """The server sends half a network and waits, until the process is gone."""
    content = (DATA / "threshold_3d.onnx").read_bytes() + LARGE_REMARK
    half, sha256 = len(content) // 2, hashlib.sha256(content).hexdigest()
    manifest = make_manifest()
    manifest["networks"][0] |= {"sha256": sha256, "size": len(content), "path": "a.onnx"}
    server.mirror["tiny_threshold/manifest.json"] = json.dumps(manifest).encode()
    server.mirror["tiny_threshold/a.onnx"] = content
    with Answering(drip(content[:half], len(content))) as slow:
        slow.first = server.mirror["tiny_threshold/manifest.json"]
        process = subprocess.Popen(
            [sys.executable, "-c", FETCH, "fetch", "tiny_threshold", "--mirror", slow.url],
            stderr=subprocess.DEVNULL,
        )
        came = partial_directory() / sha256 / "file.part"
        while not (came.exists() and came.stat().st_size >= 2**19):
            assert process.poll() is None
            threading.Event().wait(0.01)
        process.send_signal(number)
        process.wait(60)
    assert cache.locate("tiny_threshold") is None
    fetch("tiny_threshold", mirror=f"{server.url}/mirror")
    assert cache.locate("tiny_threshold") is not None
    (asked,) = [int(found[6:-1]) for found in ranges(server) if found]
    assert 2**19 <= asked <= half


# Servers that never end


class Answering:
    """A server that answers every request with what a function does with the connection.

    ``first`` is sent in answer to the first request instead.
    """

    def __init__(self, answer: Callable[[socket.socket], None]) -> None:
        self.answer, self.first = answer, b""
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.stopped = threading.Event()

    def __enter__(self) -> Answering:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self._listening.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(65536)
                if self.first:
                    data, self.first = self.first, b""
                    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(data)}\r\n\r\n"
                    connection.sendall(head.encode() + data)
                    return
                self.answer(connection)
            except OSError:
                pass


def drip(data: bytes, announced: int) -> Callable[[socket.socket], None]:
    """Return what sends some bytes at once, and then one now and then."""

    def answer(connection: socket.socket) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {announced}\r\n\r\n"
        connection.sendall(head.encode() + data)
        while True:
            connection.sendall(b"x")
            threading.Event().wait(0.02)

    return answer


def repeat(start: bytes, data: bytes, pause: float = 0.0) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(data)
            threading.Event().wait(pause)

    return answer


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure over a moment, and do not try again."""
    monkeypatch.setattr(transfer, "WINDOW_S", 0.2)
    monkeypatch.setattr(download, "ATTEMPTS", 1)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "answer",
    [
        drip(b"", 10**6),
        repeat(b"HTTP/1.1 200 OK\r\nX: ", b"x", 0.02),
        repeat(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.02),
        repeat(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", 0.02),
    ],
    ids=["content", "header", "continue", "chunks"],
)
def test_a_server_that_drips_is_given_up(answer, tmp_path):
    with Answering(answer) as server, pytest.raises(NetworkError, match="too slow") as caught:
        download_resumed(server.url, tmp_path / "a", limit=10**6, sha256=SHA256)
    assert "10000 a second are needed" in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "answer",
    [
        repeat(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
        repeat(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 100),
        repeat(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 1000),
        repeat(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"x" * 1000),
        repeat(b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", b"x" * 1000),
        repeat(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", b"x" * 1000),
    ],
    ids=["continue", "headers", "header", "chunk", "redirects", "negative chunk"],
)
def test_a_server_that_sends_without_end_is_given_up(answer, tmp_path):
    with Answering(answer) as server, pytest.raises((NetworkError, ChecksumError)) as caught:
        download.download(server.url, tmp_path / "a", limit=1000)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_waiting_for_ourselves_is_not_counted(server, tmp_path, monkeypatch):
    """A reader that is slow is no slow server."""
    monkeypatch.setattr(transfer, "WINDOW_S", 0.05)
    monkeypatch.setattr(transfer, "_CHUNK", len(CONTENT) // 4)
    url = f"{server.url}/mirror/a.onnx"

    def slow(*_: int) -> None:
        threading.Event().wait(0.1)

    download_resumed(url, tmp_path / "a", limit=len(CONTENT), sha256=SHA256, progress=slow)
    assert (tmp_path / "a").read_bytes() == CONTENT


# Redirects


@pytest.mark.parametrize(
    ("old", "new", "allowed"),
    [
        ("https://a/x", "https://b/y", True),
        ("http://a/x", "https://b/y", True),
        ("http://a/x", "http://b/y", True),
        ("https://a/x", "http://a/x", False),
        ("https://a/x", "HTTP://a/x", False),
        ("https://a/x", "ftp://a/x", False),
        ("http://a/x", "file:///etc/passwd", False),
        ("http://a/x", "data:,x", False),
        ("http://a/x?sig=secret", "gopher://b:secret@c?sig=secret", False),
    ],
)
def test_redirects_lead_to_https_or_stay_at_http(old, new, allowed):
    def follow() -> Request | None:
        return transfer._Redirects().redirect_request(
            Request(old), None, 302, "Found", HTTPMessage(), new
        )

    if allowed:
        request = follow()
        assert request is not None
        assert request.full_url == new
    else:
        with pytest.raises(NetworkError, match="not https") as caught:
            follow()
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "location",
    ["file:///etc/hostname", "ftp://127.0.0.1/x", "data:,{}", "//[::1", "http://[x]/", "/a\x01b",
     "http://127.0.0.1:99999/", f"http://{'x' * 70}.{'y' * 300}/", "javascript:x", "http:", ""],
)  # fmt: skip
def test_no_redirect_opens_anything_else(location, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "ATTEMPTS", 1)

    def answer(connection: socket.socket) -> None:
        head = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
        connection.sendall(head.encode())

    with Answering(answer) as server, pytest.raises(NetworkError) as caught:
        download.download(server.url, tmp_path / "a", limit=1000)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300
    assert not (tmp_path / "a").exists()


def test_a_number_above_65535_is_no_port(server, tmp_path):
    """The system would take what is left of it by 65536."""
    host, _, port = server.url.rpartition(":")
    with pytest.raises(NetworkError, match="is no port"):
        download.download(f"{host}:{int(port) + 65536}/a", tmp_path / "a", limit=len(CONTENT))


def test_a_proxy_is_used(server, tmp_path, monkeypatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("http_proxy", server.url)
    download.download("http://nowhere.invalid/mirror/a.onnx", tmp_path / "a", limit=len(CONTENT))
    assert (tmp_path / "a").read_bytes() == CONTENT
