"""Jobs in this process: results as those of `run`, failures that end alone, reading shared."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from helpers.bundles import voxels, write_bundle
from helpers.jobs import make_images, make_job

from deepseg_lite import leftovers
from deepseg_lite.api import loader
from deepseg_lite.api.cases import name_outputs, run_case
from deepseg_lite.dataset.job import Job, Outcome, in_order
from deepseg_lite.dataset.running import Models, run_jobs
from deepseg_lite.engines import onnxruntime_network
from deepseg_lite.engines.onnxruntime_network import CPU
from deepseg_lite.nifti import reading


@pytest.fixture
def images(tmp_path):
    return make_images(tmp_path / "in", "012")


def test_jobs_and_outcomes_are_json(tiny_bundle, tmp_path):
    job = make_job(
        tiny_bundle, tmp_path / "a" / "b.nii.gz", fields={"Key": "a"}, command=("batch",)
    )
    assert Job.from_dict(json.loads(json.dumps(asdict(job)))) == job
    outcome = Outcome("a", "failed", "wrong", "ImageError", ({"code": "empty"},), 0.5, 2, 9)
    assert Outcome.from_dict(json.loads(json.dumps(asdict(outcome)))) == outcome


@pytest.mark.parametrize("overlap", [True, False])
def test_results_are_those_of_a_run(tiny_bundle, images, tmp_path, overlap):
    model = loader.load(tiny_bundle, device="cpu")
    cases = name_outputs(model, [[path] for path in images], tmp_path / "alone")
    for case in cases:
        run_case(model, case)
    jobs = [make_job(tiny_bundle, image, fields={"Sources": [image.name]}) for image in images]
    outcomes = list(run_jobs(jobs, overlap=overlap))
    assert [(o.id, o.status, o.attempts) for o in outcomes] == [(j.id, "done", 1) for j in jobs]
    for job, case in zip(jobs, cases, strict=True):
        np.testing.assert_array_equal(voxels(job.outputs[0]), voxels(case.paths[0]))
        record = json.loads(Path(job.outputs[0].replace(".nii.gz", ".json")).read_text())
        assert record["Sources"] == [Path(job.images[0]).name]
        assert record["Case"] == job.id


@pytest.mark.parametrize(
    ("given", "spins"), [({}, "0"), ({"spinning": True}, "1"), ({"spinning": False}, "0")], ids=str
)
def test_threads_of_a_batch_leave_their_core_while_they_wait(tiny_bundle, images, given, spins):
    entry = "session.intra_op.allow_spinning"
    found = []
    for model in (
        Models(1).of(make_job(tiny_bundle, images[0], load={"device": "cpu", **given})),
        loader.load(tiny_bundle, device="cpu", threads=1),
    ):
        opened = onnxruntime_network.OnnxNetwork(
            model.bundle, model.networks[0], CPU, 1, spins=model.engine.spins
        )
        found.append(opened._session.get_session_options().get_session_config_entry(entry))
    assert found == [spins, "1"]


def test_a_job_that_fails_ends_alone_and_says_why(tiny_bundle, images, tmp_path):
    broken, missing = tmp_path / "in" / "broken.nii.gz", tmp_path / "in" / "missing.nii.gz"
    broken.write_bytes(images[0].read_bytes()[:400])
    log = tmp_path / "logs" / "broken.txt"
    jobs = [
        make_job(tiny_bundle, broken, log=str(log)),
        make_job(tiny_bundle, images[0]),
        make_job(tmp_path / "none", images[1]),
        make_job(tiny_bundle, missing),
        make_job(tiny_bundle, images[1], settings={"step": 2.0}),
        make_job(tiny_bundle, images[2]),
    ]
    outcomes = list(run_jobs(jobs))
    kinds = [None if o.status == "done" else o.kind for o in outcomes]
    assert kinds == ["ImageError", None, "BundleNotFoundError", "ImageError", "OptionError", None]
    assert all(str(j.images[0]) in o.error for j, o in zip(jobs, outcomes, strict=True) if o.error)
    assert "failed after" in log.read_text()
    assert "truncated" in log.read_text()
    assert sorted(p.name for p in (tmp_path / "out").glob("*.nii.gz")) == [
        "0_tiny_bundle.nii.gz",
        "2_tiny_bundle.nii.gz",
    ]


def test_files_in_the_way_stay(tiny_bundle, images):
    job = make_job(tiny_bundle, images[0])
    output = Path(job.outputs[0])
    output.parent.mkdir()
    output.write_text("mine")
    (outcome,) = run_jobs([job])
    assert outcome.kind == "OptionError"
    assert output.read_text() == "mine"


def test_what_is_done_is_not_done_again(tiny_bundle, images):
    job = make_job(tiny_bundle, images[0], fields={"Sources": ["bids:raw:0.nii.gz"]})
    assert [(o.status, o.was_done) for o in run_jobs([job])] == [("done", False)]
    before = Path(job.outputs[0]).stat().st_mtime_ns
    assert [(o.status, o.was_done) for o in run_jobs([job])] == [("done", True)]
    assert Path(job.outputs[0]).stat().st_mtime_ns == before


def test_tasks_of_one_image_share_its_reading(tiny_bundle, images, tmp_path, monkeypatch):
    second = write_bundle(tmp_path / "second")
    read = []
    check_end = reading._check_end
    monkeypatch.setattr(
        reading, "_check_end", lambda *given: read.append(given) or check_end(*given)
    )
    with images[0].open("ab") as file:
        file.write(b"more than an image")  # a notice, which both tasks have
    jobs = [make_job(b, image) for b in (tiny_bundle, second) for image in images]
    outcomes = {outcome.id: outcome for outcome in run_jobs(in_order(jobs))}
    assert len(read) == len(images)
    assert {o.status for o in outcomes.values()} == {"done"}
    for bundle in (tiny_bundle, second):
        (warning,) = outcomes[f"0_{bundle.name}"].warnings
        assert warning["code"] == "bytes-left"
    for image in images:
        one, other = (
            image.parents[1] / "out" / f"{image.name[:-7]}_{b.name}.nii.gz"
            for b in (tiny_bundle, second)
        )
        np.testing.assert_array_equal(voxels(one), voxels(other))


def test_what_a_process_left_that_died_when_all_was_done_goes(tiny_bundle, images):
    job = make_job(tiny_bundle, images[0])
    assert [o.status for o in run_jobs([job])] == ["done"]
    folder = Path(job.outputs[0]).parent
    (
        folder
        / leftovers.working_name(folder / "any").name.replace(f".{os.getpid()}.", ".4194305.")
    ).mkdir()
    assert [(o.status, o.was_done) for o in run_jobs([job])] == [("done", True)]
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
