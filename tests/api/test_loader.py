"""The Python interface: a model that stays warm and answers in the kind it was asked."""

from __future__ import annotations

from importlib.metadata import version

import nibabel as nib
import numpy as np
import pytest
from helpers.bundles import make_affine, make_data, write_bundle, write_image

import deepseg_lite
from deepseg_lite.api import loader
from deepseg_lite.engines import predictors
from deepseg_lite.engines.predictors import PatchPredictor
from deepseg_lite.errors import BundleError, Cancelled, ImageError, OptionError

AFFINE = make_affine("LPS")
TRUTH = (make_data() > 0.5).astype(np.uint8)


@pytest.fixture
def segmenter(tiny_bundle):
    return deepseg_lite.load(tiny_bundle, device="cpu", threads=1)


@pytest.fixture
def opened(monkeypatch):
    """Record the folds whose networks are opened, in order."""
    folds = []

    class Counted(PatchPredictor):
        def __init__(self, opened, bundle, network):
            folds.append(network.fold)
            super().__init__(opened, bundle, network)

    monkeypatch.setattr(predictors, "PatchPredictor", Counted)
    return folds


def test_public_names_are_all_there():
    for name in deepseg_lite.__all__:
        assert getattr(deepseg_lite, name) is not None
    assert sorted(deepseg_lite.__all__) == dir(deepseg_lite)
    assert deepseg_lite.__version__ == version("deepseg-lite")


def test_other_names_are_not():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        deepseg_lite.nothing  # noqa: B018


def test_path_image_and_array_give_the_same_labels(segmenter, image_file):
    from_path = segmenter(image_file)
    from_text = segmenter(str(image_file))
    from_image = segmenter(nib.load(image_file))
    from_array = segmenter(make_data(), affine=AFFINE)
    assert from_array.dtype == np.uint8
    np.testing.assert_array_equal(from_array, TRUTH)
    for image in (from_path, from_text, from_image):
        np.testing.assert_array_equal(np.asarray(image.dataobj), TRUTH)
        assert image.get_data_dtype() == np.uint8
        np.testing.assert_array_equal(image.affine, nib.load(image_file).affine)


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float64])
def test_arrays_of_every_type_are_taken_and_not_changed(segmenter, dtype):
    array = (make_data() > 0.5).astype(dtype)
    before = array.copy()
    np.testing.assert_array_equal(segmenter(array, affine=AFFINE), TRUTH)
    np.testing.assert_array_equal(array, before)


def test_soft_probabilities_have_labels_first_in_arrays_and_last_in_images(tmp_path, image_file):
    segmenter = deepseg_lite.load(write_bundle(tmp_path / "b", "regions"), device="cpu")
    array = segmenter(make_data(), affine=AFFINE, soft=True)
    image = segmenter(image_file, soft=True)
    assert array.shape == (2, *TRUTH.shape)
    assert image.shape == (*TRUTH.shape, 2)
    assert array.dtype == image.get_data_dtype() == np.float32
    np.testing.assert_allclose(np.moveaxis(image.get_fdata(), -1, 0), array, atol=1e-6)
    np.testing.assert_array_equal((array > 0.5).sum(axis=0), _regions())


def _regions():
    return (make_data() > 0.25).astype(int) + (make_data() > 0.75)


def test_regions_are_painted(tmp_path):
    segmenter = deepseg_lite.load(write_bundle(tmp_path / "b", "regions"), device="cpu")
    np.testing.assert_array_equal(segmenter(make_data(), affine=AFFINE), _regions())


def test_channels_are_given_in_order(tmp_path):
    segmenter = deepseg_lite.load(write_bundle(tmp_path / "b", "channels"), device="cpu")
    first, second = make_data(seed=1), make_data(seed=2)
    expected = first + 2 * second > 1
    np.testing.assert_array_equal(segmenter(first, second, affine=AFFINE), expected)
    files = [write_image(tmp_path / f"{i}.nii", x) for i, x in enumerate((first, second))]
    np.testing.assert_array_equal(np.asarray(segmenter(*files).dataobj), expected)
    mixed = segmenter(files[0], nib.load(files[1]))
    np.testing.assert_array_equal(np.asarray(mixed.dataobj), expected)


def test_segment_takes_volumes_alone(segmenter):
    with pytest.raises(ImageError, match="to the model itself"):
        segmenter.segment(make_data())


