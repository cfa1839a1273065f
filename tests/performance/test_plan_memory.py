"""The memory of a run, foreseen from shapes: its laws, and real processes."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.bundles import make_affine, make_manifest, write_bundle, write_image
from hypothesis import given
from hypothesis import strategies as st

from deepseg_lite.api.calibration import NetworkMemory
from deepseg_lite.performance.plan.memory import (
    RunShapes,
    overlapping,
    peak,
    preparing,
    reading,
    restoring,
)

MIB = 2**20
NETWORK = NetworkMemory(90 * MIB, 20 * MIB, 60 * MIB, 15 * MIB)
sides = st.tuples(*[st.integers(1, 400)] * 3)
shapes_of_runs = st.builds(
    RunShapes,
    image=sides,
    channels=st.integers(1, 3),
    stored_bytes=st.integers(1, 10**8),
    grids=st.lists(sides, min_size=1, max_size=4),
    patch=st.tuples(*[st.integers(1, 160)] * 3),
    classes=st.integers(1, 40),
    maps=st.integers(0, 40),
    result_bytes=st.integers(1, 10**8),
    folds=st.integers(1, 5),
    passes=st.sampled_from([1, 2, 4, 8]),
    batch=st.integers(1, 4),
    sum_bytes=st.sampled_from([2, 4]),
)


@given(shapes_of_runs, st.sampled_from(["channels", "classes", "folds", "passes", "batch"]))
def test_more_of_anything_never_takes_less(shapes, name):
    more = replace(shapes, **{name: getattr(shapes, name) + 1})
    left_over = 4 * 2**25  # what the heap keeps depends on which arrays are just below its limit
    assert peak(more, NETWORK) >= peak(shapes, NETWORK) - left_over
    assert more.score_bytes >= shapes.score_bytes


@given(shapes_of_runs)
def test_half_precision_sums_never_take_more(shapes):
    assert peak(replace(shapes, sum_bytes=2), NETWORK) <= peak(
        replace(shapes, sum_bytes=4), NETWORK
    )


@given(shapes_of_runs)
def test_rows_of_few_scores_never_take_more(shapes):
    """They exist beside what patches are cut from, which is otherwise gone by then."""
    rows = replace(shapes, rows=1, folds=1)
    more = rows.prepared_bytes + rows.decoded_bytes + 4 * 2**25
    assert peak(rows, NETWORK) <= peak(replace(shapes, folds=1), NETWORK) + more


def test_rows_of_many_scores_take_much_less():
    tall = RunShapes(
        image=(224, 224, 160),
        channels=1,
        stored_bytes=4 * 224 * 224 * 160,
        grids=[(160, 224, 224)],
        patch=(32, 96, 96),
        classes=40,
        maps=0,
        result_bytes=224 * 224 * 160,
    )
    assert peak(replace(tall, rows=32), NETWORK) < 0.7 * peak(tall, NETWORK)


@given(shapes_of_runs)
def test_the_peak_holds_every_stage(shapes):
    for stage in (reading, preparing, restoring):
        assert peak(shapes, NETWORK) >= NETWORK.process_bytes + stage(shapes)
        warm = peak(shapes, NETWORK, warm=True)
        assert warm >= NETWORK.process_bytes + NETWORK.resident_bytes + stage(shapes)
        assert warm >= peak(shapes, NETWORK) - (NETWORK.opening_bytes - NETWORK.resident_bytes)
    assert peak(shapes, NETWORK) >= NETWORK.process_bytes + max(
        NETWORK.opening_bytes, shapes.score_bytes
    )
    assert overlapping(shapes) >= max(reading(shapes), preparing(shapes), restoring(shapes))


RUN = """\
import sys
from deepseg_lite.cli.group import cli
from deepseg_lite.machine import peak_memory
cli.main(sys.argv[1:], prog_name="deepseg-lite", standalone_mode=False)
print(peak_memory())
"""
LINEAR = {"order": 1, "separate_axis": "auto", "separate_order": 0}
CUBIC = {"order": 3, "separate_axis": "auto", "separate_order": 0}
LINES = {"method": "linear", "order": 1, "padding": "border", "align_corners": False}
RESPACE = {"step": "respace", "diagonal": False, "image": LINES, "scores": LINES}
SPOTS = {"step": "remove_spots", "share": 0.01, "independent": True, "connectivity": 3}
RUNS = {
    "as it is": (None, [], []),
    "coarser": ([1.6, 1.6, 1.6], [], []),
    "finer": ([0.7, 0.7, 0.7], [], []),
    "soft": (None, ["--soft"], []),
    "maps": ("by the affine", [], []),
    "fine slices": ("by shapes", [], []),
    "without spots": ([1.6, 1.6, 1.6], [], [SPOTS]),
}


def _process(program: tuple[str, ...], *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, *program, *map(str, arguments)], capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="what is kept of freed memory is glibc's")
@pytest.mark.parametrize(("spacing", "options", "cleaning"), RUNS.values(), ids=list(RUNS))
def test_a_real_process_stays_below_the_plan_and_not_far(
    tmp_path: Path, spacing, options, cleaning
):
    steps = make_manifest()["preprocessing"]
    outputs = make_manifest()["outputs"]
    if spacing == "by the affine":
        steps = [{**RESPACE, "spacing": [0.8, 0.8, 0.8]}]
        outputs = {**outputs, "values": "maps", "channels": 2}
    elif spacing == "by shapes":
        steps = [
            {"step": "resize", "spacing": [0.4, 0.4, None]},
            {"step": "field_of_view", "shape": [80, 80, None], "mode": "symmetric", "value": 0.0},
        ]
        before = [
            {"step": "binarize", "threshold": 0.5, "inclusive": False},
            {"step": "whole_numbers"},
        ]
        outputs = {**outputs, "values": "maps", "channels": 2, "before_undo": before}
    elif spacing:
        resample = {"step": "resample", "spacing": spacing, "image": CUBIC, "scores": LINEAR}
        steps = [*steps, resample]
    window = make_manifest()["sliding_window"]
    window = {**window, "patch_size": [32, 64, 64], "overlap": 0.0}
    bundle = write_bundle(
        tmp_path / "bundle",
        preprocessing=steps,
        sliding_window=window,
        outputs=outputs,
        postprocessing=cleaning,
    )
    data = np.random.default_rng(0).uniform(0.1, 1, (144, 144, 72)).astype(np.float32)
    image = write_image(tmp_path / "big.nii.gz", data, make_affine("RAS", (1.0, 1.0, 1.0)))
    common = [bundle, "-i", image, "--device", "cpu", "--threads", "1", *options]
    plan = json.loads(_process(("-m", "deepseg_lite"), "plan", *common, "--json"))
    measured = int(_process(("-c", RUN), "run", *common, "-o", tmp_path).splitlines()[-1])
    assert measured <= plan["memory"] <= 1.5 * measured
