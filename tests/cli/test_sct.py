"""Command lines of ``sct_deepseg`` in our own spelling."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.bundles import make_data, make_manifest, voxels, write_bundle

from deepseg_lite.cli.sct import translate
from deepseg_lite.cli.spelling import SpellingError
from deepseg_lite.steps.components import remove_small

VALUED = {"-o", "--device", "-i", "--image"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("task -i a.nii", "task -i a.nii"),
        ("-task task -i a.nii", "task -i a.nii"),
        ("task -i a.nii b.nii -o out", "task -i a.nii -i b.nii -o out"),
        ("task -i a b -c t1 t2", "task -i a -i b -c t1 -c t2"),
        ("-i a.nii task", "-i a.nii task"),
        ("--device cpu -i a.nii task", "--device cpu -i a.nii task"),
        ("-o out task -i a b", "-o out task -i a -i b"),
        ("task -i", "task -i"),
        ("task -i a -largest 1", "task -i a --keep-largest"),
        ("task -i a -largest 0 -fill-holes 1", "task -i a --no-keep-largest --fill-holes"),
        ("task -i a -label-vert 1", "task -i a --label-vert"),
        ("task -i a -label-vert 0", "task -i a --no-label-vert"),
        ("task -i a -m large -o out", "task-large -i a -o out"),
        ("-m large -i a task", "-i a task-large"),
        ("-task task -m x -i a", "task-x -i a"),
        ("task -i a -thr 0.5", "task -i a --threshold 0.5"),
        ("task -i a -remove-small 5mm3", "task -i a --remove-small 5mm3"),
        ("task -i a -remove-small 10 20", "task -i a --remove-small 10 --remove-small 20"),
        ("task -i a -test-time-aug", "task -i a --tta"),
        ("task -i a -soft-ms-lesion -single-fold", "task -i a --soft --single-fold"),
        ("task -i a -box-zmin 3 -box-xmax 9", "task -i a --box-zmin 3 --box-xmax 9"),
        ("task -i a -qc f -qc-plane Axial", "task -i a --qc f --qc-plane axial"),
        ("task -i a -qc-subject s -qc-seg m", "task -i a --qc-subject s --qc-seg m"),
        ("task -i a -v 0", "task -i a -q"),
        ("task -i a -v 1", "task -i a"),
        ("task -i a -v 2", "task -i a -v"),
        ("task -v -i a", "task -v -i a"),
        ("task -i a --case -i b", "task -i a --case -i b"),
    ],
)
def test_what_has_a_counterpart_is_put_in_its_place(given, expected):
    assert translate(given.split(), VALUED) == (expected.split(), [])


@pytest.mark.parametrize(
    ("given", "dropped"),
    [
        ("-r 0", "-r"),
        ("-profile-time", "-profile-time"),
        ("-trace-memory folder", "-trace-memory"),
        ("-step1-only 1", "-step1-only"),
    ],
)
def test_what_does_not_apply_is_dropped_and_said(given, dropped):
    arguments, remarks = translate(["task", "-i", "a", *given.split(), "-o", "b"], VALUED)
    assert arguments == ["task", "-i", "a", "-o", "b"]
    assert [remark.split()[0] for remark in remarks] == dropped.split()


def test_what_may_stand_alone_leaves_the_task_alone():
    arguments, _ = translate(["-profile-time", "task", "-i", "a"], VALUED)
    assert arguments == ["task", "-i", "a"]


@pytest.mark.parametrize("option", ["-install", "-custom-url", "-task-details", "-ofolder", "-igt"])
def test_what_is_no_run_is_refused(option, command):
    with pytest.raises(SpellingError, match=f"{option} is SCT's"):
        translate(["task", option], VALUED)
    outcome = command("run", "task", option)
    assert outcome.code == 2
    assert f"{option} is SCT's" in outcome.err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("-largest --overwrite", "-largest needs 0 or 1 behind it, and --overwrite follows"),
        ("-largest", "-largest needs 0 or 1"),
        ("-largest 2", "-largest is 2; it must be 0 or 1"),
        ("-fill-holes yes", "-fill-holes is yes; it must be 0 or 1"),
        ("-label-vert -v 1", "-label-vert needs 0 or 1 behind it, and -v follows"),
        ("-thr --soft", "-thr needs a value behind it, and --soft follows"),
        ("-box-zmin -box-zmax 3", "-box-zmin needs a value behind it, and -box-zmax follows"),
        ("-task -i", "-task needs a task behind it, and -i follows"),
        ("-v 3", "-v is 3; it must be 0, 1 or 2"),
    ],
)
def test_an_option_without_its_value_takes_no_other_option(given, message, command):
    """Fault 29: ``-largest --overwrite`` swallowed ``--overwrite``."""
    outcome = command("run", "task", "-i", "a.nii", *given.split())
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err


def test_a_script_of_sct_writes_the_files_sct_would(command, tmp_path, image_file):
    files = [
        {"suffix": "cord_seg", "kind": "mask", "labels": ["cord"]},
        {"suffix": "inner_seg", "kind": "mask", "labels": ["gray/matter"]},
    ]
    outputs = {**make_manifest("regions")["outputs"], "files": files}
    bundle = write_bundle(tmp_path / "bundle", "regions", outputs=outputs)
    words = "-thr 0.5 -largest 0 -remove-small 3 -v 1 -r 1 -o"
    outcome = command("run", bundle, "-i", image_file, *words.split(), tmp_path / "out" / "x.nii")
    assert outcome.code == 0, outcome.err
    assert "-r has no effect here" in outcome.err
    assert "The threshold has no effect" in outcome.err
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "x_cord_seg.json", "x_cord_seg.nii", "x_inner_seg.json", "x_inner_seg.nii",
    ]  # fmt: skip
    for name, limit in (("cord", 0.25), ("inner", 0.75)):
        mask = voxels(tmp_path / "out" / f"x_{name}_seg.nii")
        assert mask.dtype == "uint8"
        assert set(mask.ravel().tolist()) == {0, 1}
        truth = (make_data() > limit).astype("uint8")
        np.testing.assert_array_equal(mask, remove_small(truth, 3))
    assert mask.sum() < truth.sum()
    record = json.loads((tmp_path / "out" / "x_cord_seg.json").read_text())
    assert record["Settings"]["remove_small"] == [3]
    assert set(record["Volumes_mm3"]) == {"cord", "gray/matter"}


def test_overwriting_can_be_the_rule(command, tiny_bundle, image_file, monkeypatch):
    monkeypatch.setenv("DEEPSEG_LITE_OVERWRITE", "1")
    for _ in range(2):
        assert command("run", tiny_bundle, "-i", image_file).code == 0
