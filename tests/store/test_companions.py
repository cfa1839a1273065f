"""Companions of a bundle: only its own come along, one level deep, and all are listed (fault 8)."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from helpers.bundles import make_manifest
from helpers.hub import HubServer
from helpers.paths import DATA

from deepseg_lite.bundles.bundle import read_bundle
from deepseg_lite.errors import BundleError, BundleNotFoundError, ChecksumError
from deepseg_lite.store import cache
from deepseg_lite.store.fetch import fetch
from deepseg_lite.store.tasks import find_beside

NETWORKS = ("threshold_3d.onnx", "two_channels_3d.onnx")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with HubServer() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def offer(server: HubServer, name: str, *, needs: str | None = None, version: str = "1.0") -> None:
    """Put a bundle on the mirror."""
    manifest: dict[str, Any] = make_manifest("channels" if needs else "threshold")
    manifest |= {"name": name, "version": version}
    if needs:
        manifest["prior"] = {"bundle": needs, "channels": ["t1"]}
        manifest["preprocessing"] = [{"step": "crop_to_prior", "safety_factor": [1.0, 1.0, 1.0]}]
    server.mirror[f"{name}/manifest.json"] = json.dumps(manifest).encode()
    for file in NETWORKS:
        server.mirror[f"{name}/{file}"] = (DATA / file).read_bytes()


def mirror(server: HubServer) -> str:
    return f"{server.url}/mirror"


def here() -> list[str]:
    folder = cache.home() / "bundles"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def networks_asked_for(server: HubServer) -> list[str]:
    return [path for _, path, _ in server.requests if path.endswith(".onnx")]


def test_companions_are_listed_with_their_sizes_before_a_network_is_asked_for(server):
    offer(server, "pair", needs="pair.first")
    offer(server, "pair.first")
    seen: list[dict[str, int]] = []

    def listed(arrivals: Any) -> None:
        assert networks_asked_for(server) == []
        seen.append({arrival.bundle.name: arrival.bundle.size for arrival in arrivals})

    fetch("pair", mirror=mirror(server), listed=listed)
    sizes = [(DATA / file).stat().st_size for file in reversed(NETWORKS)]
    assert seen == [dict(zip(("pair", "pair.first"), sizes, strict=True))]
    assert here() == ["pair", "pair.first"]


def test_the_command_shows_what_comes_along(server, command):
    offer(server, "pair", needs="pair.first")
    offer(server, "pair.first")
    done = command("fetch", "pair", "--mirror", mirror(server))
    assert done.code == 0
    assert done.err.splitlines() == [
        f"pair 1.0: 0.0 MB, {mirror(server)}/pair",
        f"pair.first 1.0: 0.0 MB, {mirror(server)}/pair.first",
    ]


@pytest.mark.parametrize(
    "needs", ["another", "sc_gm_t2star", "pai", "pairs.first", "first.pair", "pair.", "pair.a.b"]
)
def test_another_bundle_does_not_come_along(server, needs):
    offer(server, "pair", needs=needs)
    offer(server, needs)
    with pytest.raises(BundleError, match="not part of it") as caught:
        fetch("pair", mirror=mirror(server))
    assert f"fetch {needs} first" in str(caught.value)
    assert networks_asked_for(server) == []
    assert here() == []


def test_another_bundle_that_the_user_fetched_is_used_as_it_is(server):
    offer(server, "first")
    before = fetch("first", mirror=mirror(server)).bundle.manifest
    offer(server, "first", version="2.0")
    offer(server, "pair", needs="first")
    fetch("pair", mirror=mirror(server), force=True)
    assert here() == ["first", "pair"]
    assert read_bundle(cache.bundle_directory("first")).manifest == before


def test_a_chain_ends_before_a_network_is_asked_for(server):
    names = ["chain", *(f"chain{'.x' * depth}" for depth in range(1, 40))]
    for name, needs in zip(names, [*names[1:], None], strict=True):
        offer(server, name, needs=needs)
    with pytest.raises(BundleError, match=r"chain\.x comes along with chain and needs bundles"):
        fetch("chain", mirror=mirror(server))
    assert networks_asked_for(server) == []
    assert len(server.requests) == 2
    assert here() == []


def test_a_loop_is_one_line(server):
    offer(server, "loop", needs="loop.x")
    offer(server, "loop.x", needs="loop")
    with pytest.raises(BundleError) as caught:
        fetch("loop", mirror=mirror(server))
    assert "\n" not in str(caught.value)
    assert here() == []


def test_nothing_comes_where_a_companion_is_missing(server):
    offer(server, "pair", needs="pair.first")
    with pytest.raises(BundleNotFoundError, match=r"pair\.first is not there"):
        fetch("pair", mirror=mirror(server))
    assert networks_asked_for(server) == []
    assert here() == []


def test_nothing_is_installed_where_a_file_of_a_companion_is_wrong(server):
    offer(server, "pair", needs="pair.first")
    offer(server, "pair.first")
    server.mirror["pair.first/threshold_3d.onnx"] = b"wrong"
    with pytest.raises(ChecksumError):
        fetch("pair", mirror=mirror(server))
    assert here() == []


def test_a_companion_that_is_here_is_not_fetched_again(server):
    offer(server, "pair", needs="pair.first")
    offer(server, "pair.first")
    fetch("pair", mirror=mirror(server))
    cache.remove("pair")
    server.requests.clear()
    fetch("pair", mirror=mirror(server))
    assert networks_asked_for(server) == ["/mirror/pair/two_channels_3d.onnx"]


def test_companions_that_loop_on_the_disk_are_refused(server):
    for name, needs in (("loop", "loop.x"), ("loop.x", "loop")):
        offer(server, name, needs=needs)
        folder = cache.bundle_directory(name)
        folder.mkdir(parents=True)
        for path, data in server.mirror.items():
            if path.startswith(f"{name}/"):
                (folder / path.split("/")[1]).write_bytes(data)
    with pytest.raises(BundleError, match=r"loop\.x, which loop needs, needs other bundles"):
        find_beside("loop.x", read_bundle(cache.bundle_directory("loop")))
