"""Sliding windows, with predictors whose blended answer is known."""

from __future__ import annotations

import itertools
import math
import tracemalloc

import numpy as np
import pytest

from deepseg_lite.errors import Cancelled
from deepseg_lite.inference.background import Background
from deepseg_lite.inference.patches import importance_map, patch_starts, spread_starts
from deepseg_lite.inference.sliding_window import mirrored, predict_rows, predict_sliding_window
from deepseg_lite.steps.pad import pad_to_patch

GAUSSIAN = importance_map((4, 6, 8), "gaussian_filter")
SHAPES = [(4, 6, 8), (9, 13, 17), (3, 20, 8), (1, 1, 1), (5, 6, 2)]


def _predict(data, predict, patch_size, *, step=0.5, **options):
    starts = spread_starts(data.shape[1:], patch_size, step)
    return predict_sliding_window(data, predict, patch_size, starts=starts, **options)


def identity(patches):
    return patches


def constant(patches):
    return np.full((len(patches), 2, *patches.shape[2:]), 3.25, np.float32)


@pytest.mark.parametrize(
    ("size", "patch", "step", "starts"),
    [
        (8, 8, 0.5, [0]),
        (9, 8, 0.5, [0, 1]),
        (16, 8, 0.5, [0, 4, 8]),
        (17, 8, 0.5, [0, 3, 6, 9]),
        (21, 8, 0.5, [0, 3, 6, 10, 13]),  # 3.25 and 6.5 round as Python rounds
        (16, 8, 1, [0, 8]),
        (17, 8, 1, [0, 4, 9]),  # 4.5 goes to the even neighbour
        (5, 1, 0.5, [0, 1, 2, 3, 4]),
        (3, 2, 0.1, [0, 1]),  # starts made equal by rounding are visited once
    ],
)
def test_patch_starts(size, patch, step, starts):
    assert patch_starts(size, patch, step) == starts


@pytest.mark.parametrize("step", [1, 0.75, 0.5, 0.1])
@pytest.mark.parametrize("patch", [1, 5, 8])
def test_starts_cover_everything_and_are_at_most_a_step_apart(patch, step):
    for size in range(patch, 40):
        starts = patch_starts(size, patch, step)
        assert starts[0] == 0
        assert starts[-1] == size - patch
        gaps = np.diff(starts)
        assert ((gaps > 0) & (gaps <= max(1, math.ceil(patch * step)))).all()


def test_constant_importance_is_one():
    np.testing.assert_array_equal(importance_map((2, 3, 4), "constant"), np.ones((2, 3, 4)))


@pytest.mark.parametrize("patch", [(4, 6, 8), (1, 64, 64), (33, 16, 128), (1, 1, 1)], ids=str)
def test_gaussian_importance_peaks_at_ten_in_the_middle_and_is_never_zero(patch):
    weights = importance_map(patch, "gaussian_filter")
    assert weights.shape == patch
    assert weights.min() > 0
    assert weights.max() == weights[tuple(size // 2 for size in patch)] == 10


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("step", [1, 0.5, 0.25])
def test_identity_predictor_returns_the_volume(rng, shape, step):
    data = rng.normal(size=(2, *shape)).astype(np.float32)
    found = _predict(data, identity, GAUSSIAN.shape, step=step, importance=GAUSSIAN)
    np.testing.assert_allclose(found, data, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_constant_predictor_gives_the_constant(shape):
    data = np.zeros((1, *shape), np.float32)
    found = _predict(data, constant, GAUSSIAN.shape, importance=GAUSSIAN)
    np.testing.assert_allclose(found, np.full((2, *shape), 3.25), rtol=1e-6)


def test_patches_that_differ_are_blended_by_importance():
    """Two patches overlap by half; the second answers 1, the first 0."""
    answers = iter((0.0, 1.0))
    weights = np.array([1, 2, 3, 4], np.float32).reshape(4, 1, 1)
    found = _predict(
        np.zeros((1, 6, 1, 1), np.float32),
        lambda patches: np.full_like(patches, next(answers)),
        (4, 1, 1),
        step=0.5,
        importance=weights,
    )
    np.testing.assert_allclose(found.ravel(), [0, 0, 1 / 4, 2 / 6, 1, 1], rtol=1e-6)


def test_small_volumes_are_padded_with_zeros_around_the_middle():
    seen = []
    _predict(
        np.ones((1, 3, 2, 4), np.float32),
        lambda patches: seen.append(patches) or patches,
        (6, 5, 4),
        importance=np.ones((6, 5, 4), np.float32),
    )
    (patch,) = seen
    expected = np.zeros((1, 1, 6, 5, 4))
    expected[:, :, 1:4, 1:3] = 1
    np.testing.assert_array_equal(patch, expected)


@pytest.mark.parametrize("shape", [*SHAPES, (30, 13, 9)], ids=str)
@pytest.mark.parametrize("step", [1, 0.5, 0.25])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"accumulator": np.float16, "batch_size": 3},
        {"background": Background(np.array([0.5]), np.array([7], np.float32))},
    ],
    ids=["plain", "half", "background"],
)
def test_rows_are_those_of_the_whole(rng, shape, step, options):
    data = rng.normal(size=(1, *shape)).astype(np.float32)
    data[:, 5:20] = 0
    options = {"importance": GAUSSIAN, **options}
    whole = _predict(data, np.tanh, GAUSSIAN.shape, step=step, **options)
    starts = spread_starts(shape, GAUSSIAN.shape, step)
    rows = predict_rows(data, np.tanh, GAUSSIAN.shape, starts=starts, **options)
    rows = [row.copy() for row in rows]
    assert len(rows) == len(starts[0])
    np.testing.assert_array_equal(np.concatenate(rows, axis=1), whole)


