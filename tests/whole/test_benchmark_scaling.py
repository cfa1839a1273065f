"""The scaling study: its points, table and plots, and the image and models it is made with."""

from __future__ import annotations

import importlib
import json
from xml.etree import ElementTree

import numpy as np
import pytest
from helpers.paths import BENCHMARKS

RESULT = {
    "date": "2026-01-02T03:04:05+00:00",
    "commit": "abc1234",
    "machine": {"cpu": "Made-up CPU", "cores": 3, "memory_gb": 5, "os": "Some OS"},
    "repeats": 3,
    "stacks": {"theirs": "The original", "ours": "Ours"},
    "studies": {
        "volume": [
            {
                "shape": [100, 100, 100 * factor],
                "runs": {
                    "theirs": {"wall": [4.0 * factor, 9.0], "peak_mb": [800.0]},
                    "ours": {"wall": [1.0 * factor], "peak_mb": [200.0 * factor]},
                },
            }
            for factor in (1, 2)
        ],
    },
}


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch):
    """Import modules of benchmarks/, which is no package."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module


def test_one_thing_grows_at_a_time(load):
    scaling = load("scaling")
    for name, points in scaling.STUDIES.items():
        field = {"volume": "shape"}.get(name, name)
        assert points[0] == scaling.START
        values = [getattr(point, field) for point in points]
        assert values == sorted(set(values))
        for point in points:
            others = {**vars(point), field: None}
            assert others == {**vars(scaling.START), field: None}


def test_page_and_plots_are_written_and_checked(load, tmp_path, capsys):
    report = load("reports.scaling_report")
    page = tmp_path / "scaling.md"
    page.write_text("before\n<!-- scaling:start -->\nold\n<!-- scaling:end -->\n")
    folder = tmp_path / "results" / "machine" / "scaling"
    folder.mkdir(parents=True)
    (folder / "2026-01-02-abc1234.json").write_text(json.dumps(RESULT))
    arguments = ["--results", str(tmp_path / "results"), "--page", str(page)]
    assert report.main([*arguments, "--check"]) == 1
    assert "out of date" in capsys.readouterr().out
    assert report.main(arguments) == 0
    text = page.read_text()
    assert "| voxels, millions | 2 | 8.50 | 2.00 | 800 | 400 |" in text
    assert "![Time and memory as cost grows](scaling-machine.svg)" in text
    assert "Made-up CPU, 3 cores, 5 GB, Some OS; median of 3, 2026-01-02, `abc1234`." in text
    assert report.main([*arguments, "--check"]) == 0


def test_plots_have_a_line_for_each_stack(load):
    svg = load("reports.scaling_report").plots(RESULT)
    lines = ElementTree.fromstring(svg).findall(".//{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == 4  # time and memory, of two stacks
    first, second = (
        [float(number) for spot in line.get("points").split() for number in spot.split(",")]
        for line in lines[:2]
    )
    assert first[0] == second[0]  # the same volumes
    assert first[1] < second[1]  # the original takes longer, and the axis points down


def test_committed_page_is_that_of_the_committed_results(load):
    assert load("reports.scaling_report").main(["--check"]) == 0


def test_image_is_the_same_every_time(load):
    make = load("cases.make_image").make_volume
    (data, labels), (again, _) = make((40, 60, 20), 1.0, 3), make((40, 60, 20), 1.0, 3)
    np.testing.assert_array_equal(data, again)
    assert data.dtype == np.int16
    assert set(np.unique(labels)) == {0, 1, 2, 3}
    assert data.min() > 0  # so that nothing of it is cropped
    assert data[labels > 0].mean() > data[labels == 0].mean() + 100
