"""Labelling of discs and vertebrae against TotalSpineSeg's own ``iterative_label``.

The original runs on files, with the arguments that its ``inference`` gives it; these are read from
a run of ``inference`` itself. Earlier releases are compared where
``DEEPSEG_LITE_TOTALSPINESEG_VERSIONS`` names a folder of ``tss_<version>`` folders, each made by
``pip install --no-deps --target tss_<version> totalspineseg==<version>``.
"""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import io
import os
import tempfile
import warnings
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from helpers.spine import C1, LANDMARKS, SACRUM, make_spine, perturb
from helpers.spines import VARIANTS, params, variant
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from deepseg_lite.errors import ImageError
from deepseg_lite.workflows.spine.labelling import label_spine
from deepseg_lite.workflows.spine.tables import STEP1, STEP2, LabellingStep, Rules

pytest.importorskip("totalspineseg", reason="the original software is not installed")
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

VERSIONS = os.environ.get("DEEPSEG_LITE_TOTALSPINESEG_VERSIONS")
EARLIEST = Rules(
    minimum_component_voxels=1, minimum_landmark_voxels=1, vet_c2_c3=False, vet_l5_s1="never"
)
FIRST_OF_2026 = Rules(
    minimum_component_voxels=10, minimum_landmark_voxels=1, vet_c2_c3=False, vet_l5_s1="never"
)
BEFORE_NEWEST = Rules(minimum_component_voxels=10, vet_l5_s1="last")
RULES = {
    "20241115": EARLIEST,
    "20250205": EARLIEST,
    "20250709": EARLIEST,
    "20260129": FIRST_OF_2026,
    "20260429": BEFORE_NEWEST,
    "20260623": BEFORE_NEWEST,
    "20260730": BEFORE_NEWEST,
}
STEPS = {1: STEP1, 2: STEP2}
WHICH_STEP = pytest.mark.parametrize("step", STEPS)


