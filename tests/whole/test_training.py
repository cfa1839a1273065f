"""The shipped model's training and evaluation: what is known of each voxel, and the measures."""

from __future__ import annotations

import hashlib
import importlib
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers.paths import MODELS
from scipy import ndimage

MODEL = MODELS / "sc_gm_t2star"
SHAPE, SPACING = (24, 20, 3), (0.5, 0.75, 4.0)


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch):
    """Import modules of the training folder, which is no package."""
    monkeypatch.syspath_prepend(MODEL / "train")
    return importlib.import_module


@pytest.fixture
def data(tmp_path, load) -> Path:
    """Write small images under the names that the training reads, a few of them turned."""
    images = load("images")
    rng = np.random.default_rng(0)
    cord = np.zeros(SHAPE, np.uint8)
    cord[8:14, 6:12] = 1
    gray = np.zeros(SHAPE, np.uint8)
    gray[10:12, 8:10, :2] = 1

    def write(name: str, array: np.ndarray) -> None:
        path = tmp_path / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(array, np.diag((-SPACING[0], *SPACING[1:], 1))), path)

    def signal() -> np.ndarray:
        smooth = ndimage.gaussian_filter(rng.uniform(0, 900, SHAPE), (2, 2, 0))
        return smooth.astype(np.float32)

    for scan in images.CHALLENGE:
        first = signal()
        write(f"gm_challenge/{scan}_T2starw", first)
        repeated = np.roll(first, (0, 1), (0, 1))
        repeated[..., 1] = rng.uniform(0, 900, SHAPE[:2])  # this slice went wrong
        write(f"gm_challenge/more/{scan}_run-2_T2starw", repeated)
        write(f"gm_challenge/{scan}_T2starw_seg-manual", cord)
        write(f"gm_challenge/{scan}_T2starw_gmseg-manual", gray)
    for image, mask in {**images.CORD_ONLY, **images.GRAY_ONLY}.items():
        write(image, signal())
        write(mask, gray if image in images.GRAY_ONLY else cord)
    for scan in load("anatomy").MASKS:
        write(f"gm_challenge/more/{scan}_T2starw_seg-manual", cord)
        write(f"gm_challenge/more/{scan}_T2starw_gmseg-manual", gray)
    return tmp_path


def test_the_person_left_out_is_in_none_of_the_scans(data, load):
    images = load("images")
    assert images.PERSONS == ("10062", "9418", "9584", "9709")
    everybody = images.read_challenge(data, None)
    assert {person: len(scans) for person, scans in everybody.items()} == {
        "10062": 4,
        "9418": 2,
        "9584": 2,
        "9709": 4,
    }
    for person in images.PERSONS:
        assert set(images.read_challenge(data, person)) == set(images.PERSONS) - {person}


def test_labels_of_a_scan_with_both_masks(data, load):
    images = load("images")
    scan = images.read_scan(data, "sub-9418")
    assert scan.image.shape == scan.labels.shape == SHAPE[::-1]
    assert scan.spacing == (SPACING[1], SPACING[0])
    assert np.bincount(scan.labels.ravel()).tolist() == [1440 - 108, 108 - 8, 8]
    assert scan.labels[0, 8, 10] == images.GRAY
    assert scan.labels[2, 8, 10] == images.WHITE
    assert 0 <= scan.image.min() < scan.image.max() <= 1.5


def test_orientation_of_the_file_does_not_matter(data, load):
    images = load("images")
    before = images.read_scan(data, "sub-9584")
    for kind in ("", "_seg-manual", "_gmseg-manual"):
        path = data / f"gm_challenge/sub-9584_T2starw{kind}.nii.gz"
        image = nib.load(path)
        turned = image.as_reoriented(np.array([[2, -1], [0, 1], [1, -1]]))
        nib.save(nib.Nifti1Image(np.asarray(turned.dataobj), turned.affine), path)
    after = images.read_scan(data, "sub-9584")
    np.testing.assert_array_equal(before.image, after.image)
    np.testing.assert_array_equal(before.labels, after.labels)
    assert before.spacing == after.spacing


