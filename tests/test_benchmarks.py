"""The benchmark's bookkeeping: cases, ratios, tables. Nothing here measures time."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch):
    """Import modules of benchmarks/, which is no package."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module


def _run(stack: str, wall: list[float], peak_mb: list[float], predict: float) -> dict[str, Any]:
    return {
        "stack": stack,
        "arguments": [],
        "wall": wall,
        "peak_mb": peak_mb,
        "first_patch": [wall[0] / 4] * 3,
        "seconds": {"predict": [predict] * 3, "other": [0.5] * 3},
        "network_calls": 7,
    }


RESULT: dict[str, Any] = {
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


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results" / "machine"
    folder.mkdir(parents=True)
    (folder / "2026-01-02-abc1234.json").write_text(json.dumps(RESULT))
    older = {**RESULT, "date": "2026-01-01T00:00:00+00:00", "commit": "zzz"}
    (folder / "2026-01-03-zzz.json").write_text(json.dumps(older))
    return tmp_path / "results"


def test_ratios_are_those_of_the_medians(load):
    lines = load("report").sections({"machine": RESULT})["benchmark"].splitlines()
    (theirs, ours) = (line.split(" | ") for line in lines if "A case" in line)
    assert theirs[1:6] == ["The original", "10.00 (8.00)", "1.00", "900", "1.00"]
    assert ours[1:6] == ["Ours", "3.00 (2.00)", "0.30", "225", "0.25"]
    assert ours[6:] == ["2 of 5,000", "sc 0.99951, gm absent in both |"]


def test_stages_startup_and_machine_have_every_stack(load):
    tables = load("report").sections({"machine": RESULT})
    assert "| A case | Ours |  |  |  |  |  | 1.50 |  |  | 0.50 | 7 |" in tables["benchmark-stages"]
    assert "| Ours | 0.10 | 1.00 | 0.20 | 1.00 | 300 | 1 |" in tables["benchmark-startup"]
    assert "imports torch whenever Python starts" in tables["benchmark-machines"]
    assert "Made-up CPU, 3 cores, 5 GB, Some OS; 3 threads" in tables["benchmark-machines"]


def test_newest_result_of_a_machine_counts(load, results):
    newest = load("report").latest_results(results)
    assert {machine: result["commit"] for machine, result in newest.items()} == {
        "machine": "abc1234"
    }


def test_write_fills_the_markers_and_check_notices(load, results, tmp_path, capsys):
    report, page = load("report"), tmp_path / "page.md"
    page.write_text("before\n<!-- benchmark:start -->\nold\n<!-- benchmark:end -->\nafter\n")
    check = ["--results", str(results), "--check", str(page)]
    assert report.main(check) == 1
    assert "out of date" in capsys.readouterr().out
    assert report.main(["--results", str(results), "--write", str(page)]) == 0
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("<!-- benchmark:end -->\nafter\n")
    assert "old" not in text
    assert "| Ours | 3.00 (2.00) | 0.30 |" in text
    assert report.main(check) == 0
    assert report.main(["--results", str(results), "--write", str(page)]) == 0
    assert page.read_text() == text


def test_no_results_is_said(load, tmp_path):
    tables = load("report").sections(load("report").latest_results(tmp_path))
    assert set(tables.values()) == {"No results yet.\n"}


def test_committed_tables_are_those_of_the_committed_results(load):
    assert load("report").main(["--check", str(BENCHMARKS / "README.md")]) == 0


def test_cases_name_stacks_that_exist(load):
    document, stacks = load("run").load_cases(), load("stack").open_stacks({})
    for case in document["cases"].values():
        assert document["reference"] in case["runs"]
        assert {run.get("stack", name) for name, run in case["runs"].items()} <= set(stacks)
        assert all(values for values in case["structures"].values())
    assert all((stack.directory / "run.py").is_file() for stack in stacks.values())
    assert all((stack.directory / "requirements.txt").is_file() for stack in stacks.values())


def test_absent_data_is_named(load, tmp_path):
    case = load("run").load_cases()["cases"]["3d"]
    absent = load("run").missing_files(case, tmp_path)
    assert case["image"] in absent
    assert any("gm_challenge_3d" in text for text in absent)


def test_a_process_is_measured(load):
    done = load("stack").measure(load("stack").sys.executable, ["-c", "print('a\\n{\"b\": 1}')"])
    assert done.json() == {"b": 1}
    assert done.wall > 0
    assert done.peak_mb > 1


def test_a_failing_process_ends_the_benchmark(load):
    stack = load("stack")
    with pytest.raises(SystemExit, match="exit code 3"):
        stack.measure(stack.sys.executable, ["-c", "raise SystemExit(3)"])


def test_agreement_counts_voxels_and_dice(load, tmp_path):
    import nibabel as nib
    import numpy as np

    a, b = np.zeros((2, 3, 4), np.uint8), np.zeros((2, 3, 4), np.uint8)
    a[0, 0], b[0, 0, :2], b[0, 0, 2] = 1, 1, 2
    for name, data in (("a", a), ("b", b)):
        nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / f"{name}.nii.gz")
    found = load("agreement").compare(
        tmp_path / "a.nii.gz", tmp_path / "b.nii.gz", {"sc": [1, 2], "wm": [1], "gone": [9]}
    )
    dice = {"sc": pytest.approx(6 / 7), "wm": pytest.approx(4 / 6), "gone": None}
    assert found == {"voxels": 24, "differing": 2, "dice": dice}


def test_machine_slug_is_a_plain_folder_name(load):
    machine = {"cpu": "Intel(R) Xeon(R) Processor @ 2.60GHz", "cores": 2}
    assert load("machine").slug(machine) == "intel-xeon-processor-2-60ghz-2-cores"
    assert "hostname" not in load("machine").describe_machine()
