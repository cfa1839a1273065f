"""Every nnU-Net release of the catalogue, from its archives to its files, against SCT's steps.

The archives have the official names and layouts with small networks in them
(``tests/helpers/releases.py``). They are downloaded from a server on loopback, exported and run by
the two command lines; each file is compared, voxel by voxel, with what SCT's documented steps
around ``nnUNetPredictor`` give (``sct.py``). Images are real where ``../shared/data`` is there, and
the phantom where it is not.

With half-precision sums, masks of trained networks must agree everywhere. In random ones two
classes are equal, up to the last bit of a half-precision number, in about one of 100,000 voxels;
float32 sums decide many of those otherwise. The soft MS lesion jumps there, too: a fold counts
where it decides for lesion.
"""

from __future__ import annotations

import importlib
import json
import sys
import threading
import types
from functools import cache
from typing import NamedTuple

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner
from helpers import sct_original as sct
from helpers.detector import write_detector
from helpers.hub import HubServer
from helpers.releases import (
    MARKER,
    PADDINGS,
    nnunet_releases,
    test_image,
    variant_of,
    write_release,
)

from deepseg_lite.store.cache import bundle_directory

pytest.importorskip("nnunetv2", reason="the original software is not installed")
pytest.importorskip("onnxscript", reason="the exporter is not installed")

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

RELEASES = {(task.name, release.version): (task, release) for task, release in nnunet_releases()}
CROPPED = [key for key, (_, release) in RELEASES.items() if release.stages[0].crop]
WHOLE = [key for key in RELEASES if key not in CROPPED]
IDS = "-".join
TIED = 2  # voxels in which a network may be undecided
BARS = {True: 1 / 10_000, False: 1 / 300}  # float32 sums, trained or not

CORD, SCI = ("seg_sc_contrast_agnostic", "v3.0"), ("seg_sc_lesion_t2w_sci", "r20240729")
VOTE, CANAL = ("seg_ms_lesion", "r20250909"), ("canal_t2w", "r20241126")
STIR_PSIR = ("seg_sc_ms_lesion_stir_psir", "r20240125")
ROOTLETS, MOUSE = ("seg_spinal_rootlets_t2w", "r20250318"), ("seg_mouse_gm_wm_t1w", "v0.4")
AXIAL = ("seg_sc_ms_lesion_axial_t2w", "r20241111")
SUFFIX_OF_OLD_ROOTLETS = {("seg_spinal_rootlets_t2w", "r20240129"): "seg"}
OPTIONS = [
    (SCI, "--tta", {"test_time_aug": True}),
    (VOTE, "--soft", {"soft_ms_lesion": True}),
    (VOTE, "--single-fold", {"single_fold": True}),
    (STIR_PSIR, "-c psir", {"contrast": "psir"}),
    (CANAL, "-largest 1", {"largest": True}),
    (CANAL, "-fill-holes 1", {"fill_holes": True}),
    (CANAL, "-remove-small 5mm3", {"remove_small": "5mm3"}),
]
MORE_OPTIONS = [
    (VOTE, "-test-time-aug", {"test_time_aug": True}),
    (VOTE, "-soft-ms-lesion -single-fold", {"soft_ms_lesion": True, "single_fold": True}),
    (CORD, "-test-time-aug", {"test_time_aug": True}),
    (AXIAL, "-test-time-aug", {"test_time_aug": True}),
    (ROOTLETS, "-largest 1", {"largest": True}),
    (MOUSE, "-remove-small 1mm3", {"remove_small": "1mm3"}),
    (CANAL, "-remove-small 40", {"remove_small": "40"}),
    (
        SCI,
        "-largest 1 -fill-holes 1 -remove-small 20vox",
        {"largest": True, "fill_holes": True, "remove_small": "20vox"},
    ),
]


