"""Network measurement: the time and memory of one patch, in a process of its own.

``python -m deepseg_lite.performance.measuring`` is that process: it takes a JSON object as its one
argument and prints one.
"""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from time import perf_counter

import numpy as np

# All that a run imports: its process weighs and starts as a run's does.
from deepseg_lite.api import cases as cases
from deepseg_lite.api.calibration import Measurement, NetworkMemory
from deepseg_lite.bundles.bundle import Bundle, read_bundle, select_networks
from deepseg_lite.bundles.networks import Network
from deepseg_lite.engines.engine import Engine, choose_engine, device_of
from deepseg_lite.engines.predictors import PatchPredictor
from deepseg_lite.errors import ProviderError
from deepseg_lite.machine import peak_memory, resident_memory, restart_peak, share_one_heap
from deepseg_lite.performance.processes import ProcessError, run_module


def measure_network(
    bundle: Bundle, network: Network, engine: Engine, threads: int, patch_size: Sequence[int]
) -> Measurement:
    """Open a network in a new process and give it two patches of noise.

    Parameters
    ----------
    bundle : Bundle
        Model of the network.
    network : Network
        One of its folds.
    engine : Engine
        What runs it.
    threads : int
        CPU threads.
    patch_size : sequence of 3 ints
        Voxels of a patch.

    Raises
    ------
    ProviderError
        If the process fails or is killed, as it is where there is not enough memory.
    """
    task = {
        "bundle": str(bundle.path),
        "fold": network.fold,
        "device": device_of(engine),
        "precision": engine.precision,
        "form": engine.form,
        "threads": threads,
        "patch_size": list(patch_size),
    }
    module = "deepseg_lite.performance.measuring"
    try:
        figures = run_module(module, json.dumps(task), blas_threads=1)
    except ProcessError as error:
        raise ProviderError(
            f"{bundle.name} could not be measured on this machine ({error.reason}); free some "
            "memory or choose another device, or plan with `no_calibrate`."
        ) from error
    memory = NetworkMemory(**figures["memory"])
    return Measurement(figures["seconds"], math.prod(patch_size), network.flop, memory)


def main() -> None:
    """Measure what the one argument says, and print it."""
    logging.basicConfig(level=logging.ERROR)
    share_one_heap()
    task = json.loads(sys.argv[1])
    bundle = read_bundle(Path(task["bundle"]))
    (network,) = select_networks(bundle, [task["fold"]])
    engine = replace(choose_engine(task["device"], task["precision"]), form=task["form"])
    shape = (1, len(bundle.inputs.channel_names), *task["patch_size"])
    patch = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    process = resident_memory()
    restart_peak()
    predict = PatchPredictor(engine.open(bundle, network, task["threads"]), bundle, network)
    opening = peak_memory()
    restart_peak()
    predict(patch)
    started = perf_counter()
    predict(patch)
    seconds = perf_counter() - started
    resident = resident_memory()
    memory = NetworkMemory(
        process_bytes=process,
        opening_bytes=opening - process,
        running_bytes=max(resident, peak_memory()) - process,
        resident_bytes=resident - process,
    )
    print(json.dumps({"seconds": seconds, "memory": asdict(memory)}))


if __name__ == "__main__":
    main()
