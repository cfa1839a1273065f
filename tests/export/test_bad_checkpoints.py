"""Faults 7, 10 and 25 for exports: bad checkpoints end in one line, and nothing is written."""

from __future__ import annotations

import os
import random
import shutil
import unicodedata

import pytest
from campaigns.checkpoints import cases
from deepseg_export import exporting
from deepseg_export.cli.group import cli
from helpers.click_runner import invoke

pytest.importorskip("torch")
pytest.importorskip("monai")
pytest.importorskip("onnxscript")
pytest.importorskip("dynamic_network_architectures")
pytestmark = [pytest.mark.export, pytest.mark.filterwarnings("ignore")]

SHARE = int(os.environ.get("BAD_CHECKPOINTS_SHARE", "8"))
"""Of so many cases one is tried."""


@pytest.fixture(autouse=True)
def stop_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail at once where a bad model is taken for a good one."""

    def convert(*_: object) -> None:
        pytest.fail("a bad model would be converted")

    monkeypatch.setattr(exporting, "convert", convert)


def test_bad_checkpoints_end_in_one_line(tmp_path, monkeypatch):
    chance = random.Random(20240229)
    names = []
    for name, make, command in cases(random.Random(0)):
        names.append(name)
        if chance.randrange(SHARE):
            continue
        work = tmp_path / str(len(names))
        for folder in ("in", "out", "tmp"):
            (work / folder).mkdir(parents=True)
        path = make(work / "in")
        with monkeypatch.context() as patched:
            patched.setattr("tempfile.tempdir", str(work / "tmp"))
            result = invoke(cli, [*command, path, "-o", work / "out" / "bundle"])
        told = f"{name}: exit code {result.exit_code}, {result.stderr!r:.500}"
        assert isinstance(result.exception, SystemExit), f"{told}, {result.exception!r}"
        assert result.exit_code in (1, 2), told
        (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
        assert len(line) < 300, told
        assert not any(unicodedata.category(c)[0] == "C" for c in result.stderr if c != "\n"), told
        assert "Traceback" not in result.stderr, told
        assert list((work / "out").iterdir()) == [], told
        assert [file.name for file in (work / "tmp").iterdir()] in ([], [".ses"]), told
        shutil.rmtree(work)
    assert len(names) == len(set(names)) > 250
