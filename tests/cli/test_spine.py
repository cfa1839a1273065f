"""``deepseg-lite run totalspineseg``, on networks that read a spine off its image."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers.bundles import make_affine, make_manifest, voxels, write_bundle
from helpers.hub import HubServer
from helpers.spine import make_spine
from helpers.spine_bundles import NAMES, image_of, write_bundles

import deepseg_lite
from deepseg_lite.errors import BundleNotFoundError, ImageError, OptionError
from deepseg_lite.store.cache import bundle_directory
from deepseg_lite.workflows.spine.outputs import OUTPUTS

NECK = {1, 2, 11, 50, 63, 64, 65, 66, 67, 71}
NECK_VERTEBRAE = {1, 2, *range(11, 18), 21, 63, 64, 65, 66, 67, 71}


@pytest.fixture(scope="module")
def spine():
    return make_spine(1, 8)


@pytest.fixture
def bundle(tmp_path):
    return write_bundles(tmp_path / "bundles")


@pytest.fixture
def image(tmp_path, spine):
    folder = tmp_path / "images"
    folder.mkdir()
    nib.save(image_of(spine), folder / "t2.nii.gz")
    return folder / "t2.nii.gz"


def run(command, *words):
    """Run, and return the one report and the files by their names."""
    outcome = command("run", *words, "--json")
    assert outcome.code == 0, outcome.err
    (report,) = json.loads(outcome.out)["results"]
    return report, {Path(path).name: nib.load(path) for path in report["outputs"]}


def values(image):
    return set(np.unique(image.dataobj).tolist()) - {0}


def test_the_files_of_sct_with_tables_and_record(command, bundle, image):
    report, files = run(command, bundle, "-i", image)
    assert list(files) == ["t2_totalspineseg_discs.nii.gz", "t2_totalspineseg_all.nii.gz"]
    discs, everything = files.values()
    assert values(discs) == set(range(1, 9))
    assert all((np.asarray(discs.dataobj) == number).sum() == 1 for number in values(discs))
    assert values(everything) == NECK
    for file in files.values():
        assert (file.get_data_dtype(), file.shape) == (np.uint8, nib.load(image).shape)
        np.testing.assert_array_equal(file.affine, nib.load(image).affine)
    stems = [name.removesuffix(".nii.gz") for name in files]
    endings = (".json", ".nii.gz", "_labels.json", "_labels.tsv")
    expected = {f"{stem}{ending}" for stem in stems for ending in endings}
    assert {file.name for file in image.parent.iterdir()} == {"t2.nii.gz", *expected}
    assert [Path(path).name for path in report["tables"]] == sorted(
        (name for name in expected if "_labels" in name), key=lambda n: ("all" in n, "tsv" in n)
    )
    volumes = report["Volumes_mm3"]
    assert list(volumes) == ["totalspineseg_all"]
    count = int((np.asarray(everything.dataobj) == 1).sum())
    assert volumes["totalspineseg_all"]["spinal_cord"] == count
    stages = {"load", "average", "reorient", "resample", "step1_network", "to_input_grid", "write"}
    assert stages < set(report["Seconds"])
    assert not any(stage.startswith("step2") for stage in report["Seconds"])
    assert "Companions" not in report


def test_tables_name_every_value(command, bundle, image):
    run(command, bundle, "-i", image, "--label-vert")
    tables = {}
    for suffix in ("discs", "all"):
        stem = image.with_name(f"t2_totalspineseg_{suffix}_labels")
        with stem.with_suffix(".tsv").open() as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        tables[suffix] = {row["index"]: row["name"] for row in rows}
        assert tables[suffix] == json.loads(stem.with_suffix(".json").read_text())
    assert tables["all"]["50"] == "sacrum"
    assert (tables["all"]["12"], tables["all"]["100"]) == ("vertebrae_C2", "disc_L5_S1")
    assert [tables["discs"][key] for key in ("1", "3", "8", "25")] == [
        "top_of_C1", "C2_C3", "C7_T1", "L5_S1",
    ]  # fmt: skip


def test_label_vert_adds_the_second_step(command, bundle, image):
    report, files = run(command, bundle, "-i", image, "--label-vert")
    discs, everything = files.values()
    assert values(discs) == set(range(1, 9))
    assert values(everything) == NECK_VERTEBRAE
    (second,) = report["Companions"]
    assert second["name"] == NAMES[1]
    assert len(second["networks"]["0"]) == 64
    assert {"step2_network", "step2_labelling"} < set(report["Seconds"])


@pytest.mark.parametrize(
    ("words", "vertebrae"),
    [
        (["-label-vert", "1"], True),
        (["-label-vert", "0"], False),
        (["-step1-only", "1"], False),
        (["-largest", "0", "-r", "1"], False),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_scripts_of_sct_run(command, bundle, image, words, vertebrae):
    outcome = command("run", bundle, "-i", image, *words)
    assert outcome.code == 0, outcome.err
    labels = nib.load(image.with_name("t2_totalspineseg_all.nii.gz"))
    assert values(labels) == (NECK_VERTEBRAE if vertebrae else NECK)
    assert ("-label-vert 1 adds the second" in outcome.err) == ("-step1-only" in words)


def test_every_output_under_the_originals_name(command, bundle, image, spine):
    report, files = run(command, bundle, "-i", image, "--outputs", ",".join(OUTPUTS))
    assert list(files) == [f"t2_{name}.nii.gz" for name in OUTPUTS]
    by_name = dict(zip(OUTPUTS, files.values(), strict=True))
    np.testing.assert_array_equal(by_name["step1_raw"].dataobj, spine.step1)
    np.testing.assert_array_equal(by_name["step2_raw"].dataobj, spine.step2)
    for name, inside in (("step1_canal", (8, 9)), ("step1_cord", (9,))):
        soft = np.asarray(by_name[name].dataobj)
        assert soft.dtype == np.float32
        np.testing.assert_array_equal(soft > 0.5, np.isin(spine.step1, inside))
        assert 0 < soft[soft > 0].min() < 0.5
    assert values(by_name["step1_output"]) == NECK
    assert values(by_name["step2_output"]) == NECK_VERTEBRAE
    tables = {Path(path).name for path in report["tables"]}
    assert "t2_step1_raw_labels.tsv" in tables
    assert "t2_step1_cord_labels.tsv" not in tables
    assert report["Labels"]["step1_raw"]["disc_C2_C3"] == [2]
    assert report["Labels"]["step2_raw"]["sacrum"] == [9]
    assert list(report["Volumes_mm3"]["step1_cord"]) == ["spinal_cord"]


def test_only_what_is_asked_for_is_worked_out(command, bundle, image):
    report, files = run(command, bundle, "-i", image, "--outputs", "step1_cord")
    assert list(files) == ["t2_step1_cord.nii.gz"]
    assert not {"step1_levels", "step2_network"} & set(report["Seconds"])
    report, _ = run(command, bundle, "-i", image, "--outputs", "step2_output")
    assert not {"step1_levels", "step1_soft"} & set(report["Seconds"])


@pytest.mark.parametrize(
    "degrees", [(0.0, 0.0, 0.0), (8.0, -12.0, 20.0)], ids=["straight", "oblique"]
)
def test_iso_leaves_the_1_mm_grid(command, bundle, tmp_path, spine, degrees):
    """An image of small voxels in another orientation, and both grids of its results."""
    source = image_of(spine, np.float32)
    axes = nib.orientations.axcodes2ornt("PSR")
    turned = source.as_reoriented(
        nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), axes)
    )
    data = np.repeat(np.asarray(turned.dataobj), 2, axis=0)
    affine = make_affine("PSR", (0.5, 1.0, 1.0), degrees)
    nib.save(nib.Nifti1Image(data, affine), tmp_path / "big.nii")
    _, on_input = run(command, bundle, "-i", tmp_path / "big.nii", "--outputs", "step1_output")
    _, at_1_mm = run(
        command, bundle, "-i", tmp_path / "big.nii", "--outputs", "step1_output", "--iso",
        "-o", tmp_path / "iso",
    )  # fmt: skip
    (input_image,), (iso_image,) = on_input.values(), at_1_mm.values()
    assert input_image.shape == data.shape
    np.testing.assert_allclose(input_image.affine, affine, atol=1e-5)
    assert nib.aff2axcodes(iso_image.affine) == tuple("RAS")
    np.testing.assert_allclose(iso_image.header.get_zooms(), 1, atol=1e-6)
    assert max(np.abs(np.subtract(iso_image.shape, spine.step1.shape))) <= 1
    assert values(input_image) == values(iso_image) >= {1, 2, 11, 50}
    if not any(degrees):  # a turned grid of 1 mm lies between the voxels and blurs intensities
        assert values(iso_image) == NECK


def test_a_time_series_is_averaged(command, bundle, image, spine):
    data = np.asarray(nib.load(image).dataobj)
    series = np.stack([data, data + 1, data - (data > 0)], axis=-1)
    nib.save(nib.Nifti1Image(series, spine.affine), image.with_name("bold.nii.gz"))
    _, files = run(command, bundle, "-i", image.with_name("bold.nii.gz"))
    _, expected = run(command, bundle, "-i", image)
    for found, single in zip(files.values(), expected.values(), strict=True):
        np.testing.assert_array_equal(found.dataobj, single.dataobj)


def test_one_name_for_one_file_and_its_beginning_for_several(command, bundle, image, tmp_path):
    _, files = run(command, bundle, "-i", image, "-o", tmp_path / "x.nii")
    assert list(files) == ["x_totalspineseg_discs.nii", "x_totalspineseg_all.nii"]
    _, files = run(
        command, bundle, "-i", image, "-o", tmp_path / "y.nii.gz", "--outputs", "step1_levels"
    )
    assert list(files) == ["y.nii.gz"]
    assert (tmp_path / "y_labels.tsv").is_file()


def test_tables_are_not_overwritten_unasked(command, bundle, image):
    table = image.with_name("t2_totalspineseg_all_labels.json")
    table.write_text("mine")
    outcome = command("run", bundle, "-i", image)
    assert outcome.code == 1
    assert f"{table} exists; add --overwrite" in outcome.err
    assert table.read_text() == "mine"
    assert len(list(image.parent.iterdir())) == 2


@pytest.mark.parametrize(
    ("spine_given", "message"),
    [
        (make_spine(10, 13), "no disc could be told by its look"),
        (None, "no spinal canal was found"),
    ],
    ids=["no landmark", "no spine"],
)
def test_no_spine_is_one_line_and_nothing_is_written(command, bundle, image, spine_given, message):
    if spine_given is None:
        made = nib.Nifti1Image(np.full((40, 40, 40), 1, np.int16), np.eye(4))
    else:
        made = image_of(spine_given)
    nib.save(made, image)
    outcome = command("run", bundle, "-i", image)
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith(f"error: {image}: {message}")
    assert outcome.err.count("\n") == 1
    assert outcome.err.endswith(".\n")
    assert [file.name for file in image.parent.iterdir()] == ["t2.nii.gz"]


def test_the_second_bundle_is_needed_for_the_second_step_alone(command, bundle, image):
    shutil.rmtree(bundle.with_name(NAMES[1]))
    assert command("run", bundle, "-i", image).code == 0
    outcome = command("run", bundle, "-i", image, "--label-vert", "--overwrite")
    assert outcome.code == 1
    assert f"totalspineseg needs the bundle {NAMES[1]}, which is another step" in outcome.err
    with pytest.raises(BundleNotFoundError):
        deepseg_lite.load(bundle, device="cpu")(image, outputs=["step2_raw"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--outputs step3", "no output step3; it has step1_raw, step1_canal"),
        ("--outputs step1_raw,step1_raw", "asked for twice"),
        ("--outputs step1_raw --label-vert", "give one of them"),
        ("--soft", "give --outputs step1_cord,step1_canal"),
        ("-thr 0.5", "leave --soft and --threshold out"),
        ("-largest 1", "steps of its own that clean its labels"),
        ("--fill-holes", "steps of its own that clean its labels"),
        ("-remove-small 5", "steps of its own that clean its labels"),
        ("--tta", "trained without mirroring"),
        ("--cropbox", "not cropped around the cord"),
        ("--box-xmin 3", "not cropped around the cord"),
        ("--folds 7", "no fold 7"),
    ],
)
def test_options_that_do_not_fit_are_refused(command, bundle, image, words, message):
    outcome = command("run", bundle, "-i", image, *words.split())
    assert (outcome.code, outcome.out) == (1, "")
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert len(list(image.parent.iterdir())) == 1


@pytest.mark.parametrize("option", ["--label-vert", "--iso", "--outputs step1_raw"])
def test_other_models_have_no_such_options(command, tiny_bundle, image_file, option):
    outcome = command("run", tiny_bundle, "-i", image_file, *option.split())
    assert outcome.code == 1
    assert f"leave {option.split()[0]} out" in outcome.err


def test_in_python_results_come_by_their_names(bundle, image, spine):
    segment = deepseg_lite.load(bundle, device="cpu")
    images = segment(image, label_vert=True)
    assert list(images) == ["step1_levels", "step2_output"]
    data = np.asarray(nib.load(image).dataobj)
    arrays = segment(data, affine=spine.affine, label_vert=True)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, images[name].dataobj)
    seen = []
    segment(nib.load(image), progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] > 1
    np.testing.assert_array_equal(data, np.asarray(nib.load(image).dataobj))


def test_in_python_what_does_not_fit_is_refused(bundle, image, spine):
    segment = deepseg_lite.load(bundle, device="cpu")
    with pytest.raises(OptionError, match="without its affine"):
        segment(np.ones((4, 4, 4)))
    with pytest.raises(OptionError, match="affine goes with arrays only"):
        segment(image, affine=np.eye(4))
    with pytest.raises(OptionError, match="give a nibabel image"):
        segment(np.ones((4, 4, 4)), affine=np.eye(4), iso=True)
    with pytest.raises(ImageError, match="the array has 2 dimensions"):
        segment(np.ones((4, 4)), affine=np.eye(4))
    with pytest.raises(ImageError, match="nothing but zeros"):
        segment(np.zeros((4, 4, 4, 2)), affine=np.eye(4))
    with pytest.raises(ImageError, match="NaN or infinite in 1 of its voxels"):
        segment(np.array([np.nan, 1.0]).reshape(2, 1, 1, 1) * np.ones(2), affine=np.eye(4))
    with pytest.raises(deepseg_lite.Cancelled):
        segment(image, cancel=lambda: True)


def test_the_task_is_found_by_its_names_with_both_bundles(command, image, tmp_path):
    for name in NAMES:
        source = write_bundles(tmp_path / f"of {name}").with_name(name)
        shutil.copytree(source, bundle_directory(name))
    report, _ = run(command, "spine", "-i", image, "--label-vert")
    assert report["Bundle"]["task"] == "totalspineseg"
    info = command("info", "spine").out
    assert "_totalspineseg_all (step2_output with --label-vert)" in info
    assert "totalspineseg.step2" in info


def test_fetching_brings_the_second_bundle_along(command, bundle):
    import threading

    server = HubServer()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        for folder in (bundle, bundle.with_name(NAMES[1])):
            for file in folder.iterdir():
                server.mirror[f"{folder.name}/{file.name}"] = file.read_bytes()
        outcome = command("fetch", "totalspineseg", "--mirror", f"{server.url}/mirror")
        assert outcome.code == 0, outcome.err
    finally:
        server.shutdown()
        server.server_close()
    assert all((bundle_directory(name) / "model.onnx").is_file() for name in NAMES)


def test_a_cascade_records_both_networks(command, tmp_path, image_file):
    """The record of other models of several bundles names all of them, too."""
    write_bundle(tmp_path / "b" / "tiny.first", name="tiny.first")
    window = {
        "patch_size": [8, 8, 8], "stride": [4, 4, 4], "placement": "stride",
        "importance_map": "constant",
    }  # fmt: skip
    cascade = write_bundle(
        tmp_path / "b" / "tiny",
        name="tiny",
        prior={"bundle": "tiny.first", "channels": make_manifest()["inputs"]["channel_names"]},
        preprocessing=[{"step": "crop_to_prior", "safety_factor": [1.0, 1.0, 1.0]}],
        sliding_window=window,
        mirror_axes=[],
    )
    report, files = run(command, cascade, "-i", image_file)
    assert [part["name"] for part in report["Companions"]] == ["tiny.first"]
    assert voxels(image_file.with_name("t2_seg.nii.gz")).shape == next(iter(files.values())).shape