class Made(NamedTuple):
    """A release at both ends: the original's model folder, our bundle, and an image for them."""

    model: object
    bundle: object
    image: object


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Make, serve, download and export the archives of a release, each once."""
    import torch

    root, threads = tmp_path_factory.mktemp("releases"), torch.get_num_threads()
    torch.set_num_threads(1)  # networks this small only wait for each other
    with HubServer() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

        @cache
        def make(key):
            from deepseg_export.cli.group import cli

            task, release = RELEASES[key]
            if release.obstacle:
                pytest.skip(release.obstacle)
            place = IDS(key)
            folder = root / place
            archives = write_release(task, release, folder)
            server.mirror |= {f"{place}/{file.name}": file.read_bytes() for file in archives}
            mirror, bundle = f"{server.url}/mirror/{place}", folder / "bundle"
            words = ["task", key[0], "--release", key[1], "--mirror", mirror, "-o", str(bundle)]
            result = CliRunner().invoke(cli, words)
            assert result.exit_code == 0, result.output
            assert not (root / MARKER).exists(), "code of the archive was executed"
            image, _ = test_image(variant_of(task, release))
            nib.save(image, folder / "image.nii.gz")
            return Made(sct.install(archives, folder), bundle, folder / "image.nii.gz")

        yield make
        server.shutdown()
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def reference(made):
    """Return what SCT's steps give for a release, computed once."""

    @cache
    def segment(key, **options):
        pair = made(key)
        rootlets = SUFFIX_OF_OLD_ROOTLETS.get(key, "rootlets")
        image = nib.load(pair.image)
        return sct.segment(pair.model, image, task=key[0], rootlets=rootlets, **options)

    return segment


@pytest.fixture
def compare(made, reference, command, tmp_path, record_property, capfd):
    """Run a release both ways; compare what is written."""

    def run(made, words, half):
        output = tmp_path / f"float{16 if half else 32}"
        sums = ["--accumulator", output.name, "--threads", 1]
        ended = command("run", made.bundle, "-i", made.image, "-o", f"{output}/", *words, *sums)
        assert ended.code == 0, ended.err
        start = "image_"
        return {f.name[len(start) : -7]: nib.load(f) for f in output.glob(f"{start}*.nii.gz")}

    def both(key, words, **options):
        pair = made(key)
        image = nib.load(pair.image)
        expected = reference(key, **options)
        trained = test_image(variant_of(*RELEASES[key]))[1] is not None
        lines = []
        record_property("voxels", sum(array.size for array in expected.values()))
        record_property("trained", trained)
        for half in (True, False):
            found = run(pair, words, half)
            assert set(found) == set(expected)
            for suffix, array in expected.items():
                data = np.asanyarray(found[suffix].dataobj)
                assert data.dtype == array.dtype, suffix
                np.testing.assert_array_equal(found[suffix].affine, image.affine)
                close = 1e-3 if data.dtype.kind == "f" else 0
                differing = int((np.abs(data - array.astype(float)) > close).sum())
                name = f"{suffix} float{16 if half else 32}"
                record_property(name, differing)
                allowed = 0 if trained and data.dtype.kind != "f" else TIED
                lines.append((name, differing, allowed if half else BARS[trained] * array.size))
        with capfd.disabled():
            print(f"\n  {image.shape}:", *(f"{name} {n}" for name, n, _ in lines), end=" ")
        for name, differing, allowed in lines:
            assert differing <= allowed, f"{name}: {differing} voxels differ"
        return expected

    return both


@pytest.mark.parametrize("key", WHOLE, ids=IDS)
def test_files_equal_those_of_sct(key, compare):
    _, release = RELEASES[key]
    needs_contrast = "c" in release.options
    words, options = (["-c", "stir"], {"contrast": "stir"}) if needs_contrast else ([], {})
    expected = compare(key, words, **options)
    suffixes = [output.suffix for output in release.outputs if output.option is None]
    assert sorted(expected) == sorted(suffixes)
    for output in release.outputs:
        if output.option is None:
            values = len(release.stages[0].labels) + 1 if output.kind == "labels" else 2
            assert len(np.unique(expected[output.suffix])) == values, "a label is nowhere"


@pytest.mark.parametrize(
    ("key", "words", "options"),
    [
        pytest.param(key, words, options, id=f"{IDS(key)} {words}", marks=marks)
        for cases, marks in ((OPTIONS, ()), (MORE_OPTIONS, pytest.mark.slow))
        for key, words, options in cases
    ],
)
def test_options_equal_those_of_sct(key, words, options, compare, reference):
    expected = compare(key, words.split(), **options)
    plain = reference(key)
    assert any(
        suffix not in plain or (array != plain[suffix]).any() for suffix, array in expected.items()
    ), "an option that changes nothing proves nothing"


def test_folds_that_vote_are_not_folds_averaged(made, reference):
    pair = made(VOTE)
    averaged = sct.predict(pair.model, ("0", "1", "2", "3", "4"), nib.load(pair.image))
    assert (reference(VOTE)["lesion_seg"] != averaged).any(), (
        "this test could not tell one from the other"
    )


# Models of volumes that sc-crop cut out: with all six faces of the box given, nothing is detected.


