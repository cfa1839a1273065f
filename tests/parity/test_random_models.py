"""Whole pipelines against nnUNetPredictor, on small random models of every kind.

With float32 sums the reference is nnU-Net with float32 sums: at the corners of an image its
half-precision weights lose all digits, its logits become 0, and a random network, unlike a trained
one, would have said something there.
"""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from helpers.nnunet_models import write_model
from helpers.nnunet_original import nnunet_predictor, nnunet_segment, nnunet_sums

from deepseg_lite.api.segmenter import Segmenter
from deepseg_lite.engines.engine import Engine
from deepseg_lite.engines.onnxruntime_network import CPU
from deepseg_lite.inference.settings import make_settings
from deepseg_lite.nifti.reading import read_volume

pytest.importorskip("nnunetv2", reason="the original software is not installed")

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

TORCH = {
    "resampling_fn_data": "resample_torch_fornnunet",
    "resampling_fn_data_kwargs": {"is_seg": False, "force_separate_z": False},
    "resampling_fn_probabilities": "resample_torch_fornnunet",
    "resampling_fn_probabilities_kwargs": {"is_seg": False, "force_separate_z": None},
}
NONE = {
    "resampling_fn_data": "no_resampling_hack",
    "resampling_fn_data_kwargs": {},
    "resampling_fn_seg": "no_resampling_hack",
    "resampling_fn_seg_kwargs": {},
    "resampling_fn_probabilities": "no_resampling_hack",
    "resampling_fn_probabilities_kwargs": {},
}
REGIONS = {
    "labels": {"background": 0, "sc": [1, 2], "lesion": 2},
    "regions_class_order": [1, 2],
}
PROPERTIES = {"foreground_intensity_properties_per_channel": {
    str(c): {"mean": 90.0, "std": 40.0, "percentile_00_5": 5.0, "percentile_99_5": 200.0}
    for c in range(2)
}}  # fmt: skip
MODELS = {
    "2-D": {},
    "2-D regions": {"dataset": REGIONS},
    "3-D": {"configuration": "3d_fullres"},
    "3-D residual": {"configuration": "3d_fullres", "network": "ResidualEncoderUNet"},
    "3-D low resolution": {"configuration": "3d_lowres", "settings": {"spacing": [2.9, 1.1, 1.3]}},
    "3-D isotropic regions": {
        "configuration": "3d_fullres",
        "settings": {"spacing": [0.8, 0.8, 0.8]},
        "dataset": REGIONS,
    },
    "3-D two channels, masked": {
        "configuration": "3d_fullres",
        "channels": 2,
        "settings": {"use_mask_for_norm": [True, False]},
    },
    "3-D CT and rescaled": {
        "configuration": "3d_fullres",
        "channels": 2,
        "settings": {"normalization_schemes": ["CTNormalization", "RescaleTo01Normalization"]},
    },
    "3-D transposed": {
        "configuration": "3d_fullres",
        "plans": {"transpose_forward": [1, 0, 2], "transpose_backward": [1, 0, 2]},
    },
    "2-D transposed cyclically": {
        "plans": {"transpose_forward": [2, 0, 1], "transpose_backward": [1, 2, 0]},
    },
    "3-D torch resampling": {"configuration": "3d_fullres", "settings": TORCH},
    "3-D no resampling": {"configuration": "3d_fullres", "settings": NONE},
    "3-D legacy plans, three folds": {
        "configuration": "3d_fullres",
        "legacy": True,
        "folds": ("0", "1", "3"),
    },
    "2-D two folds, no orientation": {"folds": ("0", "1"), "without": ("image_orientation",)},
}


def images(channels: int) -> list[nib.Nifti1Image]:
    """Make an oblique, anisotropic image with a rim of zeros and a hole, per channel."""
    rng = np.random.default_rng(11)
    shape = (26, 31, 11)
    angle = np.deg2rad(12)
    rotation = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    affine = np.eye(4)
    # Axes point to P, S and R: what the models expect takes a permutation and two flips.
    axes = np.array([[0, 0, 1], [-1, 0, 0], [0, 1, 0]])
    affine[:3, :3] = rotation @ axes @ np.diag([0.7, 0.6, 2.6])
    made = []
    for channel in range(channels):
        data = np.cumsum(rng.normal(0, 20, shape), axis=channel) + 120
        data[:2] = data[:, -3:] = data[..., 0] = 0
        data[10:13, 10:13, 4:6] = 0
        made.append(nib.Nifti1Image(np.clip(data, 0, 250).astype(np.int16), affine))
    return made


@pytest.fixture(scope="module", params=MODELS, ids=str)
def pair(request, tmp_path_factory, bundle_of):
    """Return a trained-model folder, its folds, its bundle and an image."""
    choices = dict(MODELS[request.param])
    folds = choices.get("folds", ("0",))
    model = write_model(
        tmp_path_factory.mktemp("model"),
        content={"trainer_name": "nnUNetTrainer"},
        plans={**PROPERTIES, **choices.pop("plans", {})},
        **choices,
    )
    return model, folds, bundle_of(model, folds), images(choices.get("channels", 1))


@pytest.mark.parametrize("half", [True, False], ids=["float16 sums", "float32 sums"])
@pytest.mark.parametrize("mirror", [False, True], ids=["plain", "mirrored"])
def test_labels_equal_nnunet(pair, mirror, half, record_property):
    model, folds, bundle, channels = pair
    with nnunet_sums("float16" if half else "float32"):
        expected = nnunet_segment(nnunet_predictor(model, folds, mirror=mirror), channels)
    segmenter = Segmenter(bundle, None, Engine(CPU), 2, bundle.networks)
    volume = read_volume(channels, [f"channel {i}" for i in range(len(channels))])
    settings = make_settings(tta=mirror, accumulator="float16" if half else "float32")
    found = segmenter.segment(volume, settings).data
    differing = int((found != expected).sum())
    record_property("differing_voxels", differing)
    assert found.shape == expected.shape
    assert len(np.unique(expected)) > 1, "a model that sees nothing proves nothing"
    assert differing <= 2, f"{differing} of {found.size} voxels differ"


def test_probabilities_equal_nnunet(pair):
    model, folds, bundle, channels = pair
    predictor = nnunet_predictor(model, folds, mirror=False)
    with nnunet_sums("float32"):
        _, expected = nnunet_segment(predictor, channels, probabilities=True)
    segmenter = Segmenter(bundle, None, Engine(CPU), 2, bundle.networks)
    volume = read_volume(channels, [f"channel {i}" for i in range(len(channels))])
    found = segmenter.segment(volume, make_settings(soft=True)).data
    if bundle.outputs.activation == "softmax":
        expected = expected[1:]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
