"""A few of each campaign: faults 20 to 24 as they come, at random moments."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from helpers.paths import ROOT, TESTS


@pytest.mark.skipif(not hasattr(os, "fork"), reason="commands are forks")
@pytest.mark.parametrize(
    "words",
    [
        ["kills.py", "--count", "14", "--seed", "5"],
        ["races.py", "--rounds", "1"],
        pytest.param(
            ["datasets.py", "--cases", "60", "--kills", "2", "--seed", "5"],
            marks=pytest.mark.skipif(sys.platform != "linux", reason="processes by /proc"),
        ),
    ],
    ids=["kills", "races", "datasets"],
)
def test_nothing_is_there_in_part_nothing_lost_and_nothing_left(words):
    script, *options = words
    paths = os.pathsep.join([str(ROOT), str(ROOT / "export"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, TESTS / "campaigns" / script, *options],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all: 0 problems" in done.stdout
