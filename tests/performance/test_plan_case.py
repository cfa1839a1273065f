"""``deepseg-lite plan``: what a run will take, from headers alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers.bundles import make_affine, make_data, make_manifest, write_bundle, write_image
from helpers.detector import write_detector
from helpers.spine import make_spine
from helpers.spine_bundles import image_of
from helpers.spine_bundles import write_bundles as write_spine

import deepseg_lite
from deepseg_lite.api import calibration
from deepseg_lite.store.cache import bundle_directory

WINDOW = make_manifest()["sliding_window"]
RUNS = {
    "plain": ("threshold", {}, []),
    "mirrored": ("threshold", {}, ["--tta"]),
    "2-D mirrored": ("regions", {}, ["--tta"]),
    "wide step": ("threshold", {}, ["--step", "1"]),
    "folds": ("folds", {}, []),
    "one fold": ("folds", {}, ["--single-fold"]),
    "larger than the image": (
        "threshold",
        {"sliding_window": {**WINDOW, "patch_size": [40, 8, 8]}},
        [],
    ),
}


@pytest.fixture
def full_image(tmp_path: Path) -> Path:
    """Write an image without zeros, whose crop is known: there is none."""
    data = np.maximum(make_data(), 0.05)
    return write_image(tmp_path / "full.nii.gz", data, make_affine("LPS"))


def planned(command, *arguments) -> dict:
    done = command("plan", *arguments, "--device", "cpu", "--threads", "1", "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


@pytest.mark.parametrize(("kind", "changes", "options"), RUNS.values(), ids=list(RUNS))
def test_calls_are_those_of_a_run(kind, changes, options, full_image, tmp_path, command):
    bundle = write_bundle(tmp_path / "bundle", kind, **changes)
    (case,) = planned(command, bundle, "-i", full_image, "--no-calibrate", *options)["cases"]
    (part,) = case["parts"]
    folds = ["0"] if "--single-fold" in options else None
    segment = deepseg_lite.load(bundle, device="cpu", threads=1, folds=folds)
    patches = []
    calls = 0
    for network in segment.predictors():
        plain = type(network).__call__

    def counted(self, batch):
        nonlocal calls
        calls += 1
        return plain(self, batch)

    with pytest.MonkeyPatch.context() as patching:
        patching.setattr(type(network), "__call__", counted)
        segment(
            full_image,
            tta="--tta" in options,
            step=1 if "--step" in options else None,
            progress=lambda done, total: patches.append(total),
        )
    assert part["calls"] == calls
    assert part["patches"] * part["folds"] == patches[-1]
    assert part["calls"] == part["patches"] * part["folds"] * part["passes"]


def test_a_network_is_measured_once_and_its_figures_kept(tiny_bundle, full_image, command):
    first = command("plan", tiny_bundle, "-i", full_image, "--device", "cpu", "--json")
    again = command("plan", tiny_bundle, "-i", full_image, "--device", "cpu", "--json")
    assert "Measuring tiny_threshold" in first.err
    assert again.err == ""
    assert json.loads(first.out) == json.loads(again.out)
    (known,) = calibration.read().values()
    memory = known.measured.memory
    assert memory.running_bytes >= memory.resident_bytes > 0


def test_without_calibration_there_are_patches_and_memory_but_no_time(
    tiny_bundle, full_image, command
):
    found = planned(command, tiny_bundle, "-i", full_image, "--no-calibrate")
    (case,) = found["cases"]
    assert case["seconds"] is case["network_seconds"] is found["seconds"] is None
    assert case["parts"][0]["source"] == "unknown"
    assert case["memory"] > 10**8
    assert not calibration.path().exists()
    done = command("plan", tiny_bundle, "-i", full_image, "--no-calibrate")
    assert "time not known" in done.out


def test_it_says_which_form_of_the_networks_runs(tiny_bundle, full_image, command):
    manifest = json.loads((tiny_bundle / "manifest.json").read_text())
    (network,) = manifest["networks"]
    shutil.copy(tiny_bundle / network["path"], tiny_bundle / "slices.onnx")
    file = {"path": "slices.onnx", "sha256": network["sha256"], "size": network["size"]}
    agreement = {"max_abs_error": 0.0, "max_rel_error": 0.0}
    network["forms"] = [{**file, "form": "slices", "devices": ["cpu"], "agreement": agreement}]
    (tiny_bundle / "manifest.json").write_text(json.dumps(manifest))
    for words, form in (([], "slices"), (["--form", "canonical"], "canonical")):
        found = planned(command, tiny_bundle, "-i", full_image, "--no-calibrate", *words)
        assert found["cases"][0]["parts"][0]["form"] == form
    done = command("plan", tiny_bundle, "-i", full_image, "--no-calibrate", "--device", "cpu")
    head, row = (line.split() for line in done.out.splitlines()[1:3])
    assert (head[1], row[1]) == ("form", "slices")


def test_a_network_that_was_measured_and_never_ran_has_seconds_of_its_own(
    tiny_bundle, full_image, command
):
    (case,) = planned(command, tiny_bundle, "-i", full_image)["cases"]
    (part,) = case["parts"]
    assert (case["seconds"], part["source"]) == (None, "measured")
    assert case["network_seconds"] == part["seconds"] > 0
    words = command("plan", tiny_bundle, "-i", full_image, "--device", "cpu", "--threads", "1").out
    assert f"  {part['seconds']:.1f} s in networks" in words
    assert "last runs here" not in words


def test_files_are_no_larger_than_planned(tiny_bundle, full_image, tmp_path, command):
    for options in ([], ["--soft"]):
        (case,) = planned(command, tiny_bundle, "-i", full_image, "--no-calibrate", *options)[
            "cases"
        ]
        out = tmp_path / f"out{len(options)}"
        done = command("run", tiny_bundle, "-i", full_image, "-o", out, "--device", "cpu", *options)
        assert done.code == 0
        assert sum(file.stat().st_size for file in out.iterdir()) <= case["disk"]


def test_what_a_header_does_not_tell_is_said(tiny_bundle, image_file, command):
    done = command("plan", tiny_bundle, "-i", image_file, "--device", "cpu", "--no-calibrate")
    assert done.code == 0
    assert "which voxels are zero" in done.out
    assert "which patches are empty" not in done.out
    assert str(image_file) in done.out


def test_patches_that_may_be_skipped_are_counted_and_said(tiny_bundle, image_file, command):
    (plain,) = planned(command, tiny_bundle, "-i", image_file, "--no-calibrate")["cases"]
    options = ["--no-calibrate", "--skip-empty"]
    (skipping,) = planned(command, tiny_bundle, "-i", image_file, *options)["cases"]
    assert skipping["parts"] == plain["parts"]
    assert "which patches are empty" in skipping["unknown"]


def test_voxels_are_not_read(tiny_bundle, image_file, command):
    header = image_file.with_name("header.nii")
    image = nib.load(image_file)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine), header)
    header.write_bytes(header.read_bytes()[:352])
    whole = planned(command, tiny_bundle, "-i", image_file, "--no-calibrate")["cases"][0]
    cut = planned(command, tiny_bundle, "-i", header, "--no-calibrate")["cases"][0]
    assert cut["parts"] == whole["parts"]


def test_several_cases_are_planned_each_and_together(tiny_bundle, image_file, full_image, command):
    images = [tiny_bundle, "-i", image_file, "-i", full_image, "--no-calibrate"]
    found = planned(command, *images)
    memory = [case["memory"] for case in found["cases"]]
    assert len(memory) == 2
    assert found["memory"] > max(memory)  # the second is prepared beside the first
    later = max(case["parts"][0]["later"] for case in found["cases"])
    limited = planned(command, *images, "--max-ram", max(*memory, later))
    assert limited["memory"] <= max(*memory, later) < found["memory"]


def test_channels_make_one_case(tmp_path, full_image, command):
    bundle = write_bundle(tmp_path / "bundle", "channels")
    found = planned(command, bundle, "-i", full_image, "-i", full_image, "--no-calibrate")
    assert [case["images"] for case in found["cases"]] == [[str(full_image)] * 2]


def test_a_workflow_is_the_sum_of_its_networks(tmp_path, command):
    bundle = write_spine(tmp_path)
    image = tmp_path / "spine.nii.gz"
    nib.save(image_of(make_spine()), image)
    one = planned(command, bundle, "-i", image)["cases"][0]
    two = planned(command, bundle, "-i", image, "--label-vert")["cases"][0]
    assert [len(case["parts"]) for case in (one, two)] == [1, 2]
    assert two["network_seconds"] == pytest.approx(sum(part["seconds"] for part in two["parts"]))


def test_a_crop_around_the_cord_is_planned_whole_unless_the_box_is_given(
    full_image, tmp_path, command
):
    margins = dict.fromkeys(("superior", "inferior", "left", "right", "anterior", "posterior"), 2.0)
    bundle = write_bundle(
        tmp_path / "cropped", cord_crop={"detector": "sc_crop", "padding_mm": margins}
    )
    write_detector(bundle_directory("sc_crop"))
    (whole,) = planned(command, bundle, "-i", full_image, "--no-calibrate")["cases"]
    assert whole["unknown"][0] == "where the cord is"
    box = [word for axis in "xyz" for word in (f"--box-{axis}min", 2, f"--box-{axis}max", 9)]
    (inside,) = planned(command, bundle, "-i", full_image, "--no-calibrate", *box)["cases"]
    assert "where the cord is" not in inside["unknown"]
    assert inside["parts"][0]["grid"] == [8, 8, 8]
    assert whole["parts"][0]["grid"] == [12, 18, 20]
    assert whole["memory"] > inside["memory"]


def test_the_first_model_of_a_cascade_is_a_part_with_its_own_ways(full_image, tmp_path, command):
    write_bundle(tmp_path / "first", name="first")
    steps = [{"step": "crop_to_prior", "safety_factor": [1.0, 1.0, 1.0]}]
    prior = {"bundle": "first", "channels": ["t2"]}
    window = {
        **{"patch_size": [8, 8, 8], "stride": [8, 8, 8], "placement": "clamped_stride"},
        "importance_map": "constant",
    }
    bundle = write_bundle(
        tmp_path / "second", preprocessing=steps, prior=prior, sliding_window=window
    )
    arguments = [bundle, "-i", full_image, "--no-calibrate", "--tta"]
    (case,) = planned(command, *arguments)["cases"]
    own, first = case["parts"]
    assert (own["passes"], first["passes"]) == (8, 1)
    assert "what the first model finds" in case["unknown"]
    assert case["memory"] >= max(own["memory"], first["memory"])


def test_a_network_that_cannot_be_measured_is_one_line(tiny_bundle, full_image, command):
    file = tiny_bundle / "threshold_3d.onnx"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    done = command("plan", tiny_bundle, "-i", full_image, "--device", "cpu", "-q")
    assert (done.code, done.out) == (1, "")
    assert done.err.count("\n") == 1
    assert "is corrupt or was changed" in done.err


def _series(folder: Path) -> Path:
    return write_image(folder / "series.nii.gz", np.ones((4, 4, 4, 3), np.float32))


def _complex(folder: Path) -> Path:
    return write_image(folder / "complex.nii.gz", np.ones((4, 4, 4), np.complex64))


def _text(folder: Path) -> Path:
    (folder / "text.nii").write_text("text")
    return folder / "text.nii"


@pytest.mark.parametrize(
    "make",
    [_series, _complex, _text, lambda folder: folder / "none.nii", lambda folder: folder],
    ids=["4-D", "complex", "no image", "missing", "folder"],
)
def test_a_bad_image_is_the_same_line_as_of_a_run(make, tiny_bundle, tmp_path, command):
    image = make(tmp_path)
    plan = command("plan", tiny_bundle, "-i", image)
    run = command("run", tiny_bundle, "-i", image, "-o", tmp_path / "out")
    assert (plan.code, plan.out, plan.err) == (run.code, run.out, run.err)
    assert plan.code == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["no_such_task"],
        ["lesion_ms"],
        ["tiny_bundle", "--step", "0.5", "--folds", "9"],
        ["tiny_bundle", "--strict-crop"],
        ["tiny_bundle", "--device", "nothing"],
        ["tiny_bundle", "-i", "second.nii", "--soft", "--outputs", "x"],
    ],
    ids=lambda arguments: " ".join(arguments[:1] + arguments[-1:]),
)
def test_bad_options_are_the_same_line_as_of_a_run(arguments, tiny_bundle, image_file, command):
    given = [tiny_bundle if word == "tiny_bundle" else word for word in arguments]
    plan = command("plan", *given, "-i", image_file)
    run = command("run", *given, "-i", image_file)
    assert plan.code == run.code != 0
    assert plan.err.splitlines()[-1] == run.err.splitlines()[-1]


def test_it_takes_the_options_of_a_run_but_those_of_writing():
    from deepseg_lite.cli.plan import plan
    from deepseg_lite.cli.run import run
    from deepseg_lite.option import declared
    from deepseg_lite.qc.options import QualityOptions

    names = {option.name for option in plan.params}
    written = {"output", "cropbox", "overwrite", *declared(QualityOptions)}
    assert names == {option.name for option in run.params} - written | {"calibrate"}
