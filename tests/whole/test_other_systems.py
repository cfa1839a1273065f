"""The package without what only Unix has: modules, signals and calls that are hidden here.

What cannot be hidden, such as Windows' rules for file names, its workflow tests on Windows itself.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

WITHOUT_UNIX = """
import ctypes, os, signal, subprocess, sys, tempfile, types
import click, jsonschema, nibabel, numpy, onnxruntime, scipy.ndimage, scipy.sparse
for module in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[module] = None
for module, names in {
    os: ("fork", "geteuid", "getuid", "killpg", "sched_getaffinity", "setsid", "sysconf"),
    signal: ("SIGHUP", "SIGKILL", "SIGPIPE", "SIGUSR1"),
    ctypes: ("CDLL",),
}.items():
    for name in names:
        delattr(module, name)
sys.modules["msvcrt"] = types.SimpleNamespace(locking=lambda *given: None, LK_NBLCK=2)
os.add_dll_directory = lambda folder: None
sys.platform = "win32"
"""
EVERYTHING = """
import importlib, pkgutil, deepseg_lite
for module in pkgutil.walk_packages(deepseg_lite.__path__, "deepseg_lite."):
    if not module.name.endswith((".__main__", ".dask_cluster")):
        importlib.import_module(module.name)
from deepseg_lite.dataset.deaths import Death
assert "exit code 1" in str(Death(1, last_words="no"))
print("imported")
"""
COMMANDS = """
from deepseg_lite.cli.group import main
for line in {lines}:
    sys.argv = ["deepseg-lite", *line.split()]
    try:
        main()
    except SystemExit as ended:
        assert not ended.code, (line, ended.code)
"""


def _without_unix(code: str, folder) -> str:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_UNIX + code],
        capture_output=True, text=True, check=False, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_what_is_hidden_is_missed(tmp_path):
    with pytest.raises(AssertionError, match=r"No module named 'fcntl'|import of fcntl halted"):
        _without_unix("import fcntl", tmp_path)


def test_all_modules_can_be_imported(tmp_path):
    assert _without_unix(EVERYTHING, tmp_path).splitlines()[-1] == "imported"


def test_the_first_run_and_a_batch(tmp_path):
    lines = (
        "--version -v",
        "list",
        "info sc_gm_t2star",
        "phantom data/sub-01_T2star.nii.gz",
        "run sc_gm_t2star -i data/sub-01_T2star.nii.gz -o one/",
        "batch data out --task sc_gm_t2star --qc qc --jobs here",
        "batch data out --task sc_gm_t2star --jobs here",
        "qc qc",
    )
    (tmp_path / "data").mkdir()
    _without_unix(COMMANDS.format(lines=lines), tmp_path)
    (one,) = (tmp_path / "one").glob("*_seg.nii.gz")
    (other,) = (tmp_path / "out").rglob("*_seg.nii.gz")
    assert one.read_bytes() == other.read_bytes()
