"""The benchmark's bookkeeping: cases, stacks, figures of a process. Nothing here asserts a time."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from helpers.paths import BENCHMARKS


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch):
    """Import modules of benchmarks/, which is no package."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module


@pytest.mark.parametrize("name", ["cases.toml", "gpu.toml"])
def test_cases_name_stacks_that_exist(load, name):
    cases = load("cases.case_file").load_cases(BENCHMARKS / "cases" / name)
    names = {run.stack for case in cases.values() for run in case.runs.values()}
    stacks = load("stack").open_stacks(dict.fromkeys(names, "python"))
    assert set(stacks) == names
    for case in cases.values():
        assert case.reference in case.runs
        assert all(values for values in (case.structures or {}).values())
        assert {python for python, _ in case.prepare} <= {"export", *names}
    assert all(stack.script.is_file() for stack in stacks.values())
    assert all((stack.directory / "requirements.txt").is_file() for stack in stacks.values())


def test_placeholders_are_filled(load, tmp_path):
    cases = load("cases.case_file").load_cases(
        BENCHMARKS / "cases" / "gpu.toml", device="cpu", build=tmp_path
    )
    texts = [text for case in cases.values() for text in case.texts()]
    assert f"{tmp_path}/neck.nii.gz" in texts
    assert "cpu" in texts
    assert not [text for text in texts if "{" in text]


def test_stacks_without_an_interpreter_are_left_out(load, capsys):
    case = load("cases.case_file").load_cases()["full"]
    stacks = load("stack").open_stacks({"nnunetv2": "a", "deepseg_lite": "b"})
    left = load("run").usable(case, stacks, ["full.int8"])
    assert set(left.runs) == {"nnunetv2", "deepseg_lite", "canonical"}
    said = capsys.readouterr().out
    assert "full.openvino: left out, no --python deepseg_lite_openvino=PATH" in said
    assert "full.int8: left out, as asked" in said
    assert load("run").usable(case, {"deepseg_lite": stacks["deepseg_lite"]}, []) is None
    with pytest.raises(SystemExit, match="no such stack: typo"):
        load("stack").open_stacks({"typo": "a"})


def test_absent_data_is_named(load, tmp_path, capsys):
    case = load("cases.case_file").load_cases(shared=tmp_path)["3d"]
    absent = case.missing()
    assert case.images[0] in absent
    assert any("checkpoints/gm_challenge_3d" in text for text in absent)
    assert not any("build/benchmarks" in text for text in absent)
    stacks = load("stack").open_stacks({"nnunetv2": "a", "deepseg_lite": "b"})
    assert load("run").usable(case, stacks, []) is None
    assert "3d: left out, not here: " in capsys.readouterr().out


def test_a_stack_segments_several_cases_in_one_process(load, tiny_bundle, image_file, tmp_path):
    import sys

    stack = load("stack").open_stacks({"deepseg_lite": sys.executable})["deepseg_lite"]
    out = tmp_path / "out"
    arguments = [stack.script, out, image_file, image_file, "--model", tiny_bundle]
    done = load("stack").measure(stack.python, [*arguments, "--threads", "1"], 1)
    printed = done.json()
    assert {file.name for file in out.glob("*.nii.gz")} == {"0.nii.gz", "1.nii.gz"}
    assert len(printed["cases_ended_at"]) == 2
    assert printed["patches"] >= printed["network_calls"] >= 2
    assert done.started_at <= printed["began_at"] <= printed["first_patch_at"]
    row = {key: [] for key in ("wall", "cpu", "peak_mb", "first_patch", "network_seconds")}
    row["seconds"] = {}
    load("measuring").record(row, done)
    assert sum(values[0] for values in row["seconds"].values()) == pytest.approx(done.wall, abs=0.1)
    assert 0 <= row["warm"][0] <= done.wall
    assert row["form"] == "canonical"
    assert {"start", "import", "load", "read", "predict", "write", "other"} <= set(row["seconds"])


def test_forms_are_compared_up_to_their_first_patch(load, tiny_bundle, image_file):
    import sys

    stack = load("stack").open_stacks({"deepseg_lite": sys.executable})["deepseg_lite"]
    rows = load("startup").measure_first_patch(stack, tiny_bundle, image_file, 1, 1)
    assert set(rows) == {"canonical", "auto"}
    for row in rows.values():
        assert 0 < row["opening_wall"] < row["wall"]
        assert 0 < row["opening_cpu"] < row["cpu"]
    assert not (image_file.parent / "results").exists()


def test_byte_code_and_absent_distributions_are_told_apart(load, tmp_path, monkeypatch):
    installed = load("installed")
    module = tmp_path / "module.py"
    module.write_text("x = 1\n")
    import py_compile

    cache = Path(py_compile.compile(str(module)))

    class Installed:
        files = ("module.py", str(cache.relative_to(tmp_path)))
        locate_file = staticmethod(tmp_path.joinpath)
        read_text = staticmethod(lambda name: None)

    assert installed.sizes(Installed(), []) == (module.stat().st_size, cache.stat().st_size)
    here, absent = installed.closure(["numpy[nothing]", "no-such-distribution"])
    assert "numpy" in here
    assert absent == ["no-such-distribution", "numpy[nothing]"]


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
        (tmp_path / name).mkdir()
        for case, part in enumerate((data, np.zeros_like(data))):
            image = nib.Nifti1Image(part, np.eye(4))
            nib.save(image, tmp_path / name / f"{case}.nii.gz")
    folders = tmp_path / "a", tmp_path / "b"
    found = load("agreement").compare(*folders, {"sc": [1, 2], "wm": [1], "gone": [9]})
    dice = {"sc": pytest.approx(6 / 7), "wm": pytest.approx(4 / 6), "gone": None}
    assert found == {"voxels": 48, "differing": 2, "dice": dice}
    assert load("agreement").compare(*folders, None)["dice"] == {"1": pytest.approx(4 / 6)}


def test_machine_slug_is_a_plain_folder_name(load):
    machine = {"cpu": "Intel(R) Xeon(R) Processor @ 2.60GHz", "cores": 2}
    assert load("machine").slug(machine) == "intel-xeon-processor-2-60ghz-2-cores"
    machine["gpu"] = "NVIDIA H100 80GB HBM3"
    assert load("machine").slug(machine).startswith("nvidia-h100-80gb-hbm3-intel-xeon")
    assert "hostname" not in load("machine").describe_machine()
