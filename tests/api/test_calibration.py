"""The calibration file: figures of networks and of runs, kept from one process to the next."""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from helpers.bundles import make_bundle

from deepseg_lite.api import calibration
from deepseg_lite.api.calibration import (
    LAST_RUNS,
    Known,
    Measurement,
    NetworkMemory,
    Pace,
    lookup,
    read,
    record,
    record_run,
    setup_of,
)
from deepseg_lite.engines.engine import Engine
from deepseg_lite.engines.onnxruntime_network import CPU
from deepseg_lite.errors import OutputError

NETWORK = make_bundle().networks[0]
SETUP = setup_of(Engine(CPU), 2, NETWORK)
MEMORY = NetworkMemory(process_bytes=90, opening_bytes=20, running_bytes=50, resident_bytes=10)
PACE = Pace(False, 1e-6, voxel_seconds=4e-8, byte_seconds=5e-9)


def test_nothing_is_known_before_it_is_measured():
    assert lookup(SETUP) is None
    assert not calibration.path().exists()


@pytest.mark.parametrize("memory", [MEMORY, None], ids=["with memory", "time alone"])
def test_what_is_recorded_is_found_again(memory):
    measured = Measurement(0.25, 512, 10**9, memory)
    record(SETUP, measured)
    assert lookup(SETUP) == measured


@pytest.mark.parametrize(
    ("engine", "threads", "sha256"),
    [
        (Engine(CPU), 1, NETWORK.sha256),
        (Engine(CPU, "bf16"), 2, NETWORK.sha256),
        (Engine("openvino"), 2, NETWORK.sha256),
        (Engine(CPU), 2, "another"),
    ],
    ids=["threads", "precision", "engine", "network"],
)
def test_a_measurement_holds_for_its_setup_alone(engine, threads, sha256):
    record(SETUP, Measurement(0.25, 512))
    assert lookup(setup_of(engine, threads, replace(NETWORK, sha256=sha256))) is None


def test_a_measurement_holds_for_its_machine_alone(monkeypatch):
    record(SETUP, Measurement(0.25, 512))
    monkeypatch.setattr(calibration, "machine", lambda: "another")
    assert lookup(setup_of(Engine(CPU), 2, NETWORK)) is None


def test_a_newer_time_leaves_the_memory_of_the_same_patch():
    record(SETUP, Measurement(0.25, 512, None, MEMORY))
    record(SETUP, Measurement(0.20, 512))
    assert lookup(SETUP) == Measurement(0.20, 512, None, MEMORY)
    record(SETUP, Measurement(0.40, 1024))
    assert lookup(SETUP) == Measurement(0.40, 1024)


def test_runs_and_networks_stay_beside_each_other():
    record(SETUP, Measurement(0.25, 512))
    record_run({SETUP: PACE, "second": Pace(False, 2e-6)})
    record(SETUP, Measurement(0.20, 512))
    assert read() == {
        SETUP: Known(Measurement(0.20, 512), [PACE]),
        "second": Known(None, [Pace(False, 2e-6)]),
    }


def test_the_last_runs_of_each_kind_of_result_are_kept():
    record_run({SETUP: replace(PACE, maps=True)})
    for count in range(LAST_RUNS + 2):
        record_run({SETUP: replace(PACE, voxel_seconds=float(count))})
    maps, *labels = read()[SETUP].runs
    assert maps.maps
    assert [pace.voxel_seconds for pace in labels] == [2.0, 3.0, 4.0, 5.0, 6.0]


def test_runs_that_end_at_the_same_time_leave_a_file_that_is_whole(caplog):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: record_run({SETUP: PACE}), range(40)))
    assert read()[SETUP].runs == [PACE] * LAST_RUNS
    assert caplog.text == ""
    assert [file.name for file in calibration.path().parent.iterdir()] == ["calibration.json"]


@pytest.mark.parametrize(
    "text",
    [
        *("{", "null", "[1]", "\x00", '{"here": []}', '{"here": {"runs": []}}'),
        '{"here": {"measured": {}, "runs": []}}',
        '{"here": {"measured": null, "runs": [{"maps": true}]}}',
    ],
    ids=range(8),
)
def test_a_damaged_file_is_begun_anew_with_a_warning(text, caplog):
    calibration.path().parent.mkdir(parents=True)
    calibration.path().write_text(text)
    with caplog.at_level(logging.WARNING):
        record(SETUP, Measurement(0.25, 512))
    assert "damaged" in caplog.text
    assert lookup(SETUP) == Measurement(0.25, 512)


def test_a_folder_that_cannot_be_written_is_one_line(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DEEPSEG_LITE_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(OutputError, match="DEEPSEG_LITE_HOME"):
        record(SETUP, Measurement(0.25, 512))


def test_the_file_names_no_user_and_no_path():
    record(SETUP, Measurement(0.25, 512, None, MEMORY))
    record_run({SETUP: PACE})
    document = json.loads(calibration.path().read_text())
    assert list(document) == [SETUP]
    assert set(document[SETUP]["measured"]) == {"seconds", "voxels", "flop", "memory"}
    (run,) = document[SETUP]["runs"]
    assert set(run) == {"maps", "patch_voxel_seconds", "voxel_seconds", "byte_seconds"}
