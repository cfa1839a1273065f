"""Every eighth input of the corpus of bad inputs; tests/campaigns/README.md runs all of them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from helpers.paths import ROOT, TESTS


@pytest.mark.skipif(not hasattr(os, "fork"), reason="commands are forks")
def test_bad_inputs_are_one_line_and_leave_nothing():
    """Faults 1, 3, 9, 15, 16, 18, 25, 27: as they come, by kinds."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "export"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, TESTS / "campaigns" / "corpus.py", "--share", "8"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert " 0 problems" in done.stdout
