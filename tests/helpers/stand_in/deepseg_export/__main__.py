"""Takes the words of ``deepseg-export`` and unpacks ``bundles.zip`` of the mirror.

``STAND_IN`` says what goes wrong, a Python expression; ``gate(FILE)`` waits until there is a file.
"""

import argparse
import os
import signal
import sys
import time
import zipfile
from pathlib import Path

from deepseg_lite.errors import DeepsegError
from deepseg_lite.leftovers import ended_by_signals
from deepseg_lite.processes import end_with_parent
from deepseg_lite.store import events
from deepseg_lite.store.download import download_resumed

parser = argparse.ArgumentParser()
parser.add_argument("command", choices=("task", "cord-detector"))
parser.add_argument("name", nargs="?")
for option in ("--release", "--mirror"):
    parser.add_argument(option)
parser.add_argument("-o", dest="output", type=Path)
for option in ("--events", "--repin"):
    parser.add_argument(option, action="store_true")
given = parser.parse_args()


def gate(file: str) -> None:
    """Say that this process waits, and wait."""
    Path(os.environ["TMPDIR"], "of_the_child").touch()
    events.tell("begins", text=f"waiting {os.getpid()}")
    while not os.path.exists(file):
        time.sleep(0.01)


def fail(kind: str, text: str) -> None:
    """End as the exporter does."""
    events.tell("error", kind=kind, text=text)
    sys.exit(1)


def crash(number: int) -> None:
    """End by a signal."""
    os.kill(os.getpid(), number)
    signal.pause()


end_with_parent()
with ended_by_signals():
    print("a library says hello")
    print('{"a": library that knows no JSON')
    archive = Path(os.environ["TMPDIR"], "bundles.zip")
    url = f"{given.mirror}/bundles.zip"
    events.tell("begins", text=f"Downloading {url}")
    try:
        download_resumed(
            url,
            archive,
            limit=1 << 30,
            progress=lambda done, total: events.tell("progress", done=done, total=total),
        )
    except DeepsegError as error:
        fail(type(error).__name__, str(error))
    except FileNotFoundError as error:
        fail("NetworkError", f"{error} does not exist.")
    events.tell("begins", text=f"Converting {given.name}" + " --repin" * given.repin)
    events.tell("warning", text="the catalogue expected something else")
    eval(os.environ.get("STAND_IN", "None"))
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(given.output.parent)
