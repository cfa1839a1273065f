"""The page and the document: guarded, private, by the schema, and never a traceback."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
from helpers.paths import ROOT
from jsonschema import Draft202012Validator

from deepseg_lite.doctor import terminal
from deepseg_lite.doctor.examination import checks, examine
from deepseg_lite.doctor.finding import LEVELS, NOTE, OK, PROBLEM, note, ok, problem
from deepseg_lite.doctor.privacy import without_names
from deepseg_lite.doctor.report import document, page, without_private
from deepseg_lite.doctor.variables import OURS, check_variables

MODULE = (sys.executable, "-m", "deepseg_lite")
SCHEMA = json.loads(files("deepseg_lite.doctor").joinpath("report.schema.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA)


def run(*words, environment=None, shell='exec "$@"'):
    """Return the outcome of the command in a process of its own."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}
    return subprocess.run(
        ["sh", "-c", shell, "sh", *MODULE, "doctor", *words],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )


def findings(text):
    return {
        (part["name"], each["name"]): each
        for part in json.loads(text)["sections"]
        for each in part["findings"]
    }


def test_the_page_and_the_document_tell_the_same(command):
    done = command("doctor", "--json", "--full")
    told = json.loads(done.out)
    assert done.err == ""
    assert list(VALIDATOR.iter_errors(told)) == []
    assert done.code == (told["problems"] > 0) == (not told["usable"])
    assert [part["name"] for part in told["sections"]] == list(checks())
    every = [each for part in told["sections"] for each in part["findings"]]
    for level, count in ((PROBLEM, told["problems"]), (NOTE, told["notes"])):
        assert sum(each["level"] == level for each in every) == count
    assert "all hashes are right" in done.out


BROKEN = "raise RuntimeError('a module\\nthat is broken')"


@pytest.mark.skipif(os.name == "nt", reason="a shell of Unix is needed")
def test_a_broken_package_is_a_finding(tmp_path):
    (tmp_path / "numpy").mkdir()
    (tmp_path / "numpy" / "__init__.py").write_text(BROKEN)
    done = run("--json", environment={"PYTHONPATH": f"{tmp_path}:{ROOT}"})
    assert (done.returncode, done.stderr) == (1, "")
    assert list(VALIDATOR.iter_errors(json.loads(done.stdout))) == []
    found = findings(done.stdout)
    assert ("engines", "without options") in found
    broken = [each for each in found.values() if "that is broken" in each["text"]]
    assert any(each["name"] == "numpy" for each in broken)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux are needed")
def test_with_hardly_any_memory_there_is_still_a_page():
    done = run("--json", shell='ulimit -v 150000; exec "$@"')
    assert (done.returncode, done.stderr) == (1, "")
    found = findings(done.stdout)
    assert found["machine", "address space"]["level"] == PROBLEM
    assert "ulimit -v unlimited" in found["machine", "address space"]["cure"]


@pytest.mark.skipif(os.name == "nt", reason="a shell of Unix is needed")
def test_in_an_odd_environment_there_is_a_page_without_a_traceback(tmp_path):
    settings = "LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 PYTHONIOENCODING=ascii TERM="
    odd = {"DEEPSEG_LITE_HOME": "/dev/null", "DEEPSEG_LITE_LOCK": str(tmp_path / "é.lock")}
    done = run(shell=f'{settings} exec "$@" 2>&1 <&-', environment=odd)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout
    assert "/dev/null is a file, and a folder is needed" in done.stdout
    assert "ascii, which cannot show all names" in done.stdout
    assert "this check failed: BundleError" in done.stdout
    assert "no terminal" in done.stdout


def test_a_check_that_fails_is_a_finding_and_ends_nothing():
    def check_bones():
        yield ok("skull", "whole")
        raise ValueError("no\nbones")

    def check_later():
        yield note("later", "seen")

    found = examine({"body": (check_bones, check_later)})
    ((first, failed, later),) = (part.findings for part in found.sections)
    assert (first.level, failed.level, later.level) == (OK, PROBLEM, NOTE)
    assert failed.name == "bones"
    assert failed.text.startswith("this check failed: ValueError: no\\nbones (test_report.py:")
    assert failed.cure


