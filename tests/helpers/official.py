"""Official releases for tests: a stand-in for the exporter, and a server for its archives."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

from helpers.hub import HubServer
from helpers.paths import TESTS

STAND_IN = TESTS / "helpers" / "stand_in"


def offer(server: HubServer, place: str, *bundles: Path) -> None:
    """Serve bundles as the archive of a release, ``NAME/VERSION``."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for bundle in bundles:
            for file in bundle.iterdir():
                archive.write(file, f"{bundle.name}/{file.name}")
    server.mirror[f"{place}/bundles.zip"] = packed.getvalue()


def start(*words: object, **variables: str) -> subprocess.Popen[str]:
    """Start ``deepseg-lite`` in a process of its own, with pipes for its streams."""
    return subprocess.Popen(
        [sys.executable, "-m", "deepseg_lite", *map(str, words)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **variables, "PYTHONPATH": os.pathsep.join(sys.path)},
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )


def read_until(process: subprocess.Popen[str], beginning: str) -> str:
    """Return the first line of stderr that begins so, without its beginning."""
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if line.startswith(beginning):
            return line.removeprefix(beginning).strip()
    raise AssertionError(f"{beginning} was not said: {seen}")