@pytest.mark.parametrize(
    ("images", "options", "error", "message"),
    [
        ((), {}, ImageError, "0 images were given; tiny_threshold needs 1 per case.*: t2"),
        ((make_data(), make_data()), {"affine": AFFINE}, ImageError, "2 images were given"),
        ((make_data(),), {}, OptionError, "without its affine; pass affine="),
        ((make_data(),), {"affine": np.eye(3)}, ImageError, r"shape \(3, 3\); 4 x 4 is needed"),
        ((make_data(),), {"affine": np.diag([1, 1, 0, 1])}, ImageError, "cannot be inverted"),
        ((make_data()[0],), {"affine": AFFINE}, ImageError, r"array 0 has 2 dimensions \(18, 12\)"),
        ((np.zeros((4, 4, 4)),), {"affine": AFFINE}, ImageError, "nothing but zeros"),
        (("x.nii",), {"affine": AFFINE}, OptionError, "affine goes with arrays only"),
        (("nowhere.nii",), {}, ImageError, "nowhere.nii does not exist"),
        ((3,), {}, ImageError, "int was given; a path, a nibabel image or a numpy array"),
        ((make_data(),), {"affine": AFFINE, "step": 0}, OptionError, "step is 0"),
        ((make_data(),), {"affine": AFFINE, "step": 1.1}, OptionError, "step is 1.1"),
        ((make_data(),), {"affine": AFFINE, "step": float("nan")}, OptionError, "step is nan"),
    ],
    ids=[
        "none", "too-many", "no-affine", "3x3", "singular", "2-D", "zeros", "affine-and-path",
        "missing", "int", "step-0", "step-1.1", "step-nan",
    ],
)  # fmt: skip
def test_wrong_calls_are_refused(segmenter, images, options, error, message):
    with pytest.raises(error, match=message):
        segmenter(*images, **options)


def test_channels_of_different_shapes_are_refused(tmp_path):
    segmenter = deepseg_lite.load(write_bundle(tmp_path / "b", "channels"), device="cpu")
    with pytest.raises(ImageError, match="one grid"):
        segmenter(make_data(), make_data((4, 4, 4)), affine=AFFINE)


def test_arrays_and_paths_do_not_mix(tmp_path, image_file):
    segmenter = deepseg_lite.load(write_bundle(tmp_path / "b", "channels"), device="cpu")
    with pytest.raises(ImageError, match="the same kind for every channel"):
        segmenter(image_file, make_data())


def test_mirroring_is_refused_where_the_model_was_trained_without(tmp_path):
    folder = write_bundle(tmp_path / "b", mirror_axes=[])
    with pytest.raises(OptionError, match="trained without mirroring"):
        deepseg_lite.load(folder, device="cpu")(make_data(), affine=AFFINE, tta=True)


def test_mirroring_changes_nothing_for_a_symmetric_network(segmenter):
    np.testing.assert_array_equal(segmenter(make_data(), affine=AFFINE, tta=True), TRUTH)


@pytest.mark.parametrize("threads", [0, -1])
def test_threads_are_at_least_one(tiny_bundle, threads):
    with pytest.raises(OptionError, match=f"threads is {threads}; at least 1"):
        deepseg_lite.load(tiny_bundle, threads=threads)


def test_threads_default_to_what_the_machine_allows(tiny_bundle, monkeypatch):
    monkeypatch.setattr(loader, "available_threads", lambda: 3)
    assert deepseg_lite.load(tiny_bundle, device="cpu").threads == 3
    assert deepseg_lite.load(tiny_bundle, device="cpu", threads=2).threads == 2


def test_a_model_of_one_network_is_opened_once(tiny_bundle, opened):
    segmenter = deepseg_lite.load(tiny_bundle, device="cpu")
    assert opened == ["0"]
    for _ in range(3):
        segmenter(make_data(), affine=AFFINE)
    assert opened == ["0"]


def test_folds_are_opened_in_every_call_unless_kept(tmp_path, opened):
    folder = write_bundle(tmp_path / "b", "folds")
    segmenter = deepseg_lite.load(folder, device="cpu")
    assert opened == []
    for _ in range(2):
        found = segmenter(make_data(), affine=AFFINE)
        np.testing.assert_array_equal(found, make_data() > 0.6)
    assert opened == ["0", "1", "0", "1"]

    opened.clear()
    segmenter = deepseg_lite.load(folder, device="cpu", keep_folds_loaded=True)
    for _ in range(2):
        found = segmenter(make_data(), affine=AFFINE)
        np.testing.assert_array_equal(found, make_data() > 0.6)
    assert opened == ["0", "1"]


@pytest.mark.parametrize(("folds", "limit"), [(["0"], 0.5), (["1"], 0.7), (None, 0.6)], ids=str)
def test_folds_are_chosen(tmp_path, folds, limit):
    segmenter = deepseg_lite.load(write_bundle(tmp_path / "b", "folds"), device="cpu", folds=folds)
    np.testing.assert_array_equal(segmenter(make_data(), affine=AFFINE), make_data() > limit)


def test_unknown_folds_are_refused(tiny_bundle):
    with pytest.raises(BundleError, match="no fold 9; it has 0"):
        deepseg_lite.load(tiny_bundle, device="cpu", folds=["9"])


def test_progress_is_reported_in_patches(segmenter):
    reports = []
    segmenter(make_data(), affine=AFFINE, progress=lambda *report: reports.append(report))
    total = len(reports)
    assert reports == [(i + 1, total) for i in range(total)]
    assert total > 1


def test_cancel_ends_the_run_and_the_model_still_works(segmenter):
    with pytest.raises(Cancelled):
        segmenter(make_data(), affine=AFFINE, cancel=lambda: True)
    np.testing.assert_array_equal(segmenter(make_data(), affine=AFFINE), TRUTH)


def test_step_decides_the_number_of_patches(segmenter):
    counts = []
    for step in (1.0, 0.25):
        reports = []
        segmenter(
            make_data(), affine=AFFINE, step=step, progress=lambda *r, to=reports: to.append(r)
        )
        counts.append(len(reports))
    assert counts[0] < counts[1] / 4
