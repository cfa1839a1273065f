"""Finding the cord's box, cropping and putting back against sc-crop, part by part and whole.

What Ultralytics does between the pictures and the detections is compared where it is installed.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
import types
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers.bundles import ORIENTATIONS, make_affine
from helpers.nnunet_original import DATA
from hypothesis import given, settings
from hypothesis import strategies as st

from deepseg_lite.bundles.detector import DetectorSettings
from deepseg_lite.nifti.reading import read_volume
from deepseg_lite.steps.box import FACES, box_mask, crop_to_box
from deepseg_lite.steps.frame import to_frame
from deepseg_lite.volume import Volume
from deepseg_lite.workflows.cord import find, letterbox
from deepseg_lite.workflows.cord.faces import header_spacing, pad_box, truncated_faces

pytest.importorskip("sc_crop", reason="the original software is not installed")
cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
original = importlib.import_module("sc_crop.crop")
qc = importlib.import_module("sc_crop.qc")

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

GRID = (1.0, 1.0, 10.0)
DEFAULT_PADDING = {
    "superior": 40.0, "inferior": 100.0, "left": 15.0, "right": 15.0, "anterior": 15.0,
    "posterior": 22.0,
}  # fmt: skip
IMAGES = sorted(
    path.relative_to(DATA)
    for folder in ("sct_testing", "sct_tutorial", "fmri", "gm_challenge")
    for path in (DATA / folder).glob("*.nii.gz")
    if not any(part in path.name for part in ("seg", "mask", "10062Ses2", "9418"))
)
REAL = pytest.mark.parametrize("image", IMAGES or [None], ids=str)
KINDS = ("int16", "uint8", "uint16", "int32", "float32", "float64", "scaled")


def make_settings(**changes) -> DetectorSettings:
    return DetectorSettings(
        **{
            "slice_spacing_mm": 10.0,
            "in_plane_spacing_mm": 1.0,
            "percentiles": (0.5, 99.5),
            "image_size": 320,
            "letterbox": "minimum_rectangle",
            "confidence": 0.1,
            "regularization": "cls",
            "classifier_threshold": 0.5,
            "padding_mm": DEFAULT_PADDING,
            **changes,
        }
    )


def open_real(image: Path | None) -> nib.Nifti1Image:
    if image is None:
        pytest.skip("no real images are here")
    return nib.load(DATA / image)


def make_image(folder: Path, kind: str, affine: np.ndarray, shape, seed: int = 0):
    """Write random voxels and load them, so that types and headers are those of files."""
    rng = np.random.default_rng(seed)
    smooth = rng.normal(size=shape).cumsum(0).cumsum(1).cumsum(2)
    data = 200 * (smooth - smooth.min()) / (np.ptp(smooth) + 1e-9)
    if kind == "scaled":
        image = nib.Nifti1Image(data.astype(np.float32) * 0.37, affine)
        image.set_data_dtype(np.int16)
    else:
        image = nib.Nifti1Image((data + 30).astype(kind), affine)
    nib.save(image, folder / "image.nii.gz")
    return nib.load(folder / "image.nii.gz")


def as_volume(image) -> Volume:
    """Return an image as `find_cord` wants it: in its stored type."""
    volume = read_volume([image], ["image"])
    return Volume(np.asanyarray(image.dataobj)[None], volume.affine, volume.spacing)


def original_world(image):
    las = original.reorient_to_las(image)
    resampled = original.resample_for_inference(las, 10.0, 1.0)
    return resampled.get_fdata(dtype=np.float32)


def original_detect(image, **options):
    """Return the original's box by face; None where it ends in an exception."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return original.detect(image, **options)
    except Exception:
        return None


def check_pictures(image):
    expected = original_world(image)
    volume = as_volume(image)
    las, _ = to_frame(Volume(volume.data, volume.affine, header_spacing(volume)), "LAS", "xyz")
    found = find.resample_to_world(las, GRID)
    np.testing.assert_array_equal(found, expected)
    slices, order = original.build_slices(expected, 3, "slice_all")
    assert order == list(range(len(slices)))[::-1]
    np.testing.assert_array_equal(find.slice_pictures(found, (0.5, 99.5)), np.stack(slices[::-1]))


@REAL
def test_pictures_of_real_images(image):
    check_pictures(open_real(image))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_pictures_of_every_orientation(tmp_path, orientation):
    affine = make_affine(orientation, (0.8, 1.3, 4.4))
    check_pictures(make_image(tmp_path, "int16", affine, (23, 31, 12)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(40, 30, 21), (40, 30, 1), (1, 30, 40), (2, 2, 2)], ids=str)
def test_pictures_of_every_type_and_of_few_slices(tmp_path, kind, shape):
    check_pictures(make_image(tmp_path, kind, make_affine("PSR", (0.5, 0.9, 3.3)), shape))


