"""Measuring one configuration, in a process of its own so that its start and memory are its own.

``python -m deepseg_lite.performance.bench.worker`` is that process: it takes a JSON object as its
one argument and prints one a line: a line for each pass, and a last one with the report.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from deepseg_lite.errors import DeepsegError
from deepseg_lite.machine import share_one_heap

if TYPE_CHECKING:
    from deepseg_lite.api.model import Model
    from deepseg_lite.performance.bench.stopwatch import Call


def main() -> None:
    """Measure what the one argument says, and print it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this process ends it
    share_one_heap()
    try:
        report = measure(**json.loads(sys.argv[1]))
    except DeepsegError as error:
        report = {"error": " ".join(str(error).splitlines())}
    except MemoryError:
        report = {"error": "out of memory; give fewer threads or a smaller image."}
    _say(report)


def measure(
    *,
    model: str,
    device: str,
    precision: str,
    threads: int,
    images: Sequence[str],
    folder: str,
    repeat: int,
    started_at: float,
) -> dict[str, Any]:
    """Run a model on files, once cold and then warm.

    Parameters
    ----------
    model, device, precision, threads
        As `deepseg_lite.load` takes them.
    images : sequence of str
        Files of one case, one per channel.
    folder : str
        Where results go.
    repeat : int
        Number of warm passes.
    started_at : float
        When this process was started, in seconds since the epoch.

    Returns
    -------
    report : dict
        What ran, the passes (the cold one first) and the peak memory after the cold and after the
        last one, in bytes.
    """
    # What came before counts as importing, and perf_counter does not go on across processes.
    clock = time.perf_counter() - (time.time() - started_at)
    from deepseg_lite.api import loader
    from deepseg_lite.api.cases import name_outputs, run_case
    from deepseg_lite.engines.engine import choose_engine
    from deepseg_lite.inference.settings import make_settings
    from deepseg_lite.machine import gpu_memory, peak_memory
    from deepseg_lite.nifti.geometry import read_geometry
    from deepseg_lite.nifti.reading import load_image
    from deepseg_lite.notice import ignore
    from deepseg_lite.performance.bench.stopwatch import Stopwatch

    choose_engine(device, precision)  # which imports the engine
    imported = time.perf_counter()
    segmenter = loader.load(model, device=device, precision=precision, threads=threads)
    stopwatch = Stopwatch()
    stopwatch.add("import", imported - clock)
    stopwatch.add("load", time.perf_counter() - imported)
    passes: list[dict[str, Any]] = []
    warm_calls: list[Call] = []
    peaks: list[int] = []
    for _ in range(repeat + 1):
        (case,) = name_outputs(segmenter, [[Path(p) for p in images]], Path(folder), overwrite=True)
        run_case(segmenter, case, watch=stopwatch)
        wall = time.perf_counter() - clock
        stages, calls = stopwatch.take(wall)
        passes.append({"seconds": wall, "stages": stages, **_work(calls)})
        warm_calls += calls if peaks else []
        peaks.append(peak_memory())
        _say({"pass": len(passes)})
        clock = time.perf_counter()
    with suppress(OSError):  # a benchmark does not fail for what is only kept beside it
        _calibrate(segmenter, warm_calls)
    image = load_image(images[0], ignore)
    task, main = segmenter.task, segmenter.parts(make_settings())[0]
    return {
        "name": task.name if task else segmenter.bundle.name,
        "bundle": segmenter.bundle.name,
        "version": segmenter.bundle.version,
        "folds": len(main.networks),
        "provider": segmenter.engine.provider,
        "precision": segmenter.engine.precision,
        "form": segmenter.engine.file(main.bundle, main.networks[0]).form,
        "threads": segmenter.threads,
        "image": {
            "shape": [int(size) for size in image.shape[:3]],
            "spacing_mm": [round(size, 4) for size in read_geometry(image, images[0]).spacing],
        },
        "passes": passes,
        "peak_memory": {"cold": peaks[0], "warm": peaks[-1]},
        "gpu_memory": gpu_memory(),
    }


def _work(calls: Sequence[Call]) -> dict[str, int | None]:
    """Return the patches of a pass and their floating-point operations, None where not known."""
    flop = [call.patches * call.network.flop for call in calls if call.network.flop is not None]
    return {
        "patches": sum(call.patches for call in calls),
        "flop": sum(flop) if len(flop) == len(calls) else None,
    }


def _calibrate(model: Model, calls: Sequence[Call]) -> None:
    """Keep what a patch took, for plans of other runs."""
    from deepseg_lite.api import calibration

    alike: dict[tuple[str, int], list[Call]] = {}
    for call in calls:
        alike.setdefault((call.network.sha256, call.voxels), []).append(call)
    for (_, voxels), same in alike.items():
        network = same[0].network
        calibration.record(
            calibration.setup_of(model.engine, model.threads, network),
            calibration.Measurement(
                median(call.seconds / call.patches for call in same), voxels, network.flop
            ),
        )


def _say(report: dict[str, Any]) -> None:
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
