"""Measuring a network on this machine, in a process of its own so that its memory is its own.

``python -m deepseg_lite.measuring`` is that process: it takes a JSON object as its one argument and
prints one.
"""

from __future__ import annotations

import json
import logging
import math
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from time import perf_counter

import numpy as np

# All that a run imports: its process is what the memory of the network comes on top of.
from deepseg_lite import cases as cases
from deepseg_lite.bundle import Bundle, Network, read_bundle, select_networks
from deepseg_lite.calibration import Measurement, NetworkMemory
from deepseg_lite.engines import Engine, choose_engine
from deepseg_lite.errors import ProviderError
from deepseg_lite.peak_memory import peak_memory, resident_memory, restart_peak
from deepseg_lite.predictor import PatchPredictor
from deepseg_lite.session import PROVIDERS

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
    devices = {provider: device for device, provider in PROVIDERS.items()}
    task = {
        "bundle": str(bundle.path),
        "fold": network.fold,
        "device": devices.get(engine.provider, engine.provider),
        "precision": engine.precision,
        "threads": threads,
        "patch_size": list(patch_size),
    }
    command = [sys.executable, "-m", "deepseg_lite.measuring", json.dumps(task)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise ProviderError(
            f"one patch of {bundle.name} could not be run to measure it ({reason}); free some "
            "memory or choose another device, or plan with --no-calibrate."
        )
    found = json.loads(done.stdout.splitlines()[-1])
    return Measurement(
        found["seconds"],
        math.prod(patch_size),
        network.flop,
        NetworkMemory(**found["memory"]),
    )


def main() -> None:
    """Measure what the one argument says, and print it."""
    logging.basicConfig(level=logging.ERROR)
    task = json.loads(sys.argv[1])
    bundle = read_bundle(Path(task["bundle"]))
    (network,) = select_networks(bundle, [task["fold"]])
    engine = choose_engine(task["device"], task["precision"])
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
    kept = resident_memory()
    memory = NetworkMemory(
        process=process,
        opening=opening - process,
        running=max(kept, peak_memory()) - process,
        kept=kept - process,
    )
    print(json.dumps({"seconds": seconds, "memory": asdict(memory)}))


if __name__ == "__main__":
    main()
