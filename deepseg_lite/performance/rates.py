"""What the work around networks takes on this machine: a phantom, taken through it stage by stage.

``python -m deepseg_lite.performance.rates`` is the process that does it; it takes the time of its
start as one argument, and a device, and prints a JSON object.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

import numpy as np

from deepseg_lite import atomic

# All that a run imports: its process weighs and starts as a run's does.
from deepseg_lite.api import cases as cases
from deepseg_lite.api import nifti
from deepseg_lite.api.phantom import make_phantom
from deepseg_lite.engines.engine import Engine, choose_engine, device_of
from deepseg_lite.inference.winners import label_slabs
from deepseg_lite.performance.calibration import Rates
from deepseg_lite.performance.processes import in_new_process
from deepseg_lite.steps.grid_sample import Sampling, pull
from deepseg_lite.steps.interpolation import Interpolation
from deepseg_lite.steps.resample import resample
from deepseg_lite.volume import Volume

SHAPE, SPACING = (192, 192, 16), (0.5, 0.5, 3.0)
"""The phantom's, in voxels and mm."""
COARSE = (0.8, 0.8, 3.6)
"""What it is resampled to, in mm."""
CUBIC, LINEAR = Interpolation(3, "none", 0), Interpolation(1, "none", 0)
CONFIDENCE = 10.0
"""How far the score of the right class is above the others."""
T = TypeVar("T")


def measure_rates(engine: Engine) -> Rates:
    """Return the rates of this machine, measured in a new process.

    Raises
    ------
    ProviderError
        If the process fails.
    """
    arguments = (str(time.time()), device_of(engine))
    return Rates(**in_new_process("deepseg_lite.performance.rates", *arguments, what="a phantom"))


def main() -> None:
    """Measure, and print it."""
    choose_engine(sys.argv[2])  # which imports the engine
    start = time.time() - float(sys.argv[1])
    print(json.dumps(asdict(Rates(start=start, **stage_rates()))))


def stage_rates() -> dict[str, float]:
    """Return the seconds of each stage for a unit of its work; see `Rates`."""
    phantom = make_phantom(shape=SHAPE, spacing=SPACING)
    voxels = math.prod(SHAPE)
    image = nifti.new_image(phantom.image.astype(np.float32), phantom.affine)
    labels = nifti.new_image(phantom.labels.astype(np.uint8), phantom.affine)
    with tempfile.TemporaryDirectory() as folder:
        file, result = Path(folder) / "image.nii.gz", Path(folder) / "labels.nii.gz"
        maps, _ = _timed(lambda: atomic.write_files({file: nifti.image_bytes(image, file)}))
        read, volume = _timed(lambda: nifti.read_volume([nifti.load_image(file)], [str(file)]))
        write, _ = _timed(lambda: atomic.write_files({result: nifti.image_bytes(labels, result)}))
    prepare, (coarse, back) = _timed(lambda: resample(volume, COARSE, CUBIC, LINEAR))
    classes = np.arange(phantom.labels.max() + 1)[:, None, None, None]
    scores = CONFIDENCE * (phantom.labels == classes).astype(np.float32)
    fine = Volume(scores, volume.affine, volume.spacing)
    given = resample(fine, COARSE, LINEAR, LINEAR)[0].data
    restore, _ = _timed(lambda: list(label_slabs(given, back, None, np.uint8)))
    affine = np.diag([*np.divide(SPACING, COARSE), 1.0])
    pulled, _ = _timed(lambda: pull(given, affine, SHAPE, Sampling("linear", 1, "border", False)))
    return {
        "read": read / (4 * voxels),
        "prepare": prepare / (voxels + math.prod(coarse.shape)),
        "restore": restore / scores.size,
        "pull": pulled / scores.size,
        "write": write / voxels,
        "write_maps": maps / (4 * voxels),
    }


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    started = time.perf_counter()
    done = work()
    return time.perf_counter() - started, done


if __name__ == "__main__":
    main()
