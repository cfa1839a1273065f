"""What a conversion costs without torch and with it: seconds, memory, installed megabytes.

    python benchmarks/conversion.py MODEL --direct PYTHON --torch PYTHON -o OUT.json

MODEL is what ``cases/make_models.py full`` makes: nnU-Net in three dimensions, 32 to 320 features.
Each interpreter has this software with one of the extras, ``convert`` or ``export``. Runs
alternate, each a fresh process; memory is the peak of the process above that of one that only
imports. Seconds of the processors tell a loaded machine from a slow program.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

from machine import describe_machine, utc_now
from stack import measure

IMPORTS = "import numpy, scipy.special, onnx, onnxruntime, deepseg_export.exporting"
SIZE = """\
import json, pathlib, sysconfig
files = pathlib.Path(sysconfig.get_paths()["purelib"]).rglob("*")
sizes = [f.stat().st_size for f in files if f.is_file() and f.suffix != ".pyc"]
print(json.dumps(sum(sizes) / 1e6))
"""


def _cpu_seconds() -> float:
    """Return what all processes that were started and have ended took of the processors."""
    used = os.times()
    return used.children_user + used.children_system


def main() -> None:
    """Measure both ways and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--direct", required=True, help="interpreter with the extra convert")
    parser.add_argument("--torch", required=True, help="interpreter with the extra export")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    ways: dict[str, tuple[str, list[str], str]] = {
        "direct": (given.direct, [], IMPORTS),
        "torch": (given.torch, ["--with", "torch"], f"{IMPORTS}, torch, onnxscript"),
    }
    rows: dict[str, dict[str, Any]] = {
        way: {
            "installed_mb": round(measure(python, ["-c", SIZE]).json(), 1),
            "imports_mb": round(measure(python, ["-c", imports]).peak_mb, 1),
            "wall": [],
            "cpu": [],
            "over_start_mb": [],
        }
        for way, (python, _, imports) in ways.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(given.repeats):
            for way, (python, options, _) in ways.items():
                output = Path(folder) / way
                command = ["-m", "deepseg_export", "nnunet", given.model, "-o", output, "--force"]
                before = _cpu_seconds()
                done = measure(python, [*command, *options], given.threads)
                rows[way]["cpu"].append(round(_cpu_seconds() - before, 2))
                rows[way]["wall"].append(round(done.wall, 2))
                over = done.peak_mb - rows[way]["imports_mb"]
                rows[way]["over_start_mb"].append(round(over, 1))
                print(f"{way}: {done.wall:.1f} s, {over:.0f} MB over the start", flush=True)
        size = (Path(folder) / "direct" / "model.onnx").stat().st_size
    for row in rows.values():
        row["median_s"] = round(statistics.median(row["wall"]), 2)
        row["memory_in_weights"] = round(max(row["over_start_mb"]) / (size / 1e6), 2)
    result = {
        "measured": utc_now(),
        "machine": describe_machine(),
        "threads": given.threads,
        "network_mb": round(size / 1e6, 1),
        "ways": rows,
    }
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
