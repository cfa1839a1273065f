"""What networks cost, kept from one run to the next."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import pytest
from helpers.bundles import make_bundle

from deepseg_lite.engines.engine import Engine
from deepseg_lite.engines.onnxruntime_network import CPU
from deepseg_lite.errors import OutputError
from deepseg_lite.performance import calibration
from deepseg_lite.performance.calibration import (
    Measurement,
    NetworkMemory,
    Rates,
    lookup,
    lookup_rates,
    record,
    record_rates,
    setup_of,
)

NETWORK = make_bundle().networks[0]
SETUP = setup_of(Engine(CPU), 2, NETWORK)
MEMORY = NetworkMemory(process=90, opening=20, running=50, kept=10)
RATES = Rates(0.5, read=1e-8, prepare=4e-8, restore=1e-8, pull=1e-7, write=5e-9, write_maps=4e-8)


def test_nothing_is_known_before_it_is_measured():
    assert lookup(SETUP) is None
    assert not calibration.path().exists()


@pytest.mark.parametrize("memory", [MEMORY, None], ids=["with memory", "time alone"])
def test_what_is_recorded_is_found_again(memory):
    measured = Measurement(0.25, 512, 10**9, memory)
    record(SETUP, measured)
    assert lookup(SETUP) == measured


@pytest.mark.parametrize(
    "other", [{"threads": 1}, {"precision": "bf16"}, {"machine": "another"}, {"engine": "newer"}]
)
def test_a_measurement_holds_for_its_setup_alone(other):
    record(SETUP, Measurement(0.25, 512))
    assert lookup(replace(SETUP, **other)) is None


def test_a_newer_time_leaves_the_rest_of_the_same_patch():
    record(SETUP, Measurement(0.25, 512, None, MEMORY, 0.1))
    record(SETUP, Measurement(0.20, 512))
    assert lookup(SETUP) == Measurement(0.20, 512, None, MEMORY, 0.1)
    record(SETUP, Measurement(0.40, 1024))
    assert lookup(SETUP) == Measurement(0.40, 1024)


def test_rates_hold_for_an_engine_and_stay_beside_networks():
    assert lookup_rates(Engine(CPU)) is None
    record(SETUP, Measurement(0.25, 512))
    record_rates(Engine(CPU), RATES)
    record(SETUP, Measurement(0.20, 512))
    assert lookup_rates(Engine(CPU)) == RATES
    assert lookup_rates(Engine("openvino")) is None
    assert lookup(SETUP) == Measurement(0.20, 512)


@pytest.mark.parametrize(
    "text",
    [
        *("{", "{}", "null", "[1]", "\x00", '{"networks": [], "rates": []}'),
        '{"networks": [{}], "rates": {}}',
        '{"networks": [], "rates": {"here": {"start": 1}}}',
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


def test_the_rate_is_the_median_of_other_networks_on_the_same_setup():
    for index, seconds in enumerate((1.0, 2.0, 4.0)):
        record(replace(SETUP, network=f"{index}"), Measurement(seconds, 512, 8 * 10**9))
    record(replace(SETUP, network="no flop"), Measurement(1.0, 512))
    record(replace(SETUP, network="faster", threads=9), Measurement(0.1, 512, 8 * 10**9))
    assert calibration.typical_rate(SETUP) == 4 * 10**9
    assert calibration.typical_rate(replace(SETUP, precision="int8")) is None


def test_the_file_names_no_user_and_no_path():
    record(SETUP, Measurement(0.25, 512, None, MEMORY))
    (row,) = json.loads(calibration.path().read_text())["networks"]
    assert set(row) == {
        *("machine", "engine", "precision", "threads", "network"),
        *("seconds", "voxels", "flop", "memory", "open_seconds"),
    }
