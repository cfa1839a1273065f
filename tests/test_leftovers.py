"""Leftovers: whose a working file is, and what becomes of it when its owner is gone (fault 22)."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from deepseg_lite import leftovers

MAKE = """
import os, pathlib, signal, sys
from deepseg_lite import leftovers
with leftovers.working_folder(pathlib.Path(sys.argv[1])) as work:
    (work / "x").write_text("part")
    print(work, flush=True)
    os.kill(os.getpid(), signal.SIGKILL) if sys.argv[2] == "die" else sys.stdin.read()
"""


def _start(folder: Path, ending: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", MAKE, str(folder), ending],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def dead(tmp_path: Path) -> Path:
    """Return the working folder of a process that was killed."""
    process = _start(tmp_path, "die")
    out, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    return Path(out.strip())


def _renamed(path: Path, **parts: object) -> Path:
    """Give a working file another owner."""
    fields = dict(zip(("host", "pid", "start"), path.name.split(".")[2:5], strict=True))
    fields |= {name: str(part) for name, part in parts.items()}
    rest = path.name.split(".")[5:]
    return path.rename(path.with_name(".".join(["", "deepseg-lite", *fields.values(), *rest])))


def test_a_name_tells_the_process_and_nothing_of_the_host(tmp_path):
    name = leftovers.working_name(tmp_path / ("x" * 250)).name
    assert re.fullmatch(
        rf"\.deepseg-lite\.[0-9a-f]{{12}}\.{os.getpid()}\.\d+\.[0-9a-f]{{8}}\.tmp", name
    )
    assert name != leftovers.working_name(tmp_path / "x").name
    assert os.uname().nodename not in name


def test_a_folder_is_gone_after_its_block(tmp_path):
    with leftovers.working_folder(tmp_path) as work:
        (work / "x").write_text("x")
        assert work.parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_swept(tmp_path, dead):
    assert dead.is_dir()
    leftovers.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_next_working_folder_sweeps(tmp_path, dead):
    with leftovers.working_folder(tmp_path) as work:
        assert list(tmp_path.iterdir()) == [work]


def test_what_a_living_process_owns_stays(tmp_path):
    process = _start(tmp_path, "wait")
    assert process.stdout is not None
    work = Path(process.stdout.readline().strip())
    leftovers.sweep(tmp_path)
    assert (work / "x").is_file()
    process.communicate("", timeout=60)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc")
def test_a_number_that_another_process_has_now_is_noticed(tmp_path, dead):
    mine = leftovers.working_name(tmp_path / "x")
    mine.write_text("x")
    start = int(mine.name.split(".")[4])
    _renamed(dead, pid=os.getpid(), start=start - 1)
    leftovers.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [mine]


def test_what_another_host_left_stays_for_some_days(tmp_path, dead):
    path = _renamed(dead, host="0" * 12)
    day = 86400 * leftovers.FOREIGN_DAYS
    inside = path / "x"
    os.utime(path, (0, 0))
    leftovers.sweep(tmp_path)
    assert inside.is_file()  # which is young
    old = inside.stat().st_mtime - day - 60
    os.utime(inside, (old, old))
    leftovers.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    [".deepseg-lite.tmp", ".x.abc.tmp", "deepseg-lite.0.1.2.3.tmp", ".deepseg-lite.a.1.2.b.tmp"],
)
def test_other_names_are_nobodys_business(tmp_path, name):
    (tmp_path / name).mkdir()
    os.utime(tmp_path / name, (0, 0))
    leftovers.sweep(tmp_path)
    assert (tmp_path / name).is_dir()


def test_a_link_of_such_a_name_goes_and_its_target_stays(tmp_path, dead):
    away = tmp_path / "away"
    away.mkdir()
    (away / "x").write_text("precious")
    name = dead.name
    leftovers.discard(dead)
    (tmp_path / name).symlink_to(away)
    leftovers.sweep(tmp_path)
    assert not os.path.lexists(tmp_path / name)
    assert (away / "x").read_text() == "precious"


def test_a_folder_that_is_not_there_has_nothing_to_sweep(tmp_path):
    leftovers.sweep(tmp_path / "nowhere")


# Sets


def test_an_unfinished_set_is_undone(tmp_path, dead):
    (dead / leftovers.OLD).mkdir()
    os.link(dead / "x", tmp_path / "x")
    (dead / leftovers.OLD / "x").write_text("before")
    (tmp_path / "y").write_text("another's")
    (dead / "y").write_text("part")
    leftovers.sweep(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "x": "before",
        "y": "another's",
    }


def test_a_whole_set_stays(tmp_path, dead):
    """It was all there to see, so somebody may be using it."""
    (dead / leftovers.OLD).mkdir()
    os.link(dead / "x", tmp_path / "x")
    (dead / leftovers.OLD / "x").write_text("before")
    leftovers.sweep(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"x": "part"}


def test_a_folder_that_was_moved_away_comes_back(tmp_path, dead):
    (dead / "bundle").mkdir()
    (dead / leftovers.OLD / "bundle").mkdir(parents=True)
    (dead / leftovers.OLD / "bundle" / "manifest").write_text("old")
    leftovers.sweep(tmp_path)
    assert (tmp_path / "bundle" / "manifest").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle"]


def test_what_was_replaced_or_removed_does_not_come_back(tmp_path, dead):
    (tmp_path / "bundle").mkdir()
    (dead / "removed").mkdir()
    (dead / leftovers.OLD / "bundle" / "manifest").mkdir(parents=True)
    leftovers.sweep(tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["bundle"]


# Locks and signals


def test_a_lock_is_held_by_one_thread_at_a_time(tmp_path):
    seen: list[str] = []

    def enter() -> None:
        with leftovers.locked(tmp_path):
            seen.append("other")

    thread = threading.Thread(target=enter)
    with leftovers.locked(tmp_path):
        thread.start()
        thread.join(0.2)
        seen.append("first")
    thread.join(60)
    assert seen == ["first", "other"]


def test_a_folder_that_cannot_be_locked_is_no_error(tmp_path, monkeypatch):
    with leftovers.locked(tmp_path / "nowhere"):
        pass

    def refuse(*_: object) -> None:
        raise OSError("no locks here")

    monkeypatch.setattr(leftovers.fcntl, "flock", refuse)
    with leftovers.locked(tmp_path):
        pass


@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals need the main thread"
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_block_cleanly(tmp_path, number):
    before = signal.getsignal(number)

    def send() -> None:
        with leftovers.ended_by_signals(), leftovers.working_folder(tmp_path):
            os.kill(os.getpid(), number)
            signal.sigtimedwait([], 1)

    with pytest.raises(SystemExit) as ended:
        send()
    assert ended.value.code == 128 + number
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(number) is before


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with leftovers.ended_by_signals():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_another_thread_has_no_handlers():
    problems: list[BaseException] = []

    def enter() -> None:
        try:
            with leftovers.ended_by_signals():
                pass
        except BaseException as error:
            problems.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert problems == []


def test_a_signal_while_things_are_discarded_is_no_excuse(tmp_path, monkeypatch):
    calls: list[Path] = []
    discard = leftovers._discard

    def interrupted(work: Path) -> None:
        calls.append(work)
        if len(calls) == 1:
            raise KeyboardInterrupt
        discard(work)

    monkeypatch.setattr(leftovers, "_discard", interrupted)
    with pytest.raises(KeyboardInterrupt), leftovers.working_folder(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []
