"""Faults 7 and 10: checkpoints that were changed at random are read, or refused in one line."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from helpers.paths import ROOT, TESTS


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs fork and /proc")
def test_nothing_is_run_and_nothing_grows():
    """A few of the campaign, which has thousands (tests/campaigns)."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "export"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, TESTS / "campaigns" / "reading.py", "--count", "90", "--seed", "3"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "all: 90 checkpoints, 0 problems" in done.stdout
