"""The benchmark's tables: ratios, agreement, networks, what is committed."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from helpers.paths import BENCHMARKS


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch):
    """Import modules of benchmarks/, which is no package."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module


def _run(
    stack: str, wall: list[float], peak_mb: list[float], predict: float, **more: Any
) -> dict[str, Any]:
    return {
        "stack": stack,
        "arguments": [],
        **more,
        "wall": wall,
        "peak_mb": peak_mb,
        "first_patch": [wall[0] / 4] * 3,
        "seconds": {"predict": [predict] * 3, "other": [0.5] * 3},
        "network_calls": 7,
    }


OLD_RESULT: dict[str, Any] = {  # of schema 1, as some that are committed
    "schema": 1,
    "date": "2026-01-02T03:04:05+00:00",
    "commit": "abc1234",
    "machine": {"cpu": "Made-up CPU", "cores": 3, "memory_gb": 5, "os": "Some OS", "arch": "x"},
    "threads": 3,
    "repeats": 3,
    "reference": "theirs",
    "stacks": {
        name: {
            "title": title,
            "python": "3.12.0",
            "installed_mb": size,
            "versions": {"numpy": "2.0"},
            "imported_by_environment": early,
        }
        for name, title, size, early in (
            ("theirs", "The original", 1500.0, ["torch"]),
            ("ours", "Ours", 300.0, []),
        )
    },
    "startup": {
        name: {"interpreter": [0.1], "import": [1.0], "help": [0.2]} for name in ("theirs", "ours")
    },
    "cases": {
        "case": {
            "title": "A case",
            "image": "image.nii.gz",
            "runs": {
                "theirs": _run("theirs", [8.0, 10.0, 50.0], [800, 1000, 900], 6.0),
                "ours": _run("ours", [4.0, 2.0, 3.0], [225, 225, 200], 1.5),
            },
            "agreement": {
                "ours": {"voxels": 5000, "differing": 2, "dice": {"sc": 0.99951, "gm": None}}
            },
        }
    },
}


AGREEMENT = {"voxels": 5000, "differing": 1234, "dice": {"a": 1.0, "b": 0.9, "c": None, "d": 0.8}}
RESULT: dict[str, Any] = {
    **OLD_RESULT,
    "schema": 2,
    "stacks": {
        **OLD_RESULT["stacks"],
        "ours": {**OLD_RESULT["stacks"]["ours"], "without_byte_code_mb": 250.0, "absent": ["x"]},
    },
    "gemm": {
        "theirs": {"library": "torch", "float32": 200.0, "bfloat16": 400.0},
        "ours": {"library": "numpy", "float32": 100.0},
    },
    "cases": {
        **OLD_RESULT["cases"],
        "warm": {
            "title": "Later cases",
            "reference": "them",
            "images": ["a.nii.gz", "b.nii.gz"],
            "flop_per_patch": 10e9,
            "runs": {
                "them": _run("theirs", [9.0], [800], 6.0, warm=[4.0], main=False),
                "int8": _run(
                    *("ours", [5.0], [200], 1.5),
                    **{"warm": [1.0], "variant": "int8", "main": True},
                    **{"network_seconds": [2.0], "patches": 30, "form": "slices"},
                ),
                "fast": _run("ours", [5.0], [200], 1.5, warm=[1.0], variant="fast", main=False),
            },
            "agreement": {"int8": AGREEMENT, "fast": AGREEMENT},
        },
    },
}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results" / "machine"
    folder.mkdir(parents=True)
    (folder / "2026-01-02-abc1234.json").write_text(json.dumps(RESULT))
    older = {**RESULT, "date": "2026-01-01T00:00:00+00:00", "commit": "zzz"}
    (folder / "2026-01-03-zzz.json").write_text(json.dumps(older))
    return tmp_path / "results"


