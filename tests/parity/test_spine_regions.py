"""Main part, canal filling, cropping, every second disc and soft maps against totalspineseg."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers.spine import make_spine, perturb
from helpers.spines import UNNUMBERED, VARIANTS, labelled_variant, params, variant
from hypothesis import given, settings
from hypothesis import strategies as st

from deepseg_lite.workflows.spine.regions import (
    alternate_discs,
    bounding_box,
    fill_canal,
    largest_part,
    soft_map,
)

pytest.importorskip("totalspineseg", reason="the original software is not installed")

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

NUMBERED = [name for name in VARIANTS if name not in UNNUMBERED]
AFFINE = np.diag([1.0, 1.0, 1.0, 1.0])
AFFINE[:3, 3] = -12.0, 7.0, 31.0
SEEDS = st.integers(0, 2**32 - 1)


def original(name: str, labels: np.ndarray, **options) -> nib.Nifti1Image:
    """Run one of the original's functions with the options its inference uses."""
    from totalspineseg.utils.crop_image2seg import crop_image2seg
    from totalspineseg.utils.extract_alternate import extract_alternate
    from totalspineseg.utils.fill_canal import fill_canal as fill
    from totalspineseg.utils.largest_component import largest_component

    image = nib.Nifti1Image(labels, AFFINE)
    if name == "largest":
        return largest_component(image, binarize=True, dilate=5)
    if name == "fill":
        return fill(image, canal_label=2, cord_label=1, largest_canal=True, largest_cord=True)
    if name == "alternate":
        return extract_alternate(image, labels=list(range(63, 101)))
    return crop_image2seg(image, image, margin=10)


def assert_same(ours: np.ndarray, theirs: nib.Nifti1Image) -> None:
    expected = np.asanyarray(theirs.dataobj)
    assert ours.dtype == expected.dtype
    np.testing.assert_array_equal(ours, expected)


def assert_same_steps(labels: np.ndarray) -> None:
    """Compare all that is done to a labelled map, one step after the other."""
    filled = fill_canal(labels)
    assert_same(filled, original("fill", labels))
    assert_same(alternate_discs(filled), original("alternate", filled))
    box, cropped = bounding_box(filled, 10), original("crop", filled)
    assert_same(filled[box], cropped)
    start = [side.start for side in box]
    np.testing.assert_array_equal(AFFINE[:3, :3] @ start + AFFINE[:3, 3], cropped.affine[:3, 3])


def tiny(seed: int, step: int) -> np.ndarray:
    """Return the classes or (step 0) labels of a faulty spine of five vertebrae."""
    spine = make_spine(seed % 15 + 1, seed % 15 + 5, seed=seed)
    classes = (spine.labels, spine.step1, spine.step2)[step]
    return perturb(classes, seed, noise=0.01 * (seed % 4), blobs=seed % 31, holes=seed % 23)


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("name", params(VARIANTS))
def test_largest_part(name, step):
    classes = variant(name, step).classes
    assert_same(largest_part(classes), original("largest", classes))


@pytest.mark.parametrize("name", params(NUMBERED))
def test_steps_after_labelling_discs(name):
    assert_same_steps_of(name, 1)


@pytest.mark.parametrize("name", ["neck", "lower_top_cut"])
def test_steps_after_labelling_vertebrae(name):
    assert_same_steps_of(name, 2)


def assert_same_steps_of(name, step):
    labels = labelled_variant(name, step)
    assert_same_steps(labels)
    assert_same_steps(perturb(labels, 3, noise=0.02, blobs=20, holes=20))


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, step=st.sampled_from([1, 2]))
def test_largest_part_of_faulty_spines(seed, step):
    classes = tiny(seed, step)
    assert_same(largest_part(classes), original("largest", classes))


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, size=st.integers(6, 40))
def test_largest_part_of_scattered_voxels(seed, size):
    rng = np.random.default_rng(seed)
    labels = np.zeros((size, 6, 60), np.uint8)
    places = rng.integers(0, labels.shape, (rng.integers(0, 16), 3))
    labels[tuple(places.T)] = rng.integers(1, 12, len(places))
    assert_same(largest_part(labels), original("largest", labels))


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS)
def test_steps_after_labelling_of_faulty_spines(seed):
    assert_same_steps(tiny(seed, 0))


@settings(max_examples=200, deadline=None)
@given(seed=SEEDS, density=st.floats(0.0, 0.6), values=st.sampled_from([(1,), (2,), (1, 2, 70)]))
def test_steps_after_labelling_of_noise(seed, density, values):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 12, 3))
    labels = np.where(rng.random(shape) < density, rng.choice(values, shape), 0).astype(np.uint8)
    assert_same_steps(labels)


@pytest.mark.parametrize(("class_value", "values"), [(8, (1, 2)), (9, (1,))])
def test_soft_map(tmp_path: Path, class_value, values):
    from totalspineseg.utils.extract_soft import _extract_soft

    labels = fill_canal(make_spine(4, 9).labels)
    scores = np.random.default_rng(1).random((9, *labels.shape[::-1]), np.float32)
    np.savez(tmp_path / "s.npz", probabilities=scores)
    nib.save(nib.Nifti1Image(labels, AFFINE), tmp_path / "s.nii.gz")
    _extract_soft(
        tmp_path / "s.npz",
        tmp_path / "s.nii.gz",
        tmp_path / "soft.nii.gz",
        label=class_value,
        seg_labels=list(values),
        dilate=1,
    )
    assert_same(
        soft_map(scores[class_value - 1].T, labels, values), nib.load(tmp_path / "soft.nii.gz")
    )