def test_masks_of_a_repeated_scan_are_those_of_the_first_where_both_agree(data, load):
    images = load("images")
    first, second = images.read_challenge(data, None)["9418"]
    assert len(second.image) == len(second.labels) == 2  # without the slice that went wrong
    for mine, theirs in zip(second.labels, first.labels[[0, 2]], strict=True):
        np.testing.assert_array_equal(mine, np.roll(theirs, 1, axis=0))


def test_a_repeated_scan_on_another_grid_is_refused(data, load):
    path = data / "gm_challenge/more/sub-9418_run-2_T2starw.nii.gz"
    nib.save(nib.load(path).slicer[1:], path)
    with pytest.raises(ValueError, match=r"sub-9418_run-2_T2starw is not on the grid"):
        load("images").read_challenge(data, None)


@pytest.mark.parametrize("spacing", [(0.5, 0.5), (0.5, 0.8)])
def test_a_movement_between_two_runs_is_found_and_undone(load, spacing):
    registration = load("registration")
    noise = np.random.default_rng(0).standard_normal((80, 60))
    first = ndimage.gaussian_filter(noise, 1.5 / np.array(spacing)).astype(np.float32)
    cord = np.zeros(first.shape, bool)
    cord[35:45, 25:37] = True
    moved = registration.Move((0.8, -1.3), 3.0, (40.0, 31.0), spacing)
    second = registration.forth(first, moved)
    found = registration.register(first, second, cord, spacing)
    np.testing.assert_allclose(found.shift, (0.8, -1.3), atol=0.1)
    assert found.degrees == pytest.approx(3.0, abs=0.3)
    assert found.correlation > 0.99
    inner = np.s_[20:60, 15:45]
    np.testing.assert_allclose(
        registration.back(second, moved)[inner], first[inner], atol=0.05 * np.ptp(first)
    )


def test_a_cord_mask_says_nothing_about_gray_matter_in_it(data, load):
    images = load("images")
    for stack in images.read_cord_only(data):
        assert set(np.unique(stack.labels)) == {images.OUTSIDE, images.CORD_OF_SOME_KIND}


def test_a_gray_matter_mask_leaves_the_cord_around_it_open(data, load, monkeypatch):
    images = load("images")
    monkeypatch.setattr(images, "MAX_WHITE_MATTER_MM", 2.0)
    (stack,) = images.read_gray_only(data)
    assert len(stack.labels) == 2  # the third slice has no mask
    assert set(np.unique(stack.labels)) == {images.OUTSIDE, images.GRAY, images.PERHAPS_WHITE}
    row = stack.labels[0, 8]  # gray matter at x 10 and 11, pixels of 0.5 mm
    assert row[5:17].tolist() == [0, 4, 4, 4, 4, 2, 2, 4, 4, 4, 4, 0]


def test_masks_without_images_become_shapes(data, load):
    anatomy = load("anatomy")
    shapes = anatomy.read_mask_shapes(data)
    assert len(shapes) == len(anatomy.MASKS)
    spine, canal, white, gray = shapes[0].parts.astype(float)
    assert spine.shape == (3, anatomy.SHAPE_PIXELS, anatomy.SHAPE_PIXELS)
    area = anatomy.SHAPE_MM**2
    np.testing.assert_allclose((white + gray).sum((1, 2)) * area, 36 * 0.375, rtol=0.1)
    np.testing.assert_allclose(gray.sum((1, 2)) * area, np.array((4, 4, 0)) * 0.375, rtol=0.25)
    assert ((spine >= canal) & (canal >= white + gray - 1e-6)).all()
    assert shapes[0].thickness_mm == SPACING[2]


