"""The model of many machines: what limits, by hand-made figures, and the page it fills."""

from __future__ import annotations

import importlib
import json
from xml.etree import ElementTree

import pytest
from helpers.paths import BENCHMARKS

FIGURES = {
    "date": "2026-01-02T03:04:05+00:00",
    "commit": "abc1234",
    "machine": {"cpu": "Made-up CPU", "cores": 3, "memory_gb": 5, "os": "Some OS"},
    "image": [256, 256, 12],
    "case_s": 3.6,
    "start_s": 7.2,
    "image_mb": 1.0,
    "written_mb": 0.5,
    "model_mb": 10.0,
    "case_operations": 100.0,
    "listing_operations": 2.0,
    "start_operations": 1000,
}


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("reports.throughput_report")


@pytest.mark.parametrize(
    ("nodes", "longer", "cores", "reading", "metadata"),
    [
        # 20,000 cases on 16 cores: 1250 each; 30,000 and 160 MB; 2,000,000 + 40,000 + 16,000
        (1, 1, (7.2 + 1250 * 3.6) / 3600, 30160 / 100 / 3600, 2056000 / 2000 / 3600),
        (1, 50, (7.2 + 1250 * 180) / 3600, 30160 / 100 / 3600, 2056000 / 2000 / 3600),
        # 1024 cores: 20 each; 2,000,000 + 64 x 40,000 + 1,024,000
        (64, 1, (7.2 + 20 * 3.6) / 3600, 40240 / 100 / 3600, 5584000 / 2000 / 3600),
    ],
)
def test_hours_are_what_the_figures_say(report, nodes, longer, cores, reading, metadata):
    found = report.hours(FIGURES, nodes, longer)
    assert found == pytest.approx({"cores": cores, "reading": reading, "metadata": metadata})


def test_page_and_plot_are_written_and_checked(report, tmp_path, capsys):
    page = tmp_path / "clusters.md"
    page.write_text("before\n<!-- throughput:start -->\nold\n<!-- throughput:end -->\n")
    folder = tmp_path / "results" / "machine" / "throughput"
    folder.mkdir(parents=True)
    (folder / "2026-01-02-abc1234.json").write_text(json.dumps(FIGURES))
    arguments = ["--results", str(tmp_path / "results"), "--page", str(page)]
    assert report.main([*arguments, "--check"]) == 1
    assert "out of date" in capsys.readouterr().out
    assert report.main(arguments) == 0
    text = page.read_text()
    assert "| machines | 3.6 s a case: hours | what limits | 36.0 s a case: hours |" in text
    assert "| 1 | 1.25 | cores | 12.50 | cores | 62.50 | cores |" in text
    assert "| 64 | 0.78 | metadata | 0.78 | metadata | 1.00 | cores |" in text
    assert report.main([*arguments, "--check"]) == 0
    svg = ElementTree.fromstring((tmp_path / "throughput-machine.svg").read_text())
    assert len(svg.findall(".//{http://www.w3.org/2000/svg}polyline")) >= 4
