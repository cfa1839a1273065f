"""MONAI's transforms, sliding window and post-transforms against ours, and whole bundles."""

from __future__ import annotations

import itertools
import warnings
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from deepseg_export.architectures.numpy_layers import NumpyLayers
from helpers.monai_original import as_predictor, exported, monai_segment
from helpers.nnunet_original import DATA
from helpers.through_pipeline import apply_map_steps, predict, prepare, segment
from hypothesis import given, settings
from hypothesis import strategies as st

from deepseg_lite.inference.patches import gaussian_importance, interval_starts
from deepseg_lite.nifti.reading import read_volume
from deepseg_lite.steps.maps import relu_scaled
from deepseg_lite.steps.respace import Respaced, respace
from deepseg_lite.volume import Volume

torch = pytest.importorskip("torch")
monai = pytest.importorskip("monai", reason="the original software is not installed")

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

ORIENTATIONS = [
    "".join(letters)
    for pairs in itertools.permutations(("RL", "AP", "SI"))
    for letters in itertools.product(*pairs)
]
TRANSFORMS = {
    "orientation": [{"_target_": "Orientationd", "axcodes": "PIR"}],
    "canonical": [{"_target_": "OrientationD", "as_closest_canonical": True}],
    "spacing": [{"_target_": "Spacingd", "pixdim": [1.5, 1.0, 2.0]}],
    "spacing nearest": [{"_target_": "Spacingd", "pixdim": 0.75, "mode": "nearest"}],
    "spacing spline": [
        {"_target_": "SpacingDict", "pixdim": [1, 1, -1], "mode": 2, "padding_mode": "zeros"}
    ],
    "spacing aligned": [
        {
            "_target_": "Spacingd",
            "pixdim": [0.8, 0.8, 2.5],
            "padding_mode": "reflection",
            "align_corners": [True],
        }
    ],
    "spacing diagonal": [{"_target_": "Spacingd", "pixdim": [1.2] * 3, "diagonal": True}],
    "spacing, then orientation": [
        {"_target_": "Spacingd", "pixdim": [1.5, 1.0, 2.0]},
        {"_target_": "Orientationd", "axcodes": "LPS"},
    ],
    "range": [
        {"_target_": "ScaleIntensityRanged", "a_min": -50, "a_max": 90, "b_min": -1, "b_max": 1}
    ],
    "range clipped": [
        {
            "_target_": "monai.transforms.ScaleIntensityRanged",
            "a_min": -57.0,
            "a_max": 164,
            "b_min": 0,
            "clip": True,
        }
    ],
    "scale": [{"_target_": "ScaleIntensityd"}],
    "scale per channel": [
        {"_target_": "ScaleIntensityd", "minv": -1, "maxv": 3, "channel_wise": True}
    ],
    "factor": [{"_target_": "ScaleIntensityd", "minv": None, "maxv": None, "factor": 0.7}],
    "normalize": [{"_target_": "NormalizeIntensityd"}],
    "normalize nonzero": [
        {"_target_": "NormalizeIntensityd", "nonzero": True, "channel_wise": False}
    ],
    "normalize per channel": [
        {"_target_": "NormalizeIntensityd", "nonzero": True, "channel_wise": True}
    ],
    "normalize given": [
        {
            "_target_": "NormalizeIntensityd",
            "subtrahend": [10.0, 20.0],
            "divisor": [3.0, 0.5],
            "channel_wise": True,
        }
    ],
    "foreground": [{"_target_": "CropForegroundd", "source_key": "image"}],
    "foreground grown": [
        {
            "_target_": "CropForegroundd",
            "source_key": "image",
            "select_fn": "$lambda x: x > 95.5",
            "channel_indices": 1,
            "margin": [2, 0, 5],
            "k_divisible": [4, 1, 3],
            "mode": "edge",
        }
    ],
    "foreground inside": [
        {
            "_target_": "CropForegroundd",
            "source_key": "image",
            "margin": 3,
            "allow_smaller": True,
        }
    ],
    "pad": [{"_target_": "SpatialPadd", "spatial_size": [16, -1, 24], "mode": "reflect"}],
    "pad at the end": [
        {"_target_": "SpatialPadd", "spatial_size": 24, "method": "end", "value": -3.0}
    ],
    "divisible": [{"_target_": "DivisiblePadd", "k": [8, 5, 0], "mode": "edge"}],
    "divisible at the end": [{"_target_": "DivisiblePadd", "k": 7, "method": "end"}],
    "pad or crop": [
        {"_target_": "ResizeWithPadOrCropd", "spatial_size": [12, 13, -1], "mode": "edge"}
    ],
    "pad or crop, small": [{"_target_": "ResizeWithPadOrCropd", "spatial_size": [9, 30, 4]}],
    "threshold": [{"_target_": "ThresholdIntensityd", "threshold": 70, "cval": -1.0}],
    "threshold below": [{"_target_": "ThresholdIntensityd", "threshold": 70, "above": False}],
    "type": [{"_target_": "EnsureTyped", "data_type": "tensor"}],
    "all at once": [
        {"_target_": "Orientationd", "axcodes": "RAS"},
        {"_target_": "Spacingd", "pixdim": [1.0, 1.5, 2.0], "mode": 3},
        {"_target_": "CropForegroundd", "source_key": "image", "margin": 2},
        {"_target_": "ThresholdIntensityd", "threshold": 5},
        {"_target_": "NormalizeIntensityd", "nonzero": True, "channel_wise": True},
        {"_target_": "ResizeWithPadOrCropd", "spatial_size": [20, 15, 11], "mode": "edge"},
        {"_target_": "DivisiblePadd", "k": 4},
    ],
}


