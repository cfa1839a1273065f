"""Levels against totalspineseg: the same voxels, and an error where it raises one."""

from __future__ import annotations

import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers.spine import make_leaning_neck, make_spine, perturb
from helpers.spines import UNNUMBERED, VARIANTS, labelled_variant, params
from hypothesis import given, settings
from hypothesis import strategies as st

from deepseg_lite.errors import ImageError
from deepseg_lite.workflows.spine.levels import DISCS, extract_levels
from deepseg_lite.workflows.spine.regions import fill_canal

pytest.importorskip("totalspineseg", reason="the original software is not installed")

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

NUMBERED = [name for name in VARIANTS if name not in UNNUMBERED]
SEEDS = st.integers(0, 2**32 - 1)


def original(labels: np.ndarray) -> np.ndarray:
    """Run the original with the options its inference uses; it reads files."""
    from totalspineseg.utils.extract_levels import extract_levels as extract
    from totalspineseg.utils.image import Image

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "labels.nii"
        nib.save(nib.Nifti1Image(labels, np.eye(4)), path)
        discs = [*range(63, 68), *range(71, 83), *range(91, 96), 100]
        image = Image(str(path)).change_orientation("LPI")
        return extract(image, canal_labels=[1, 2], disc_labels=discs, c1_label=11, c2_label=50).data


def assert_same(labels: np.ndarray) -> None:
    """Compare the levels, or that there are none."""
    try:
        expected = original(labels)
    except (ValueError, TypeError, IndexError):
        with pytest.raises(ImageError):
            extract_levels(labels)
        return
    ours = extract_levels(labels)
    assert ours.dtype == expected.dtype
    np.testing.assert_array_equal(ours, expected)


def draw_map(seed: int) -> np.ndarray:
    """Return a small map: a wandering canal with gaps, boxes of discs, C1 and bone anywhere."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(rng.integers([8, 14, 14], [22, 30, 60]), np.uint8)
    width, depth, height = labels.shape
    restless = 0.3 * rng.integers(0, 4)
    steps = rng.integers(-1, 2, (2, height)) * (rng.random((2, height)) < restless)
    x, y = np.cumsum(steps, axis=1) + rng.integers(0, (width, depth))[:, None]
    radius = rng.integers(1, 4)
    for z in range(rng.integers(0, 3), height - rng.integers(0, height)):
        if rng.random() < 0.05 * restless:
            continue
        i, j = max(x[z] - radius, 0), max(y[z] - radius, 0)
        labels[i : max(x[z] + radius, 1), j : max(y[z] + radius, 1), z] = 2
        labels[min(max(x[z], 0), width - 1), min(max(y[z], 0), depth - 1), z] = 1

    def add(value, corner, lengths):
        box = tuple(slice(a, a + n) for a, n in zip(corner, lengths, strict=True))
        labels[box] = np.where(labels[box] <= 2 * (rng.random() < 0.3), value, labels[box])

    z = height - rng.integers(4, 10)
    for value in [63] * (rng.random() < 0.9) + sorted(rng.choice(DISCS, rng.integers(0, 5))):
        add(value, (*rng.integers(0, (width - 3, depth - 3)), max(z, 0)), rng.integers(1, 6, 3))
        z -= rng.integers(2, 8)
    top = max(height - rng.integers(2, 14), 0)
    c1 = (width, *rng.integers((4, 3), (10, 14)))
    add(11, (rng.integers(0, 2), rng.integers(0, depth - 6), top), c1)
    for _ in range(rng.integers(0, 6)):
        add(50, rng.integers(0, labels.shape), rng.integers(1, 12, 3))
    return labels


@pytest.mark.parametrize("name", params(NUMBERED))
def test_levels(name):
    labels = fill_canal(labelled_variant(name, 1))
    assert_same(labels)
    assert_same(perturb(labels, 11, noise=0.01, blobs=20, holes=40))


@pytest.mark.parametrize("values", [(1, 2), DISCS, (11,), (50,), (63,), tuple(range(101))], ids=str)
def test_levels_without(values):
    labels = fill_canal(labelled_variant("whole", 1))
    assert_same(np.where(np.isin(labels, values), 0, labels))


@pytest.mark.parametrize("neck", [(1, 59, 50), (-1, 5, 4), (1, 50, 40), (-1, 9, 8)], ids=str)
def test_levels_of_c1_outside_the_image(neck):
    assert_same(make_leaning_neck(*neck))


def test_levels_of_c1_in_front_of_the_image_crash_the_original():
    with pytest.raises(IndexError):
        original(make_leaning_neck(1, 59, 50))


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_levels_of_faulty_spines(seed):
    spine = make_spine(1 + seed % 2, 6 + seed % 7, seed=seed, pitch=11 + seed % 5)
    assert_same(perturb(spine.labels, seed, noise=0.01 * (seed % 4), blobs=seed % 9, holes=9))


@settings(max_examples=300, deadline=None)
@given(seed=SEEDS)
def test_levels_of_small_maps(seed):
    assert_same(draw_map(seed))