def load_original(folder: Path | None) -> ModuleType:
    """Return the module of the installed release, or of the one in a folder."""
    if folder is None:
        return importlib.import_module("totalspineseg.utils.iterative_label")
    path = folder / "totalspineseg" / "utils" / "iterative_label.py"
    spec = importlib.util.spec_from_file_location(f"iterative_label_{folder.name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def arguments_of_inference() -> dict[int, dict[str, Any]]:
    """Run the original's inference with all its steps replaced; return what two of them got."""
    import torch
    from totalspineseg import inference

    calls: dict[str, list[dict[str, Any]]] = {}
    tiny = nib.Nifti1Image(np.ones((3, 3, 3), np.uint8), np.eye(4))

    def recorder(name: str):
        signature = inspect.signature(getattr(inference, name))

        def record(*args, **kwargs):
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            calls.setdefault(name, []).append(bound.arguments)
            for key in ("output_segs_path", "output_images_path", "output_dir", "dst_path"):
                if key in bound.arguments:
                    Path(bound.arguments[key]).mkdir(parents=True, exist_ok=True)
                    nib.save(tiny, Path(bound.arguments[key]) / "x.nii.gz")

        return record

    steps = [
        n for n in dir(inference) if n.endswith("_mp") or n in ("predict_nnunet", "add_trainer")
    ]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        root = Path(folder)
        (root / "in").mkdir()
        nib.save(tiny, root / "in" / "x.nii.gz")
        for dataset in ("Dataset101_TotalSpineSeg_step1", "Dataset102_TotalSpineSeg_step2"):
            fold = root / "nnUNet" / "results" / dataset / "T__P__3d_fullres" / "fold_0"
            fold.mkdir(parents=True)
            (fold / "checkpoint_final.pth").touch()
        for name in steps:
            patch.setattr(inference, name, recorder(name))
        inference.inference(
            root / "in", root / "out", root, "any", torch.device("cpu"),
            keep_only=["step1_levels", "step2_output"], max_workers=1, quiet=True,
        )  # fmt: skip
    first, second = calls["iterative_label_mp"]
    return {1: first, 2: second}


def original_labels(module: ModuleType, classes: np.ndarray, step: int) -> np.ndarray | None:
    """Return what the original makes of a file; None where it removes it."""
    function = module._iterative_label
    taken = {*inspect.signature(function).parameters} - {"seg_path", "output_seg_path", "loc_path"}
    arguments = {k: v for k, v in arguments_of_inference()[step].items() if k in taken}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "x.nii.gz"
        nib.save(nib.Nifti1Image(classes, np.eye(4)), path)
        copied = {k: v.copy() if isinstance(v, list | dict) else v for k, v in arguments.items()}
        with contextlib.redirect_stdout(io.StringIO()):
            function(path, path, **copied)  # it changes its lists
        return np.asanyarray(nib.load(path).dataobj) if path.exists() else None


def our_labels(classes: np.ndarray, step: LabellingStep, rules: Rules) -> np.ndarray | None:
    try:
        return label_spine(classes, step, rules)
    except ImageError:
        return None


def check(module: ModuleType, classes: np.ndarray, step: int, rules: Rules) -> bool:
    """Compare; return whether there was anything to compare but an error."""
    given_classes = classes.copy()
    ours, theirs = our_labels(classes, STEPS[step], rules), original_labels(module, classes, step)
    np.testing.assert_array_equal(classes, given_classes)
    assert (ours is None) == (theirs is None)
    if ours is None:
        return False
    assert ours.dtype == theirs.dtype == np.uint8
    different = np.count_nonzero(ours != theirs)
    assert not different, f"{different} voxels differ"
    return True


@pytest.fixture(scope="module")
def original() -> ModuleType:
    return load_original(None)


@pytest.fixture(params=RULES)
def earlier(request) -> tuple[ModuleType, Rules]:
    if VERSIONS is None:
        pytest.skip("DEEPSEG_LITE_TOTALSPINESEG_VERSIONS is not set")
    folder = Path(VERSIONS) / f"tss_{request.param}"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    return load_original(folder), RULES[request.param]


@WHICH_STEP
def test_steps_are_what_inference_gives(step):
    arguments, ours = arguments_of_inference()[step], STEPS[step]
    labels = dict(
        zip(
            arguments["disc_landmark_labels"],
            arguments["disc_landmark_output_labels"],
            strict=True,
        )
    )
    assert [*ours.discs] == arguments["disc_labels"]
    assert [*ours.landmarks] == [(c, labels[c]) for c in arguments["selected_disc_landmarks"]]
    assert [*ours.vertebrae] == arguments["vertebrae_labels"]
    assert [*ours.unsure_vertebrae] == arguments["vertebrae_extra_labels"]
    assert [*ours.canal] == arguments["canal_labels"] + arguments["cord_labels"]
    overlays = [
        (value, arguments[f"{name}_output_label"])
        for name in ("canal", "cord", "sacrum")
        for value in arguments[f"{name}_labels"]
    ]
    assert [*ours.overlays] == [*overlays, *arguments["map_input_dict"].items()]


@WHICH_STEP
@pytest.mark.parametrize("name", params(VARIANTS))
def test_spines_of_pam50(original, name, step):
    labelled = check(original, variant(name, step).classes, step, Rules())
    assert labelled == (name not in ("no_discs", "no_canal", "both_cut"))


def component(classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return one component of one class; none where nothing is left."""
    values = np.unique(classes[classes > 0])
    if not len(values):
        return np.zeros(classes.shape, bool)
    value = rng.choice(values)
    ids, count = ndimage.label(classes == value)
    return ids == rng.integers(1, count + 1)


def erode(classes, rng):
    mask = component(classes, rng)
    classes[mask & ~ndimage.binary_erosion(mask)] = 0


def dilate(classes, rng):
    mask = component(classes, rng)
    if mask.any():
        value = classes[mask][0]
        classes[ndimage.binary_dilation(mask, iterations=int(rng.integers(1, 4)))] = value


def remove(classes, rng):
    classes[component(classes, rng)] = 0


def double(classes, rng):
    mask = component(classes, rng)
    moved = ndimage.shift(classes * mask, rng.integers(-12, 13, 3), order=0)
    classes[moved > 0] = moved[moved > 0]


def rename(classes, rng):
    classes[component(classes, rng)] = rng.integers(1, 12)


def rename_half(classes, rng):
    mask = component(classes, rng)
    at = np.argwhere(mask)
    if len(at):
        axis = rng.integers(3)
        half = at[at[:, axis] < np.median(at[:, axis])]
        classes[tuple(half.T)] = rng.integers(0, 12)


def join(classes, rng):
    mask = component(classes, rng)
    if mask.any():
        reach = ndimage.shift(mask, (0, 0, int(rng.integers(-14, 15))), order=0)
        classes[reach & (classes == 0)] = classes[mask][0]


def sprinkle(classes, rng):
    classes[:] = perturb(classes, int(rng.integers(2**31)), noise=0.02)


def add_boxes(classes, rng):
    classes[:] = perturb(classes, int(rng.integers(2**31)), blobs=int(rng.integers(1, 8)))


def punch(classes, rng):
    classes[:] = perturb(classes, int(rng.integers(2**31)), holes=int(rng.integers(1, 8)))


def add_specks(classes, rng):
    at = [rng.integers(0, size, 40) for size in classes.shape]
    classes[tuple(at)] = rng.integers(1, 12, 40)


def slit(classes, rng):
    axis = int(rng.integers(3))
    start = int(rng.integers(classes.shape[axis]))
    np.moveaxis(classes, axis, 0)[start : start + int(rng.integers(1, 4))] = 0


def cut_end(classes, rng):
    length = int(rng.integers(1, classes.shape[2] // 2))
    classes[:, :, slice(None, length) if rng.random() < 0.5 else slice(-length, None)] = 0


def swap_ends(classes, rng):
    classes[:] = np.roll(classes, int(rng.integers(classes.shape[2])), axis=2)


def flip(classes, rng):
    classes[:] = np.flip(classes, int(rng.integers(3)))


FAULTS = {
    fault.__name__: fault
    for fault in (
        erode, dilate, remove, double, rename, rename_half, join, sprinkle, add_boxes, punch,
        add_specks, slit, cut_end, swap_ends, flip,
    )
}  # fmt: skip


@st.composite
def faulty_spines(draw) -> tuple[np.ndarray, int]:
    """Draw a part of a spine around a landmark, with some faults, and which step it is for."""
    landmark = draw(st.sampled_from([*LANDMARKS]))
    first = max(landmark - draw(st.integers(1, 6)), C1)
    last = min(landmark + draw(st.integers(0, 5)), SACRUM)
    numbers = st.lists(st.integers(first, last), max_size=2).map(tuple)
    seed = draw(st.integers(0, 2**16))
    spine = make_spine(
        first,
        last,
        pitch=draw(st.sampled_from([9.0, 13.0])),
        size=draw(st.sampled_from([0.7, 1.0])),
        missing=draw(numbers),
        merged=draw(numbers),
        missing_vertebrae=draw(numbers),
        seed=seed,
    )
    step = draw(st.sampled_from([1, 2]))
    classes = (spine.step1, spine.step2)[step - 1].copy()
    rng = np.random.default_rng(seed)
    for name in draw(st.lists(st.sampled_from(sorted(FAULTS)), max_size=6)):
        FAULTS[name](classes, rng)
    return classes, step


@settings(max_examples=int(os.environ.get("DEEPSEG_LITE_EXAMPLES", "100")), deadline=None)
@given(faulty_spines())
def test_faulty_spines(original, drawn):
    check(original, *drawn, Rules())


@WHICH_STEP
@pytest.mark.parametrize(("first", "last"), [(1, 9), (1, 25), (6, 14), (17, 25)])
def test_earlier_releases(earlier, first, last, step):
    module, rules = earlier
    spine = make_spine(first, last, missing=(first + 3,))
    assert check(module, (spine.step1, spine.step2)[step - 1], step, rules)


def test_earlier_releases_on_faulty_spines(earlier):
    module, rules = earlier

    @settings(max_examples=int(os.environ.get("DEEPSEG_LITE_EXAMPLES", "30")), deadline=None)
    @given(faulty_spines())
    def compare(drawn):
        check(module, *drawn, rules)

    compare()