def affine_of(rng, codes, spacing, *, degrees=0.0, shear=0.0):
    """Return an affine of a given orientation, turned and sheared a little."""
    angle = np.radians(rng.uniform(-degrees, degrees, 3))
    turn = np.eye(3)
    for axis, (c, s) in enumerate(zip(np.cos(angle), np.sin(angle), strict=True)):
        one = np.eye(3)
        i, j = [k for k in range(3) if k != axis]
        one[i, i], one[j, j], one[i, j], one[j, i] = c, c, -s, s
        turn = turn @ one
    order = nib.orientations.axcodes2ornt(codes)
    axes = np.zeros((3, 3))
    for column, (row, sign) in enumerate(order):
        axes[int(row), column] = sign
    affine = np.eye(4)
    sheared = np.eye(3) + np.triu(np.full((3, 3), shear), 1)
    affine[:3, :3] = turn @ axes @ np.diag(spacing) @ sheared
    affine[:3, 3] = rng.uniform(-80, 80, 3)
    return affine


def random_volume(rng, codes):
    shape = rng.integers(9, 22, 3)
    data = rng.normal(60, 30, (2, *shape)).astype(np.float32)
    data[:, rng.random(shape) < 0.3] = 0
    data[:, :2] = data[:, :, -1:] = 0
    degrees, shear = [(0, 0), (20, 0), (20, 1e-6), (5, 0.02)][rng.integers(4)]
    spacing = rng.choice([0.5, 0.8, 1.0, 1.5, 2.0, 3.3], 3)
    return Volume.from_array(data, affine_of(rng, codes, spacing, degrees=degrees, shear=shear))


def monai_prepared(transforms, volume, nearest, scores_of):
    """Run MONAI's transforms on a volume, and the inverse on scores made for their result."""
    from monai.bundle import ConfigParser
    from monai.data import MetaTensor
    from monai.transforms import Compose, Invertd

    listed = [{"keys": "image", **transform} for transform in transforms]
    compose = Compose(ConfigParser({"t": listed}).get_parsed_content("t"))
    image = MetaTensor(torch.from_numpy(volume.data.copy()), affine=volume.affine)
    case = compose({"image": image})
    case["pred"] = MetaTensor(torch.from_numpy(scores_of(case["image"].shape[1:])))
    invert = Invertd("pred", compose, orig_keys="image", nearest_interp=nearest)
    prepared = case["image"]
    return prepared.numpy(), prepared.affine.numpy(), invert(case)["pred"].numpy()


def undecided(matrix, new, old):
    """Return where the last bit of a place decides what is read there, of shape ``new``.

    Half-way between two voxels (nearest) and on the first or last one (a spline that is zero beyond
    them): upstream's places come from matrix products that round as the processor has it.
    """
    points = np.stack([*np.indices(new), np.ones(new)])
    places = np.einsum("ij,j...->i...", matrix, points)[:3]
    ends = np.reshape(old, (3, 1, 1, 1)) - 1
    distances = [np.abs(places % 1 - 0.5), np.abs(places), np.abs(places - ends)]
    return (np.min(distances, axis=0) < 1e-6).any(axis=0)