def test_a_thick_slab_is_the_mean_of_its_slices(load, monkeypatch):
    anatomy = load("anatomy")
    parts = np.zeros((4, 9, 20, 20), np.float32)
    parts[2, 4, 8:12, 8:12] = 1
    shape = anatomy.Shape(parts, 1.0, (4, 5))
    monkeypatch.setattr(anatomy, "CERVICAL_SHARE", 1.0)
    slabs = [anatomy.draw_slab(shape, np.random.default_rng(seed)) for seed in range(20)]
    peaks = {round(float(slab.max()), 4) for slab in slabs}
    assert max(peaks) == 1
    assert len(peaks) > 3
    assert all(round(1 / peak, 2) in range(1, 7) for peak in peaks if peak > 0.3)


def test_drawn_slices_have_the_labels_of_their_shape_in_any_contrast(load, monkeypatch):
    synthetic = load("synthetic")
    y, x = np.mgrid[:141, :141] - 70
    away = np.hypot(y, x)
    parts = np.stack([away < 30, away < 20, (away < 10) & (away >= 4), away < 4])
    for tissue in range(len(synthetic.TISSUES)):
        shares = np.eye(len(synthetic.TISSUES))[tissue]
        monkeypatch.setattr(synthetic, "TISSUE_SHARES", shares)
        plane, labels = synthetic._draw_slice(
            parts.astype(np.float32), np.random.default_rng(tissue)
        )
        assert plane.shape == labels.shape == (synthetic.CANVAS, synthetic.CANVAS)
        assert np.isfinite(plane).all()
        assert np.bincount(labels.ravel())[1:].tolist() == parts[2:].sum((1, 2)).tolist()


def test_slices_can_be_drawn_of_masks_without_images_alone(data, load, monkeypatch):
    """The template, which these images are too few for, is read and not drawn from."""
    anatomy, synthetic = load("anatomy"), load("synthetic")
    nothing = anatomy.Shape(np.zeros((4, 3, 141, 141), np.float32), 1.0, (0, 3))
    monkeypatch.setattr(synthetic, "read_template", lambda data: nothing)
    for share in (0.0, 1.0):
        labels = synthetic.draw_shapes(data, 8, 5, others_share=share).labels
        assert set(np.unique(labels)) == ({0} if share == 0 else {0, 1, 2})


def test_phantoms_of_the_training_are_not_those_of_the_tests(load):
    synthetic = load("synthetic")
    first, second = synthetic.draw_phantoms(2)
    assert synthetic.FIRST_PHANTOM_SEED > 100
    assert first.image.shape == first.labels.shape == (6, 224, 224)
    assert (first.image != second.image).any()
    assert set(np.unique(first.labels)) == {0, 1, 2}


def test_lost_slices_are_those_with_a_mask_and_nothing_found(load):
    measures = load("measures")
    manual, found = np.zeros((2, 4, 4, 3), bool)
    manual[1, 1, :2] = found[2, 2, 1:] = True
    assert measures.lost_slices(found, manual) == 1
    assert measures.dice(found, manual) == 0
    assert measures.dice(manual, manual) == 1


def test_worst_slice_pieces_outside_and_holes(load):
    measures = load("measures")
    manual, found = np.zeros((2, 40, 40, 3), bool)
    manual[10:15, 10:15, :2] = True
    found[:] = manual
    found[10:15, 10:13, 1] = False
    assert measures.worst_slice(found, manual) == pytest.approx(2 * 10 / 35)
    found[16, 10, 0] = True  # near
    found[30:32, 30, :2] = True  # away, in both slices: one piece
    found[35, 5, 2] = True  # where no cord is marked
    assert measures.strays(found, manual, (1.0, 1.0)) == 1
    assert measures.hole_voxels(found) == 0
    found[12, 12, 0] = False
    assert measures.hole_voxels(found) == 1


