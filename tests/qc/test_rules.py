"""Verdicts: each rule tells of its damage, and good masks pass."""

from __future__ import annotations

import numpy as np
import pytest
from campaigns.verdicts import DAMAGES, good_masks, phantoms, spoil
from helpers.paths import SHARED
from helpers.views import cord, view_of

from deepseg_lite.bundles.review import Expected, Review
from deepseg_lite.notice import EMPTY, Notice
from deepseg_lite.qc.cutout import Cutout
from deepseg_lite.qc.measures import measure
from deepseg_lite.qc.rules import judge

REVIEW = Review(structures={"sc": Expected(pieces=1, continuous=True, solid=True)})


def told(labels: np.ndarray, review: Review = REVIEW, **structures: tuple[int, ...]) -> dict:
    verdict = judge(view_of(labels, structures or {"sc": (1,)}), review, ())
    return {each.rule: each for each in verdict.findings}


def test_a_good_cord_passes():
    verdict = judge(view_of(cord(), {"sc": (1,)}), REVIEW, ())
    assert (verdict.level, verdict.record()) == ("pass", {"level": "pass", "findings": []})


def test_measures_of_a_disc():
    labels = cord((6, 40, 40), 6.0)
    labels[2] = 0
    labels[3, 19:21, 19:21] = 0
    found = measure(Cutout.of(labels > 0), (3.0, 0.5, 2.0), 3.0)
    voxels = int(labels[0].sum())
    assert found.area_mm2.tolist() == [voxels, voxels, 0, voxels - 4, voxels, voxels]
    assert found.holes_mm2().tolist() == [0, 0, 0, 4, 0, 0]
    assert found.pieces_mm3().tolist() == [3.0 * (3 * voxels - 4), 3.0 * 2 * voxels]
    assert found.slices.tolist() == [0, 1, 3, 4, 5]
    np.testing.assert_allclose(found.centres_mm[0], [19.5 * 0.5, 19.5 * 2.0])
    assert np.isnan(found.centres_mm[2]).all()
    assert found.faces == ""


@pytest.mark.parametrize(("face", "place"), [("A", np.s_[:, 0]), ("P", np.s_[:, -1])])
def test_sides_that_are_touched_are_told(face, place):
    labels = cord()
    labels[place] = 1
    finding = told(labels)["edge"]
    assert (finding.level, finding.figures) == ("warn", {"faces": face + "LR"})


def test_gaps_and_pieces_are_failures():
    labels = cord()
    labels[7:9] = 0
    found = told(labels)
    assert found["gap"].figures == {"slices": 2}
    assert found["pieces"].figures["pieces"] == 2
    assert {each.level for each in found.values()} == {"fail"}


def test_a_small_piece_is_a_warning_and_a_tiny_one_is_nothing():
    labels = cord()
    labels[5, 8:10, 8:12] = 1
    assert {rule: each.level for rule, each in told(labels).items()} == {"pieces": "warn"}
    labels[5, 8:10, 8:12] = 0
    labels[5, 8, 8] = 1
    assert told(labels) == {}


def test_a_volume_outside_its_range_is_told():
    review = Review(structures={"sc": Expected(mm3=(10.0, 20.0))})
    finding = told(cord(), review)["volume"]
    assert finding.level == "warn"
    assert finding.figures["mm3"] == pytest.approx(3.0 * cord().sum())


def test_a_mean_area_outside_its_range_is_told_with_whose_it_is():
    area = float(cord()[0].sum())  # `view_of` has pixels of 1 mm2
    low, high = 1.1 * area, 2.0 * area
    review = Review(structures={"sc": Expected(mm2=(low, high))}, ranges="two persons")
    finding = told(cord(), review)["volume"]
    assert (finding.level, finding.figures["usual"]) == ("warn", [low, high])
    assert finding.figures["mm2"] == pytest.approx(area, rel=0.02)
    assert "(two persons)" in finding.text
    assert told(cord(), Review(structures={"sc": Expected(mm2=(0.9 * area, high))})) == {}


def test_a_mean_area_depends_neither_on_the_length_nor_on_the_lean():
    """A round tube of 5 mm that leans by 45 degrees is cut into ellipses."""
    y, x = np.ogrid[:90, :40]
    labels = np.zeros((40, 90, 40), np.uint8)
    for index in range(40):
        labels[index] = ((y - 25 - index) / np.sqrt(2)) ** 2 + (x - 20) ** 2 < 10**2
    areas = []
    for part in (slice(None), slice(10, 20), slice(7, 8)):
        found = measure(Cutout.of(labels[part] > 0), (0.5, 0.5, 0.5), 0.125)
        areas.append(found.mean_area_mm2)
    np.testing.assert_allclose(areas[:2], np.pi * 5**2, rtol=0.02)
    assert areas[2] == pytest.approx(np.pi * 5**2 * np.sqrt(2), rel=0.02)  # one slice tells no lean
    labels[15:18] = 0
    gap = measure(Cutout.of(labels > 0), (0.5, 0.5, 0.5), 0.125)
    assert gap.mean_area_mm2 == pytest.approx(areas[0], rel=0.01)


