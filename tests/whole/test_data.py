"""The committed networks are the ones their generator makes."""

from __future__ import annotations

import subprocess
import sys

import pytest
from helpers.paths import TESTS


def test_committed_networks_are_what_the_generator_makes():
    pytest.importorskip("onnx", reason="making the networks needs the onnx package")
    script = TESTS / "make_data.py"
    done = subprocess.run(
        [sys.executable, script, "--check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