def test_the_page_shows_what_is_wrong_and_its_cure():
    def check():
        yield ok("a", "fine")
        yield note("b", "hm", "Do `max_ram`.")
        yield problem("c", "bad\nly", "Mend it.")

    found = without_private(examine({"part": (check,)}))
    assert page(found).splitlines()[:6] == [
        "part",
        "  a  fine",
        "  b  note: hm",
        "     -> Do --max-ram.",
        "  c  problem: bad\\nly",
        "     -> Mend it.",
    ]
    assert page(found).endswith(": 1 problem and 1 note.")
    assert document(found)["usable"] is False
    assert page(examine({})).endswith(": nothing is wrong.")


def test_the_schema_wants_a_cure_for_a_problem():
    each = {"level": PROBLEM, "name": "a", "text": "b", "cure": None}
    told = {**document(examine({})), "sections": [{"name": "engines", "findings": [each]}]}
    assert list(VALIDATOR.iter_errors(told))
    assert not list(VALIDATOR.iter_errors(document(examine({}))))
    assert set(LEVELS) == {"ok", "note", "problem"}


def test_the_user_is_not_named(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "jdoe"))
    monkeypatch.setenv("USER", "jdoe")
    text = f"{tmp_path}/jdoe/.cache and {tmp_path}/jdoe2, /scratch/jdoe/x by jdoe"
    assert without_names(text) == f"~/.cache and {tmp_path}/jdoe2, /scratch/USER/x by USER"
    monkeypatch.setenv("HOME", "/")
    monkeypatch.setenv("USER", "root")
    assert without_names("/opt/root") == "/opt/root"


def test_nothing_of_the_user_is_on_the_page(command, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "janedoe"))
    monkeypatch.setenv("USER", "janedoe")
    monkeypatch.setenv("DEEPSEG_LITE_HOME", str(tmp_path / "janedoe" / "models"))
    monkeypatch.setenv("DEEPSEG_LITE_MIRROR", "https://host/m?token=SECRET")
    monkeypatch.setenv("HTTPS_PROXY", "janedoe:SECRET@proxy:3128")
    monkeypatch.setattr("deepseg_lite.doctor.engines.check_devices", lambda: [])
    done = command("doctor")
    assert "~/models" in done.out
    assert "janedoe" not in done.out
    assert "SECRET" not in done.out
    assert "https://host/m?****" in done.out


def test_variables_are_told_and_misspelled_ones_named():
    found = {
        each.name: each
        for each in check_variables({"DEEPSEG_LITE_HOEM": "/x", "OMP_NUM_THREADS": "1", "A": "b"})
    }
    assert set(found) == {"DEEPSEG_LITE_HOEM", "OMP_NUM_THREADS"}
    assert found["DEEPSEG_LITE_HOEM"].level == NOTE
    assert "Did you mean DEEPSEG_LITE_HOME?" in found["DEEPSEG_LITE_HOEM"].cure


def test_every_variable_of_this_package_is_known():
    import re

    folder = Path(str(files("deepseg_lite")))
    text = "".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.py"))
    named = set(re.findall(r"DEEPSEG_LITE_[A-Z]+", text))
    assert named - {"DEEPSEG_LITE_COMPLETE"} == set(OURS)


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def test_streams(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "123")
    monkeypatch.delenv("NO_COLOR", raising=False)
    plain = io.TextIOWrapper(io.BytesIO(), "latin-1")
    closed = io.StringIO()
    closed.close()
    out, errors, _ = terminal.check_streams(Terminal(), plain)
    assert out.text == "terminal xterm-256color, 123 columns, colour, utf-8"
    assert (errors.level, errors.cure) == (NOTE, "Set PYTHONUTF8=1, or LC_ALL=C.UTF-8.")
    monkeypatch.setenv("NO_COLOR", "1")
    out, errors, _ = terminal.check_streams(Terminal(), closed)
    assert "without colour" in out.text
    assert (errors.level, errors.text) == (NOTE, "is closed")
