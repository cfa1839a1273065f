"""Addresses as text: nothing secret in messages, records and locks (fault 13)."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator

import pytest
from helpers.bundles import write_bundle
from helpers.hub import HubServer

from deepseg_lite.errors import DeepsegError
from deepseg_lite.store.addresses import below, masked, mirror_address

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://host/models", "https://host/models"),
        ("https://user:hunter2@host/m", "https://****@host/m"),
        ("https://hunter2@host/m", "https://****@host/m"),
        ("https://user:hun/ter2@host/m", "https://****@host/m"),
        ("user:hunter2@host/m", "****@host/m"),
        ("https://host/m?sig=hunter2&sv=1", "https://host/m?****"),
        ("https://host/m?hunter2", "https://host/m?****"),
        ("https://host/m#access_token=hunter2", "https://host/m?****"),
        ("host/m?sig=hunter2", "host/m?****"),
        ("see 'https://host/m?sig=hunter2', twice", "see 'https://host/m?****', twice"),
        ("a https://a:b@c/d?e=f and https://g:h@i/j", "a https://****@c/d?**** and https://****@i/j"),
        ("https://host:8080/m/manifest.json", "https://host:8080/m/manifest.json"),
        ("https://cdn/npm/package@1.0/m", "https://cdn/npm/package@1.0/m"),
        ("Is it there? It is.", "Is it there? It is."),
    ],
)  # fmt: skip
def test_what_is_shown_of_a_text(text, expected):
    assert masked(text) == expected
    assert masked(expected) == expected
    assert SECRET not in expected


def test_a_long_text_is_looked_at_in_part():
    for middle in ("a" * 10**6, "a " * 10**6, "a" * 300, ":" * 10**6, "?" * 10**6):
        text = masked(f"It is {middle} what to do")
        assert len(text) <= 4100
        assert text.startswith("It is")
        assert text.endswith(" what to do")
    assert SECRET not in masked(f"http://a:{'x' * 1990}{SECRET} {'y' * 2000}")


def test_a_signature_stays_at_the_end_of_an_address():
    address = mirror_address("https://host/models/?sig=x/y")
    assert below(address, "bundle", "a.onnx") == "https://host/models/bundle/a.onnx?sig=x/y"
    assert below(mirror_address("https://host/"), "b") == "https://host/b"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path) -> Iterator[HubServer]:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    folder = write_bundle(tmp_path / "tiny")
    with HubServer() as server:
        for file in folder.iterdir():
            server.mirror[f"tiny_threshold/{file.name}"] = file.read_bytes()
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def test_a_signed_mirror_works_and_its_signature_is_written_nowhere(
    server, command, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    address = f"{server.url}/mirror?sig={SECRET}"
    done = command("fetch", "tiny_threshold", "--json", "--mirror", address)
    assert done.code == 0
    source = json.loads(done.out)["results"][0]["source"]
    assert source["mirror"] == f"{server.url}/mirror?****"
    assert source["url"] == f"{server.url}/mirror/tiny_threshold?****"
    assert command("lock", "tiny_threshold").code == 0
    written = [file for folder in (tmp_path, tmp_path.parent) for file in folder.rglob("*")]
    texts = [file.read_bytes() for file in written if file.suffix in (".json", ".lock")]
    assert len(texts) > 2
    assert not any(SECRET.encode() in text for text in texts)
    assert SECRET not in done.out + done.err


@pytest.mark.parametrize("fault", [404, 500, 403, "cut"])
@pytest.mark.parametrize("file", ["manifest.json", "threshold_3d.onnx"])
def test_no_failure_shows_a_signature(server, command, file, fault):
    server.faults[file] = [fault] * 99
    done = command("fetch", "tiny_threshold", "--mirror", f"{server.url}/mirror?sig={SECRET}")
    assert done.code == 1
    assert SECRET not in done.err
    assert "?****" in done.err


@pytest.mark.parametrize(
    "address",
    [
        f"https://me:{SECRET}@host/m", f"https://{SECRET}@host/m", f"ftp://h/m?sig={SECRET}",
        f"me:{SECRET}@host", f"host/m?token={SECRET}", f"https://me:{SECRET}/x@host/m",
        f"https://[::1?sig={SECRET}", f"https://h:{SECRET}/@x",
    ],
)  # fmt: skip
def test_no_refusal_shows_a_password(command, address):
    done = command("fetch", "tiny_threshold", "--mirror", address)
    assert done.code == 1
    assert "is not a mirror" in done.err
    assert SECRET not in done.err


def test_no_failure_of_a_repository_shows_a_password(command, monkeypatch):
    pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setenv("HF_ENDPOINT", f"http://me:{SECRET}@127.0.0.1:9")
    done = command("fetch", "tiny_threshold", "--repo", "a/b")
    assert done.code == 1
    assert SECRET not in done.err


def test_an_error_keeps_its_kind(server):
    from deepseg_lite.store.fetch import fetch

    with pytest.raises(DeepsegError) as caught:
        fetch("nothing", mirror=f"{server.url}/mirror?sig={SECRET}")
    assert type(caught.value).__name__ == "BundleNotFoundError"
