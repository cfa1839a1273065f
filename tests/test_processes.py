"""Child processes: what they print is heard, and none outlives whoever started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from deepseg_lite import processes
from deepseg_lite.processes import run_module

pytestmark = pytest.mark.skipif(os.name == "nt", reason="no such signals")

STUBBORN = """
import json, os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(json.dumps({"pid": os.getpid()}), flush=True)
time.sleep(3600)
"""
WATCHING = """
import json, os, sys, time
from deepseg_lite.processes import end_with_parent
alive = open(sys.argv[1], "w")
end_with_parent()
print(json.dumps({"pid": os.getpid()}), flush=True)
time.sleep(3600)
"""
PARENT = """
import os, signal, sys
from deepseg_lite.processes import run_module
def die(line):
    print(line["pid"], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
run_module("child", sys.argv[1], environment={}, on_line=die)
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Make a module of some code that children can import."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))

    def make(code):
        (tmp_path / "child.py").write_text(code)
        return "child"

    return make


def test_objects_are_heard_and_all_else_is_not(module):
    name = module("print('hello')\nprint('{\"a\": 1}')\nprint('{no JSON')\nprint('[2]')\n")
    heard = []
    assert run_module(name, environment={}, on_line=heard.append) == (0, "")
    assert heard == [{"a": 1}]


def test_how_it_ended_is_told_with_what_it_said(module):
    name = module("import os, sys\nsys.exit(os.environ['WHY'] + ' ' + sys.argv[1])")
    ended = run_module(name, "word", environment={"WHY": "é"}, on_line=lambda _: None)
    assert ended == (1, "é word\n")


def test_a_process_that_does_not_end_when_asked_is_killed(module, monkeypatch):
    monkeypatch.setattr(processes, "PATIENCE_S", 0.01)
    pids = []

    def interrupt(line):
        pids.append(line["pid"])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_module(module(STUBBORN), environment={}, on_line=interrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_a_process_ends_with_the_one_that_started_it(module, tmp_path):
    """It has the pipe ``alive`` open as long as it is there."""
    module(WATCHING)
    os.mkfifo(tmp_path / "alive")
    command = [sys.executable, "-c", PARENT, str(tmp_path / "alive")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        with (tmp_path / "alive").open() as alive:
            assert alive.read() == ""
        assert int(parent.communicate()[0])
    assert parent.returncode == -signal.SIGKILL
