"""Several processes at one cache, and processes that are killed there (fault 21)."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.bundles import write_bundle

from deepseg_lite import atomic
from deepseg_lite.errors import BundleNotFoundError, OutputError
from deepseg_lite.store import cache

NAME = "tiny_threshold"
DIES = """
import os, pathlib, signal, sys
from deepseg_lite import atomic
from deepseg_lite.store import cache
target, made, count = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3])
rename = pathlib.Path.rename
def dying(path, to):
    global count
    count -= 1
    if count == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(path, to)
atomic._exchange = lambda one, other: False
pathlib.Path.rename = dying
with cache.workplace(target) as work:
    cache.put(made.rename(work / "made"), target, keep=lambda: False)
"""


def _put(made: Path, *, keep: Callable[[], bool] = lambda: False) -> None:
    target = cache.bundle_directory(NAME)
    with cache.workplace(target) as work:
        cache.put(made.rename(work / "made"), target, keep=keep)


def _version() -> str:
    directory = cache.locate(NAME)
    assert directory is not None
    return (directory / "README.md").read_text()


def _make(folder: Path, version: str) -> Path:
    made = write_bundle(folder)
    (made / "README.md").write_text(version)
    return made


def _names() -> list[str]:
    return [path.name for path in (cache.home() / "bundles").iterdir()]


@pytest.mark.parametrize("way", ["exchange", "two renames"])
def test_a_bundle_is_replaced_and_nothing_is_left(tmp_path, monkeypatch, way):
    if way == "two renames":
        monkeypatch.setattr(atomic, "_exchange", lambda one, other: False)
    for version in ("1", "2"):
        _put(_make(tmp_path / version, version))
        assert _version() == version
    _put(_make(tmp_path / "3", "3"), keep=lambda: True)
    assert _version() == "2"
    assert _names() == [NAME]


@pytest.mark.parametrize("deaths", [1, 2])
@pytest.mark.parametrize(("count", "left"), [(2, True), (3, False)])
def test_the_old_bundle_comes_back_after_kills(tmp_path, count, left, deaths):
    """The 3rd rename is that of the new bundle: before it, none is there for a moment.

    The second process first renames the old one back.
    """
    _put(_make(tmp_path / "old", "old"))
    target = cache.bundle_directory(NAME)
    for death in range(deaths):
        made = _make(tmp_path / f"new{death}", "new")
        when = str(count if left else count + death)
        done = subprocess.run([sys.executable, "-c", DIES, target, made, when], check=False)
        assert done.returncode == -signal.SIGKILL
        assert target.exists() == left
    assert _version() == "old"
    assert _names() == [NAME]


def test_a_bundle_that_is_replaced_is_always_there(tmp_path):
    """With the exchange of Linux there is no moment without it."""
    probe = tmp_path / "a", tmp_path / "b"
    for path in probe:
        path.mkdir()
    if not atomic._exchange(*probe):
        pytest.skip("names cannot be exchanged here")
    _put(_make(tmp_path / "first", "first"))
    manifest = cache.bundle_directory(NAME) / "manifest.json"
    missing: list[int] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            if not manifest.exists():
                missing.append(1)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for number in range(100):
            _put(_make(tmp_path / str(number), str(number)))
    finally:
        done.set()
        thread.join()
    assert missing == []
    assert _version() == "99"


def test_one_of_several_removes(tmp_path):
    _put(_make(tmp_path / "made", "1"))
    found: list[object] = []
    start = threading.Barrier(8)

    def remove() -> None:
        start.wait()
        try:
            found.append(cache.remove(NAME))
        except BundleNotFoundError as error:
            found.append(str(error))

    threads = [threading.Thread(target=remove) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sizes = [one for one in found if isinstance(one, int)]
    others = {one for one in found if isinstance(one, str)}
    assert len(sizes) == 1
    assert sizes[0] > 0
    assert others == {f"{NAME} is not in {cache.home() / 'bundles'}; nothing was removed."}
    assert _names() == []


def test_a_link_of_the_cache_goes_and_its_target_stays(tmp_path):
    made = _make(tmp_path / "made", "mine")
    target = cache.bundle_directory(NAME)
    target.parent.mkdir(parents=True)
    target.symlink_to(made)
    cache.remove(NAME)
    assert _names() == []
    assert (made / "README.md").read_text() == "mine"
    target.symlink_to(made)
    _put(_make(tmp_path / "new", "new"))
    assert _version() == "new"
    assert (made / "README.md").read_text() == "mine"


def test_a_failure_puts_the_old_bundle_back(tmp_path, monkeypatch):
    _put(_make(tmp_path / "old", "old"))
    monkeypatch.setattr(atomic, "_exchange", lambda one, other: False)
    real = Path.rename

    def full(path, target):
        if target == cache.bundle_directory(NAME) and path.name == "made":
            raise OSError(28, "No space left on device")
        return real(path, target)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(OutputError, match="No space left"):
        _put(_make(tmp_path / "new", "new"))
    assert _version() == "old"
    assert _names() == [NAME]
