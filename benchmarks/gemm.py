"""How fast this interpreter multiplies matrices: what a network's speed is compared with.

Runs in the interpreter of a stack; torch where there is torch, else numpy, which has no CUDA.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

SIZE, REPEATS = 2048, 8


def gflops(multiply: Callable[[], Any], wait: Callable[[], Any] = int) -> float:
    """Return 10^9 operations per second of a product of two square matrices, the best of some.

    ``wait`` returns when the device is done.
    """
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        multiply()
        wait()
        seconds.append(time.perf_counter() - started)
    return round(2 * SIZE**3 / min(seconds) / 1e9, 1)


def numpy_speeds() -> dict[str, Any]:
    """Return the speed of numpy."""
    import numpy as np

    a = np.random.default_rng(0).random((SIZE, SIZE), np.float32)
    return {"library": "numpy", "float32": gflops(lambda: a @ a)}


def torch_speeds(torch: Any, device: str) -> dict[str, Any]:
    """Return the speeds of torch; float32 without TF32, which is its default.

    bfloat16 is left out on CPUs without it, where torch takes minutes for a product.
    """
    a = torch.rand(SIZE, SIZE, device=device)
    wait = torch.cuda.synchronize if device == "cuda" else int
    found = {"float32": gflops(lambda: a @ a, wait)}
    if device != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported():
        b = a.bfloat16()
        found["bfloat16"] = gflops(lambda: b @ b, wait)
    return {"library": f"torch, {device}", **found}


def main() -> None:
    """Print a JSON object: the library and its GFLOP/s for each type; empty where there is none."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    try:
        import torch
    except ImportError:
        print(json.dumps(numpy_speeds() if options.device == "cpu" else {}))
        return
    torch.set_num_threads(options.threads)
    print(json.dumps(torch_speeds(torch, options.device)))


if __name__ == "__main__":
    main()
