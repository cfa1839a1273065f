"""Patch starts, importance map, padding, mirroring and sums against nnunetv2's predictor."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from helpers.nnunet_original import nnunet_sums
from hypothesis import given, settings
from hypothesis import strategies as st

from deepseg_lite.inference.patches import importance_map, patch_starts, spread_starts
from deepseg_lite.inference.sliding_window import mirrored, predict_sliding_window

pytest.importorskip("nnunetv2", reason="the original software is not installed")

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]


@settings(max_examples=300, deadline=None)
@given(
    patch=st.integers(1, 200),
    extra=st.integers(0, 700),
    step=st.sampled_from([0.1, 0.25, 0.3, 0.5, 0.75, 0.8, 1.0]),
)
def test_starts_equal_compute_steps_for_sliding_window(patch, extra, step):
    from nnunetv2.inference.sliding_window_prediction import compute_steps_for_sliding_window

    (expected,) = compute_steps_for_sliding_window((patch + extra,), (patch,), step)
    # Upstream may list a start twice; that changes no average.
    assert patch_starts(patch + extra, patch, step) == sorted(set(expected))


@pytest.mark.parametrize(
    "size",
    [(16, 160, 160), (64, 192, 160), (7, 33, 20), (256, 256), (3, 5), (1, 1)],
    ids=str,
)
def test_importance_map_equals_compute_gaussian(size):
    import torch
    from nnunetv2.inference.sliding_window_prediction import compute_gaussian

    expected = compute_gaussian(size, value_scaling_factor=10, device=torch.device("cpu")).numpy()
    found = importance_map(((1,) * (3 - len(size))) + size, "gaussian_filter").astype(np.float16)
    # The product of the axes' filters may round another way than the filtered volume: by one
    # unit in the last of half precision's ten bits, at few voxels.
    np.testing.assert_allclose(found.reshape(size), expected, rtol=1e-3)
    assert np.mean(found.reshape(size) != expected) < 1e-3


@pytest.fixture(scope="module")
def network():
    """Return a small random network that treats the axes differently."""
    import torch

    torch.manual_seed(3)
    return {
        dimension: torch.nn.Sequential(
            conv(2, 6, 3, padding=1), torch.nn.LeakyReLU(), conv(6, 3, 3, padding=1)
        ).eval()
        for dimension, conv in ((2, torch.nn.Conv2d), (3, torch.nn.Conv3d))
    }


@pytest.mark.parametrize("half", [True, False], ids=["float16 sums", "float32 sums"])
@pytest.mark.parametrize("mirror", [False, True], ids=["plain", "mirrored"])
@pytest.mark.parametrize(
    ("shape", "patch"),
    [
        ((9, 30, 25), (8, 16, 16)),
        ((3, 5, 40), (8, 16, 16)),
        ((1, 1, 1), (8, 16, 16)),
        ((17, 33, 16), (8, 16, 16)),
        ((6, 30, 25), (16, 16)),
        ((1, 7, 40), (16, 16)),
    ],
    ids=str,
)
def test_scores_equal_predict_sliding_window_return_logits(network, shape, patch, mirror, half):
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    dimension = len(patch)
    predictor = nnUNetPredictor(device=torch.device("cpu"), use_mirroring=mirror, allow_tqdm=False)
    predictor.network = network[dimension]
    predictor.allowed_mirroring_axes = tuple(range(dimension))
    predictor.configuration_manager = SimpleNamespace(patch_size=list(patch))
    predictor.label_manager = SimpleNamespace(num_segmentation_heads=3)
    data = np.random.default_rng(5).normal(size=(2, *shape)).astype(np.float32)
    with nnunet_sums("float16" if half else "float32"):
        expected = predictor.predict_sliding_window_return_logits(torch.from_numpy(data)).numpy()

    @torch.inference_mode()
    def predict(patches):
        batch = torch.from_numpy(patches)
        logits = network[dimension](batch[:, :, 0] if dimension == 2 else batch).numpy()
        return logits[:, :, None] if dimension == 2 else logits

    patch_size = ((1,) * (3 - dimension)) + patch
    axes = [axis + 3 - dimension for axis in predictor.allowed_mirroring_axes]
    found = predict_sliding_window(
        data,
        mirrored(predict, axes) if mirror else predict,
        patch_size,
        starts=spread_starts(shape, patch_size, 0.5),
        importance=importance_map(patch_size, "gaussian_filter"),
        accumulator=np.float16 if half else np.float32,
        batch_size=3,
    )
    assert found.shape == expected.shape
    # In half precision a batch of patches may round differently from single ones, here and there.
    np.testing.assert_allclose(
        found.astype(np.float32), expected.astype(np.float32), rtol=0, atol=4e-3 if half else 2e-5
    )
    assert np.mean(found != expected) < (0.01 if half else 1)
