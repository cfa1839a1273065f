"""Cropping, normalisation and decoding against nnunetv2, part by part."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepseg_lite.inference.decoding import label_probabilities, paint_labels
from deepseg_lite.steps import intensity
from deepseg_lite.steps.crop import crop_to_nonzero, nonzero_mask
from deepseg_lite.steps.table import PREPROCESSING, apply_step
from deepseg_lite.volume import Volume

pytest.importorskip("nnunetv2", reason="the original software is not installed")

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

CASES = dict(
    shape=st.tuples(*[st.integers(1, 12)] * 3),
    channels=st.integers(1, 2),
    density=st.sampled_from([0.02, 0.3, 0.9, 1.0]),
    seed=st.integers(0, 2**16),
)


def random_volume(shape, channels, density, seed):
    rng = np.random.default_rng(seed)
    data = rng.normal(100, 40, (channels, *shape)).astype(np.float32)
    data[rng.random(data.shape) > density] = 0
    if not data.any():
        data[0, 0, 0, 0] = 1
    return Volume.from_array(data, np.diag([0.5, 0.7, 2.0, 1.0]))


@settings(max_examples=150, deadline=None)
@given(**CASES)
def test_crop_equals_crop_to_nonzero(shape, channels, density, seed):
    from nnunetv2.preprocessing.cropping import cropping

    volume = random_volume(shape, channels, density, seed)
    expected, seg, bbox = cropping.crop_to_nonzero(volume.data.copy())
    cropped, record = crop_to_nonzero(volume)
    np.testing.assert_array_equal(cropped.data, expected)
    start = (0, 0, 0) if record is None else record.start
    assert start == tuple(low for low, _ in bbox)
    # The mask of the crop, recomputed, is upstream's mask of the volume, cropped.
    np.testing.assert_array_equal(nonzero_mask(cropped.data), seg[0] >= 0)
    back = cropped.data if record is None else record.undo(cropped.data)
    np.testing.assert_array_equal(back, volume.data)


PROPERTIES = {"mean": 80.0, "std": 30.0, "percentile_00_5": 20.0, "percentile_99_5": 160.0}


@settings(max_examples=60, deadline=None)
@given(**CASES)
@pytest.mark.parametrize(
    ("upstream", "masked", "step"),
    [
        ("ZScoreNormalization", False, {"scheme": "zscore", "nonzero_only": False}),
        ("ZScoreNormalization", True, {"scheme": "zscore", "nonzero_only": True}),
        (
            "CTNormalization",
            False,
            {"scheme": "clip_zscore", "lower": 20.0, "upper": 160.0, "mean": 80.0, "std": 30.0},
        ),
        ("RescaleTo01Normalization", False, {"scheme": "rescale"}),
        ("RGBTo01Normalization", False, {"scheme": "divide", "by": 255}),
        ("NoNormalization", False, {"scheme": "none"}),
    ],
    ids=["zscore", "masked zscore", "CT", "rescale", "RGB", "none"],
)
def test_normalization_equals_upstream(upstream, masked, step, shape, channels, density, seed):
    from nnunetv2.preprocessing.cropping import cropping
    from nnunetv2.preprocessing.normalization import default_normalization_schemes as schemes

    volume = random_volume(shape, channels, density, seed)
    volume = Volume(np.clip(volume.data, 0, 255), volume.affine, volume.spacing)
    data, seg, _ = cropping.crop_to_nonzero(volume.data.copy())
    data = data.copy()
    scheme = getattr(schemes, upstream)(use_mask_for_norm=masked, intensityproperties=PROPERTIES)
    expected = np.stack([scheme.run(channel.copy(), seg[0]) for channel in data])
    cropped, _ = crop_to_nonzero(volume)
    step = {"step": "normalize", "channels": [step] * channels}
    found, _ = apply_step(PREPROCESSING, step, cropped)
    assert found.data.dtype == expected.dtype == np.float32
    np.testing.assert_allclose(found.data, expected, rtol=2e-5, atol=2e-5)


def test_every_upstream_scheme_has_ours():
    from nnunetv2.preprocessing.normalization import default_normalization_schemes as schemes

    upstream = {cls.__name__ for cls in schemes.ImageNormalization.__subclasses__()}
    assert len(upstream) == len(intensity.SCHEMES)


@pytest.mark.parametrize(
    ("labels", "order"),
    [
        ({"background": 0, "a": 1, "b": 2, "c": 3}, None),
        ({"background": 0, "whole": [1, 2, 3], "core": [2, 3], "edge": 3}, [1, 2, 3]),
        ({"background": 0, "edge": 3, "whole": [1, 2, 3], "core": [2, 3]}, [7, 300, 2]),
        ({"background": 0, "a": 1, "b": 2, "c": 3, "ignore": 4}, None),
    ],
    ids=["labels", "regions", "odd painting order", "ignore label"],
)
def test_decoding_equals_label_manager(labels, order):
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

    manager = LabelManager(labels, order)
    logits = np.random.default_rng(2).normal(size=(manager.num_segmentation_heads, 9, 8, 7))
    logits = logits.astype(np.float32)
    logits[0, 0] = logits[1, 0]  # ties
    expected = manager.convert_logits_to_segmentation(logits)
    np.testing.assert_array_equal(paint_labels(logits, order, np.uint16), expected)
    activation = "sigmoid" if order else "softmax"
    probabilities = manager.apply_inference_nonlin(logits).numpy()
    np.testing.assert_allclose(
        label_probabilities(logits, activation),
        probabilities if order else probabilities[1:],
        atol=1e-6,
    )