def test_the_low_contrast_set_has_faint_fluid_and_thick_slices(load):
    low_contrast = load("low_contrast")
    spacing = (0.4, 0.4, 3.0)
    x, y = (np.mgrid[:80, :70] - 36) * spacing[0]
    away = np.repeat(np.hypot(x, y)[..., None], 10, axis=2)
    signal = np.where(away < 4.5, 300, np.where(away < 8, 600, np.where(away < 11, 50, 400)))
    image = nib.Nifti1Image(signal.astype(np.float32), np.diag((-0.4, 0.4, 3.0, 1)))
    case = image, away < 4.5, away < 2
    faint, cord, gray = low_contrast.make_low_contrast(*case, 1)
    np.testing.assert_allclose(faint.header.get_zooms(), (0.5, 0.5, 5.0), rtol=1e-6)
    assert faint.shape == cord.shape == gray.shape == (64, 56, 6)
    for mask, whole in ((cord, case[1]), (gray, case[2])):
        volume = mask.sum() * 0.5 * 0.5 * 5
        assert volume == pytest.approx(whole.sum() * 0.4 * 0.4 * 3, rel=0.05)
        middles = [
            nib.affines.apply_affine(one.affine, np.argwhere(marked)).mean(axis=0)
            for one, marked in ((faint, mask), (image, whole))
        ]
        np.testing.assert_allclose(*middles, atol=0.1)
    new = np.asarray(faint.dataobj)
    distance = np.hypot(*((np.mgrid[:64, :56] + 0.5) * 0.5 - 36.5 * 0.4))
    fluid = np.median(new[(distance > 5.5) & (distance < 7)])
    assert 1 < fluid / np.median(new[cord]) < 1.25
    np.testing.assert_array_equal(new, low_contrast.make_low_contrast(*case, 1)[0].dataobj)
    assert (new != np.asarray(low_contrast.make_low_contrast(*case, 2)[0].dataobj)).any()


@pytest.mark.parametrize("name", ["noise", "receive", "down", "field", "left"])
def test_a_distortion_keeps_image_and_masks_together(data, load, monkeypatch, name):
    evaluate, distortions = load("evaluate"), load("distortions")
    monkeypatch.setattr(distortions, "CROP_MM", 1.5)
    (distort,) = [
        function for title, function in evaluate.DISTORTIONS.items() if title.startswith(name)
    ]
    case = evaluate.read_case(data, "sub-9418")
    image, cord, gray = distort(*case)
    assert image.shape == cord.shape == gray.shape
    assert (gray <= cord).all()

    def middle(image: nib.Nifti1Image, mask: np.ndarray) -> np.ndarray:
        return nib.affines.apply_affine(image.affine, np.argwhere(mask).mean(axis=0))

    expected = middle(case[0], case[1])
    if name == "left":
        whole = middle(case[0], np.ones(SHAPE, bool))
        expected[0] = 2 * whole[0] - expected[0]
    np.testing.assert_allclose(middle(image, cord), expected, atol=1e-6)
    assert (image.shape != SHAPE) == (name in ("down", "field"))


def test_the_bundle_was_made_from_the_plans_of_the_training():
    manifest = json.loads((MODEL / "bundle" / "manifest.json").read_text(encoding="utf-8"))
    for name in ("plans.json", "dataset.json"):
        digest = hashlib.sha256((MODEL / "train" / name).read_bytes()).hexdigest()
        assert manifest["source"]["files"][name] == digest


@pytest.mark.export
def test_the_loss_ignores_what_the_labels_do_not_say(load):
    torch = pytest.importorskip("torch")
    train, images = load("train"), load("images")
    labels = torch.full((1, 32, 32), images.OUTSIDE)
    labels[:, 8:16, 8:16] = images.CORD_OF_SOME_KIND
    labels[:, 20:28, 20:28] = images.PERHAPS_WHITE
    shares = torch.nn.functional.one_hot(labels, images.LABEL_COUNT).movedim(-1, 1).float()
    logits = torch.full((1, 2, 32, 32), -9.0)
    logits[:, 0, 8:16, 8:16] = 9
    loss = train.loss_of(logits, shares, 1.0)
    unsure = logits.clone()
    unsure[:, 1, 8:16, 8:16] = 9  # gray matter in the cord
    unsure[:, 0, 20:28, 20:28] = 9  # cord around gray matter
    assert train.loss_of(unsure, shares, 1.0) == loss
    wrong = logits.clone()
    wrong[:, 1, 2, 2] = 9  # gray matter outside the cord
    assert train.loss_of(wrong, shares, 1.0) > loss


