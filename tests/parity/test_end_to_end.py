"""Trained checkpoints on real images against nnUNetPredictor: the figures in the README.

The bar, of all voxels: 1 in 50,000 with half-precision sums, 1 in 10,000 with float32, and
Dice 0.999 for every label.
"""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from helpers.nnunet_original import CHECKPOINTS, DATA, dice, nnunet_predictor, nnunet_segment

from deepseg_lite.api.loader import load
from deepseg_lite.api.segmenter import Segmenter
from deepseg_lite.engines.engine import Engine
from deepseg_lite.engines.onnxruntime_network import CPU
from deepseg_lite.inference.settings import make_settings
from deepseg_lite.machine import available_threads
from deepseg_lite.nifti.reading import read_volume

pytest.importorskip("nnunetv2", reason="the original software is not installed")

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(not CHECKPOINTS.is_dir(), reason="no ../shared/checkpoints"),
]

MODELS = {
    "2d": CHECKPOINTS / "gm_challenge_2d" / "nnUNetTrainer__nnUNetPlansS__2d",
    "3d": CHECKPOINTS / "gm_challenge_3d" / "nnUNetTrainer__nnUNetPlansS__3d_fullres",
}
T2STAR = [f"gm_challenge/sub-{subject}_T2starw.nii.gz" for subject in (
    "10062Ses1", "10062Ses2", "9418", "9584", "9709Ses1", "9709Ses2"
)]  # fmt: skip
OTHERS = [
    "sct_testing/mt1.nii.gz",
    "sct_testing/t2.nii.gz",
    "sct_testing/t2_fake_lesion.nii.gz",
    "sct_testing/t2s_uncropped.nii.gz",
    "sct_testing/t1w.nii.gz",
    "sct_tutorial/t2_ms.nii.gz",
    "sct_tutorial/mt1.nii.gz",
]
QUICK = {
    ("2d", ("all",), False): [*T2STAR, *OTHERS],
    ("2d", ("all",), True): [T2STAR[4], OTHERS[0]],
    ("2d", ("0", "1"), False): [T2STAR[4], OTHERS[1]],
    ("2d", ("0", "1"), True): [OTHERS[0]],
    ("3d", ("all",), False): [T2STAR[3], T2STAR[5], *OTHERS[:3]],
    ("3d", ("all",), True): [OTHERS[0]],
}
CASES = [
    pytest.param(
        model,
        folds,
        mirror,
        image,
        id=f"{model} {'+'.join(folds)}{' mirrored' if mirror else ''} {image[:-7]}",
        marks=() if image in quick else pytest.mark.slow,
    )
    for (model, folds, mirror), quick in QUICK.items()
    for image in (*T2STAR, *OTHERS)
]


class Remembered:
    """A predictor that computes each batch once, so that two kinds of sums cost one network."""

    def __init__(self, predict):
        self.predict, self.known = predict, {}

    def __call__(self, patches):
        key = patches.tobytes()
        if key not in self.known:
            self.known[key] = self.predict(patches)
        return self.known[key].copy()


@pytest.mark.parametrize(("model", "folds", "mirror", "image"), CASES)
def test_labels_equal_nnunet(model, folds, mirror, image, bundle_of, record_property, capsys):
    opened = nib.load(DATA / image)
    expected = nnunet_segment(nnunet_predictor(MODELS[model], folds, mirror=mirror), [opened])
    bundle = bundle_of(MODELS[model], folds)
    segmenter = Segmenter(bundle, None, Engine(CPU), available_threads(), bundle.networks)
    remembered = [Remembered(predict) for predict in segmenter.predictors()]
    segmenter.predictors = lambda: remembered
    volume = read_volume([opened], [image])
    differing, worst = {}, {}
    for half in (True, False):
        settings = make_settings(tta=mirror, accumulator="float16" if half else "float32")
        found = segmenter.segment(volume, settings).data
        differing[half] = int((found != expected).sum())
        worst[half] = min(
            dice(np.isin(found, label.values), np.isin(expected, label.values))
            for label in bundle.outputs.labels
        )
    record_property("voxels", expected.size)
    record_property("differing_float16", differing[True])
    record_property("differing_float32", differing[False])
    record_property("dice", worst[False])
    with capsys.disabled():
        print(
            f"\n  {expected.size} voxels, {np.count_nonzero(expected)} labelled; differing: "
            f"{differing[True]} (float16 sums), {differing[False]} (float32), "
            f"Dice >= {worst[False]:.5f}",
            end=" ",
        )
    assert differing[True] <= expected.size / 50_000
    assert differing[False] <= expected.size / 10_000
    assert worst[False] >= 0.999


@pytest.mark.parametrize("image", [T2STAR[4], OTHERS[0]])
def test_a_look_around_equals_nnunet_on_the_box_around_its_own_result(image, tmp_path, capsys):
    from deepseg_export.exporting import export_model
    from deepseg_export.families.nnunet import Options

    options = {"folds": ("all",), "prior": "first", "prior_margin": 9.5}
    export_model("nnunet", MODELS["2d"], tmp_path / "first", Options(name="first", folds=("all",)))
    export_model("nnunet", MODELS["2d"], tmp_path / "second", Options(name="second", **options))
    opened = nib.load(DATA / image)
    predictor = nnunet_predictor(MODELS["2d"], ("all",), mirror=False)
    first = nnunet_segment(predictor, [opened])
    codes = nib.aff2axcodes(opened.affine)
    box = []
    for axis, length in enumerate(opened.shape):
        marked = np.flatnonzero(first.any(axis=tuple({0, 1, 2} - {axis})))
        reach = int(np.ceil(9.5 / opened.header.get_zooms()[axis]))
        whole = codes[axis] in "IS"
        start = 0 if whole else max(marked[0] - reach, 0)
        box.append(slice(start, length if whole else min(marked[-1] + reach + 1, length)))
    expected = np.zeros_like(first)
    expected[tuple(box)] = nnunet_segment(predictor, [opened.slicer[tuple(box)]])
    found = np.asarray(load(tmp_path / "second", device="cpu")(opened).dataobj)
    differing = int((found != expected).sum())
    with capsys.disabled():
        print(f"\n  {expected.size} voxels; differing: {differing}", end=" ")
    assert (expected != first).any()
    assert differing <= expected.size / 50_000
