"""Finding the cord: where it is in space, whatever the image; and what is dropped."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.bundles import ORIENTATIONS, make_affine
from helpers.detector import make_detector_manifest, write_detector

from deepseg_lite.bundles.detector import DetectorSettings, parse_detector, read_detector
from deepseg_lite.engines.onnxruntime_network import CPU, OnnxNetwork
from deepseg_lite.steps.box import box_mask
from deepseg_lite.steps.frame import to_frame
from deepseg_lite.volume import Volume
from deepseg_lite.workflows.cord import find
from deepseg_lite.workflows.cord.faces import pad_box
from deepseg_lite.workflows.cord.find import (
    find_cord,
    keep_above_first_cord,
    slice_pictures,
    trim_jumps,
)

SHAPE = (60, 50, 90)
SPACING = (0.9, 1.2, 2.0)
CORD = (slice(36, 46), slice(10, 24), slice(15, 70))


def _settings(**changes: object) -> DetectorSettings:
    manifest = make_detector_manifest()
    manifest["settings"] |= {"regularization": "none", **changes}
    return parse_detector(manifest, None).settings


def _bright(batch: np.ndarray) -> np.ndarray:
    """Detect the bright pixels of the middle colour, as a detector would."""
    rows, columns = np.nonzero(batch[0, 1] > 0.75)
    found = [0.0] * 6
    if len(rows):
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1, 0.9, 0]
    return np.array([[[1, 2, 3, 4, 0.05, 0], found]], np.float32)


def _image(orientation: str = "RAS", degrees: tuple[float, float, float] = (0, 0, 0)):
    """Return a volume of a bright cord alone, and what brings arrays of its grid back to RAS."""
    data = np.zeros((1, *SHAPE), np.int16)
    data[0][CORD] = 200
    upright = Volume(data, make_affine("RAS", SPACING, degrees), SPACING)
    return to_frame(upright, orientation, "xyz")


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_box_is_where_the_cord_is(orientation):
    volume, frame = _image(orientation)
    box = find_cord(volume, _bright, None, _settings())
    inside = np.argwhere(frame.undo(box_mask(box, volume.shape)))
    cord = np.array([(part.start, part.stop - 1) for part in CORD]).T
    away_mm = np.abs([inside.min(axis=0), inside.max(axis=0)] - cord) * SPACING
    assert (away_mm <= [2.5, 2.5, 10]).all()


def test_the_box_of_an_oblique_image_holds_most_of_the_cord():
    """The box is found in space and applied to the image's own axes: near, not exact."""
    volume, frame = _image("LPI", (3, -4, 5))
    box = find_cord(volume, _bright, None, _settings())
    inside = frame.undo(box_mask(box, volume.shape))[CORD]
    assert 0.5 < inside.mean() <= 1


def test_an_image_of_the_right_spacing_gets_its_box_mirrored():
    """sc-crop's own way: such an image stays in LAS, the box is read as RAS."""
    data = np.zeros((40, 40, 6), np.uint8)
    data[25:30, 10:20, 1:5] = 200
    volume = Volume(data[None], np.diag([-1.0, 1, 10, 1]), (1.0, 1.0, 10.0))
    box = find_cord(volume, _bright, None, _settings())
    np.testing.assert_allclose([box.start, box.stop], [(10, 10, 1), (15, 20, 4)], atol=1)


def test_nothing_found_is_no_box():
    blind = np.zeros((1, 3, 6), np.float32)
    assert find_cord(_image()[0], lambda batch: blind, None, _settings()) is None


def test_boxes_that_are_no_numbers_are_no_box():
    rows = np.array([[[1, np.nan, 3, 4, 0.9, 0]]], np.float32)
    assert find_cord(_image()[0], lambda batch: rows, None, _settings()) is None


def test_the_stored_type_decides_how_intensities_are_rounded():
    """Between 0 and 1 a stored integer cannot be."""
    data = np.indices((4, 4, 3)).sum(0).astype(np.uint8)
    affine = np.diag([2.0, 2, 10, 1])
    seen = {}
    for dtype in (np.uint8, np.float32):
        volume = Volume(data[None].astype(dtype), affine, (2.0, 2.0, 10.0))
        seen[dtype] = np.unique(find.resample_to_world(volume, (1.0, 1.0, 10.0)))
    assert (seen[np.uint8] == np.round(seen[np.uint8])).all()
    assert 0.5 in seen[np.float32]


def test_each_picture_has_the_slices_above_and_below_as_colours():
    data = np.random.default_rng(1).uniform(size=(5, 4, 3)).astype(np.float32)
    pictures = slice_pictures(data, (0, 100))
    assert pictures.shape == (3, 4, 5, 3)
    assert pictures[0, ..., 2].max() == pictures[2, ..., 0].max() == 0
    for z in range(3):
        gray = pictures[z, ..., 1]
        np.testing.assert_array_equal(
            np.argsort(gray.ravel(), kind="stable")[[0, -1]],
            np.argsort(data[::-1, ::-1, z].T.ravel())[[0, -1]],
        )
        assert (gray.min(), gray.max()) == (0, 255)
    np.testing.assert_array_equal(pictures[1, ..., 0], pictures[2, ..., 1])
    np.testing.assert_array_equal(pictures[1, ..., 2], pictures[0, ..., 1])