@pytest.mark.export
def test_every_resolution_counts_in_the_loss(load):
    torch = pytest.importorskip("torch")
    train, images = load("train"), load("images")
    labels = torch.full((1, 32, 32), images.OUTSIDE)
    labels[:, 8:24, 8:24] = images.WHITE
    shares = torch.nn.functional.one_hot(labels, images.LABEL_COUNT).movedim(-1, 1).float()
    right = torch.where(torch.stack((labels > 0, labels > 1), 1), 9.0, -9.0)
    outputs = [right[..., ::step, ::step].contiguous() for step in (1, 2, 4, 8)]
    best = train.loss_of_all(outputs, shares, 1.0)
    for level in range(4):
        wrong = [-logits if i == level else logits for i, logits in enumerate(outputs)]
        assert train.loss_of_all(wrong, shares, 1.0) > best + 1
    assert len(train.build_network("plans.json")(torch.zeros(1, 1, 64, 64))) == 5
    assert len(train.build_network("plans_crop.json")(torch.zeros(1, 1, 64, 64))) == 5
    assert len(train.build_network("plans_find.json")(torch.zeros(1, 1, 64, 64))) == 4


@pytest.mark.export
def test_fluid_fades_to_the_signal_of_the_cord_and_nothing_else_changes(load):
    torch = pytest.importorskip("torch")
    artefacts = load("artefacts")
    cord, image = torch.zeros(2, 1, 64, 64), torch.full((2, 1, 64, 64), 0.2)
    cord[..., 26:38, 26:38] = 1
    image[..., 22:42, 22:42] = 0.9
    image = torch.where(cord > 0, 0.4, image)
    pull = artefacts.pull_fluid(cord, 0.586, 1.0, np.random.default_rng(0))
    faded = artefacts.fade_fluid(image, cord, pull)
    ring = faded[..., 25, 26:38]
    assert (ring < 0.75).all()
    assert (ring > 0.3).all()
    torch.testing.assert_close(faded[cord > 0], image[cord > 0])
    torch.testing.assert_close(faded[..., :10, :10], image[..., :10, :10])


