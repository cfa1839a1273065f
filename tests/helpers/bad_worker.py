"""Worker whose networks do what the names of images say: ``kill-always.nii.gz``, ``exit-once...``.

``reading_kill-always`` does so before its image is read. ``once`` is noted in a file beside the
image.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from deepseg_lite.api.cases import FileRun
from deepseg_lite.watch import Progress

SLOW_STEPS, SLOW_S = 14, 0.5
"""Batches of patches of a case that is slow, and the seconds of each."""

DEEDS = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "segv": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "exit": lambda: os._exit(7),
    "hang": lambda: time.sleep(3600),
}


def do_as_named(image: Path, progress: Progress | None = None) -> None:
    """Do what the name of an image says; what is slow tells that it goes on."""
    deed, _, when = image.name.split(".")[0].partition("-")
    if deed == "slow" and progress is not None:
        for done in range(SLOW_STEPS):
            time.sleep(SLOW_S)
            progress(done, SLOW_STEPS)
    noted = image.with_name(f"{image.name}.noted")
    if deed in DEEDS and (when == "always" or not noted.exists()):
        noted.touch()
        DEEDS[deed]()


def spoil() -> None:
    """Have the cases of this process do so."""
    prepare, predict = FileRun.prepare, FileRun.predict

    def prepare_or_die(run: FileRun) -> None:
        image = run.case.images[0]
        if image.name.startswith("reading_"):
            do_as_named(image.with_name(image.name.removeprefix("reading_")))
        prepare(run)

    def predict_or_die(run: FileRun) -> None:
        do_as_named(run.case.images[0], run.watch.progress)
        predict(run)

    FileRun.prepare = prepare_or_die  # type: ignore[method-assign]
    FileRun.predict = predict_or_die  # type: ignore[method-assign]


def dask_setup(worker: object) -> None:
    """Spoil a worker of Dask that has this module as its preload."""
    spoil()


if __name__ == "__main__":
    from deepseg_lite.dataset.worker import main

    spoil()
    main()