@pytest.mark.parametrize("result", [OLD_RESULT, RESULT], ids=["schema 1", "schema 2"])
def test_ratios_are_those_of_the_medians(load, result):
    lines = load("reports.report").sections({"machine": result})["benchmark-all"].splitlines()
    (theirs, ours) = (line.split(" | ") for line in lines if "A case" in line)
    assert theirs[1:6] == ["The original", "10.00 (8.00)", "1.00", "900", "1.00"]
    assert ours[1:6] == ["Ours", "3.00 (2.00)", "0.30", "225", "0.25"]
    assert ours[6:] == ["2 of 5,000", "sc 0.99951, gm absent in both |"]


def test_main_table_has_a_row_for_each_main_run(load):
    lines = load("reports.report").sections({"machine": RESULT})["benchmark"].splitlines()
    first, second, after = (line.split(" | ") for line in lines[2:5])
    assert first[1:4] == ["Ours", "3.0 of 10.0", "225 of 900"]
    assert first[4:] == ["2 of 5,000", "0.99951 |"]
    assert second[:3] == ["| Later cases", "Ours, int8", "1.0 of 4.0"]
    assert second[3:] == ["200 of 800", "1,234 of 5,000", "0.80000 |"]
    assert after == [""]


def test_networks_are_compared_with_the_fastest_matrix_product(load):
    table = load("reports.report").sections({"machine": RESULT})["benchmark-networks"]
    assert "| Later cases | Ours, int8 | slices | 30 | 10.0 | 0.067 | 150 | 0.75 |" in table
    assert table.count("| Later cases |") == 1  # the others were not measured
    assert "Ours (numpy) float32 100" in table
    assert "The original (torch) float32 200, bfloat16 400" in table


def test_of_many_structures_the_lowest_dice_is_shown(load):
    table = load("reports.report").sections({"machine": RESULT})["benchmark-all"]
    assert "| 0.80000 (lowest of 4) |" in table


def test_stages_startup_and_machine_have_every_stack(load):
    tables = load("reports.report").sections({"machine": RESULT})
    assert "| A case | Ours |  |  |  |  |  | 1.50 |  |  | 0.50 | 7 |" in tables["benchmark-stages"]
    startup = "| Ours | 0.10 | 1.00 | 0.20 | 1.00 to 1.25 | 250 | 300 | 1 |"
    assert startup in tables["benchmark-startup"]
    assert "numpy 2.0; without x |" in tables["benchmark-machines"]
    assert "imports torch whenever Python starts" in tables["benchmark-machines"]
    assert "Made-up CPU, 3 cores, 5 GB, Some OS; 3 threads" in tables["benchmark-machines"]


def test_newest_result_of_a_machine_counts(load, results):
    newest = load("reports.report").latest_results(results)
    assert {machine: result["commit"] for machine, result in newest.items()} == {
        "machine": "abc1234"
    }


def test_write_fills_the_markers_and_check_notices(load, results, tmp_path, capsys):
    report, page = load("reports.report"), tmp_path / "page.md"
    page.write_text(
        "before\n<!-- benchmark-all:start -->\nold\n<!-- benchmark-all:end -->\nafter\n"
    )
    check = ["--results", str(results), "--check", str(page)]
    assert report.main(check) == 1
    assert "out of date" in capsys.readouterr().out
    assert report.main(["--results", str(results), "--write", str(page)]) == 0
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("<!-- benchmark-all:end -->\nafter\n")
    assert "old" not in text
    assert "| Ours | 3.00 (2.00) | 0.30 |" in text
    assert report.main(check) == 0
    assert report.main(["--results", str(results), "--write", str(page)]) == 0
    assert page.read_text() == text


def test_no_results_is_said(load, tmp_path):
    tables = load("reports.report").sections(load("reports.report").latest_results(tmp_path))
    assert set(tables.values()) == {"No results yet.\n"}


def test_committed_tables_are_those_of_the_committed_results(load):
    assert load("reports.report").main(["--check", str(BENCHMARKS / "README.md")]) == 0
