"""Images that are unlike those of the training are told, and others are not."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.bundles import make_affine, make_bundle, make_data

from deepseg_lite.inference.preparing import prepare
from deepseg_lite.inference.unusual import check_intensity, check_spacing
from deepseg_lite.notice import Notice
from deepseg_lite.volume import Volume

CLIP = {
    "step": "normalize",
    "channels": [
        {"scheme": "zscore", "nonzero_only": False},
        {"scheme": "clip_zscore", "lower": 100.0, "upper": 900.0, "mean": 400.0, "std": 100.0},
    ],
}
SCALE = {"step": "scale_range", "source": [-50.0, 150.0], "target": [0.0, 1.0], "clip": True}


def told(data: np.ndarray, step: dict) -> list[Notice]:
    notices: list[Notice] = []
    check_intensity(data.astype(np.float32), step, notices.append)
    return notices


def image(low: float, high: float) -> np.ndarray:
    """Return two channels of such intensities, in a third of the image."""
    data = np.zeros((2, 9, 10, 10))
    data[:, :3] = np.linspace(low, high, 300).reshape(3, 10, 10)
    return data


@pytest.mark.parametrize(
    ("step", "low", "high", "channels"),
    [
        (CLIP, 200, 800, []),
        (CLIP, -3000, 150, []),  # one in a hundred is enough
        (CLIP, 0.01, 1, [1]),
        (CLIP, 1000, 9000, [1]),
        (SCALE, -40, 20, []),
        (SCALE, 151, 900, [0, 1]),
        ({"step": "crop_to_nonzero"}, 1, 2, []),
    ],
)
def test_intensities_are_told_where_a_step_knows_those_of_the_training(step, low, high, channels):
    found = told(image(low, high), step)
    assert [notice.figures["channel"] for notice in found] == channels
    for notice in found:
        assert notice.code == "intensity-unusual"
        assert notice.figures["found"] == pytest.approx([low, high], rel=0.02, abs=0.02 * high)


def test_an_empty_image_has_no_unusual_intensities():
    assert told(np.zeros((2, 4, 4, 4)), CLIP) == []


@pytest.mark.parametrize(
    ("size", "is_told"), [(1.0, False), (7.9, False), (8.1, True), (0.1, True)]
)
def test_voxels_are_told_whose_size_is_far_from_that_of_the_training(size, is_told):
    notices: list[Notice] = []
    check_spacing((5.0, size, 1.0), (None, 1.0, 1.0), None, notices.append)
    assert [notice.code for notice in notices] == ["voxel-size-unusual"] * is_told


@pytest.mark.parametrize(
    ("spacing", "is_told"),
    [
        ((3.0, 0.5, 0.5), False),
        ((4.4, 0.35, 1.15), False),  # a little beyond
        ((4.6, 0.5, 0.5), True),  # thick slices, which no resampling of a 2-D model knows
        ((3.0, 0.5, 0.3), True),
    ],
)
def test_voxels_are_told_of_that_are_beyond_those_of_all_training_images(spacing, is_told):
    notices: list[Notice] = []
    trained = ((3.0, 3.0), (0.5, 0.8), (0.5, 0.8))
    check_spacing(spacing, (None, 0.6, 0.6), trained, notices.append)
    assert [notice.code for notice in notices] == ["voxel-size-unusual"] * is_told
    assert all("3 x (0.5 to 0.8) x (0.5 to 0.8) mm" in notice.text for notice in notices)


def test_preparing_an_image_tells_of_all_of_it():
    resample = {
        "step": "resample",
        "spacing": [0.05, 0.05, 0.05],
        "image": {"order": 0, "separate_axis": "never", "separate_order": 0},
        "scores": {"order": 0, "separate_axis": "never", "separate_order": 0},
    }
    scheme = {**CLIP, "channels": CLIP["channels"][1:]}
    inputs = {"channel_names": ["t2"], "orientation": None, "axes": "zyx"}
    bundle = make_bundle(
        preprocessing=[scheme, resample], inputs={**inputs, "training_orientation": "RAS"}
    )
    notices: list[Notice] = []
    volume = Volume.from_array(make_data((3, 3, 3)), make_affine("LPS"))
    prepare(volume, bundle, warn=notices.append)
    codes = [notice.code for notice in notices]
    assert codes == ["orientation", "voxel-size-unusual", "intensity-unusual"]
