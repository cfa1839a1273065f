"""Past runs: what they took is what a plan says of the next one."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers.bundles import make_affine, make_data, write_bundle, write_image
from helpers.spine import make_spine
from helpers.spine_bundles import image_of
from helpers.spine_bundles import write_bundles as write_spine

import deepseg_lite
from deepseg_lite.api import calibration
from deepseg_lite.inference.settings import make_settings
from deepseg_lite.performance.plan.past_runs import keep_run

HERE = ("--device", "cpu", "--threads", "1")
STAGES = {"load": 1.0, "preprocess": 2.0, "predict": 40.0, "restore": 5.0, "write": 3.0}


def planned(command, *arguments) -> dict:
    done = command("plan", *arguments, *HERE, "--no-calibrate", "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


def ran(command, *arguments) -> list[dict]:
    """Run, and return the seconds of each case."""
    done = command("run", *arguments, *HERE, "--json", "--overwrite")
    assert done.code == 0, done.err
    return [result["Seconds"] for result in json.loads(done.out)["results"]]


@pytest.fixture
def kept(tiny_bundle: Path, image_file: Path):
    """Return a function that keeps runs of these stages."""
    model = deepseg_lite.load(tiny_bundle, device="cpu", threads=1)

    def keep(stages=STAGES, **settings) -> None:
        keep_run(model, [image_file], make_settings(**settings), stages)

    return keep


def test_the_next_run_is_planned_to_take_what_the_last_one_took(tiny_bundle, image_file, command):
    assert planned(command, tiny_bundle, "-i", image_file)["seconds"] is None
    (took,) = ran(command, tiny_bundle, "-i", image_file)
    found = planned(command, tiny_bundle, "-i", image_file)
    (case,) = found["cases"]
    assert case["parts"][0]["source"] == "runs"
    assert case["network_seconds"] == pytest.approx(took["predict"])
    assert found["seconds"] == case["seconds"] == pytest.approx(sum(took.values()))
    words = command("plan", tiny_bundle, "-i", image_file, *HERE, "--no-calibrate").out
    assert f"last runs here: {case['seconds']:.1f} s, {took['predict']:.1f} s in networks" in words


def test_every_case_of_a_command_is_kept(tiny_bundle, image_file, command):
    ran(command, tiny_bundle, "-i", image_file)
    two = [tiny_bundle, "-i", image_file, "-i", image_file.with_name("other.nii")]
    write_image(two[-1], make_data(), make_affine("LPS"))
    ran(command, *two)
    (known,) = calibration.read().values()
    assert len(known.runs) == 3
    first, second = planned(command, *two)["cases"]
    assert planned(command, *two)["seconds"] == first["seconds"] + second["seconds"]


def test_one_slow_run_changes_nothing(kept, tiny_bundle, image_file, command):
    for factor in (1, 100, 1):
        kept({stage: factor * seconds for stage, seconds in STAGES.items()})
    (case,) = planned(command, tiny_bundle, "-i", image_file)["cases"]
    assert case["seconds"] == pytest.approx(51)
    assert case["network_seconds"] == pytest.approx(40)


def test_seconds_go_by_the_size_of_the_image(kept, tiny_bundle, image_file, command):
    kept()
    data = np.tile(make_data(), (1, 1, 3))
    image = write_image(image_file.with_name("large.nii"), data, make_affine("LPS"))
    (case,) = planned(command, tiny_bundle, "-i", image_file)["cases"]
    (large,) = planned(command, tiny_bundle, "-i", image)["cases"]
    more = large["parts"][0]["patches"] / case["parts"][0]["patches"]
    assert large["network_seconds"] == pytest.approx(40 * more)
    assert large["seconds"] - large["network_seconds"] == pytest.approx(3 * 11)


def test_passes_take_the_time_of_a_pass_each(kept, tiny_bundle, image_file, command):
    kept()
    (case,) = planned(command, tiny_bundle, "-i", image_file, "--tta")["cases"]
    assert case["network_seconds"] == pytest.approx(8 * 40)


def test_runs_that_wrote_labels_do_not_tell_of_maps(kept, tiny_bundle, image_file, command):
    kept()
    (case,) = planned(command, tiny_bundle, "-i", image_file, "--soft")["cases"]
    assert (case["seconds"], case["network_seconds"]) == (None, pytest.approx(40))
    kept({**STAGES, "write": 6.0}, soft=True)
    (case,) = planned(command, tiny_bundle, "-i", image_file, "--soft")["cases"]
    assert case["seconds"] == pytest.approx(54)


def test_runs_of_other_threads_do_not_tell(kept, tiny_bundle, image_file, command):
    kept()
    done = command("plan", tiny_bundle, "-i", image_file, "--no-calibrate", "--threads", "2")
    assert "time not known" in done.out


def test_the_folds_of_a_bundle_tell_of_each_other(tmp_path, image_file, command):
    bundle = write_bundle(tmp_path / "folds", "folds")
    ran(command, bundle, "-i", image_file)
    (all_folds,) = planned(command, bundle, "-i", image_file)["cases"]
    (one,) = planned(command, bundle, "-i", image_file, "--single-fold")["cases"]
    folds = all_folds["parts"][0]["folds"]
    assert one["network_seconds"] == pytest.approx(all_folds["network_seconds"] / folds)


@pytest.mark.parametrize(
    ("stages", "settings"),
    [(STAGES, {"skip_empty": True}), ({"load": 1.0}, {})],
    ids=["patches were left out", "another record"],
)
def test_runs_that_tell_nothing_are_not_kept(kept, stages, settings):
    kept(stages, **settings)
    assert not calibration.path().exists()


@pytest.mark.parametrize("options", [[], ["--json"], ["-q"], ["-v"]], ids=str)
def test_a_run_does_not_fail_where_nothing_can_be_kept(
    options, tiny_bundle, image_file, command, tmp_path, monkeypatch
):
    plain = command("run", tiny_bundle, "-i", image_file, "-o", tmp_path / "a.nii", *options)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DEEPSEG_LITE_HOME", str(tmp_path / "file" / "home"))
    done = command("run", tiny_bundle, "-i", image_file, "-o", tmp_path / "b.nii", *options)
    assert done.code == plain.code == 0
    assert (tmp_path / "a.nii").read_bytes() == (tmp_path / "b.nii").read_bytes()
    assert len(done.err.splitlines()) == len(plain.err.splitlines())
    assert len(done.out.splitlines()) == len(plain.out.splitlines())


def test_a_run_that_fails_is_not_kept(tiny_bundle, tmp_path, command):
    image = write_image(tmp_path / "series.nii.gz", np.ones((4, 4, 4, 3), np.float32))
    assert command("run", tiny_bundle, "-i", image, *HERE).code == 1
    assert not calibration.path().exists()


@pytest.mark.parametrize("options", [[], ["--label-vert"]], ids=["one step", "two steps"])
def test_the_networks_of_a_workflow_are_told_apart(options, tmp_path, command):
    bundle = write_spine(tmp_path)
    image = tmp_path / "spine.nii.gz"
    nib.save(image_of(make_spine()), image)
    (took,) = ran(command, bundle, "-i", image, "-o", tmp_path / "out", *options)
    (case,) = planned(command, bundle, "-i", image, *options)["cases"]
    seconds = [took[f"step{count}_network"] for count in (1, 2)[: len(case["parts"])]]
    assert [part["seconds"] for part in case["parts"]] == pytest.approx(seconds)
    assert case["seconds"] == pytest.approx(sum(took.values()))


def test_the_model_that_runs_first_is_no_part_of_the_record(image_file, tmp_path, command):
    write_bundle(tmp_path / "first", name="first")
    window = {
        **{"patch_size": [8, 8, 8], "stride": [4, 4, 4], "placement": "clamped_stride"},
        "importance_map": "constant",
    }
    bundle = write_bundle(
        tmp_path / "second",
        "channels",
        preprocessing=[{"step": "crop_to_prior", "safety_factor": [1.0, 1.0, 1.0]}],
        prior={"bundle": "first", "channels": ["t2"]},
        sliding_window=window,
    )
    images = ("-i", image_file, "-i", image_file)
    (took,) = ran(command, bundle, *images)
    (case,) = planned(command, bundle, *images)["cases"]
    own, first = case["parts"]
    assert own["seconds"] == pytest.approx(took["predict"])
    assert (first["seconds"], case["seconds"]) == (None, None)
