"""Memory that was freed goes back to the system."""

from __future__ import annotations

import json
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import json
from deepseg_lite.machine import give_memory_back

def pages():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])

pieces = [bytes(4096) for _ in range(20_000)]
kept = pieces[::100]
del pieces
before = pages()
give_memory_back()
print(json.dumps([before, pages(), len(kept)]))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_pieces_between_others_that_stay_are_given_back() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    before, after, kept = json.loads(ran.stdout)
    assert kept == 200
    assert before - after > 10_000  # of some 20,000 pages