@pytest.mark.parametrize("orientation", ["LAS", "RPI", "AIL"])
def test_pictures_of_images_that_are_not_resampled(tmp_path, orientation):
    sizes = {"L": 1.005, "R": 0.995, "A": 1.0, "P": 1.0, "S": 10.0, "I": 9.995}
    affine = make_affine(orientation, tuple(sizes[code] for code in orientation))
    check_pictures(make_image(tmp_path, "int16", affine, (23, 31, 12)))


@settings(max_examples=200, deadline=None)
@given(
    size=st.tuples(*[st.integers(1, 400)] * 2),
    new_size=st.tuples(*[st.integers(1, 400)] * 2),
    seed=st.integers(0, 2**16),
)
def test_resizing_is_opencvs(size, new_size, seed):
    picture = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    expected = cv2.resize(picture, new_size[::-1], interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(letterbox.resize_bilinear(picture, *new_size), expected)


@settings(max_examples=60, deadline=None)
@given(size=st.tuples(*[st.integers(1, 600)] * 2), seed=st.integers(0, 2**16))
def test_the_classifiers_pictures(size, seed):
    picture = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    expected = original._letterbox_cls(picture, 320)
    found = letterbox.to_batch(letterbox.letterbox_centred(picture, 320))
    np.testing.assert_array_equal(found, expected)


SIDE = st.floats(-0.25, 1.25, width=32)
DETECTIONS = st.dictionaries(
    st.integers(0, 20), st.tuples(SIDE, SIDE, SIDE, SIDE), min_size=1, max_size=12
)


class Answers:
    """A classifier, for both sides, that knows how cord-like each slice is by its number."""

    def __init__(self, answers):
        self.answers = answers

    def __call__(self, batch):
        middle = batch.shape[2] // 2
        number = round(float(batch[0, 1, middle, middle]) * 255)
        return np.array([[1 - self.answers[number], self.answers[number]]], np.float32)

    def get_inputs(self):
        return [types.SimpleNamespace(name="images")]

    def run(self, outputs, feed):
        return [self(next(iter(feed.values())))]


@settings(max_examples=150, deadline=None)
@given(
    found=DETECTIONS,
    answers=st.lists(st.sampled_from([0.0, 0.3, 0.4999, 0.5, 1.0]), min_size=21, max_size=21),
    threshold=st.sampled_from([0.3, 0.5, 1.0]),
)
def test_the_classifier_drops_the_same_slices(found, answers, threshold):
    pictures = np.repeat(np.arange(21, dtype=np.uint8), 16 * 16 * 3).reshape(21, 16, 16, 3)
    sheets = list(pictures[::-1])
    model = Answers(answers)
    with contextlib.redirect_stdout(io.StringIO()):
        expected = original.cls_comp_filter(found, sheets, list(range(21))[::-1], model, threshold)
    options = make_settings(classifier_threshold=threshold)
    assert find.keep_above_first_cord(found, pictures, model, options) == expected


@settings(max_examples=400, deadline=None)
@given(
    heights=st.sets(st.integers(0, 9), min_size=1),
    steps=st.lists(st.floats(-0.125, 0.125, width=32), min_size=40, max_size=40),
)
def test_jumps_are_trimmed_alike(heights, steps):
    rows = iter(np.cumsum(np.reshape(steps, (10, 4)), axis=0).tolist())
    found = {z: tuple(next(rows)) for z in sorted(heights)}
    with contextlib.redirect_stdout(io.StringIO()):
        expected = original.graphtrim_superior_filter(found, 210, 170, 1.0, 1.0, 10.0)
    assert find.trim_jumps(found, (210, 170), GRID) == expected


@settings(max_examples=200, deadline=None)
@given(
    found=DETECTIONS,
    shape=st.tuples(*[st.integers(1, 300)] * 3),
    spacing=st.floats(0.25, 12, width=32),
)
def test_detections_become_the_same_voxels(found, shape, spacing):
    expected = original.aggregate_bbox_3d(found, *shape, spacing / 10.0)
    las = Volume(np.zeros((1, *shape), np.uint8), np.eye(4), (1.0, 1.0, spacing))
    (x1, x2), (y1, y2), (z1, z2) = find.around(found, las, 10.0)
    assert (x1, x2, y1, y2, z1, z2) == (
        expected.rl1, expected.rl2, expected.ap1, expected.ap2, expected.z1, expected.z2,
    )  # fmt: skip


@pytest.fixture
def given_detections(monkeypatch):
    """Let both sides find the same detections, without any detector."""
    monkeypatch.setitem(
        sys.modules, "ultralytics", types.SimpleNamespace(YOLO=lambda *a, **k: None)
    )

    def compare(image, detections, padding=DEFAULT_PADDING, regularization="none"):
        monkeypatch.setattr(original, "infer_slices", lambda *a, **k: dict(detections))
        monkeypatch.setattr(find, "detect", lambda *a: dict(detections))
        expected = original_detect(
            image,
            model_path="none.onnx",
            regularization=regularization,
            **{f"pad_{face}": mm for face, mm in padding.items()},
        )
        volume = as_volume(image)
        options = make_settings(regularization=regularization)
        box = find.find_cord(volume, None, None, options)
        if expected is None:
            assert box is None
            return None, None, volume
        box = pad_box(box, padding, volume)
        assert box.faces == {face: expected[face] for face in FACES}
        return box, expected, volume

    return compare


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_boxes_padding_cropping_and_putting_back(tmp_path, given_detections, orientation):
    rng = np.random.default_rng(3)
    image = make_image(tmp_path, "int16", make_affine(orientation, (0.8, 1.3, 4.4)), (63, 51, 42))
    compared = 0
    for _ in range(12):
        heights = rng.choice(5, 3, replace=False).tolist()
        detections = {z: tuple(rng.uniform(0.1, 0.6, 4).tolist()) for z in heights}
        padding = dict(zip(DEFAULT_PADDING, rng.choice([0, 2.1, 4, 8.8], 6), strict=True))
        box, expected, volume = given_detections(image, detections, padding)
        if box.is_empty:
            continue
        compared += 1
        cropped, record = crop_to_box(volume, box)
        assert record is not None
        original_crop = original.crop(image, expected)
        np.testing.assert_array_equal(cropped.data[0], np.asarray(original_crop.dataobj))
        np.testing.assert_array_equal(cropped.affine, original_crop.affine)
        labels = (rng.random(cropped.shape) > 0.5).astype(np.uint8)
        labels[rng.integers(cropped.shape[0]) :] = 0
        whole = original.uncrop(nib.Nifti1Image(labels, cropped.affine), expected)
        np.testing.assert_array_equal(record.undo(labels), np.asarray(whole.dataobj))
        assert truncated_faces(record.undo(labels), box) == qc.check_seg_truncation(whole, expected)
        qc.save_bbox_nifti(expected, image, tmp_path / "box.nii.gz")
        written = np.asarray(nib.load(tmp_path / "box.nii.gz").dataobj)
        np.testing.assert_array_equal(box_mask(box, volume.shape), written)
    assert compared > 3


@pytest.mark.parametrize("regularization", ["none", "graphtrim"])
@REAL
def test_boxes_in_real_images(given_detections, image, regularization):
    image, rng = open_real(image), np.random.default_rng(5)
    for count in range(1, 8):
        heights = rng.choice(25, count, replace=False).tolist()
        detections = {z: tuple(rng.uniform(0, 1, 4).tolist()) for z in heights}
        given_detections(image, detections, regularization=regularization)


@pytest.mark.parametrize("size", [0.3, 0.44, 0.55, 0.7, 0.8, 0.9, 1.1])
def test_padding_is_rounded_as_with_the_headers_spacing(tmp_path, given_detections, size):
    """Spacings are float32, which makes 21 mm / 0.7 mm more than 30."""
    padding = dict.fromkeys(DEFAULT_PADDING, 30 * size)
    for affine in (np.diag([-size, size, size, 1]), make_affine("LAS", (size,) * 3)):
        image = make_image(tmp_path, "uint8", affine, (90, 90, 90))
        given_detections(image, {1: (0.5, 0.5, 0.1, 0.1), 3: (0.5, 0.5, 0.1, 0.1)}, padding)


@pytest.mark.parametrize(
    "detections",
    [{}, {0: (np.nan, 0.5, 0.1, 0.1)}, {0: (0.5, 0.5, 0.1, 0.1), 2: (0.5, 0.5, 0.1, np.inf)}],
    ids=["none", "nan", "infinite"],
)
def test_no_box_where_the_original_fails(tmp_path, given_detections, detections):
    image = make_image(tmp_path, "uint8", np.diag([-1.0, 1, 2, 1]), (30, 30, 20))
    box, expected, _ = given_detections(image, detections)
    assert box is expected is None


# With Ultralytics, from the image to the box.


@pytest.fixture(scope="module")
def yolo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ultralytics")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("YOLO_CONFIG_DIR", str(folder))
        patch.setenv("YOLO_OFFLINE", "true")
        patch.setenv("YOLO_AUTOINSTALL", "false")
        patch.setenv("YOLO_VERBOSE", "false")
        yield pytest.importorskip("ultralytics", reason="Ultralytics is not installed").YOLO


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory):
    """Return the files of the stand-in networks, and what opens one."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx", reason="the stand-in networks need the onnx package")
    from helpers import detector as stand_in_detector

    folder = tmp_path_factory.mktemp("stand_ins")
    made = {
        "minimum_rectangle": stand_in_detector.detector(),
        "square": stand_in_detector.detector(320),
        "classifier": stand_in_detector.classifier(),
    }
    for name, content in made.items():
        (folder / f"{name}.onnx").write_bytes(content)

    def open_network(path):
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return lambda batch: session.run(None, {"images": np.ascontiguousarray(batch)})[0]

    return folder, open_network


def original_detections(yolo, path, pictures):
    order = list(range(len(pictures)))[::-1]
    with contextlib.redirect_stdout(io.StringIO()):
        return original.infer_slices(
            yolo(path, task="detect"), list(pictures[::-1]), order, 0.1, "cpu", 320
        )


@pytest.mark.parametrize("size", [(53, 211), (320, 320), (700, 90), (2, 40), (181, 217)], ids=str)
@pytest.mark.parametrize("kind", ["minimum_rectangle", "square"])
def test_detections_in_random_pictures(yolo, stand_ins, kind, size):
    folder, open_network = stand_ins
    rng = np.random.default_rng(7)
    pictures = np.stack([rng.integers(0, top, (*size, 3), np.uint8) for top in range(120, 256, 15)])
    pictures[:, :, size[1] // 2 :] //= 2
    path = folder / f"{kind}.onnx"
    expected = {}
    for z, picture in enumerate(pictures):  # a static network takes one at a time
        for box in original_detections(yolo, path, picture[None]).values():
            expected[z] = box
    found = find.detect(pictures, open_network(path), make_settings(letterbox=kind))
    assert len(found) > 1
    assert found == expected


TENTH = np.float32(0.1)
ABOVE = np.nextafter(TENTH, np.float32(1))
ROWS = {
    "exactly the threshold": [[10, 20, 30, 40, TENTH, 0]],
    "just above": [[10, 20, 30, 40, ABOVE, 0]],
    "ties": [[10, 20, 30, 40, 0.7, 0], [1, 2, 3, 4, 0.7, 0]],
    "not sorted": [[10, 20, 30, 40, 0.3, 0], [1, 2, 3, 4, 0.7, 0]],
    "confidence is no number": [[10, 20, 30, 40, np.nan, 0], [1, 2, 3, 4, 0.5, 0]],
    "out of range": [[-50, -70, 900, 800, 0.9, 0]],
    "beside the picture": [[500, 500, 900, 900, 0.9, 0]],
    "inside out": [[200, 100, 50, 40, 0.9, 0]],
    "in the padding": [[0, 0, 3, 5, 0.9, 0]],
    "another class": [[10, 20, 30, 40, 0.9, 1], [1, 2, 3, 4, 0.5, 0]],
    "nothing": [[0, 0, 0, 0, 0, 0]],
}


@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
def test_adversarial_detections(yolo, stand_ins, tmp_path, rows):
    from helpers import detector as stand_in_detector

    _, open_network = stand_ins
    path = tmp_path / "rows.onnx"
    path.write_bytes(stand_in_detector.constant_detector(rows))
    for size in ((107, 83), (240, 61), (320, 320)):
        pictures = np.zeros((2, *size, 3), np.uint8)
        found = find.detect(pictures, open_network(path), make_settings())
        assert found == original_detections(yolo, path, pictures)


def check_whole(image, folder, open_network, regularization):
    detector, classifier = folder / "minimum_rectangle.onnx", folder / "classifier.onnx"
    expected = original_detect(
        image, model_path=str(detector), regularization=regularization, device="cpu",
        **{f"pad_{face}": 0 for face in DEFAULT_PADDING},
    )  # fmt: skip
    volume = as_volume(image)
    box = find.find_cord(
        volume,
        open_network(detector),
        open_network(classifier),
        make_settings(regularization=regularization),
    )
    if expected is None:
        assert box is None
    else:
        assert box.faces == {face: expected[face] for face in FACES}
    return box


@pytest.fixture
def original_finds_the_classifier(monkeypatch, stand_ins):
    path = stand_ins[0] / "classifier.onnx"
    for module in (original, importlib.import_module("sc_crop.download")):
        if hasattr(module, "ensure_cls_model"):
            monkeypatch.setattr(module, "ensure_cls_model", lambda: path)


@pytest.mark.usefixtures("yolo", "original_finds_the_classifier")
@pytest.mark.parametrize("regularization", ["cls", "graphtrim", "none"])
@REAL
def test_end_to_end_on_real_images(stand_ins, image, regularization):
    check_whole(open_real(image), *stand_ins, regularization)


@pytest.mark.usefixtures("yolo", "original_finds_the_classifier")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("orientation", ["LAS", "RPI", "SRP", "PIL"])
def test_end_to_end_on_random_images(stand_ins, tmp_path, orientation, kind):
    image = make_image(tmp_path, kind, make_affine(orientation, (0.8, 1.3, 4.4)), (63, 51, 42))
    assert check_whole(image, *stand_ins, "cls") is not None