@pytest.mark.parametrize("batch_size", [2, 5, 1000])
def test_batch_size_does_not_matter(rng, batch_size):
    data = rng.normal(size=(2, 9, 13, 17)).astype(np.float32)
    one = _predict(data, np.tanh, GAUSSIAN.shape, importance=GAUSSIAN)
    many = _predict(data, np.tanh, GAUSSIAN.shape, importance=GAUSSIAN, batch_size=batch_size)
    np.testing.assert_array_equal(many, one)


@pytest.mark.parametrize("batch_size", [1, 7])
def test_progress_adds_up_to_the_number_of_patches(batch_size):
    counts = []
    shape = (9, 13, 17)
    _predict(
        np.zeros((1, *shape), np.float32),
        identity,
        GAUSSIAN.shape,
        importance=GAUSSIAN,
        batch_size=batch_size,
        on_patches=counts.append,
    )
    assert (
        sum(counts) == math.prod(map(len, spread_starts(shape, GAUSSIAN.shape, 0.5))) == 4 * 4 * 4
    )
    assert max(counts) == batch_size


def test_what_the_progress_hook_raises_ends_the_run():
    calls = []

    def stop(count):
        raise Cancelled

    with pytest.raises(Cancelled):
        _predict(
            np.zeros((1, 9, 13, 17), np.float32),
            lambda patches: calls.append(1) or patches,
            GAUSSIAN.shape,
            importance=GAUSSIAN,
            on_patches=stop,
        )
    assert len(calls) == 1


def test_half_precision_sums_are_rounded_to_half_precision():
    data = np.full((1, 6, 9, 12), 1.0001, np.float32)
    half = _predict(data, identity, GAUSSIAN.shape, importance=GAUSSIAN, accumulator=np.float16)
    assert half.dtype == np.float16
    np.testing.assert_allclose(half, data, rtol=5e-3)


@pytest.mark.parametrize("accumulator", [np.float32, np.float16])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sums_are_those_of_the_padded_volume(rng, shape, accumulator):
    """To the last bit: adding up what is inside the image alone changes nothing there."""
    data = rng.normal(size=(2, *shape)).astype(np.float32)
    weights = rng.uniform(0.1, 10, GAUSSIAN.shape).astype(np.float32)
    found = _predict(data, np.tanh, weights.shape, importance=weights, accumulator=accumulator)

    padded, inside = pad_to_patch(data, weights.shape, "constant", 0)
    sums = np.zeros(padded.shape, accumulator)
    importance = np.zeros(padded.shape[1:], accumulator)
    for corner in itertools.product(*spread_starts(shape, weights.shape, 0.5)):
        box = tuple(slice(a, a + n) for a, n in zip(corner, weights.shape, strict=True))
        sums[(slice(None), *box)] += np.tanh(padded[(slice(None), *box)]) * weights
        importance[box] += weights.astype(accumulator)
    np.testing.assert_array_equal(found, (sums / importance)[(slice(None), *inside)])


@pytest.mark.parametrize("shape", [(40, 24, 24), (40, 24, 3)], ids=["whole", "padded"])
def test_memory_is_that_of_the_scores_and_one_answer(shape):
    """What is beside the two: the padded image, its weights, and one channel of the answer."""
    count, patch = 30, (8, 24, 24)
    data = np.zeros((1, *shape), np.float32)

    def many(patches):
        return np.ones((len(patches), count, *patch), np.float32)

    importance = np.ones(patch, np.float32)
    tracemalloc.start()
    found = _predict(data, many, patch, importance=importance)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    padded = 4 * 40 * 24 * 24
    assert peak < found.nbytes + 4 * count * importance.size + 2 * padded + 2 * importance.nbytes


def test_input_is_not_changed(rng):
    data = rng.normal(size=(1, 9, 13, 17)).astype(np.float32)
    before = data.copy()
    _predict(data, mirrored(np.negative, (0, 1, 2)), GAUSSIAN.shape, importance=GAUSSIAN)
    np.testing.assert_array_equal(data, before)


@pytest.mark.parametrize("axes", [(), (0,), (2,), (1, 2), (0, 1, 2)], ids=str)
def test_mirroring_calls_once_per_combination_of_axes(rng, axes):
    seen = []
    patches = rng.normal(size=(1, 1, 2, 3, 4)).astype(np.float32)
    found = mirrored(lambda batch: seen.append(batch.copy()) or batch, axes)(patches)
    flips = [c for n in range(len(axes) + 1) for c in itertools.combinations(axes, n)]
    assert len(seen) == len(flips) == 2 ** len(axes)
    for flip in flips:
        wanted = np.flip(patches, [axis + 2 for axis in flip])
        assert sum(np.array_equal(batch, wanted) for batch in seen) == 1
    np.testing.assert_allclose(found, patches, atol=1e-6)


def test_mirroring_averages_what_the_network_says_of_each_flip():
    def position(patches):
        """Answer with the index along the last axis, whatever is in the image."""
        return np.broadcast_to(np.arange(4, dtype=np.float32), patches.shape).copy()

    found = mirrored(position, (2,))(np.zeros((1, 1, 2, 3, 4), np.float32))
    np.testing.assert_array_equal(found, np.full((1, 1, 2, 3, 4), 1.5))


def test_mirroring_does_not_write_into_the_networks_answer():
    answer = np.ones((1, 1, 2, 2, 2), np.float32)
    mirrored(lambda patches: answer, (0, 1))(np.zeros((1, 1, 2, 2, 2), np.float32))
    np.testing.assert_array_equal(answer, 1)
