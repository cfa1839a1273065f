"""Odd environments: a run where that is possible, else one line, and never a traceback (fault 25).

Streams are replaced in this process where that tells the same, for a process takes a second.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from helpers.bundles import make_data, voxels, write_bundle, write_image

from deepseg_lite import machine
from deepseg_lite.cli import console

TRUTH = make_data() > 0.5
MODULE = (sys.executable, "-m", "deepseg_lite")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="a shell of Unix is needed")


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Return a folder with a bundle, an image, and a folder for results; it is the current one."""
    monkeypatch.chdir(tmp_path)
    write_bundle(tmp_path / "bundle")
    write_image(tmp_path / "t2.nii.gz", make_data())
    (tmp_path / "out").mkdir()
    return tmp_path


SHELLS = {  # what a shell does before, around and after the command, which is "$@"
    "all-closed": 'exec "$@" <&- >&- 2>&-',
    "stderr-closed": 'exec "$@" 2>&-',
    "stderr-full": 'exec "$@" 2>/dev/full',
    "stdin-closed": 'exec "$@" <&-',
    "no-folder": 'mkdir gone && cd gone && rmdir ../gone && exec "$@"',
    "no-tmpdir": 'TMPDIR=/nonexistent exec "$@"',
    "umask": 'umask 777; exec "$@"',
    "few-files": 'ulimit -n 32; exec "$@"',
    "small-files": 'ulimit -f 1; exec "$@"',
    "small-stack": 'ulimit -s 256; exec "$@"',
    "ascii": 'LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 PYTHONIOENCODING=ascii exec "$@"',
    "odd-locale": 'LC_ALL=xx_YY.odd TERM= COLUMNS=1 LINES=x exec "$@" 2>&1',
    "no-environment": 'exec env -i PYTHONPATH="$PYTHONPATH" HOME="$DEEPSEG_LITE_HOME" "$@"',
    "cache-is-a-file": 'DEEPSEG_LITE_HOME=/dev/null exec "$@"',
}
MAY_BE_REFUSED = ("umask", "small-files")  # by what the user may do