@pytest.mark.parametrize("key", CROPPED, ids=IDS)
def test_cropped_models_equal_sct_within_a_given_box(key, compare):
    task, release = RELEASES[key]
    shape = test_image(variant_of(task, release))[0].shape
    box = tuple((1 + axis, size - 3 - axis) for axis, size in enumerate(shape))
    words = [
        part
        for axis, faces in zip("xyz", box, strict=True)
        for end, index in zip(("min", "max"), faces, strict=True)
        for part in (f"-box-{axis}{end}", str(index))
    ]
    expected = compare(key, words, box=box)
    for array in expected.values():
        outside = array.copy()
        outside[tuple(slice(first, last + 1) for first, last in box)] = 0
        assert array.any()
        assert not outside.any()


@pytest.mark.parametrize("key", CROPPED, ids=IDS)
def test_cropped_models_equal_sct_within_the_box_sc_crop_finds(
    key, compare, made, command, tmp_path, monkeypatch
):
    """The detections are those of a stand-in network; all else between image and box is sc-crop's.

    ``test_cord_crop.py`` compares how detections are made.
    """
    pytest.importorskip("sc_crop", reason="the original software is not installed")
    pytest.importorskip("cv2", reason="OpenCV is not installed")
    box = original_box(nib.load(made(key).image), PADDINGS, monkeypatch)
    write_detector(bundle_directory("sc_crop"))
    faces = tuple((box[f"{axis}min"], box[f"{axis}max"]) for axis in "xyz")
    compare(key, [], box=faces)
    output = tmp_path / "cropbox"
    image = made(key).image
    ended = command("run", made(key).bundle, "-i", image, "-o", f"{output}/", "--cropbox")
    assert ended.code == 0, ended.err
    expected = tmp_path / "expected.nii.gz"
    importlib.import_module("sc_crop").save_bbox_nifti(box, nib.load(image), str(expected))
    mask = np.asanyarray(nib.load(output / "image_cropbox.nii.gz").dataobj)
    np.testing.assert_array_equal(mask, np.asanyarray(nib.load(expected).dataobj))
    assert 0 < mask.sum() < mask.size


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(key, id=IDS(key), marks=() if task.exportable == release else pytest.mark.slow)
        for key, (task, release) in RELEASES.items()
    ],
)
def test_networks_written_without_torch_are_those_that_torch_exports(key, made, tmp_path):
    """The bar is 1e-6 of the largest output, in ONNX Runtime."""
    from deepseg_export.network.verify import open_session, padded, run
    from deepseg_export.tasks.export import Supply, export_task

    pair = made(key)
    other = export_task(
        key[0],
        tmp_path / "bundle",
        release=key[1],
        supply=Supply([pair.bundle.parent]),
        choices={"with_torch": True},
    )
    records = [json.loads((path / "manifest.json").read_text()) for path in (pair.bundle, other)]
    for record, against in zip(records, ("numpy", "torch"), strict=True):
        assert {check["against"] for check in record["export"]["checks"]} == {against}
    patch = [
        size for size in records[0]["sliding_window"]["patch_size"] if size > 1
    ]  # 2-D: 1 first
    channels = len(records[0]["inputs"]["channel_names"])
    noise = np.random.default_rng(0).standard_normal((2, channels, *patch), np.float32)
    batch = np.concatenate([noise[:1], padded(noise[1:])])
    for network in records[0]["networks"]:
        found, expected = (
            run(open_session((path / network["path"]).read_bytes()), batch)
            for path in (pair.bundle, other)
        )
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def original_box(image, paddings, monkeypatch):
    """Return the box of sc-crop, by face, for the detections of the stand-in network."""
    import onnxruntime
    from helpers.detector import FILES
    from helpers.paths import DATA

    from deepseg_lite.bundles.detector import read_detector
    from deepseg_lite.workflows.cord import find

    original = importlib.import_module("sc_crop.crop")
    session = onnxruntime.InferenceSession(DATA / FILES["detector"])
    settings = read_detector(write_detector(bundle_directory("stand_in"))).settings

    def infer_slices(_model, slices, order, *_, **__):
        pictures = np.stack([slices[order.index(z)] for z in range(len(order))])
        return find.detect(
            pictures, lambda batch: session.run(None, {"images": batch})[0], settings
        )

    fake = types.SimpleNamespace(YOLO=lambda *_, **__: None)
    monkeypatch.setitem(sys.modules, "ultralytics", fake)
    monkeypatch.setattr(original, "infer_slices", infer_slices)
    download = importlib.import_module("sc_crop.download")
    monkeypatch.setattr(download, "ensure_cls_model", lambda: DATA / FILES["classifier"])
    return original.detect(
        image, model_path="stand-in", **{f"pad_{face}": mm for face, mm in paddings.items()}
    )