def test_an_empty_result_fails_where_something_must_be_there():
    empty = np.zeros((5, 9, 9), np.uint8)
    assert told(empty)[EMPTY].level == "fail"
    lesion = Review(structures={"lesion": Expected(optional=True)})
    assert told(empty, lesion, lesion=(1,)) == {}
    found = told(cord(), REVIEW, sc=(1,), gm=(2,))
    assert {rule: each.level for rule, each in found.items()} == {"structure-empty": "warn"}


def test_levels_may_be_missing_but_not_out_of_order():
    review = Review(ordered=("lvl",))
    names = {f"lvl{value}": (value,) for value in range(1, 9)}
    labels = cord((20, 40, 40))
    labels[:5] *= 2
    labels[5:10] *= 4
    labels[10:] *= 3
    assert told(labels, review, **names)["order"].figures == {"pairs": ["lvl4 above lvl3"]}
    labels[labels == 4], labels[labels == 3] = 9, 4
    labels[labels == 9] = 3
    assert told(labels, review, **names) == {}


def levels_of(*values: int) -> tuple[np.ndarray, dict[str, tuple[int, ...]]]:
    """Return blocks of 4 slices with these values, one below the other, and names up to 9."""
    labels = np.zeros((4 * len(values), 20, 20), np.uint8)
    for index, value in enumerate(values):
        labels[4 * index : 4 * index + 4, 5:10, 5:10] = value
    return labels, {f"lvl{value}": (value,) for value in range(1, 10)}


def test_a_level_is_missing_only_between_others_that_are_there():
    labels, names = levels_of(2, 3, 6, 7)
    review = Review(ordered=("lvl",))
    finding = told(labels, review, **names)["level-missing"]
    assert (finding.level, finding.figures) == ("warn", {"levels": ["lvl4", "lvl5"]})
    optional = Review(ordered=("lvl",), structures={"lvl4": Expected(optional=True)})
    assert told(labels, optional, **names)["level-missing"].figures == {"levels": ["lvl5"]}
    assert told(levels_of(2, 3, 4)[0], review, **names) == {}
    assert told(levels_of(3)[0], review, **names) == {}


def test_a_level_is_there_twice_where_a_neighbour_lies_between():
    labels, names = levels_of(3, 2, 3, 4)
    review = Review(ordered=("lvl",))
    labels[8:12, 11:15, 5:10] = 3  # the right one is the larger
    finding = told(labels, review, **names)["level-doubled"]
    assert (finding.level, finding.figures) == ("fail", {"levels": ["lvl3"]})
    labels[2:4] = 0  # less than half of the other
    labels[0:2, 7:] = 0
    assert told(labels, review, **names) == {}
    sides, names = levels_of(2, 3, 4)
    sides[4:8, 12:17, 5:10] = 3
    assert told(sides, review, **names) == {}


def test_warnings_of_the_run_are_in_the_verdict_and_are_not_its_own():
    notices = [Notice("spacing", "odd."), Notice(EMPTY, "told by the rules themselves.")]
    verdict = judge(view_of(cord(), {"sc": (1,)}), REVIEW, notices)
    assert [(f.rule, f.level, f.is_own) for f in verdict.findings] == [("spacing", "warn", False)]
    assert verdict.level == "warn"


def test_members_that_disagree_are_told():
    agreements = {"folds": {"sc": 0.95, "gm": 0.2}, "flips": {"gm": 0.6}}
    verdict = judge(view_of(cord(), {"sc": (1,)}), REVIEW, (), agreements)
    (finding,) = verdict.findings
    assert (finding.rule, finding.level, finding.structure) == ("disagreement", "warn", "gm")
    assert finding.figures == {"folds": 0.2}
    assert "20%" in finding.text


def test_damage_to_phantoms_is_found_and_none_is_told_of_without():
    masks = phantoms()
    found, tried, missed = spoil(5 * len(DAMAGES), 3, masks)
    assert (found, missed) == (tried, [])
    assert [mask.name for mask in masks if mask.verdict().findings] == []


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared")
def test_damage_to_real_masks_is_found_and_few_are_told_of_without():
    masks = [mask for mask in good_masks() if mask.labels.size < 5e6]
    found, tried, _ = spoil(4 * len(DAMAGES), 5, masks)
    assert all(found[damage] >= 0.95 * tried[damage] for damage in tried)
    alarms = [mask.name for mask in masks if mask.verdict().findings]
    assert len(alarms) <= 0.02 * len(masks)