@pytest.mark.export
@pytest.mark.parametrize("name", ["drop_signal", "shade", "move"])
def test_an_artefact_is_in_some_patches_and_repeats_with_the_seed(load, name):
    torch = pytest.importorskip("torch")
    artefacts = load("artefacts")
    image = torch.rand(40, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    once, again = (getattr(artefacts, name)(image, np.random.default_rng(1)) for _ in range(2))
    assert torch.equal(once, again)
    changed = (once != image).any(-1).any(-1).sum()
    assert 0 < changed < 40
    assert (once >= 0).all()


@pytest.mark.export
def test_patches_are_reproducible_and_labelled_everywhere(load):
    torch = pytest.importorskip("torch")
    augmentation, synthetic = load("augmentation"), load("synthetic")
    stacks = synthetic.draw_phantoms(1) * 6
    options = {"framing": augmentation.Framing(0.6, (-0.3, 0.3)), "faded": 0.5, "as_scanned": 0.5}
    batch = augmentation.cut(stacks, 96, np.random.default_rng(3), **options)
    again = augmentation.cut(stacks, 96, np.random.default_rng(3), **options)
    assert batch.image.shape == (6, 1, 96, 96)
    assert torch.equal(batch.image, again.image)
    assert torch.isfinite(batch.image).all()
    assert (batch.image[batch.inside == 0] == 0).all()
    torch.testing.assert_close(batch.shares.sum(1), torch.ones(6, 96, 96))


@pytest.mark.export
def test_fluid_fades_in_patches_that_are_otherwise_as_scanned(load, monkeypatch):
    torch = pytest.importorskip("torch")
    augmentation, images = load("augmentation"), load("images")
    monkeypatch.setattr(augmentation, "_normalize", lambda image, *_: image)
    labels = np.zeros((1, 100, 100), np.uint8)
    labels[0, 40:60, 40:60] = images.WHITE
    signal = np.full((1, 100, 100), 0.9, np.float32)
    signal[labels == images.WHITE] = 0.4
    stack = images.Stack(signal, labels, (0.5, 0.5))

    framing = augmentation.Framing(0.586, (0, 0))

    def cut(faded: float):
        rng = np.random.default_rng(4)
        return augmentation.cut([stack] * 8, 96, rng, framing=framing, faded=faded, as_scanned=1.0)

    plain, faint = cut(0.0), cut(1.0)
    cord = 1 - plain.shares[:, :1]
    ring = (cord == 0) & (torch.nn.functional.max_pool2d(cord, 5, 1, 2) == 1) & (plain.inside > 0)
    assert ring.any()
    assert (plain.image[ring] > 0.8).all()
    assert (faint.image[ring] < 0.8).all()
    torch.testing.assert_close(faint.image[cord == 1], plain.image[cord == 1])


@pytest.fixture
def cord(load):
    """Return the module of augmentation, and a stack with a square cord of 15 mm in a corner."""
    pytest.importorskip("torch")
    augmentation, images = load("augmentation"), load("images")
    labels = np.zeros((1, 200, 200), np.uint8)
    labels[0, 15:45, 15:45] = images.WHITE
    signal = np.full((1, 200, 200), 0.5, np.float32)
    return augmentation, images.Stack(signal, labels, (0.5, 0.5))


def _areas(augmentation, stack, framing) -> np.ndarray:
    rng = np.random.default_rng(0)
    batch = augmentation.cut([stack] * 24, 96, rng, framing=framing, faded=0.0, as_scanned=1.0)
    return (1 - batch.shares[:, 0]).sum((1, 2)).numpy()


@pytest.mark.export
@pytest.mark.parametrize("log_size", [0.4, 0.0, -0.4])
@pytest.mark.parametrize("pixel_mm", [0.45, 1.2])
def test_a_magnified_cord_has_more_pixels(cord, log_size, pixel_mm):
    augmentation, stack = cord
    framing = augmentation.Framing(pixel_mm, (log_size, log_size), around_cord=True)
    expected = (15 / pixel_mm) ** 2 * np.exp(2 * log_size)
    assert np.median(_areas(augmentation, stack, framing)) == pytest.approx(expected, rel=0.15)


@pytest.mark.export
def test_patches_around_the_cord_all_show_it(cord):
    augmentation, stack = cord
    shown = {
        around: _areas(augmentation, stack, augmentation.Framing(0.4, (0, 0), around_cord=around))
        for around in (True, False)
    }
    assert (shown[True] > 0.5 * (15 / 0.4) ** 2).all()
    assert (shown[False] < 0.5 * (15 / 0.4) ** 2).any()


@pytest.mark.export
def test_a_run_that_was_cut_short_ends_as_an_uninterrupted_one(load, tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    train, synthetic = load("train"), load("synthetic")
    monkeypatch.setattr(train, "SAVE_EVERY", 2)
    sources = [train.Source(1.0, synthetic.draw_phantoms(1))]
    show = train.WHOLE._replace(patches=((64, 1),))
    schedule = train.Schedule(show, 4, 1e-3, gray_weight=1.0, faded=0.35, as_scanned=0.0)

    def learn(state: Path, stop_at: int | None = None) -> dict[str, torch.Tensor]:
        def draw(sources, iteration, schedule, rng):
            if iteration == stop_at:
                raise KeyboardInterrupt
            return original(sources, iteration, schedule, rng)

        torch.manual_seed(0)
        monkeypatch.setattr(train, "_draw", draw)
        return train.learn(train.build_network(), sources, schedule, state)

    original = train._draw
    with pytest.raises(KeyboardInterrupt):
        learn(tmp_path / "cut.pt", stop_at=3)
    resumed, whole = learn(tmp_path / "cut.pt"), learn(tmp_path / "whole.pt")
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=1e-3, atol=1e-4)
