"""The command ``batch``: its words, its exit codes and what it tells."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import helpers
import nibabel as nib
import numpy as np
import pytest
from helpers.bundles import make_affine, make_data, make_manifest, write_bundle, write_image
from helpers.datasets import files_of, make_dataset
from helpers.jobs import make_images
from helpers.limits import lowest_limit

from deepseg_lite.cli.batch import one_by_one
from deepseg_lite.cli.progress import Progress
from deepseg_lite.qc.report import read_entries

T2 = [f"sub-0{number}/anat/sub-0{number}_T2w" for number in (1, 2, 3)]
HOW = ("--device", "cpu", "--threads", "1")


@pytest.fixture
def dataset(tmp_path):
    return make_dataset(tmp_path / "data", *T2)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def test_all_done_is_0_and_stdout_has_the_table_alone(command, dataset, out, tiny_bundle):
    outcome = command("batch", dataset, out, "--task", tiny_bundle, *HOW)
    assert (outcome.code, outcome.out) == (0, f"{out / 'cases.tsv'}\n")
    lines = outcome.err.splitlines()
    assert [line.split(":")[0] for line in lines[:3]] == [f"tiny_threshold {case}" for case in T2]
    assert "[1 done, 0 failed, 2 left]" in lines[0]
    assert lines[3].startswith("3 done, 0 failed, 0 left")
    again = command("batch", dataset, out, "--task", tiny_bundle, *HOW)
    assert (again.code, again.err) == (0, "3 done, 0 failed, 0 left\n")


def test_some_failed_is_1_and_says_which(command, dataset, out, tiny_bundle):
    (dataset / f"{T2[1]}.nii.gz").write_bytes(b"\x1f\x8b")
    outcome = command("batch", dataset, out, "--task", tiny_bundle, *HOW)
    assert outcome.code == 1
    (line,) = [line for line in outcome.err.splitlines() if ": failed: " in line]
    assert line.startswith(f"tiny_threshold {T2[1]}: failed: ")
    again = command("batch", dataset, out, "--task", tiny_bundle, *HOW, "-q")
    assert again.code == 1
    assert "--retry-failed tries it again" in again.err
    status = command("batch", dataset, out, "--task", tiny_bundle, *HOW, "--status")
    assert (status.code, status.out) == (0, "done 2, failed 1, open 0\n")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--filter", "suffix=bold"], "no images"),
        (["--filter", "nonsense"], "suffix=T2w"),
        (["elsewhere"], "participant or group"),
        (["--nope"], "--nope"),
        (["--jobs", "x"], "jobs"),
        (["--step", "7"], "step"),
        (["--part", "9/8"], "9/8"),
    ],
    ids=str,
)
def test_wrong_usage_is_2_and_writes_nothing(command, dataset, out, tiny_bundle, words, told):
    outcome = command("batch", dataset, out, *words, "--task", tiny_bundle, *HOW)
    assert outcome.code == 2
    assert told in outcome.err
    assert "Traceback" not in outcome.err
    assert not out.exists()


@pytest.mark.parametrize(
    "words", [["none", "out", "--task", "sc_gm_t2star"], ["data", "out", "--task", "none"]], ids=str
)
def test_what_is_not_there_is_2(command, dataset, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    outcome = command("batch", *words)
    assert outcome.code == 2
    assert "none" in outcome.err


def test_the_order_of_bids_apps_works(command, dataset, out, tiny_bundle):
    words = ["--participant-label", "01", "sub-03", "--task", tiny_bundle, "--skip-bids-validation"]
    outcome = command("batch", dataset, out, "participant", *words, *HOW)
    assert outcome.code == 0
    assert [name for name in files_of(out) if name.endswith(".nii.gz")] == [
        f"sub-0{n}/anat/sub-0{n}_label-cord_desc-T2w_mask.nii.gz" for n in (1, 3)
    ]
    (out / "cases.tsv").unlink()
    group = command("batch", dataset, out, "group")
    assert group.out == f"{out / 'cases.tsv'}: 2 cases\n"
    without = command("batch", dataset, out)
    assert (without.code, "Missing option '--task'" in without.err) == (2, True)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["a", "b", "--filter", "x=1", "y=2"], ["a", "b", "--filter", "x=1", "--filter", "y=2"]),
        (["--filter", "x=1", "a", "b"], ["--filter", "x=1", "a", "b"]),
        (
            ["--participant_label", "01", "02"],
            ["--participant-label", "01", "--participant-label", "02"],
        ),
        (["--session-label=a", "-w", "work", "b"], ["--session-label=a", "b"]),
        (["--filter"], ["--filter"]),
    ],
    ids=str,
)
def test_options_take_several_values(words, expected):
    assert one_by_one(words) == expected


def test_a_report_for_programs(command, dataset, out, tiny_bundle):
    (dataset / f"{T2[0]}.nii.gz").write_bytes(b"nothing")
    outcome = command("batch", dataset, out, "--task", tiny_bundle, *HOW, "--json", "-q")
    report = json.loads(outcome.out)
    assert [result["case"] for result in report["results"]] == T2[1:]
    assert [error["case"] for error in report["errors"]] == T2[:1]
    refused = command("batch", dataset, out, "--task", tiny_bundle, "--part", "x", "--json")
    assert json.loads(refused.out)["errors"]


def test_a_script_for_slurm(command, dataset, out, tiny_bundle, monkeypatch):
    words = ["batch", str(dataset), str(out), "--task", str(tiny_bundle), *HOW]
    monkeypatch.setattr(sys, "argv", ["deepseg-lite", *words, "--sbatch", "8"])
    outcome = command(*words, "--sbatch", 8)
    assert outcome.code == 0
    assert "#SBATCH --array=1-8" in outcome.out
    assert f"deepseg-lite {' '.join(words)} --part auto" in outcome.out
    assert not out.exists()


def test_ctrl_c_ends_after_the_cases_under_way(dataset, out, tiny_bundle):
    """What was written is complete, and the rest is open."""
    names = [f"sub-{number}/anat/sub-{number}_T2w" for number in range(100, 400)]
    for name in names:
        path = dataset / f"{name}.nii.gz"
        path.parent.mkdir(parents=True)
        path.write_bytes((dataset / f"{T2[0]}.nii.gz").read_bytes())
    words = ["batch", dataset, out, "--task", tiny_bundle, *HOW]
    process = subprocess.Popen(
        [sys.executable, "-m", "deepseg_lite", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not list(out.glob("sub-*/anat/*.nii.gz")):
        time.sleep(0.02)
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "stopping after the cases under way" in err
    assert "Traceback" not in err
    done = list(out.glob("sub-*/anat/*.nii.gz"))
    assert 0 < len(done) < 303
    assert len((out / "cases.tsv").read_text().splitlines()) == len(done) + 1
    assert not list(out.rglob(".deepseg-lite*"))


HANGING = """
import sys
from deepseg_lite.cli.group import main
from deepseg_lite.dataset import crew
crew.MODULE = "helpers.bad_worker"
main()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked for in /proc")
def test_a_second_ctrl_c_ends_at_once(tmp_path, out, tiny_bundle, monkeypatch):
    """Also where a case under way would never end; no process and no half a result is left."""
    monkeypatch.setenv("PYTHONPATH", str(Path(helpers.__path__[0]).parent), prepend=os.pathsep)
    images = make_images(tmp_path / "in", ["a", "hang-always"])
    words = ["batch", images[0].parent, out, "--task", tiny_bundle, *HOW]
    process = subprocess.Popen(
        [sys.executable, "-c", HANGING, *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    hanging = images[1].with_name(f"{images[1].name}.noted")
    while not (hanging.exists() and (out / "a_seg.nii.gz").exists()):
        time.sleep(0.02)
        assert process.poll() is None, process.stderr.read()
    (child,) = children_of(process.pid)
    process.send_signal(signal.SIGINT)
    while "stopping after the cases under way" not in (line := process.stderr.readline()):
        assert line
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in err
    assert not Path(f"/proc/{child}").exists()
    assert [path.name for path in out.glob("*.nii.gz")] == ["a_seg.nii.gz"]
    assert not list(out.rglob(".deepseg-lite*"))


def children_of(pid: int) -> list[int]:
    """Return the processes that a process has started and that are there."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(path.parent.name))
    return found


def test_a_filter_file_chooses_the_images_of_each_channel(command, tmp_path, out):
    ends = ("T1w", "T2w", "acq-ax_T1w", "acq-ax_T2w")
    names = [f"sub-0{n}/anat/sub-0{n}_{end}" for n in (1, 2) for end in ends]
    dataset, bundle = (
        make_dataset(tmp_path / "data", *names),
        write_bundle(tmp_path / "b", "channels"),
    )
    files = {name: tmp_path / f"{name}.json" for name in ("right", "wrong")}
    ax = {"acquisition": "ax"}
    right = {"t1": {"suffix": "T1w", **ax}, "t2": {"suffix": "T2w", **ax}}
    files["right"].write_text(json.dumps(right))
    files["wrong"].write_text(json.dumps({"bold": {"suffix": "bold"}}))
    words = ["batch", dataset, out, "--task", bundle, *HOW, "--bids-filter-file"]
    outcome = command(*words, files["right"], "--json", "-q")
    assert outcome.code == 0, outcome.err
    assert [
        [Path(image).name for image in result["images"]]
        for result in json.loads(outcome.out)["results"]
    ] == [[f"sub-0{n}_acq-ax_{end}.nii.gz" for end in ("T1w", "T2w")] for n in (1, 2)]
    refused = command(*words, files["wrong"])
    assert refused.code == 2
    assert "one for t1, t2 is needed" in refused.err


def test_memory_is_kept_below_what_was_asked_for(command, tmp_path, out, dataset):
    """Settings are given up for all cases, which records tell, or nothing is begun."""
    window = {**make_manifest()["sliding_window"], "patch_size": [32, 64, 64], "overlap": 0.0}
    bundle = write_bundle(tmp_path / "bundle", sliding_window=window)
    data = np.random.default_rng(0).uniform(0.1, 1, (160, 160, 96)).astype(np.float32)
    image = dataset / f"{T2[1]}.nii.gz"
    write_image(image, data, make_affine("RAS", (1.0, 1.0, 1.0)))
    words = ["batch", dataset, out, "--task", bundle, *HOW, "--max-ram"]
    refused = command(*words, "50M")
    assert refused.code == 2
    assert "at least" in refused.err
    assert not out.exists()

    limit = lowest_limit(bundle, image)
    outcome = command(*words, limit, "--json", "-q", "--participant-label", "02")
    assert outcome.code == 0, outcome.err
    (result,) = json.loads(outcome.out)["results"]
    assert result["Settings"]["half_precision_sums"] is True


def report(number: int, **changes) -> dict:
    return {"status": "done", "task": "t", "case": f"c{number}", "was_done": False, **changes}


def test_the_rate_is_that_of_what_was_worked_on(capsys, monkeypatch):
    now = iter([0.0, *[10.0] * 50])
    monkeypatch.setattr("deepseg_lite.cli.progress.monotonic", lambda: next(now))
    progress = Progress(1000)
    progress.done = 499  # before
    for number in range(2):
        progress.tell(report(number, Seconds={"predict": 1.5}))
    assert progress.summary() == "501 done, 0 failed, 499 left, 12.0 a minute, 42 min to go"
    assert "t c0: done in 1.5 s" in capsys.readouterr().err


def test_quality_control_has_an_entry_of_each_case(command, dataset, out, tiny_bundle, tmp_path):
    words = ("batch", dataset, out, "--task", tiny_bundle, "--qc", tmp_path / "qc", *HOW)
    outcome = command(*words, "--jobs", "2")
    assert outcome.code == 0
    entries = read_entries(tmp_path / "qc")
    assert [entry["subject"] for entry in entries] == ["sub-01", "sub-02", "sub-03"]
    (head, *rows) = [line.split("\t") for line in (out / "cases.tsv").read_text().splitlines()]
    verdicts = [row[head.index("verdict")] for row in rows]
    assert verdicts == [entry["verdict"]["level"] for entry in entries]
    assert command(*words, "--strict").code == (3 if "fail" in verdicts else 0)


def test_masks_by_hand_go_before_results_in_quality_control(
    command, dataset, out, tiny_bundle, tmp_path
):
    words = ("batch", dataset, out, "--task", tiny_bundle, *HOW, "--qc", tmp_path / "qc")
    assert command(*words).code == 0
    results = {name: (out / name).read_bytes() for name in files_of(out) if name.endswith(".gz")}
    by_hand = np.zeros(make_data().shape, np.float64)
    by_hand[5:9, 5:9, 2:8] = 1
    labels = dataset / "derivatives" / "labels" / "sub-02" / "anat"
    labels.mkdir(parents=True)
    image = nib.load(dataset / f"{T2[1]}.nii.gz")
    write_image(labels / "sub-02_T2w_seg-manual.nii.gz", by_hand, image.affine)
    outcome = command(*words)  # again for this case alone
    assert outcome.code == 0, outcome.err
    entries = read_entries(tmp_path / "qc")
    assert [entry["subject"] for entry in entries] == ["sub-01", "sub-02", "sub-02", "sub-03"]
    (entry,) = [each for each in entries if each["results"][0].endswith("-manual.nii.gz")]
    voxel = abs(np.linalg.det(image.affine[:3, :3]))
    assert entry["structures"][0]["mm3"] == pytest.approx(by_hand.sum() * voxel, rel=1e-3)
    packed = (tmp_path / "qc" / entry["measures"]).read_bytes()
    measures = gzip.decompress(packed).decode().splitlines()
    assert len(measures) == 1 + 6
    assert {name: (out / name).read_bytes() for name in results} == results
    assert command(*words).err.endswith("3 done, 0 failed, 0 left\n")
    assert len(read_entries(tmp_path / "qc")) == 4
    write_image(labels / "sub-02_T2w_seg-manual.nii.gz", by_hand[:3], image.affine)
    outcome = command(*words)
    assert "(quality-control)" in outcome.err
    log = out / "logs" / "tiny_threshold" / f"{T2[1]}.log"
    assert "-manual.nii.gz has the shape 3 x 18 x 12" in log.read_text()
