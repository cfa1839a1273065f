"""The shipped model's training and evaluation: what is known of each voxel, and the measures."""

from __future__ import annotations

import hashlib
import importlib
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers.paths import MODELS

MODEL = MODELS / "sc_gm_t2star"
SHAPE, SPACING = (24, 20, 3), (0.5, 0.75, 4.0)


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch):
    """Import modules of the training folder, which is no package."""
    monkeypatch.syspath_prepend(MODEL / "train")
    return importlib.import_module


@pytest.fixture
def data(tmp_path, load) -> Path:
    """Write small images under the names that the training reads, a few of them turned."""
    images = load("images")
    rng = np.random.default_rng(0)
    cord = np.zeros(SHAPE, np.uint8)
    cord[8:14, 6:12] = 1
    gray = np.zeros(SHAPE, np.uint8)
    gray[10:12, 8:10, :2] = 1

    def write(name: str, array: np.ndarray) -> None:
        path = tmp_path / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(array, np.diag((-SPACING[0], *SPACING[1:], 1))), path)

    def signal() -> np.ndarray:
        return rng.uniform(0, 900, SHAPE).astype(np.float32)

    for scan in images.CHALLENGE:
        write(f"gm_challenge/{scan}_T2starw", signal())
        write(f"gm_challenge/{scan}_T2starw_seg-manual", cord)
        write(f"gm_challenge/{scan}_T2starw_gmseg-manual", gray)
    for image, mask in {**images.CORD_ONLY, **images.GRAY_ONLY}.items():
        write(image, signal())
        write(mask, gray if image in images.GRAY_ONLY else cord)
    return tmp_path


def test_the_person_left_out_is_in_none_of_the_scans(data, load):
    images = load("images")
    assert images.PERSONS == ("10062", "9418", "9584", "9709")
    everybody = images.read_challenge(data, None)
    assert {person: len(scans) for person, scans in everybody.items()} == {
        "10062": 2,
        "9418": 1,
        "9584": 1,
        "9709": 2,
    }
    for person in images.PERSONS:
        assert set(images.read_challenge(data, person)) == set(images.PERSONS) - {person}


def test_labels_of_a_scan_with_both_masks(data, load):
    images = load("images")
    (scan,) = images.read_challenge(data, None)["9418"]
    assert scan.image.shape == scan.labels.shape == SHAPE[::-1]
    assert scan.spacing == (SPACING[1], SPACING[0])
    assert np.bincount(scan.labels.ravel()).tolist() == [1440 - 108, 108 - 8, 8]
    assert scan.labels[0, 8, 10] == images.GRAY
    assert scan.labels[2, 8, 10] == images.WHITE
    assert 0 <= scan.image.min() < scan.image.max() <= 1.5


def test_orientation_of_the_file_does_not_matter(data, load):
    images = load("images")
    (before,) = images.read_challenge(data, None)["9584"]
    for kind in ("", "_seg-manual", "_gmseg-manual"):
        path = data / f"gm_challenge/sub-9584_T2starw{kind}.nii.gz"
        image = nib.load(path)
        turned = image.as_reoriented(np.array([[2, -1], [0, 1], [1, -1]]))
        nib.save(nib.Nifti1Image(np.asarray(turned.dataobj), turned.affine), path)
    (after,) = images.read_challenge(data, None)["9584"]
    np.testing.assert_array_equal(before.image, after.image)
    np.testing.assert_array_equal(before.labels, after.labels)
    assert before.spacing == after.spacing


def test_a_cord_mask_says_nothing_about_gray_matter_in_it(data, load):
    images = load("images")
    for stack in images.read_cord_only(data):
        assert set(np.unique(stack.labels)) == {images.OUTSIDE, images.CORD_OF_SOME_KIND}


def test_a_gray_matter_mask_leaves_the_cord_around_it_open(data, load, monkeypatch):
    images = load("images")
    monkeypatch.setattr(images, "MAX_WHITE_MATTER_MM", 2.0)
    (stack,) = images.read_gray_only(data)
    assert len(stack.labels) == 2  # the third slice has no mask
    assert set(np.unique(stack.labels)) == {images.OUTSIDE, images.GRAY, images.PERHAPS_WHITE}
    row = stack.labels[0, 8]  # gray matter at x 10 and 11, pixels of 0.5 mm
    assert row[5:17].tolist() == [0, 4, 4, 4, 4, 2, 2, 4, 4, 4, 4, 0]


def test_phantoms_of_the_training_are_not_those_of_the_tests(load):
    synthetic = load("synthetic")
    first, second = synthetic.draw_phantoms(2)
    assert synthetic.FIRST_PHANTOM_SEED > 100
    assert first.image.shape == first.labels.shape == (6, 224, 224)
    assert (first.image != second.image).any()
    assert set(np.unique(first.labels)) == {0, 1, 2}