def test_a_uniform_slice_is_black():
    assert not slice_pictures(np.full((5, 4, 2), 7, np.float32), (0.5, 99.5)).any()


def test_detector_and_classifier_see_the_colours_in_opposite_order():
    pictures = np.zeros((1, 320, 320, 3), np.uint8)
    pictures[..., 0] = 255
    seen = {}

    def detector(batch):
        seen["detector"] = batch[0, :, 0, 0].tolist()
        return np.array([[[1, 1, 9, 9, 0.9, 0]]], np.float32)

    def classifier(batch):
        seen["classifier"] = batch[0, :, 0, 0].tolist()
        return np.array([[0, 1]], np.float32)

    found = find.detect(pictures, detector, _settings())
    keep_above_first_cord(found, pictures, classifier, _settings())
    assert seen == {"detector": [0, 0, 1], "classifier": [1, 0, 0]}


@pytest.mark.parametrize(
    ("confidences", "best"), [([0.1, 0.05], None), ([0.2, 0.8], 1), ([0.8, 0.8], 0)], ids=str
)
def test_the_most_confident_detection_counts(confidences, best):
    rows = [[10 * i, 0, 10 * i + 10, 32, c, 0] for i, c in enumerate(confidences)]
    found = find.detect(
        np.zeros((1, 320, 320, 3), np.uint8),
        lambda batch: np.array([rows], np.float32),
        _settings(),
    )
    expected = {} if best is None else {0: ((10 * best + 5) / 320, 0.05, 10 / 320, 0.1)}
    assert found.keys() == expected.keys()
    for z, box in expected.items():
        assert found[z] == pytest.approx(box)


HERE = (0.5, 0.5, 0.1, 0.1)


@pytest.mark.parametrize(
    ("cords", "kept"),
    [
        ([5], [4, 5, 6, 9]),
        ([1, 9], [1, 2, 4, 5, 6, 9]),
        ([9], [9]),
        ([], [1, 2, 4, 5, 6, 9]),
        ([3], [1, 2, 4, 5, 6, 9]),
    ],
    ids=["middle", "lowest", "highest", "none", "not detected"],
)
def test_runs_below_the_first_cord_are_dropped(cords, kept):
    pictures = np.zeros((10, 16, 16, 3), np.uint8)
    for z in cords:
        pictures[z] = 255

    def classifier(batch):
        cord = float(batch[0, 0, 160, 160])
        return np.array([[1 - cord, cord]], np.float32)

    found = dict.fromkeys([1, 2, 4, 5, 6, 9], HERE)
    assert sorted(keep_above_first_cord(found, pictures, classifier, _settings())) == kept


@pytest.mark.parametrize(
    ("found", "kept"),
    [
        ({0: HERE, 1: HERE, 2: HERE}, [0, 1, 2]),
        ({0: HERE, 4: HERE, 5: HERE}, [4, 5]),
        ({0: HERE, 1: HERE, 5: HERE}, [5]),
        ({0: HERE, 5: HERE}, [0, 5]),
        ({0: (0.7, 0.5, 0.1, 0.1), 1: HERE, 2: HERE}, [1, 2]),
        ({0: (0.6, 0.5, 0.1, 0.1), 1: HERE, 2: HERE}, [0, 1, 2]),
        ({0: (0.5, 0.8, 0.1, 0.1), 1: HERE, 2: HERE}, [1, 2]),
        ({0: (0.5, 0.7, 0.1, 0.1), 1: HERE, 2: HERE}, [0, 1, 2]),
        ({0: HERE, 1: HERE, 2: HERE, 9: HERE}, [0, 1, 2, 9]),
    ],
    ids=["none", "first", "second", "two", "left", "near", "front", "near-front", "high"],
)
def test_what_lies_below_a_jump_is_trimmed(found, kept):
    """Pictures of 100 x 100 mm: 20 mm to the side are a jump, 10 mm are not."""
    assert sorted(trim_jumps(found, (100, 100), (1.0, 1.0, 10.0))) == kept


def test_with_networks_from_a_bundle(tmp_path):
    bundle = read_detector(write_detector(tmp_path / "detector"))
    detector, classifier = (OnnxNetwork(bundle, file, CPU, 1) for file in bundle.networks)
    volume, _ = _image("PIL")
    box = find_cord(volume, detector, classifier, bundle.settings)
    assert box is not None
    assert not pad_box(box, bundle.settings.padding_mm, volume).is_empty