@pytest.mark.parametrize("shell", SHELLS)
def test_a_run_in_an_odd_environment(study, shell):
    arguments = [study / "bundle", "-i", study / "t2.nii.gz", "-o", study / "out"]
    done = subprocess.run(
        ["sh", "-c", SHELLS[shell], "sh", *MODULE, "run", *arguments, "--device", "cpu"],
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == done.returncode <= (shell in MAY_BE_REFUSED)
    written = sorted(path.name for path in (study / "out").iterdir())
    if done.returncode:
        assert done.stderr.startswith(f"error: {study}")
        assert written == []
    else:
        assert written == ["t2_seg.json", "t2_seg.nii.gz"]
        (study / "out" / "t2_seg.nii.gz").chmod(0o600)
        np.testing.assert_array_equal(voxels(study / "out" / "t2_seg.nii.gz"), TRUTH)
        closed = shell == "all-closed"
        assert done.stdout == ("" if closed else f"{study}/out/t2_seg.nii.gz\n")


COMMANDS = {
    "help": ["-h"],
    "help-of-run": ["run", "-h"],
    "version": ["--version"],
    "list": ["list"],
    "list-json": ["list", "--json"],
    "info": ["info", "sc_gm_t2star"],
    "info-json": ["info", "bundle", "--json"],
    "phantom": ["phantom", "p.nii.gz"],
    "run": ["run", "bundle", "-i", "t2.nii.gz"],
    "run-json": ["run", "bundle", "-i", "t2.nii.gz", "--json"],
    "plan": ["plan", "bundle", "-i", "t2.nii.gz", "--no-calibrate"],
}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.usefixtures("study")
@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
def test_results_that_cannot_be_printed(command, monkeypatch, arguments):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        outcome = command(*arguments)
    assert outcome.code == 1
    assert outcome.err.startswith("error: standard output cannot be written (No space left")
    assert outcome.err.count("\n") == 1
    assert Path("t2_seg.nii.gz").exists() == (arguments[0] == "run" and "-h" not in arguments)


@pytest.mark.usefixtures("study")
@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
def test_a_reader_that_went_away_is_no_error_to_talk_about(command, monkeypatch, arguments):
    reader, writer = os.pipe()
    os.close(reader)
    with suppress(BrokenPipeError), open(writer, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        outcome = command(*arguments)
    assert (outcome.code, outcome.err) == (1, "")


def test_a_full_stdout_of_a_process(study):
    with open("/dev/full", "w") as full:
        done = subprocess.run([*MODULE, "list"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_names_in_any_encoding(command, study, monkeypatch, encoding):
    name = "t\udcff2 頸\n\x1b[2J.nii"
    write_image(study / name, make_data())
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding, newline="") for _ in range(2))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    codes = [command("run", "bundle", "-i", name).code for _ in range(2)]
    assert codes == [0, 1]
    shown = "頸" if encoding == "utf-8" else r"\u9838"
    written = out.buffer.getvalue().decode(encoding)
    assert written == rf"t\xff2 {shown}\n\x1b[2J_seg.nii.gz" + "\n"
    said = err.buffer.getvalue().decode(encoding)
    assert rf"t\xff2 {shown}\n\x1b[2J_seg.nii.gz (and 1 more) exists" in said
    assert said.count("\n") == 1


NAMES = {
    "255-bytes": "x" * 248 + ".nii.gz",
    "blanks": "x " * 120 + ".nii",
    "too-long": "x" * 300 + ".nii",
    "far-too-long": "/".join(["x" * 200] * 40) + ".nii",
    "signs": "\x1b]0;x\x07\r\n\u202e\udcfe" * 12 + ".nii",
}
WAYS = {
    "image": ["run", "bundle", "-i", "{}"],
    "output": ["run", "bundle", "-i", "t2.nii.gz", "-o", "{}"],
    "bundle": ["run", "bundle-{}x", "-i", "t2.nii.gz"],
    "plan": ["plan", "bundle", "-i", "no-{}", "--no-calibrate"],
    "info": ["info", "info-{}x"],
    "phantom": ["phantom", "/dev/null/{}"],
    "remove": ["remove", "{}"],
    "command": ["{}"],
    "device": ["run", "bundle", "-i", "t2.nii.gz", "--device", "{}"],
    "folds": ["run", "bundle", "-i", "t2.nii.gz", "--folds", "{}"],
}


@pytest.mark.usefixtures("study")
@pytest.mark.parametrize("words", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_messages_are_short_and_printable_whatever_a_name(command, name, words):
    outcome = command(*(word.format(name) for word in words))
    lines = outcome.err.splitlines()
    if outcome.code == 0:
        assert lines == []
        return
    assert lines[-1].lower().startswith("error: ")
    assert outcome.code == 2 or len(lines) == 1
    assert all(len(line) < 300 and line.isprintable() for line in lines)
    for untold in ("a fault of", "Traceback"):
        assert untold not in outcome.err


@pytest.mark.usefixtures("study")
@pytest.mark.parametrize("gone", ["PermissionError", "FileNotFoundError"])
def test_what_linux_tells_of_this_process_may_be_missing(monkeypatch, gone):
    """Neither /proc nor /etc/os-release."""

    def refuse(*_, **__):
        raise {"PermissionError": PermissionError, "FileNotFoundError": FileNotFoundError}[gone]

    monkeypatch.setattr(Path, "read_text", refuse)
    monkeypatch.setattr(machine.platform, "freedesktop_os_release", refuse)
    assert machine.describe_machine().system
    assert machine.peak_memory() > 0
    assert machine.resident_memory() > 0


def test_a_tool_that_hangs_or_is_none_of_this_machine_says_nothing(monkeypatch, tmp_path):
    tool = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    tool.write_bytes(b"\x7fELF no program")
    tool.chmod(0o755)
    assert machine.gpu_memory() is None
    tool.write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(machine, "_PATIENCE_S", 0.1)
    assert machine.gpu_memory() is None
    tool.write_bytes(b"#!/bin/sh\nprintf '\\377\\n'\n")
    assert machine.gpu_memory() is None


@pytest.mark.usefixtures("study")
def test_errors_of_the_system_are_one_line(command, monkeypatch):
    """What nobody foresaw of the system is no fault of ours, and has its advice."""

    def fail(*_, **__):
        raise OSError(24, "Too many open files", "x\n")

    monkeypatch.setattr("deepseg_lite.store.catalogue.look_up", fail)
    outcome = command("info", "bundle")
    assert outcome.code == 1
    assert outcome.err.startswith(r"error: the system says: Too many open files (x\n).")
    assert outcome.err.count("\n") == 1


def test_the_numbers_of_closed_streams_go_to_no_file(study):
    """Libraries write to 2 whatever it is: with stderr closed that was the image, or a result."""
    code = (
        "import os, sys; from deepseg_lite.cli import console; "
        "console.run_to_end(lambda: os.write(int(sys.argv[2]), str("
        "os.open('bundle', os.O_RDONLY)).encode()))"
    )
    with open(study / "kept", "wb") as kept:
        subprocess.run(
            ["sh", "-c", 'exec "$@" 7>&1 <&- >&- 2>&-', "sh", sys.executable, "-c", code, "", "7"],
            stdout=kept,
            check=True,
        )
    assert int((study / "kept").read_text()) > 2


def test_json_has_names_as_they_are(command, study):
    name = "a\n\udcff.nii"
    write_image(study / name, make_data())
    (result,) = json.loads(command("run", "bundle", "-i", name, "--json").out)["results"]
    assert result["outputs"] == ["a\n\udcff_seg.nii.gz"]


def test_state_of_one_command_line_is_not_the_next_ones(command):
    assert "Traceback" in command("info", "nowhere", "--debug").err
    assert "Traceback" not in command("info", "nowhere").err
    assert console.run_to_end(lambda: None) == 0
