"""Patches of nothing but background: which they are, and what is written where they were."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.bundles import make_affine, make_bundle

from deepseg_lite.errors import Cancelled, OptionError
from deepseg_lite.inference.background import find_background
from deepseg_lite.inference.fitting import check_settings
from deepseg_lite.inference.patches import importance_map, spread_starts
from deepseg_lite.inference.pipeline import segment
from deepseg_lite.inference.settings import make_settings
from deepseg_lite.inference.sliding_window import predict_sliding_window
from deepseg_lite.volume import Volume
from deepseg_lite.watch import Watch

SKIP = make_settings(skip_empty=True)
PATCH = (4, 4, 4)


def corner_volume(*, channels: int = 1) -> Volume:
    """Return faint noise, and in one corner something bright."""
    rng = np.random.default_rng(4)
    data = rng.uniform(0.001, 0.005, (channels, 24, 20, 16)).astype(np.float32)
    data[:, :5, :5, :5] = rng.uniform(0.3, 0.9, (channels, 5, 5, 5))
    return Volume.from_array(data, make_affine("LPS"))


def threshold(patches):
    return np.concatenate([0.5 - patches[:, -1:], patches[:, -1:] - 0.5], axis=1)


def everywhere(patches):
    """Find label 1 in every voxel that is asked about."""
    return np.concatenate([np.zeros_like(patches), np.ones_like(patches)], axis=1)


def test_a_patch_is_background_unless_a_voxel_exceeds_the_mean_of_its_channel():
    data = np.zeros((2, 4, 4, 4), np.float32)
    data[0] += np.linspace(-1, 1, 4)  # mean 0
    data[1] += 7
    background = find_background(data, "softmax", 3)
    np.testing.assert_allclose(background.levels, [0, 7], atol=1e-7)
    assert background.fills(data[..., :2])
    assert not background.fills(data[..., 1:3])
    brighter = data[..., :2].copy()
    brighter[1, 0, 0, 0] = 7.1
    assert not background.fills(brighter)


@pytest.mark.parametrize(
    ("activation", "signs"), [("softmax", [1, -1, -1]), ("sigmoid", [-1, -1, -1])]
)
def test_scores_of_background_are_certain(activation, signs):
    scores = find_background(np.zeros((1, 2, 2, 2), np.float32), activation, 3).scores
    np.testing.assert_array_equal(np.sign(scores), signs)
    assert (1 / (1 + np.exp(np.abs(scores)))).max() < 1e-4


@pytest.mark.parametrize("channels", [1, 2])
def test_only_patches_with_something_in_them_are_predicted(channels):
    volume = corner_volume(channels=channels)
    seen = []

    def look(patches):
        seen.extend(patches.copy())
        return threshold(patches)

    bundle = make_bundle("channels" if channels == 2 else "threshold")
    every = segment(volume, bundle, [look]).data
    level, asked = volume.data.mean(axis=(1, 2, 3)), len(seen)
    del seen[:]
    found = segment(volume, bundle, [look], SKIP).data
    assert 0 < len(seen) < asked
    assert all((patch.max(axis=(1, 2, 3)) > level).any() for patch in seen)
    np.testing.assert_array_equal(found, every)


def test_where_no_patch_was_predicted_there_is_background():
    volume = corner_volume()
    labels = segment(volume, make_bundle(), [everywhere], SKIP).data
    soft = segment(
        volume, make_bundle(), [everywhere], make_settings(soft=True, skip_empty=True)
    ).data
    assert labels[:5, :5, :5].all()
    assert 0 < np.count_nonzero(labels) < labels.size
    assert soft[0][labels == 0].max() < 1e-4
    np.testing.assert_allclose(soft[0][labels == 1], 1 / (1 + np.exp(-1)), atol=1e-6)


def test_regions_are_absent_where_no_patch_was_predicted():
    window = {**make_bundle("regions").manifest["sliding_window"], "patch_size": [1, 8, 8]}
    bundle = make_bundle("regions", sliding_window=window)

    def both(patches):
        return np.ones((len(patches), 2, *patches.shape[2:]), np.float32)

    assert segment(corner_volume(), bundle, [both]).data.all()
    labels = segment(corner_volume(), bundle, [both], SKIP).data
    assert set(np.unique(labels)) == {0, 2}
    assert labels[:5, :5, :5].all()


def test_an_image_of_one_value_is_background():
    volume = Volume.from_array(np.full((9, 9, 9), 3.0), np.eye(4))
    calls = []
    labels = segment(volume, make_bundle(), [lambda patches: calls.append(1)], SKIP).data
    assert not labels.any()
    assert not calls


def test_patches_that_are_left_out_count_as_done():
    reports = []
    volume, bundle = corner_volume(), make_bundle("folds")
    segment(
        volume,
        bundle,
        [threshold] * 2,
        SKIP,
        fold_count=2,
        watch=Watch(lambda done, total: reports.append((done, total))),
    )
    assert reports[-1][0] == reports[-1][1]
    assert reports[0][0] > 1
    with pytest.raises(Cancelled):
        segment(volume, bundle, [threshold] * 2, SKIP, watch=Watch(cancel=lambda: True))


@pytest.mark.parametrize("accumulator", [np.float32, np.float16])
def test_what_is_predicted_is_blended_as_ever(rng, accumulator):
    """Voxels that only predicted patches cover have the scores they have without skipping."""
    data = np.full((1, 20, 6, 5), -1, np.float32)
    data[:, :9] = rng.uniform(1, 2, (9, 6, 5))
    options = {
        "starts": spread_starts(data.shape[1:], PATCH, 0.5),
        "importance": importance_map(PATCH, "gaussian_filter"),
        "accumulator": accumulator,
    }

    def twice(patches):
        return np.concatenate([patches, 2 * patches], axis=1)

    plain = predict_sliding_window(data, twice, PATCH, **options)
    background = find_background(data, "softmax", 2)
    found = predict_sliding_window(data, twice, PATCH, background=background, **options)
    np.testing.assert_array_equal(found[:, :9], plain[:, :9])
    np.testing.assert_array_equal(found[:, 12:].max(axis=(1, 2, 3)), background.scores)


def test_models_whose_result_is_maps_are_refused():
    outputs = {
        "activation": "sigmoid",
        "labels": [{"name": "cord", "values": [1]}],
        "regions_class_order": None,
        "values": "maps",
        "channels": 1,
    }
    with pytest.raises(OptionError, match="is maps"):
        check_settings(SKIP, make_bundle(outputs=outputs))
    check_settings(SKIP, make_bundle())
