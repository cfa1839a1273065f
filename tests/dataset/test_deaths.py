"""How processes died, in words that help; what control groups say of it; interrupts."""

from __future__ import annotations

import subprocess
import sys

import pytest

from deepseg_lite.dataset.cgroups import Groups
from deepseg_lite.dataset.deaths import Death, memory_kills


@pytest.mark.parametrize(
    ("death", "kind", "words", "number"),
    [
        (Death(-9, for_memory=True), "OutOfMemoryError", ["want of memory", "max_ram"], 9),
        (Death(-9), "OutOfMemoryError", ["SIGKILL", "limits of a queue", "max_ram"], 9),
        (Death(-11), "CaseError", ["SIGSEGV", "report"], 11),
        (Death(-64), "CaseError", ["signal 64"], 64),
        (Death(3, last_words="a\nlast\n"), "CaseError", ["exit code 3", "(last)"], None),
        (Death(-9, silent_s=60.0), "CaseError", ["no sign of life for 60 s", "time_limit"], None),
    ],
)
def test_deaths_in_words(death, kind, words, number):
    assert (death.kind, death.signal) == (kind, number)
    assert all(word in str(death) for word in words)
    assert len(str(death)) < 300
    assert "\n" not in str(death)


@pytest.mark.parametrize(
    ("file", "text", "own"),
    [
        ("memory.events", "low 0\noom 3\noom_kill 2\n", "0::/\n"),
        ("a/b/memory.events", "oom 3\noom_kill 2\n", "0::/a/b\n"),
        ("memory/memory.oom_control", "under_oom 0\noom_kill 2\n", "4:memory:/process/x\n"),
        ("memory/job/memory.oom_control", "oom_kill 2\n", "5:pids:/no\n4:cpu,memory:/job\n"),
    ],
)
def test_killed_processes_are_counted_in_both_versions_of_control_groups(tmp_path, file, text, own):
    path = tmp_path / "cgroup" / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    (tmp_path / "own").write_text(own)
    assert memory_kills(Groups(tmp_path / "cgroup", tmp_path / "own")) == 2
    assert memory_kills(Groups(tmp_path / "none", tmp_path / "own")) is None
    assert memory_kills(Groups(tmp_path / "none", tmp_path / "nothing")) is None


INTERRUPTED = """
import signal
from deepseg_lite.dataset.interrupts import stopped_by_interrupt

signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal
told = []
with stopped_by_interrupt(lambda: told.append(1)) as stop:
    assert not stop()
    signal.raise_signal(signal.SIGINT)
    assert stop()
    assert told == [1]
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        print("interrupted")
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
"""


def test_the_first_interrupt_asks_and_the_second_interrupts():
    """In a process of its own, as an interrupt that is late would end that of the tests."""
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr
