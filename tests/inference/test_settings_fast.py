"""What --fast stands for, model by model, and how it reaches a run and its record."""

from __future__ import annotations

import json

import pytest
from helpers.bundles import (
    make_bundle,
    make_data,
    make_manifest,
    voxels,
    write_bundle,
    write_image,
)

from deepseg_lite.errors import OptionError
from deepseg_lite.inference.fitting import FAST_STEP, check_settings, fit_settings
from deepseg_lite.inference.settings import make_settings

MAPS = {
    "activation": "sigmoid",
    "labels": [{"name": "cord", "values": [1]}],
    "regions_class_order": None,
    "values": "maps",
    "channels": 1,
}
STRIDE = {
    "patch_size": [8, 8, 8],
    "stride": [8, 8, 8],
    "placement": "stride",
    "importance_map": "constant",
}


def window(**changes):
    return {**make_manifest()["sliding_window"], **changes}


@pytest.mark.parametrize("kind", ["threshold", "folds", "regions", "channels"])
def test_step_and_empty_patches_are_chosen(kind):
    bundle = make_bundle(kind)
    chosen = fit_settings(make_settings(fast=True, tta=True), bundle)
    assert chosen == make_settings(fast=True, tta=True, step=FAST_STEP, skip_empty=True)
    check_settings(chosen, bundle)


@pytest.mark.parametrize(
    ("overlap", "given", "step"),
    [(0.5, None, FAST_STEP), (0.5, 0.9, 0.9), (0.5, 0.3, 0.3), (0.25, None, None), (0, None, None)],
)
def test_a_step_that_is_large_already_stays(overlap, given, step):
    bundle = make_bundle(sliding_window=window(overlap=overlap))
    assert fit_settings(make_settings(fast=True, step=given), bundle)["step"] == step


def test_what_a_model_has_not_is_left_alone():
    strided = make_bundle(sliding_window=STRIDE)
    fast = make_settings(fast=True)
    assert fit_settings(fast, strided) == make_settings(fast=True, skip_empty=True)
    maps = make_bundle(outputs=MAPS)
    assert fit_settings(fast, maps) == make_settings(fast=True, step=FAST_STEP)
    for bundle in (strided, maps):
        check_settings(fit_settings(fast, bundle), bundle)


def test_a_model_that_has_nothing_to_leave_out_is_refused():
    with pytest.raises(OptionError, match="leave `fast` out"):
        fit_settings(make_settings(fast=True), make_bundle(outputs=MAPS, sliding_window=STRIDE))
    folds = make_bundle("folds", outputs=MAPS, sliding_window=STRIDE)
    assert fit_settings(make_settings(fast=True), folds) == make_settings(fast=True)


def test_fast_is_a_shorthand(command, tmp_path, image_file):
    bundle = write_bundle(tmp_path / "folds", "folds")
    fast = command("run", bundle, "-i", image_file, "-o", tmp_path / "fast.nii", "--fast", "--json")
    options = ["--step", FAST_STEP, "--single-fold", "--skip-empty", "--json"]
    spelled = command("run", bundle, "-i", image_file, "-o", tmp_path / "spelled.nii", *options)
    ((first,), (second,)) = (json.loads(each.out)["results"] for each in (fast, spelled))
    assert first["Settings"] == second["Settings"]
    assert first["Settings"]["step"] == FAST_STEP
    assert first["Settings"]["skip_empty"] is True
    assert list(first["Bundle"]["networks"]) == ["1"]
    assert (voxels(tmp_path / "fast.nii") == voxels(tmp_path / "spelled.nii")).all()


def test_folds_that_are_named_stay_beside_fast(command, tmp_path, image_file):
    bundle = write_bundle(tmp_path / "folds", "folds")
    outcome = command("run", bundle, "-i", image_file, "--fast", "--folds", "0,1", "--json")
    (result,) = json.loads(outcome.out)["results"]
    assert list(result["Bundle"]["networks"]) == ["0", "1"]
    assert result["Settings"]["step"] == FAST_STEP


def test_options_that_do_not_fit_are_refused_in_one_line(command, tmp_path):
    image = write_image(tmp_path / "t2.nii", make_data())
    outputs = {**MAPS, "channels": 2}
    bundle = write_bundle(tmp_path / "maps", outputs=outputs, sliding_window=STRIDE)
    for option in ("--fast", "--skip-empty"):
        outcome = command("run", bundle, "-i", image, option)
        assert outcome.code == 1
        assert outcome.err.startswith("error: ")
        assert outcome.err.rstrip().endswith(f"leave {option} out.")
        assert outcome.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["t2.nii"]