SIDES = [2e-6 * np.array(signs) for signs in itertools.product((-1, 1), repeat=3)]
"""Ways from a place to where the last bit decides nothing, in voxels."""


def undone_beside(trail, scores, side):
    """Return scores that are undone with all places moved a little."""
    for record in reversed(trail):
        if isinstance(record, Respaced):
            matrix = record.matrix.copy()
            matrix[:3, 3] += side
            record = replace(record, matrix=matrix)
        scores = record.undo(scores)
    return scores


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_and_their_inverse_equal_monai(name):
    from deepseg_export.families.monai.config import resolve
    from deepseg_export.families.monai.transforms import read_preprocessing, undone_by

    listed = [{"keys": ["image"], **transform} for transform in TRANSFORMS[name]]
    problems: list[str] = []
    read = read_preprocessing(resolve({}, listed), problems)
    assert problems == []
    rng = np.random.default_rng(len(name))
    for index, codes in enumerate(ORIENTATIONS):
        volume = random_volume(rng, codes)
        # After a resampling upstream carries its affine forth and back through what follows, and
        # the last bit of that decides ties of nearest neighbours: none of that here.
        nearest = index % 2 == 1 and len(listed) == 1

        def scores_of(shape, seed=index):
            return np.random.default_rng(seed).random((3, *shape), np.float32)

        expected, affine, restored = monai_prepared(TRANSFORMS[name], volume, nearest, scores_of)
        manifest = {
            "inputs": {"orientation": read.orientation, "axes": "xyz"},
            "preprocessing": undone_by(read.steps, nearest=nearest),
        }
        before = volume.data.copy()
        found, trail = prepare(manifest, volume)
        assert found.data.dtype == np.float32
        sure = np.ones(found.shape, bool)
        if trail and isinstance(trail[-1], Respaced):
            onto = np.linalg.inv(trail[-1].matrix)
            sure = ~undecided(onto, found.shape, trail[-1].shape)
        np.testing.assert_allclose(found.data[:, sure], expected[:, sure], rtol=2e-6, atol=2e-5)
        np.testing.assert_allclose(found.affine, affine, atol=1e-6)
        scores, sure = scores_of(found.shape), np.ones((1, *found.shape), np.float32)
        for record in reversed(trail):
            from_shape = scores.shape[1:]
            scores, sure = record.undo(scores), record.undo(sure)
            if isinstance(record, Respaced):
                sure[:] = ~undecided(record.matrix, record.shape, from_shape)
        sure = sure[0] > 0
        np.testing.assert_allclose(scores[:, sure], restored[:, sure], atol=2e-6)
        # Of what the last bit decides, a share is on the other side on some processors, or all.
        assert np.isclose(found.data, expected, rtol=2e-6, atol=2e-5).mean() > 0.9
        sides = [undone_beside(trail, scores_of(found.shape), side) for side in SIDES]
        assert np.isclose(sides, restored, atol=2e-5).any(axis=0).all()
        np.testing.assert_array_equal(volume.data, before)


@settings(max_examples=200, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 20)] * 3),
    old=st.tuples(*[st.sampled_from([0.5, 0.7, 1.0, 1.25, 2.0, 3.3])] * 3),
    new=st.tuples(*[st.sampled_from([0.5, 0.8, 1.0, 1.5, 2.0])] * 3),
    mode=st.sampled_from(["bilinear", "nearest", 0, 1, 2, 3, 4, 5]),
    padding=st.sampled_from(["zeros", "border", "reflection"]),
    align=st.booleans(),
    turned=st.sampled_from([0.0, 25.0]),
    seed=st.integers(0, 2**16),
)
def test_respace_equals_spacing(shape, old, new, mode, padding, align, turned, seed):
    """Every mode, also where grids meet half-way between voxels and at the very border."""
    from deepseg_export.families.monai.spatial import read_sampling
    from monai.data import MetaTensor
    from monai.transforms import Spacing

    rng = np.random.default_rng(seed)
    volume = Volume.from_array(
        rng.normal(size=shape).astype(np.float32),
        affine_of(rng, ORIENTATIONS[seed % 48], old, degrees=turned),
    )
    spacing = Spacing(new, mode=mode, padding_mode=padding, align_corners=align)
    image = MetaTensor(torch.from_numpy(volume.data.copy()), affine=volume.affine)
    expected = spacing(image)
    sampling = read_sampling(mode, padding, align_corners=align)
    found, record = respace(volume, new, False, sampling, sampling)
    restored = spacing.inverse(expected).numpy()
    if record is None:
        np.testing.assert_array_equal(found.data, expected.numpy())
        np.testing.assert_array_equal(found.data, restored)
        return
    onto = np.linalg.inv(record.matrix)
    sure = ~undecided(onto, found.shape, shape)
    np.testing.assert_allclose(found.data[:, sure], expected.numpy()[:, sure], atol=1e-5)
    # What was on one side or the other there is read again on the way back.
    back = record.undo(expected.numpy())
    sure = ~undecided(record.matrix, shape, found.shape)
    np.testing.assert_allclose(back[:, sure], restored[:, sure], atol=1e-5)


