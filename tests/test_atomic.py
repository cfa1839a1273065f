"""Files that appear whole or not at all, as sets, and stay when the power fails."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from deepseg_lite import atomic, leftovers
from deepseg_lite.errors import OutputError

KILL = """
import os, pathlib, signal, sys
from deepseg_lite import atomic
folder, call, count, overwrite = sys.argv[1:]
folder, count = pathlib.Path(folder), int(count)
module, _, name = call.partition(".")
holder = {"os": os, "Path": pathlib.Path}[module]
real = getattr(holder, name)
def dying(*given, **named):
    global count
    if count == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    count -= 1
    return real(*given, **named)
setattr(holder, name, dying)
files = {folder / name: b"new " + name.encode() for name in ("mask", "map", "record")}
atomic.write_files(files, overwrite=overwrite == "yes")
"""
NAMES = ("mask", "map", "record")


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def _set(word: str) -> dict[str, bytes]:
    return {name: f"{word} {name}".encode() for name in NAMES}


def _write(folder: Path, word: str, *, overwrite: bool = False) -> None:
    files = {folder / name: data for name, data in _set(word).items()}
    atomic.write_files(files, overwrite=overwrite)


def test_files_appear_whole(tmp_path):
    files = {tmp_path / "a": b"1" * 1000, tmp_path / "b": b""}
    atomic.write_files(files)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == files


def test_files_of_several_folders_are_one_set(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "one")
    atomic.write_files({tmp_path / n: b"x" for n in ("one/a", "two/a", "two/../link/b")})
    assert _files(tmp_path / "one") == {"a": b"x", "b": b"x"}
    (tmp_path / "two" / "c").write_bytes(b"there")
    with pytest.raises(OutputError, match="c exists by now"):
        atomic.write_files({tmp_path / n: b"y" for n in ("one/d", "two/c")})
    assert sorted(path.name for path in tmp_path.rglob("?")) == ["a", "a", "b", "c"]


def test_files_have_the_permissions_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        atomic.write_files({tmp_path / "a": b""})
    finally:
        assert os.umask(before) == 0o027
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_an_existing_file_is_replaced_if_it_may(tmp_path):
    _write(tmp_path, "old")
    _write(tmp_path, "new", overwrite=True)
    assert _files(tmp_path) == _set("new")
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("name", NAMES)
def test_an_existing_file_stays_otherwise(tmp_path, name):
    """Fault 21: it may have come while the network ran."""
    (tmp_path / name).write_bytes(b"another's")
    with pytest.raises(OutputError, match=f"{name} exists by now, so nothing was written"):
        _write(tmp_path, "new")
    assert _files(tmp_path) == {name: b"another's"}
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_that_comes_at_the_last_moment_stays(tmp_path, monkeypatch):
    """Fault 21: without locks, too, as on other hosts."""
    link = os.link

    def late(source, target):
        if Path(target).name == "map":
            Path(target).write_bytes(b"another's")
        link(source, target)

    monkeypatch.setattr(os, "link", late)
    with pytest.raises(OutputError, match="map exists by now"):
        _write(tmp_path, "new")
    assert _files(tmp_path) == {"map": b"another's"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_dangling_link_counts_as_a_file(tmp_path, overwrite):
    """Fault 24."""
    (tmp_path / "mask").symlink_to(tmp_path / "dropped")
    if not overwrite:
        with pytest.raises(OutputError, match="mask exists by now"):
            _write(tmp_path, "new")
        assert (tmp_path / "mask").is_symlink()
        return
    _write(tmp_path, "new", overwrite=True)
    assert not (tmp_path / "mask").is_symlink()
    assert not (tmp_path / "dropped").exists()
    assert _files(tmp_path) == _set("new")


def test_of_a_link_the_link_is_replaced(tmp_path):
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "mask").symlink_to("precious")
    _write(tmp_path, "new", overwrite=True)
    assert _files(tmp_path) == {**_set("new"), "precious": b"precious"}


@pytest.mark.parametrize("obstacle", ["missing-folder", "folder-of-that-name"])
def test_a_failure_on_the_second_file_leaves_nothing(tmp_path, obstacle):
    second = tmp_path / "missing" / "b" if obstacle == "missing-folder" else tmp_path / "b"
    if obstacle == "folder-of-that-name":
        second.mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputError, match=r"b cannot be written"):
        atomic.write_files({tmp_path / "a": b"1", second: b"2"}, overwrite=True)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("call", ["open", "fsync", "link", "rename"])
@pytest.mark.parametrize("count", range(7))
@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), SystemExit(143)]
)
def test_whatever_fails_leaves_the_old_set(tmp_path, monkeypatch, call, count, error):
    """Fault 22: a full disk, and a signal, wherever they come."""
    _write(tmp_path, "old")
    holder = Path if call in ("open", "rename") else os
    real = getattr(holder, call)
    calls: list[object] = []

    def failing(*given, **named):
        calls.append(given)
        if len(calls) == count + 1:
            raise error
        return real(*given, **named)

    expected = "new"  # a call less, or one that can be done without
    with monkeypatch.context() as patch:
        patch.setattr(holder, call, failing)
        try:
            _write(tmp_path, "new", overwrite=True)
        except (OutputError, SystemExit):
            expected = "old"
    assert _files(tmp_path) == _set(expected)
    assert len(list(tmp_path.iterdir())) == 3
    if call == "fsync":
        assert expected == ("old" if count < 4 else "new")


def _no_links(*_: object) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")


def test_a_file_system_without_links_will_do(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", _no_links)
    _write(tmp_path, "old")
    with pytest.raises(OutputError, match="record exists by now"):
        _write(tmp_path, "new")
    _write(tmp_path, "new", overwrite=True)
    assert _files(tmp_path) == _set("new")
    (tmp_path / "mask").unlink()
    (tmp_path / "map").unlink()
    with pytest.raises(OutputError, match="record exists by now"):
        _write(tmp_path, "newer")
    assert _files(tmp_path) == {"record": b"new record"}


# Kills


@pytest.mark.parametrize("overwrite", ["no", "yes"])
@pytest.mark.parametrize(
    ("call", "count"),
    [
        *(("os.link", count) for count in range(3)),
        *(("Path.rename", count) for count in range(3)),
        ("os.fsync", 2),
        ("os.fsync", 3),
        ("os.unlink", 0),
        ("os.unlink", 2),
        ("os.rmdir", 0),
    ],
)
def test_a_set_that_was_killed_is_undone_by_the_next(tmp_path, call, count, overwrite):
    """Faults 21 and 22: kill -9 at every step; the record never is without its own files."""
    if overwrite == "yes":
        _write(tmp_path, "old")
    before = _files(tmp_path)
    process = subprocess.run(
        [sys.executable, "-c", KILL, str(tmp_path), call, str(count), overwrite], check=False
    )
    seen = _files(tmp_path)
    if process.returncode != 0:  # without --overwrite there are fewer calls
        assert process.returncode == -signal.SIGKILL
        assert any(path.name.startswith(".deepseg-lite.") for path in tmp_path.iterdir())
    if "record" in seen:
        assert seen in (before, _set("new"))
    leftovers.sweep(tmp_path)
    assert _files(tmp_path) == (_set("new") if seen == _set("new") else before)
    assert len(list(tmp_path.iterdir())) == len(_files(tmp_path))


# Several at once


def _at_once(work: Callable[[int], None], count: int) -> list[BaseException]:
    problems: list[BaseException] = []
    start = threading.Barrier(count)

    def run(index: int) -> None:
        start.wait()
        try:
            work(index)
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return problems


@pytest.mark.parametrize("links", [True, False])
def test_one_of_several_wins(tmp_path, monkeypatch, links):
    """Fault 21."""
    if not links:
        monkeypatch.setattr(os, "link", _no_links)
    problems = _at_once(lambda index: _write(tmp_path, f"run{index}"), 8)
    assert [type(problem) for problem in problems] == [OutputError] * 7
    winner = (tmp_path / "record").read_text().split()[0]
    assert _files(tmp_path) == _set(winner)
    assert len(list(tmp_path.iterdir())) == 3


def test_with_overwrite_the_last_wins_whole(tmp_path):
    """Fault 21: a record belongs to its image, whoever came between."""
    assert _at_once(lambda index: _write(tmp_path, f"run{index}", overwrite=True), 8) == []
    winner = (tmp_path / "record").read_text().split()[0]
    assert _files(tmp_path) == _set(winner)
    assert len(list(tmp_path.iterdir())) == 3


# The disk


@pytest.mark.parametrize(("value", "expected"), [(None, 4), ("1", 4), ("0", 0)])
def test_files_and_folder_are_on_the_disk_before_the_set_is_complete(
    tmp_path, monkeypatch, value, expected
):
    """Fault 23."""
    if value is None:
        monkeypatch.delenv("DEEPSEG_LITE_FSYNC", raising=False)
    else:
        monkeypatch.setenv("DEEPSEG_LITE_FSYNC", value)
    events: list[str] = []
    real_sync, real_link = os.fsync, os.link

    def fsync(handle):
        events.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        real_sync(handle)

    def link(source, target):
        events.append("link")
        real_link(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", link)
    _write(tmp_path, "new")
    assert len(events) - 3 == expected
    if expected:
        assert events == ["file"] * 3 + ["link"] * 3 + ["folder"]


def test_what_can_be_made_again_does_not_wait_for_the_disk(tmp_path, monkeypatch):
    def refuse(handle):
        raise AssertionError("fsync was called")

    monkeypatch.setattr(os, "fsync", refuse)
    atomic.write_files({tmp_path / "a": b"x"}, synced=False)
    assert _files(tmp_path) == {"a": b"x"}


def test_a_file_system_that_does_not_sync_folders_will_do(tmp_path, monkeypatch):
    real = os.fsync

    def fsync(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    _write(tmp_path, "new")
    assert _files(tmp_path) == _set("new")


# Names


@pytest.mark.parametrize("length", [249, 255])
def test_names_as_long_as_the_disk_takes_are_written(tmp_path, length):
    """Fault 30."""
    path = tmp_path / ("x" * length)
    atomic.check_name(path)
    atomic.write_files({path: b"x"})
    assert path.read_bytes() == b"x"


@pytest.mark.parametrize("name", ["x" * 256, "é" * 128, f"{'x' * 300}/y", f"new/{'x' * 300}/y"])
def test_longer_names_are_refused(tmp_path, name):
    with pytest.raises(OutputError, match=r"too long a name .* 25[56] bytes|300 bytes") as caught:
        atomic.check_name(tmp_path / name)
    assert len(str(caught.value)) < 300