def test_lost_slices_are_those_with_a_mask_and_nothing_found(load):
    evaluate = load("evaluate")
    manual, found = np.zeros((2, 4, 4, 3), bool)
    manual[1, 1, :2] = found[2, 2, 1:] = True
    assert evaluate.lost_slices(found, manual) == 1
    assert evaluate.dice(found, manual) == 0
    assert evaluate.dice(manual, manual) == 1


@pytest.mark.parametrize("name", ["noise", "receive", "down", "field", "left"])
def test_a_distortion_keeps_image_and_masks_together(data, load, monkeypatch, name):
    evaluate = load("evaluate")
    monkeypatch.setattr(evaluate, "CROP_MM", 1.5)
    (distort,) = [
        function for title, function in evaluate.DISTORTIONS.items() if title.startswith(name)
    ]
    case = evaluate.read_case(data, "sub-9418")
    image, cord, gray = distort(*case)
    assert image.shape == cord.shape == gray.shape
    assert (gray <= cord).all()

    def middle(image: nib.Nifti1Image, mask: np.ndarray) -> np.ndarray:
        return nib.affines.apply_affine(image.affine, np.argwhere(mask).mean(axis=0))

    expected = middle(case[0], case[1])
    if name == "left":
        whole = middle(case[0], np.ones(SHAPE, bool))
        expected[0] = 2 * whole[0] - expected[0]
    np.testing.assert_allclose(middle(image, cord), expected, atol=1e-6)
    assert (image.shape != SHAPE) == (name in ("down", "field"))


def test_the_bundle_was_made_from_the_plans_of_the_training():
    manifest = json.loads((MODEL / "bundle" / "manifest.json").read_text(encoding="utf-8"))
    for name in ("plans.json", "dataset.json"):
        digest = hashlib.sha256((MODEL / "train" / name).read_bytes()).hexdigest()
        assert manifest["source"]["files"][name] == digest


@pytest.mark.export
def test_the_loss_ignores_what_the_labels_do_not_say(load):
    torch = pytest.importorskip("torch")
    train, images = load("train"), load("images")
    labels = torch.full((1, 32, 32), images.OUTSIDE)
    labels[:, 8:16, 8:16] = images.CORD_OF_SOME_KIND
    labels[:, 20:28, 20:28] = images.PERHAPS_WHITE
    shares = torch.nn.functional.one_hot(labels, images.LABEL_COUNT).movedim(-1, 1).float()
    logits = torch.full((1, 2, 32, 32), -9.0)
    logits[:, 0, 8:16, 8:16] = 9
    loss = train.loss_of(logits, shares, 1.0)
    unsure = logits.clone()
    unsure[:, 1, 8:16, 8:16] = 9  # gray matter in the cord
    unsure[:, 0, 20:28, 20:28] = 9  # cord around gray matter
    assert train.loss_of(unsure, shares, 1.0) == loss
    wrong = logits.clone()
    wrong[:, 1, 2, 2] = 9  # gray matter outside the cord
    assert train.loss_of(wrong, shares, 1.0) > loss


@pytest.mark.export
def test_patches_are_reproducible_and_labelled_everywhere(load):
    torch = pytest.importorskip("torch")
    augmentation, synthetic = load("augmentation"), load("synthetic")
    stacks = synthetic.draw_phantoms(1) * 6
    batch = augmentation.cut(stacks, 96, 0.5, np.random.default_rng(3))
    again = augmentation.cut(stacks, 96, 0.5, np.random.default_rng(3))
    assert batch.image.shape == (6, 1, 96, 96)
    assert torch.equal(batch.image, again.image)
    assert torch.isfinite(batch.image).all()
    assert (batch.image[batch.inside == 0] == 0).all()
    torch.testing.assert_close(batch.shares.sum(1), torch.ones(6, 96, 96))


@pytest.mark.export
def test_a_run_that_was_cut_short_ends_as_an_uninterrupted_one(load, tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    train, synthetic = load("train"), load("synthetic")
    monkeypatch.setattr(train, "PATCHES", ((64, 1),))
    monkeypatch.setattr(train, "SAVE_EVERY", 2)
    sources = [train.Source(1.0, synthetic.draw_phantoms(1))]
    schedule = train.Schedule(4, 1e-3, 1.0, 0.0)

    def learn(state: Path, stop_at: int | None = None) -> dict[str, torch.Tensor]:
        def draw(sources, iteration, as_scanned, rng):
            if iteration == stop_at:
                raise KeyboardInterrupt
            return original(sources, iteration, as_scanned, rng)

        torch.manual_seed(0)
        monkeypatch.setattr(train, "_draw", draw)
        return train.learn(train.build_network(), sources, schedule, state)

    original = train._draw
    with pytest.raises(KeyboardInterrupt):
        learn(tmp_path / "cut.pt", stop_at=3)
    resumed, whole = learn(tmp_path / "cut.pt"), learn(tmp_path / "whole.pt")
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=1e-3, atol=1e-4)