@settings(max_examples=150, deadline=None)
@given(
    size=st.integers(1, 400),
    patch=st.integers(1, 200),
    overlap=st.sampled_from([0, 0.1, 0.25, 0.5, 0.625, 0.7, 0.9, 0.99]),
)
def test_starts_equal_dense_patch_slices(size, patch, overlap):
    from monai.data.utils import dense_patch_slices
    from monai.inferers.utils import _get_scan_interval

    size = max(size, patch)
    interval = _get_scan_interval((size,), (patch,), 1, (overlap,))
    expected = [box.start for (box,) in dense_patch_slices((size,), (patch,), interval)]
    assert interval_starts(size, patch, overlap) == expected


@pytest.mark.parametrize("patch", [(96, 96, 96), (1, 7, 64), (64, 192, 320), (5, 5, 5)], ids=str)
@pytest.mark.parametrize("sigma", [0.125, 0.05, 0.5])
def test_gaussian_equals_compute_importance_map(patch, sigma):
    from monai.data.utils import compute_importance_map

    expected = compute_importance_map(patch, mode="gaussian", sigma_scale=sigma).numpy()
    np.testing.assert_allclose(gaussian_importance(patch, [sigma] * 3), expected, rtol=1e-6)


INFERERS = [
    {"roi_size": [16, 16, 8], "overlap": 0.5, "mode": "gaussian"},
    {"roi_size": [16, 12, 8], "overlap": [0.25, 0.6, 0.1], "sigma_scale": [0.1, 0.2, 0.3]},
    {"roi_size": [32, -1, 8], "mode": "gaussian", "padding_mode": "replicate"},
    {"roi_size": 22, "overlap": 0.7, "padding_mode": "reflect"},
    {"roi_size": [64, 30, 8], "cval": -2.5},
]


@pytest.mark.parametrize("choices", INFERERS, ids=str)
@pytest.mark.parametrize("shape", [(31, 22, 17), (13, 40, 8)], ids=str)
def test_windows_equal_sliding_window_inferer(choices, shape):
    from deepseg_export.families.monai.inferers import read_inferer
    from monai.inferers import SlidingWindowInferer

    network = torch.nn.Conv3d(2, 3, 5, padding=2)
    data = np.random.default_rng(3).normal(size=(2, *shape)).astype(np.float32)
    window = read_inferer({"_target_": "SlidingWindowInferer", **choices})
    with torch.inference_mode():
        inferer = SlidingWindowInferer(sw_batch_size=3, **choices)
        expected = inferer(torch.from_numpy(data)[None], network)[0].numpy()
    found = predict(window, data, as_predictor(network))
    np.testing.assert_allclose(found, expected, atol=2e-6)


POST = [
    {"_target_": "AsDiscreted", "argmax": True},
    {"_target_": "AsDiscreted", "argmax": True, "to_onehot": 3},
    {"_target_": "AsDiscreted", "threshold": 0.5},
    {"_target_": "KeepLargestConnectedComponentd", "is_onehot": True},
    {"_target_": "KeepLargestConnectedComponentd", "connectivity": 1, "num_components": 3},
    {"_target_": "KeepLargestConnectedComponentd", "applied_labels": 2, "connectivity": 2},
    {"_target_": "KeepLargestConnectedComponentd", "applied_labels": [1, 2], "independent": False},
]


