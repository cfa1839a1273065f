"""Measuring a network on this machine, in a process of its own so that its memory is its own.

``python -m deepseg_lite.performance.measuring`` is that process: it takes a JSON object as its one
argument and prints one.
"""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from time import perf_counter

import numpy as np

# All that a run imports: its process weighs and starts as a run's does.
from deepseg_lite.api import cases as cases
from deepseg_lite.bundles.bundle import Bundle, Network, read_bundle, select_networks
from deepseg_lite.engines.engine import Engine, choose_engine, device_of
from deepseg_lite.engines.predictors import PatchPredictor
from deepseg_lite.machine import peak_memory, resident_memory, restart_peak, share_one_heap
from deepseg_lite.performance.calibration import Measurement, NetworkMemory
from deepseg_lite.performance.processes import in_new_process

_logger = logging.getLogger("deepseg_lite")


def measure_network(
    bundle: Bundle, network: Network, engine: Engine, threads: int, patch_size: Sequence[int]
) -> Measurement:
    """Open a network in a new process and give it two patches of noise.

    Parameters
    ----------
    bundle, network : Bundle, Network
        Which.
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
        "threads": threads,
        "patch_size": list(patch_size),
    }
    found = in_new_process("deepseg_lite.performance.measuring", json.dumps(task), what=bundle.name)
    memory = NetworkMemory(**found.pop("memory"))
    return Measurement(**found, voxels=math.prod(patch_size), flop=network.flop, memory=memory)


def main() -> None:
    """Measure what the one argument says, and print it."""
    logging.basicConfig(level=logging.ERROR)
    share_one_heap()
    task = json.loads(sys.argv[1])
    bundle = read_bundle(Path(task["bundle"]))
    (network,) = select_networks(bundle, [task["fold"]])
    engine = choose_engine(task["device"], task["precision"])
    shape = (1, len(bundle.inputs.channel_names), *task["patch_size"])
    patch = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    process = resident_memory()
    restart_peak()
    started = perf_counter()
    predict = PatchPredictor(engine.open(bundle, network, task["threads"]), bundle, network)
    open_seconds = perf_counter() - started
    opening = peak_memory()
    restart_peak()
    predict(patch)
    started = perf_counter()
    predict(patch)
    seconds = perf_counter() - started
    kept = resident_memory()
    memory = NetworkMemory(
        process=process,
        opening=opening - process,
        running=max(kept, peak_memory()) - process,
        kept=kept - process,
    )
    found = {"seconds": seconds, "open_seconds": open_seconds, "memory": asdict(memory)}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
