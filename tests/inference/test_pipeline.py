"""The straight line, with predictors whose answer is known; no files, no sessions."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.bundles import ORIENTATIONS, make_affine, make_bundle, make_data

from deepseg_lite.errors import Cancelled
from deepseg_lite.inference.pipeline import segment
from deepseg_lite.inference.settings import make_settings
from deepseg_lite.volume import Volume
from deepseg_lite.watch import Watch

NONE = {"step": "normalize", "channels": [{"scheme": "none"}]}
CROP = {"step": "crop_to_nonzero"}
CONSTANT = {"overlap": 0.5, "placement": "spread", "importance_map": "constant"}


def resample_to(*spacing, order: int = 3, separate_axis: str = "auto"):
    interpolation = {"separate_axis": separate_axis, "separate_order": 0}
    return {
        "step": "resample",
        "spacing": list(spacing),
        "image": {"order": order, **interpolation},
        "scores": {"order": 1, **interpolation},
    }


def threshold(limit: float):
    """Return the predictor whose label is 1 where the intensity exceeds a limit."""
    return lambda patches: np.concatenate([limit - patches, patches - limit], axis=1)


def region(patches):
    return np.concatenate([patches - 0.25, patches - 0.75], axis=1)


def blob(orientation: str = "LPS", shape=(24, 22, 10), spacing=(0.9, 1.0, 2.4)) -> Volume:
    """Return a smooth ball of intensities 0.05 to 1 around a point off the middle."""
    grids = np.meshgrid(*map(np.arange, shape), indexing="ij")
    squares = [((grid - 0.45 * size) / size) ** 2 for grid, size in zip(grids, shape, strict=True)]
    return Volume.from_array(
        0.05 + 0.95 * np.exp(-8 * sum(squares)), make_affine(orientation, spacing)
    )


FRAMES = [("LAS", "zyx"), ("RSP", "yzx"), ("PIR", "xyz"), (None, "zxy")]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize(("frame", "axes"), FRAMES, ids=lambda value: str(value))
def test_a_threshold_is_found_whatever_the_orientation(orientation, frame, axes):
    """Oblique, anisotropic, some axes smaller than the patch."""
    data = make_data((11, 9, 5))
    volume = Volume.from_array(data, make_affine(orientation))
    inputs = {"channel_names": ["t2"], "orientation": frame, "axes": axes}
    bundle = make_bundle(inputs=inputs)
    labels = segment(volume, bundle, [threshold(0.5)]).data
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, data > 0.5)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_network_sees_the_same_whatever_the_orientation(orientation):
    """Reorienting the file changes neither what the network is given nor the labels in space."""
    seen = []

    def look(patches):
        seen.append(patches.copy())
        return threshold(0.5)(patches)

    reference = Volume.from_array(make_data((7, 6, 5)), make_affine("LAS"))
    window = {**CONSTANT, "patch_size": [5, 6, 7]}
    bundle = make_bundle(sliding_window=window, preprocessing=[NONE])
    segment(reference, bundle, [look])
    spacing = dict(zip("LAS", (0.7, 1.1, 2.5), strict=True))
    same = {"L": "L", "R": "L", "A": "A", "P": "A", "S": "S", "I": "S"}
    order = ["LAS".index(same[code]) for code in orientation]
    flips = [slice(None, None, 1 if code in "LAS" else -1) for code in orientation]
    moved = reference.data[0].transpose(order)[tuple(flips)]
    affine = make_affine(orientation, tuple(spacing[same[code]] for code in orientation))
    labels = segment(Volume.from_array(moved, affine), bundle, [look]).data
    np.testing.assert_array_equal(seen[1], seen[0])
    np.testing.assert_array_equal(labels, moved > 0.5)


@pytest.mark.parametrize("shape", [(1, 9, 9), (9, 1, 9), (9, 9, 1), (1, 1, 1), (3, 20, 2)], ids=str)
def test_thin_volumes_are_segmented(shape):
    data = make_data(shape)
    data[-1, -1, -1] = 0.9
    volume = Volume.from_array(data, make_affine("IPR"))
    labels = segment(volume, make_bundle(), [threshold(0.5)]).data
    np.testing.assert_array_equal(labels, data > 0.5)


@pytest.mark.parametrize("soft", [False, True], ids=["labels", "soft"])
@pytest.mark.parametrize(
    "steps",
    [
        [NONE],
        [CROP, NONE],
        [CROP, NONE, resample_to(0.7, 1.3, 3.1)],
        [resample_to(1.9, 0.8, None), CROP],  # not row by row: the crop is undone first
    ],
    ids=["as-it-is", "cropped", "resampled", "cropped-after"],
)
def test_row_by_row_the_result_is_the_same(soft, steps):
    volume = blob()
    window = {**CONSTANT, "patch_size": [6, 8, 8]}
    bundle = make_bundle(sliding_window=window, preprocessing=steps)
    network = threshold(0.5)
    whole = segment(volume, bundle, [network], make_settings(soft=soft))
    found = segment(volume, bundle, [network], make_settings(soft=soft, in_rows=True))
    np.testing.assert_array_equal(found.data, whole.data)
    assert found.data.dtype == whole.data.dtype
    assert found.data.any()


def test_folds_are_not_decoded_row_by_row(oblique_volume):
    networks = [threshold(0.3), threshold(0.7)]
    found = segment(
        oblique_volume, make_bundle(), networks, make_settings(in_rows=True), fold_count=2
    )
    whole = segment(oblique_volume, make_bundle(), networks, fold_count=2)
    np.testing.assert_array_equal(found.data, whole.data)


@pytest.mark.parametrize("steps", [[CROP, NONE], [NONE, CROP], [NONE], []], ids=len)
def test_preprocessing_without_resampling_is_undone_exactly(oblique_volume, steps):
    bundle = make_bundle(preprocessing=steps)
    labels = segment(oblique_volume, bundle, [threshold(0.5)]).data
    np.testing.assert_array_equal(labels, oblique_volume.data[0] > 0.5)


@pytest.mark.parametrize("orientation", ["LPS", "SAR", "PRI"])
@pytest.mark.parametrize(
    "steps",
    [
        [NONE, resample_to(0.5, 0.6, 0.5)],
        [CROP, NONE, resample_to(None, 0.6, 0.5)],
        [NONE, resample_to(1.5, 1.3, 1.3, separate_axis="never"), CROP],
        [CROP, resample_to(2.4, 1.2, 1.2, separate_axis="always"), NONE],
    ],
    ids=["finer", "cropped-first", "cropped-after", "normalized-after"],
)
def test_resampling_there_and_back_finds_the_blob(orientation, steps):
    volume = blob(orientation)
    data = volume.data.copy()
    data[:, :2] = 0  # something to crop
    volume = Volume(data, volume.affine, volume.spacing)
    labels = segment(volume, make_bundle(preprocessing=steps), [threshold(0.5)]).data
    truth = volume.data[0] > 0.5
    overlap = 2 * (labels & truth).sum() / (labels.sum() + truth.sum())
    assert labels.shape == truth.shape
    assert overlap > 0.9


def test_a_2d_model_is_patches_of_one_slice(oblique_volume):
    shapes = set()

    def look(patches):
        shapes.add(patches.shape)
        return region(patches)

    labels = segment(oblique_volume, make_bundle("regions"), [look]).data
    data = oblique_volume.data[0]
    assert shapes == {(1, 1, 1, 8, 8)}
    np.testing.assert_array_equal(labels, (data > 0.25).astype(int) + (data > 0.75))


def test_soft_gives_one_probability_map_per_label(oblique_volume):
    bundle = make_bundle("regions")
    found = segment(oblique_volume, bundle, [region], make_settings(soft=True)).data
    x = oblique_volume.data[0].astype(np.float64)
    # Outside the crop nothing was predicted, so the probability is 0.
    inside = np.zeros(x.shape, bool)
    inside[2:, :-1] = True
    for probabilities, limit in zip(found, (0.25, 0.75), strict=True):
        expected = np.where(inside, 1 / (1 + np.exp(limit - x)), 0)
        np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    assert found.dtype == np.float32


def test_soft_of_softmax_leaves_background_out(oblique_volume):
    found = segment(oblique_volume, make_bundle(), [threshold(0.5)], make_settings(soft=True)).data
    assert found.shape == (1, *oblique_volume.shape)
    np.testing.assert_array_equal(found[0] > 0.5, oblique_volume.data[0] > 0.5)


def test_several_channels_reach_the_network_in_order(rng):
    data = np.stack([make_data(seed=1), make_data(seed=2)])
    volume = Volume.from_array(data, make_affine("LPS"))

    def predict(patches):
        first, second = patches[:, :1], patches[:, 1:]
        return np.concatenate([np.zeros_like(first), first + 2 * second - 1], axis=1)

    labels = segment(volume, make_bundle("channels"), [predict]).data
    np.testing.assert_array_equal(labels, data[0] + 2 * data[1] > 1)


def test_input_is_not_changed():
    volume = blob()
    before, affine = volume.data.copy(), volume.affine.copy()
    steps = [
        {"step": "normalize", "channels": [{"scheme": "zscore", "nonzero_only": True}]},
        resample_to(1, 1, 1),
    ]
    bundle = make_bundle(preprocessing=steps, postprocessing=[{"step": "keep_largest"}])
    segment(volume, bundle, [threshold(0.5)], make_settings(tta=True))
    np.testing.assert_array_equal(volume.data, before)
    np.testing.assert_array_equal(volume.affine, affine)


def test_folds_are_averaged_before_decoding(oblique_volume):
    data = oblique_volume.data[0]
    labels = segment(
        oblique_volume, make_bundle("folds"), [threshold(0.5), threshold(0.7)], fold_count=2
    ).data
    np.testing.assert_array_equal(labels, data > 0.6)


def test_probabilities_of_folds_are_those_of_the_mean_logits(oblique_volume):
    folds = [threshold(0.5), threshold(0.7)]
    settings = make_settings(soft=True)
    mean = segment(oblique_volume, make_bundle(), [threshold(0.6)], settings).data
    found = segment(oblique_volume, make_bundle("folds"), folds, settings, fold_count=2).data
    np.testing.assert_allclose(found, mean, atol=1e-5)


def test_folds_can_vote(oblique_volume):
    data = oblique_volume.data[0]
    folds = [threshold(0.5), threshold(0.6), threshold(0.7)]
    for bundle, settings in (
        (make_bundle("folds", ensemble="majority"), make_settings()),
        (make_bundle("folds"), make_settings(ensemble="majority")),
    ):
        labels = segment(oblique_volume, bundle, folds, settings, fold_count=3).data
        np.testing.assert_array_equal(labels, data > 0.6)
        two = segment(oblique_volume, bundle, folds[:2], settings, fold_count=2).data
        np.testing.assert_array_equal(two, data > 0.6)
    averaged = make_settings(ensemble="mean-logits")
    voting = make_bundle("folds", ensemble="majority")
    labels = segment(oblique_volume, voting, folds[:2], averaged, fold_count=2).data
    np.testing.assert_array_equal(labels, data > 0.55)


def test_soft_votes_are_the_mean_of_what_wins(oblique_volume):
    data = oblique_volume.data[0]
    voting = make_bundle("folds", ensemble="majority")
    folds = [threshold(0.5), threshold(0.7)]
    soft = make_settings(soft=True)
    found = segment(oblique_volume, voting, folds, soft, fold_count=2).data
    alone = [segment(oblique_volume, voting, [fold], soft).data for fold in folds]
    np.testing.assert_allclose(found, np.mean(alone, axis=0), atol=1e-7)
    assert found.dtype == np.float32
    assert not found[0][data < 0.5].any()
    assert found[0][data > 0.5].min() >= 0.25


def test_folds_are_opened_one_after_the_other(oblique_volume):
    events = []

    def folds():
        for fold in "ab":
            events.append(f"open {fold}")

            def predict(patches, fold=fold):
                events.append(f"use {fold}")
                return threshold(0.5)(patches)

            yield predict

    segment(oblique_volume, make_bundle("folds"), folds(), fold_count=2)
    uses = len(events) // 2 - 1
    expected = ["open a", *["use a"] * uses, "open b", *["use b"] * uses]
    assert uses > 1
    assert events == expected


def test_mirroring_of_a_symmetric_predictor_changes_nothing(oblique_volume):
    calls = []

    def predict(patches):
        calls.append(len(patches))
        return threshold(0.5)(patches)

    plain = segment(oblique_volume, make_bundle(), [predict]).data
    count = len(calls)
    mirrored = segment(oblique_volume, make_bundle(), [predict], make_settings(tta=True)).data
    assert len(calls) - count == 8 * count
    np.testing.assert_array_equal(mirrored, plain)


def test_mirroring_flips_only_the_axes_the_bundle_allows(oblique_volume):
    calls = []

    def predict(patches):
        calls.append(len(patches))
        return region(patches)

    segment(oblique_volume, make_bundle("regions", mirror_axes=[2]), [predict])
    count = len(calls)
    settings = make_settings(tta=True)
    segment(oblique_volume, make_bundle("regions", mirror_axes=[2]), [predict], settings)
    assert len(calls) == 3 * count


@pytest.mark.parametrize("batch_size", [1, 4])
def test_progress_ends_at_the_announced_total(oblique_volume, batch_size):
    reports = []
    window = {**CONSTANT, "patch_size": [8, 8, 8], "batch_size": batch_size}
    segment(
        oblique_volume,
        make_bundle("folds", sliding_window=window),
        [threshold(0.5)] * 2,
        fold_count=2,
        watch=Watch(lambda done, total: reports.append((done, total))),
    )
    done, totals = zip(*reports, strict=True)
    assert set(totals) == {done[-1]}
    assert list(done) == sorted(set(done))
    assert done[0] == batch_size


@pytest.mark.parametrize(("step", "per_axis"), [(None, 4), (0.5, 4), (1, 3), (0.25, 7)], ids=str)
def test_step_decides_how_many_patches_there_are(step, per_axis):
    volume = Volume.from_array(np.ones((25, 25, 25)), np.eye(4))
    calls = []

    def predict(patches):
        calls.append(len(patches))
        return threshold(0.5)(patches)

    bundle = make_bundle(sliding_window={**CONSTANT, "patch_size": [10, 10, 10]})
    segment(volume, bundle, [predict], make_settings(step=step))
    assert sum(calls) == per_axis**3


def test_cancel_is_asked_after_every_patch(oblique_volume):
    answers = iter([False, False, True])
    calls = []

    def predict(patches):
        calls.append(1)
        return threshold(0.5)(patches)

    with pytest.raises(Cancelled, match="cancelled"):
        segment(oblique_volume, make_bundle(), [predict], watch=Watch(cancel=lambda: next(answers)))
    assert len(calls) == 3


def test_postprocessing_works_on_the_inputs_grid():
    data = np.full((12, 10, 8), 0.1)
    data[1:3, 1:3, 1:3] = 1
    data[6:10, 4:9, 3:7] = 1
    volume = Volume.from_array(data, make_affine("PIR"))
    bundle = make_bundle(postprocessing=[{"step": "keep_largest"}])
    expected = data > 0.5
    expected[1:3, 1:3, 1:3] = False
    np.testing.assert_array_equal(segment(volume, bundle, [threshold(0.5)]).data, expected)
    soft = segment(volume, bundle, [threshold(0.5)], make_settings(soft=True)).data
    assert (soft[0] > 0.5).sum() == (data > 0.5).sum()


def test_spots_are_removed_with_all_their_labels_and_nothing_else_changes():
    data = np.full((12, 10, 8), 0.1)
    data[6:11, 2:9, 1:7] = 0.5
    data[7:9, 4:7, 3:5] = data[0, 0, 0] = 0.9
    data[1, 1, 1] = 0.5  # a corner joins it to what is above
    volume = Volume.from_array(data, make_affine("PIR"))
    spots = {"step": "remove_spots", "share": 0.01, "independent": False, "connectivity": 3}
    bundle = make_bundle("regions", postprocessing=[spots])
    before = segment(volume, make_bundle("regions"), [region])
    labels = segment(volume, bundle, [region])
    assert np.count_nonzero(before.data[:2, :2, :2]) == 2
    assert not labels.data[:2, :2, :2].any()
    np.testing.assert_array_equal(labels.data[2:], before.data[2:])
    assert labels.data.dtype == before.data.dtype
    soft = make_settings(soft=True)
    for each, other in zip(
        *(segment(volume, b, [region], soft).data for b in (bundle, make_bundle("regions"))),
        strict=True,
    ):
        np.testing.assert_array_equal(each, other)


def test_values_beyond_255_are_painted_as_uint16(oblique_volume):
    outputs = {
        "activation": "sigmoid",
        "labels": [{"name": "a", "values": [300, 7]}, {"name": "b", "values": [7]}],
        "regions_class_order": [300, 7],
    }
    labels = segment(oblique_volume, make_bundle("regions", outputs=outputs), [region]).data
    x = oblique_volume.data[0]
    assert labels.dtype == np.uint16
    np.testing.assert_array_equal(labels, np.where(x > 0.75, 7, np.where(x > 0.25, 300, 0)))


def test_half_precision_sums_give_nearly_the_same_labels(oblique_volume):
    settings = make_settings(accumulator="float16")
    labels = segment(oblique_volume, make_bundle(), [threshold(0.5)], settings).data
    assert (labels != (oblique_volume.data[0] > 0.5)).mean() < 0.01


def test_every_stage_is_timed(oblique_volume):
    watch = Watch()
    segment(oblique_volume, make_bundle(), [threshold(0.5)], watch=watch)
    assert list(watch.seconds) == ["preprocess", "predict", "restore", "postprocess"]
    assert min(watch.seconds.values()) >= 0