@pytest.mark.parametrize("transform", POST, ids=str)
@pytest.mark.parametrize("form", ["maps", "masks", "labels"])
def test_post_transforms_equal_monai(transform, form):
    from deepseg_export.families.monai.postprocessing import read_postprocessing
    from monai.bundle import ConfigParser

    rng = np.random.default_rng(8)
    maps = rng.random((3, 11, 12, 13)).astype(np.float32)
    maps = {"maps": maps, "masks": (maps > 0.8) * 1.0, "labels": maps.argmax(0)[None] * 1.0}[form]
    maps = maps.astype(np.float32)
    if form == "labels" and transform.get("is_onehot"):
        pytest.skip("one map is no one-hot form of three labels")
    listed = {"keys": ["pred"], **transform}
    problems: list[str] = []
    read = read_postprocessing([listed], [], "image", problems)
    assert problems == []
    (original,) = ConfigParser({"t": [listed]}).get_parsed_content("t")
    expected = original({"pred": torch.from_numpy(maps.copy())})["pred"].numpy()
    found = apply_map_steps(read.steps, maps)
    np.testing.assert_array_equal(found, expected)


BUNDLES = {
    "ct_organ": [
        ["sct_testing/t2_fake_lesion"],
        ["sct_testing/t1w"],
        ["gm_challenge/sub-9418_T2starw"],
    ],
    "mr_regions": [["sct_testing/t2", "sct_testing/t2"]],
    "swin": [
        ["gm_challenge/sub-9709Ses2_T2starw"],
        ["sct_testing/t1w"],
        ["sct_testing/t2_fake_lesion"],
    ],
    "dynunet": [["sct_testing/t1w"], ["sct_testing/t2"]],
}
CASES = [
    pytest.param(
        *(name, files),
        id=f"{name}-{files[0].partition('/')[2]}",
        marks=[pytest.mark.slow] * (index > 0),
    )
    for name, listed in BUNDLES.items()
    for index, files in enumerate(listed)
]


def image_files(names):
    paths = [DATA / f"{name}.nii.gz" for name in names]
    if not paths[0].is_file():
        pytest.skip(f"{paths[0]} is not there")
    return paths


def read_files(paths):
    return read_volume([nib.load(path) for path in paths], [str(path) for path in paths])


