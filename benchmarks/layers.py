"""How long single convolutions take in each way of the form in slices, and what the rule chooses.

    python benchmarks/layers.py -o benchmarks/results/MACHINE/layers/DATE.json
    python benchmarks/layers.py --table benchmarks/results/MACHINE/layers/DATE.json

Needs the extra ``convert``. One thread; milliseconds are those of the processor, the least of some
runs, ways in turn. The error is that of `layer_error`: the largest, relative to the largest output.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from deepseg_export.network.conversion import INPUT, OPSET, OUTPUT
from deepseg_export.network.slices import rule
from deepseg_export.network.slices.checking import layer_error
from deepseg_export.network.slices.convolutions import Convolution, convolve
from deepseg_export.network.slices.form import modelled
from deepseg_export.network.slices.graph import Graph
from deepseg_export.network.slices.maps import Chunk, Maps, Shape
from machine import describe_machine, utc_now

from deepseg_lite.engines.slices import Slices

KERNEL, ONE = (3, 3, 3), (1, 1, 1)
WAYS = {"taps": rule.TAPS, "F(2,3)": rule.Way(2), "F(4,3)": rule.Way(4)}
CHUNKS = (4, 8)
RUNS = 2


class Layer(NamedTuple):
    """Convolution of 3 x 3 x 3 with as many voxels behind it as before it."""

    given: int
    made: int
    voxels: tuple[int, int, int]


LAYERS = (
    Layer(1, 32, (8, 96, 160)),
    Layer(32, 32, (8, 96, 160)),
    Layer(64, 64, (8, 96, 80)),
    Layer(128, 64, (8, 96, 80)),
    Layer(128, 128, (8, 48, 40)),
    Layer(256, 256, (8, 24, 20)),
    Layer(320, 320, (4, 12, 10)),
    Layer(320, 320, (2, 6, 5)),
    Layer(8, 8, (8, 96, 96)),
    Layer(16, 16, (8, 96, 96)),
    Layer(24, 24, (8, 96, 96)),
    Layer(48, 48, (8, 64, 64)),
    Layer(512, 256, (8, 24, 20)),
)
"""Layers of a full-size network, in fewer slices and rows on the first levels, and narrow ones."""


def measured(layer: Layer) -> dict[str, Any]:
    """Return milliseconds and errors of a layer."""
    rng = np.random.default_rng(0)
    size = (layer.made, layer.given, *KERNEL)
    weight = rng.standard_normal(size, dtype=np.float32) / np.float32(27 * layer.given) ** 0.5
    bias = rng.standard_normal(layer.made, dtype=np.float32)
    given, made = Shape(layer.given, *layer.voxels), Shape(layer.made, *layer.voxels)
    item = rng.standard_normal((1, *given), dtype=np.float32)
    calls = {"3-D": _three_dimensional(given, made, weight, bias)}
    for name, way in WAYS.items():
        for slices in sorted({min(slices, made.depth) for slices in CHUNKS}):
            calls[f"{name}, {slices}"] = _in_slices(given, made, weight, bias, way, slices)
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(RUNS):
        for name, call in calls.items():
            started = time.process_time()
            call(item)
            best[name] = min(best[name], 1000 * (time.process_time() - started))
    return {
        "channels": [layer.given, layer.made],
        "voxels": list(layer.voxels),
        "ms": {name: round(least, 2) for name, least in best.items()},
        "error": {
            name: float(f"{layer_error(weight, bias, way):.1e}") for name, way in WAYS.items()
        },
    }


def _session(model: Any) -> Any:
    """Return a session as the engine opens one for the form, of one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    options.enable_mem_pattern = options.enable_mem_reuse = False
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _three_dimensional(
    given: Shape, made: Shape, weight: np.ndarray, bias: np.ndarray
) -> Callable[[np.ndarray], Any]:
    from onnx import TensorProto, helper, numpy_helper

    node = helper.make_node("Conv", [INPUT, "w", "b"], [OUTPUT], kernel_shape=KERNEL, pads=[1] * 6)
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, *shape))
        for name, shape in ((INPUT, given), (OUTPUT, made))
    ]
    arrays = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")]
    graph = helper.make_graph([node], "layer", ends[:1], ends[1:], arrays)
    opset = [helper.make_opsetid("", OPSET)]
    session = _session(helper.make_model(graph, opset_imports=opset, ir_version=8))
    return lambda item: session.run(None, {INPUT: item})


def _in_slices(
    given: Shape, made: Shape, weight: np.ndarray, bias: np.ndarray, way: rule.Way, slices: int
) -> Callable[[np.ndarray], Any]:
    graph, maps = Graph(), Maps(given, [Chunk(0, given.depth, INPUT)])
    layer = Convolution("w", "b", KERNEL, ONE, ONE, (1,) * 6)
    before = rule.CHUNK_BYTES, rule.MOST_TAKEN, rule.STEP
    rule.CHUNK_BYTES, rule.STEP = 4 * made.per_slice * slices, 1
    rule.MOST_TAKEN = 4 * given.per_slice * slices
    try:
        result = convolve(graph, maps, layer, made, way)
    finally:
        rule.CHUNK_BYTES, rule.MOST_TAKEN, rule.STEP = before
    graph.constants |= {"w": weight, "b": bias}
    return Slices(_session(modelled(graph, INPUT, given, result)))


def chosen(row: dict[str, Any]) -> str:
    """Return the way and the slices of a chunk that the rule takes for a measured layer."""
    given, made = (Shape(channels, *row["voxels"]) for channels in row["channels"])
    first = rule.ways(given, made, KERNEL, ONE, ONE)[0]
    way = next((name for name, way in WAYS.items() if way == first), None)
    return f"{way}, {rule.chunk_of(made, taken=given.per_slice)}" if way else "3-D"


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of a table: for each way its best chunk, and the rule's against the best."""
    yield "| channels | voxels | 3-D | taps | F(2,3) | F(4,3) | rule | rule / best |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | --- | ---: |"
    for row in rows:
        cells = [f"{row['ms']['3-D']:.1f}"]
        for way in WAYS:
            tried = {name: ms for name, ms in row["ms"].items() if name.startswith(way)}
            name = min(tried, key=tried.__getitem__)
            cells.append(f"{tried[name]:.1f} ({name.rpartition(' ')[2]})")
        ratio = row["ms"][chosen(row)] / min(row["ms"].values())
        channels, voxels = (" to ".join(map(str, row["channels"])), _product(row["voxels"]))
        yield f"| {channels} | {voxels} | {' | '.join(cells)} | {chosen(row)} | {ratio:.2f} |"


def _product(sizes: list[int]) -> str:
    return " x ".join(map(str, sizes))


def main() -> None:
    """Measure and write, or print the table of a result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--table", type=Path)
    given = parser.parse_args()
    if given.table:
        rows = json.loads(given.table.read_text(encoding="utf-8"))["layers"]
    else:
        rows = []
        for layer in LAYERS:
            rows.append(measured(layer))
            print(json.dumps(rows[-1]), flush=True)  # what is there when somebody stops it
    if given.output:
        result = {"measured": utc_now(), "machine": describe_machine(), "layers": rows}
        given.output.parent.mkdir(parents=True, exist_ok=True)
        given.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
