"""Agreement of folds and flips: the intersection of what they find over its union."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.bundles import make_affine, make_bundle, make_data

from deepseg_lite.bundles.bundle import Label, Outputs
from deepseg_lite.inference.agreement import MOST_CHANNELS, comparison
from deepseg_lite.inference.pipeline import segment
from deepseg_lite.inference.settings import make_settings
from deepseg_lite.inference.sliding_window import mirrored
from deepseg_lite.volume import Volume
from deepseg_lite.watch import Watch

LABELS = tuple(Label(name, (value,)) for value, name in enumerate(("sc", "gm"), 1))
SOFTMAX = Outputs("softmax", LABELS, None, ())
REGIONS = Outputs("sigmoid", LABELS, (1, 2), ())


def threshold(limit: float):
    """Return the predictor whose label is 1 where the intensity exceeds a limit."""
    return lambda patches: np.concatenate([limit - patches, patches - limit], axis=1)


def asked() -> Watch:
    watch = Watch()
    watch.agreements = {}
    return watch


@pytest.mark.parametrize("outputs", [SOFTMAX, REGIONS], ids=["softmax", "sigmoid"])
def test_agreement_is_the_intersection_of_what_members_find_over_its_union(outputs):
    rng = np.random.default_rng(0)
    channels = outputs.channel_count
    members = [rng.normal(size=(channels, 4, 5, 6)).astype(np.float32) for _ in range(3)]
    watch = asked()
    passed = list(comparison("folds", outputs, watch)(iter(members)))
    assert all(a is b for a, b in zip(passed, members, strict=True))
    for place, label in enumerate(LABELS):
        if outputs is SOFTMAX:
            masks = [member.argmax(axis=0) == place + 1 for member in members]
        else:
            masks = [member[place] > 0 for member in members]
        expected = np.logical_and.reduce(masks).sum() / np.logical_or.reduce(masks).sum()
        assert watch.agreements["folds"][label.name] == pytest.approx(expected, abs=1e-4)


def test_flips_of_all_patches_are_weighted_as_they_are_blended():
    weights = np.array([1.0, 3.0], np.float32).reshape(2, 1, 1)
    watch = asked()
    compare = comparison("flips", REGIONS, watch, axis=1, weights=weights)
    predict = mirrored(lambda patches: patches, (1,), compare)
    same, other = np.ones((1, 2, 2, 1, 1), np.float32), -np.ones((1, 2, 2, 1, 1), np.float32)
    predict(same)
    assert watch.agreements["flips"] == {"sc": 1.0, "gm": 1.0}
    answers = iter([same, other])
    mirrored(lambda _: next(answers), (1,), compare)(same)
    assert watch.agreements["flips"] == {"sc": 0.5, "gm": 0.5}
    first = same.copy()
    first[:, :, 0] = -1  # of two voxels the one that weighs 3 is all that is agreed on
    answers = iter([same, first])
    fresh = asked()
    compare = comparison("flips", REGIONS, fresh, axis=1, weights=weights)
    mirrored(lambda _: next(answers), (2,), compare)(same)
    assert fresh.agreements["flips"] == {"sc": 0.75, "gm": 0.75}


def test_what_nobody_found_has_no_agreement():
    watch = asked()
    nothing = -np.ones((2, 3, 3, 3), np.float32)
    list(comparison("folds", REGIONS, watch)(iter([nothing, nothing])))
    assert watch.agreements == {"folds": {}}


@pytest.mark.parametrize(
    ("outputs", "watch"),
    [
        (SOFTMAX, Watch()),
        (replace(SOFTMAX, values="maps", channels=2), asked()),
        (replace(SOFTMAX, labels=LABELS * (MOST_CHANNELS // 2 + 1)), asked()),
    ],
    ids=["nobody asks", "maps", "too many channels"],
)
def test_members_are_not_compared_where(outputs, watch):
    assert comparison("folds", outputs, watch) is iter


@pytest.mark.parametrize("ensemble", ["mean-logits", "majority"])
def test_folds_are_compared_on_their_way_and_the_result_stays_the_same(ensemble):
    data = make_data().astype(np.float32)
    volume = Volume(data[None], make_affine(), (1.0, 1.0, 1.0))
    settings, watch = make_settings(tta=True, ensemble=ensemble), asked()
    folds = [threshold(0.5), threshold(0.7)]
    found = segment(volume, make_bundle("folds"), folds, settings, fold_count=2, watch=watch)
    plain = segment(volume, make_bundle("folds"), folds, settings, fold_count=2)
    np.testing.assert_array_equal(found.data, plain.data)
    assert watch.agreements["flips"] == {"cord": 1.0}
    expected = (data > 0.7).sum() / (data > 0.5).sum()
    assert watch.agreements["folds"] == {"cord": pytest.approx(expected, abs=1e-3)}
    assert expected < 1
