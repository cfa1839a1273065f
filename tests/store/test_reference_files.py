"""Reference cases on their way: fetched, checked, healed and removed with their bundle."""

from __future__ import annotations

import threading
import time

import pytest
from helpers.hub import HubServer
from helpers.references import write_reference_bundle

from deepseg_lite.errors import BundleError, ChecksumError
from deepseg_lite.store import cache, installed
from deepseg_lite.store.fetch import fetch

NAME = "tiny_threshold"
LABELS = "reference/case_labels.nii.gz"


@pytest.fixture
def server(monkeypatch, tmp_path):
    """Serve a bundle with a reference from a mirror."""
    monkeypatch.setattr(time, "sleep", lambda _: None)
    folder = write_reference_bundle(tmp_path / "made")
    with HubServer() as server:
        for file in folder.rglob("*"):
            if file.is_file():
                path = file.relative_to(folder).as_posix()
                server.mirror[f"{NAME}/{path}"] = file.read_bytes()
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def test_a_mirror_gives_them_and_they_are_healed(server):
    mirror = f"{server.url}/mirror"
    bundle = fetch(NAME, mirror=mirror).bundle
    assert (bundle.path / LABELS).read_bytes() == server.mirror[f"{NAME}/{LABELS}"]
    assert bundle.size == sum(file.size for file in (*bundle.files, *bundle.reference_files))
    (bundle.path / LABELS).write_bytes(b"damaged")
    again = fetch(NAME, mirror=mirror)
    assert again.fetched
    assert (bundle.path / LABELS).read_bytes() == server.mirror[f"{NAME}/{LABELS}"]
    assert not fetch(NAME, mirror=mirror).fetched


@pytest.mark.parametrize("there", [None, "other"])
def test_one_that_is_missing_or_another_installs_nothing(server, there):
    content = server.mirror.pop(f"{NAME}/{LABELS}")
    if there:
        server.mirror[f"{NAME}/{LABELS}"] = content[:-1] + b"x"
    with pytest.raises(ChecksumError, match="case_labels"):
        fetch(NAME, mirror=f"{server.url}/mirror")
    assert cache.locate(NAME) is None


def test_they_go_with_the_bundle(server):
    bundle = fetch(NAME, mirror=f"{server.url}/mirror").bundle
    freed = installed.remove(NAME)
    assert freed[NAME] >= bundle.size
    assert not bundle.path.exists()


def test_names_that_lead_elsewhere_are_refused(server):
    text = server.mirror[f"{NAME}/manifest.json"].decode()
    for name in ("reference/../../x.nii.gz", "/x.nii.gz", "x.nii.gz", "reference/.x.nii.gz"):
        server.mirror[f"{NAME}/manifest.json"] = text.replace(LABELS, name).encode()
        with pytest.raises(BundleError, match="references"):
            fetch(NAME, mirror=f"{server.url}/mirror")
