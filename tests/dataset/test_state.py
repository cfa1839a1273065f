"""State: what counts as done, what is replaced, and what is never lost."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.bundles import make_affine, make_data, voxels, write_bundle, write_image
from helpers.jobs import make_images, make_job

from deepseg_lite.dataset.job import Outcome
from deepseg_lite.dataset.running import run_jobs
from deepseg_lite.dataset.state import failure_of, forget_failure, keep_failure, read_record


@pytest.fixture
def job(tiny_bundle, tmp_path):
    (image,) = make_images(tmp_path / "in", "0")
    job = make_job(tiny_bundle, image, log=str(tmp_path / "logs" / "a.b.log"))
    assert run(job) == ("done", False)
    return job


def run(job) -> tuple[str, bool]:
    (outcome,) = run_jobs([job])
    return outcome.status if outcome.error is None else outcome.error, outcome.was_done


def record(job) -> dict:
    return json.loads(Path(job.outputs[0].replace(".nii.gz", ".json")).read_bytes())


def test_times_of_files_say_nothing(job):
    for name in (*job.images, *job.outputs):
        os.utime(name, (1, 1))
    assert run(job) == ("done", True)


def test_another_image_is_done_again(job):
    image, key = Path(job.images[0]), record(job)["Key"]
    write_image(image, make_data() * 0.6, make_affine("LPS"))
    before = voxels(job.outputs[0])
    assert run(job) == ("done", False)
    assert (voxels(job.outputs[0]) != before).any()
    assert record(job)["Key"] != key


def test_another_model_is_done_again(job, tmp_path):
    key = record(job)["Key"]
    other = write_bundle(tmp_path / "other", preprocessing=[])
    assert run(replace(job, task=str(other))) == ("done", False)
    assert record(job)["Key"] != key


@pytest.mark.parametrize(
    ("settings", "is_done"),
    [
        ({"step": 0.4}, False),
        ({"keep_largest": True}, False),
        ({"in_rows": True}, True),
        ({"overlap_cases": False}, True),
        ({"step": None}, True),
    ],
    ids=str,
)
def test_settings_that_change_voxels_are_done_again(job, settings, is_done):
    assert run(replace(job, settings=settings)) == ("done", is_done)


def test_the_same_model_elsewhere_is_the_same(job, tmp_path):
    Path(job.task).rename(tmp_path / "moved")
    assert run(replace(job, task=str(tmp_path / "moved"))) == ("done", True)


def test_a_result_that_is_gone_is_made_again(job):
    Path(job.outputs[0]).unlink()
    assert run(job) == ("done", False)
    assert Path(job.outputs[0]).exists()


@pytest.mark.parametrize("settings", [{}, {"step": 0.4}], ids=str)
def test_a_result_that_somebody_changed_is_not_lost(job, settings):
    output = Path(job.outputs[0])
    output.write_bytes(b"corrected by hand")
    told, _ = run(replace(job, settings=settings))
    assert "was changed after it was written" in told
    assert output.read_bytes() == b"corrected by hand"
    assert run(replace(job, overwrite=True)) == ("done", False)
    assert voxels(output).any()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"Key": "x"}', "[" * 100_000, "null"])
def test_a_record_that_is_none_is_no_result(job, text):
    Path(job.outputs[0].replace(".nii.gz", ".json")).write_text(text)
    told, _ = run(job)
    assert "exists" in told  # a file of somebody else is in the way


def test_a_failure_is_kept_until_it_is_done(job):
    assert failure_of(job) is None
    outcome = Outcome("a", "failed", "wrong", "ImageError", ({"code": "empty"},), 0.5, 2, 9)
    job = replace(job, fields={"Case": "a", "Task": "t"})
    kept = keep_failure(job, outcome, "k")
    assert failure_of(job) == kept
    assert (kept["Case"], kept["Key"], kept["Error"], kept["Signal"]) == ("a", "k", "wrong", 9)
    assert read_record(Path(job.log).with_name("a.b.json")) == kept
    forget_failure(job)
    forget_failure(job)
    assert failure_of(job) is None


def test_the_same_bytes_under_another_name_have_the_same_key(job, tmp_path):
    image = tmp_path / "in" / "copy.nii.gz"
    image.write_bytes(Path(job.images[0]).read_bytes())
    other = replace(job, images=(str(image),), outputs=(str(tmp_path / "x" / "x.nii.gz"),))
    assert run(other) == ("done", False)
    assert record(other)["Key"] == record(job)["Key"]
    assert record(other)["SourcesSHA256"] == record(job)["SourcesSHA256"]
