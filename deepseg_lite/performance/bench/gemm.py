"""Matrix products: the speed of numpy's own on this machine's processor.

``python -m deepseg_lite.performance.bench.gemm`` prints it as a JSON object, for as many threads as
the environment lets numpy have.
"""

from __future__ import annotations

import json
from time import perf_counter

import numpy as np

SIZE, REPEATS = 1500, 10


def main() -> None:
    """Print floating-point operations a second of the fastest of several float32 products."""
    a, b = np.random.default_rng(0).normal(size=(2, SIZE, SIZE)).astype(np.float32)
    out = np.empty_like(a)
    seconds = []
    for _ in range(REPEATS):
        started = perf_counter()
        np.matmul(a, b, out=out)
        seconds.append(perf_counter() - started)
    print(json.dumps({"flop_per_s": 2 * SIZE**3 / min(seconds)}))


if __name__ == "__main__":
    main()