def middle(data, shape):
    """Return a box around the middle, padded where the image is smaller."""
    room = [(0, max(n - size, 0)) for n, size in zip(shape, data.shape[1:], strict=True)]
    data = np.pad(data, [(0, 0), *room])
    starts = [(size - n) // 2 for n, size in zip(shape, data.shape[1:], strict=True)]
    box = tuple(slice(a, a + n) for a, n in zip(starts, shape, strict=True))
    return np.ascontiguousarray(data[(slice(None), *box)])


@pytest.mark.parametrize(("name", "files"), CASES)
def test_bundles_equal_monai(name, files, tmp_path, record_property):
    """A zoo-shaped bundle on a real image: at most 1 voxel in 10,000, or 1e-3 for soft maps."""
    from deepseg_export.families.monai import Options, load_bundle
    from helpers.monai_models import ZOO, write_bundle

    paths = image_files(files)
    volume = read_files(paths)
    first = load_bundle(write_bundle(tmp_path / "first" / name, ZOO[name]()), Options())
    prepared, _ = prepare(first.manifest, volume)
    patch = first.manifest["sliding_window"]["patch_size"]
    sizes = [n or size for n, size in zip(patch, prepared.shape, strict=True)]
    folder = write_bundle(tmp_path / name, ZOO[name](), example=middle(prepared.data, sizes))
    checkpoint = load_bundle(folder, Options())

    _, expected = monai_segment(folder, paths)
    found = segment(checkpoint.manifest, volume, exported(checkpoint))
    assert found.shape == expected.shape
    error = np.abs(found - expected)
    kind = checkpoint.manifest["outputs"]["files"][0]["kind"]
    record_property("voxels", found.size)
    record_property("differing", int((error > 1e-3).sum()))
    if kind == "soft":
        assert error.max() <= 1e-3
    else:
        shares = [(expected == value).mean() for value in np.unique(expected)]
        assert len(shares) > 1
        assert min(shares) > 0.002  # nothing is proved by an empty result
        assert (error > 0).mean() <= 1e-4


@pytest.mark.parametrize("sct", ["6.2", "6.5"])
@pytest.mark.parametrize("file", ["sct_testing/t2", "sct_testing/mt1"])
def test_contrast_agnostic_equals_the_toolbox(sct, file, tmp_path):
    """The steps of the Spinal Cord Toolbox with MONAI and torch, on a random checkpoint."""
    from deepseg_export.families.monai import Options, load_lightning
    from deepseg_export.families.monai.lightning import FEATURES
    from helpers.monai_models import write_lightning
    from monai import transforms as t
    from monai.inferers import sliding_window_inference

    (path,) = image_files([file])
    width = {"6.2": 320, "6.5": 384}[sct]
    checkpoint_file = write_lightning(tmp_path / "model.ckpt", FEATURES[width])
    checkpoint = load_lightning(checkpoint_file, Options(sct=sct))
    network = checkpoint.networks["0"]
    small = torch.nn.Conv3d(1, 1, 5, padding=2)  # the real one takes minutes; its export is tested
    with torch.no_grad():
        small.weight[:] = torch.linspace(0, 0.02, 125).reshape(5, 5, 5)

    before = t.Compose(
        [
            t.LoadImaged("image"),
            t.EnsureChannelFirstd("image"),
            t.Orientationd("image", axcodes="RPI"),
            t.Spacingd("image", pixdim=(1.0, 1.0, 1.0), mode=2),
            t.ResizeWithPadOrCropd(
                "image",
                spatial_size=(64, 192, -1),
                mode={"6.2": "constant", "6.5": "edge"}[sct],
            ),
            t.DivisiblePadd("image", k=32, mode="edge"),
            t.NormalizeIntensityd("image", nonzero=False, channel_wise=False),
        ]
    )
    invert = t.Invertd("pred", before, orig_keys="image", nearest_interp=False)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        case = before({"image": str(path)})
        scores = sliding_window_inference(
            case["image"][None], (64, 192, 320), 4, small, overlap=0.5, mode="gaussian"
        )
        scores = torch.relu(scores)
        case["pred"] = (scores / scores.max() if scores.max() > 0 else scores)[0]
        expected = invert(case)["pred"].numpy()
    if sct == "6.5":
        expected[expected <= 0.1] = 0
        expected[expected >= 1] = 1

    volume = read_files([path])
    soft = load_lightning(checkpoint_file, Options(sct=sct, soft=True)).manifest
    found = segment(soft, volume, as_predictor(small))
    assert np.unique(expected).size > 1000
    assert np.abs(found - expected).max() <= 1e-3
    binary = segment(checkpoint.manifest, volume, as_predictor(small))
    assert (binary != (expected > 0.5)).mean() <= 1e-4
    assert 0.001 < binary.mean() < 0.999
    small_image = np.zeros((1, 1, 32, 32, 32), np.float32)
    assert network.on(NumpyLayers(3), small_image).shape == small_image.shape


def test_relu_scaled_leaves_negative_scores_at_zero():
    np.testing.assert_array_equal(relu_scaled(np.full((1, 2, 2, 2), -1, np.float32)), 0)


def test_a_bundle_from_the_command_lines_equals_monai(tmp_path, command):
    """Export a zoo-shaped bundle, run it, compare the file with what MONAI's own run gives."""
    from click.testing import CliRunner
    from deepseg_export.cli.group import cli
    from deepseg_export.families.monai import Options, load_bundle
    from helpers.monai_models import ZOO, write_bundle

    paths = image_files(["sct_testing/t1w"])
    first = load_bundle(write_bundle(tmp_path / "first", ZOO["ct_organ"]()), Options())
    prepared, _ = prepare(first.manifest, read_files(paths))
    patch = first.manifest["sliding_window"]["patch_size"]
    folder = write_bundle(
        tmp_path / "organ", ZOO["ct_organ"](), example=middle(prepared.data, patch)
    )
    made = CliRunner().invoke(cli, ["monai-bundle", str(folder), "-o", str(tmp_path / "bundle")])
    assert made.exit_code == 0, made.output
    ended = command("run", tmp_path / "bundle", "-i", paths[0], "-o", f"{tmp_path / 'out'}/")
    assert ended.code == 0, ended.err
    (file,) = (tmp_path / "out").glob("*.nii.gz")
    found = np.asanyarray(nib.load(file).dataobj)
    _, (expected,) = monai_segment(folder, paths)
    assert found.dtype == np.uint8
    assert len(np.unique(expected)) > 1
    assert (found != expected).mean() <= 1e-4
