"""The command line: what is on which stream, exit codes, and the files it leaves."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers.bundles import make_data, voxels, write_bundle, write_image

import deepseg_lite
from deepseg_lite.api import cases
from deepseg_lite.cli.group import cli
from deepseg_lite.store import catalogue

TRUTH = make_data() > 0.5


def _process(*arguments: object, program: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
    """Run the command line in a fresh interpreter."""
    program = program or (sys.executable, "-m", "deepseg_lite")
    return subprocess.run(
        [*program, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def _image(folder: Path, name: str, seed: int = 0) -> Path:
    folder.mkdir(exist_ok=True)
    return write_image(folder / name, make_data(seed=seed))


def test_a_fresh_process_writes_the_labels_and_prints_their_path(tiny_bundle, image_file):
    done = _process("run", tiny_bundle, "-i", image_file, "--device", "cpu")
    output = image_file.with_name("t2_seg.nii.gz")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{output}\n", "")
    np.testing.assert_array_equal(voxels(output), TRUTH)


def test_the_installed_script_is_the_same_command(tiny_bundle, image_file):
    script = Path(sys.executable).with_name("deepseg-lite")
    if not script.exists():
        pytest.skip("the script is not installed beside this interpreter")
    done = _process("run", tiny_bundle, "-i", image_file, "--json", program=(str(script),))
    assert (done.returncode, done.stderr) == (0, "")
    (result,) = json.loads(done.stdout)["results"]
    assert result["GeneratedBy"][0]["Command"].startswith("deepseg-lite run ")


def test_a_fresh_process_fails_in_one_line(tiny_bundle, tmp_path):
    done = _process("run", tiny_bundle, "-i", tmp_path / "nowhere.nii")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [["-v"], ["-vv"], ["-v", "2"]], ids=" ".join)
def test_what_went_wrong_outside_is_one_line_however_much_is_said(command, tiny_bundle, words):
    """Fault 26: ``-v 2`` of SCT's scripts showed 30 lines of our program."""
    outcome = command("run", tiny_bundle, "-i", "nowhere.nii", *words)
    assert outcome.code == 1
    assert "Traceback" not in outcome.err
    assert outcome.err.endswith(
        "error: nowhere.nii does not exist; give an existing NIfTI image.\n"
    )


def test_debug_shows_the_traceback(command, tiny_bundle):
    outcome = command("run", tiny_bundle, "-i", "nowhere.nii", "--debug")
    assert outcome.code == 1
    assert "Traceback" in outcome.err
    assert "ImageError" in outcome.err
    again = command("run", tiny_bundle, "-i", "nowhere.nii")
    assert "Traceback" not in again.err


@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
def test_a_fault_of_ours_is_one_line_that_asks_for_a_report(command, monkeypatch, debug):
    """Fault 26: tracebacks are for ``--debug``."""

    def fail(tasks):
        return {}["of a catalogue\x1b[2J"]

    monkeypatch.setattr(catalogue, "listing", fail)
    outcome = command("list", *(["--debug"] if debug else []))
    assert outcome.code == 1
    assert ("Traceback" in outcome.err) == debug
    line = outcome.err.splitlines()[-1]
    assert line.startswith("error: a fault of deepseg-lite: KeyError: ")
    assert "Please report it" in line
    assert "\x1b" not in outcome.err


def test_every_command_has_debug(command):
    for name in cli.commands:
        assert "--debug" in command(name, "--help").out


@pytest.mark.parametrize("arguments", [["-h"], ["--help"], ["run", "-h"], ["info", "-h"]], ids=str)
def test_help(command, arguments):
    outcome = command(*arguments)
    assert outcome.code == 0
    assert outcome.out.startswith("Usage: deepseg-lite")


def test_version_names_the_package_and_onnx_runtime(command):
    outcome = command("--version")
    assert outcome.code == 0
    assert outcome.out.startswith(f"deepseg-lite {deepseg_lite.__version__} (onnxruntime")


USAGE = {
    "nothing": ["run"],
    "no-image": ["run", "bundle"],
    "no-such-command": ["walk"],
    "no-such-option": ["run", "bundle", "-i", "x", "--faster"],
    "device": ["run", "bundle", "-i", "x", "--device", "tpu"],
    "threads": ["run", "bundle", "-i", "x", "--threads", "0"],
    "step-zero": ["run", "bundle", "-i", "x", "--step", "0"],
    "step-two": ["run", "bundle", "-i", "x", "--step", "2"],
    "step-text": ["run", "bundle", "-i", "x", "--step", "half"],
    "accumulator": ["run", "bundle", "-i", "x", "--accumulator", "int8"],
    "seed": ["phantom", "x.nii", "--seed", "-1"],
}


@pytest.mark.parametrize("arguments", USAGE.values(), ids=USAGE)
def test_wrong_usage_ends_with_code_2(command, arguments):
    outcome = command(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert "Usage: " in outcome.err


@pytest.mark.parametrize(
    ("output", "written"),
    [
        ([], "images/t2_seg.nii.gz"),
        (["-o", "one.nii"], "one.nii"),
        (["-o", "one.nii.gz"], "one.nii.gz"),
        (["-o", "there"], "there/t2_seg.nii.gz"),
        (["-o", "made/for/it"], "made/for/it/t2_seg.nii.gz"),
        (["-o", "made.for.it"], "made.for.it/t2_seg.nii.gz"),
    ],
    ids=["beside", "nii", "nii.gz", "folder", "new-folder", "folder-with-dots"],
)
@pytest.mark.usefixtures("image_file")
def test_output_is_a_file_or_a_folder(command, tiny_bundle, tmp_path, monkeypatch, output, written):
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path)
    outcome = command("run", tiny_bundle, "-i", "images/t2.nii.gz", *output)
    assert outcome == (0, f"{written}\n", "")
    np.testing.assert_array_equal(voxels(tmp_path / written), TRUTH)
    sidecar = Path(written.replace(".nii.gz", ".nii")).with_suffix(".json")
    assert json.loads((tmp_path / sidecar).read_text())["Sources"] == ["t2.nii.gz"]


def test_several_images_are_several_cases(command, tiny_bundle, tmp_path):
    images = [_image(tmp_path / "in", f"{seed}.nii", seed) for seed in range(3)]
    arguments = [part for image in images for part in ("-i", image)]
    outcome = command("run", tiny_bundle, *arguments, "-o", tmp_path / "out")
    outputs = [tmp_path / "out" / f"{seed}_seg.nii.gz" for seed in range(3)]
    assert outcome == (0, "".join(f"{output}\n" for output in outputs), "")
    for seed, output in enumerate(outputs):
        np.testing.assert_array_equal(voxels(output), make_data(seed=seed) > 0.5)


def test_images_of_the_same_name_need_folders_of_their_own(command, tiny_bundle, tmp_path):
    images = [_image(tmp_path / folder, "t2.nii.gz", seed) for seed, folder in enumerate("pq")]
    arguments = ["run", tiny_bundle, "-i", images[0], "-i", images[1]]
    outcome = command(*arguments, "-o", tmp_path / "out")
    assert (outcome.code, outcome.out) == (1, "")
    assert "2 cases would be written to" in outcome.err
    assert not (tmp_path / "out").exists()
    assert command(*arguments).code == 0
    for seed, image in enumerate(images):
        found = voxels(image.with_name("t2_seg.nii.gz"))
        np.testing.assert_array_equal(found, make_data(seed=seed) > 0.5)


def test_existing_outputs_are_kept_unless_told_otherwise(command, tiny_bundle, image_file):
    output = image_file.with_name("t2_seg.nii.gz")
    output.write_bytes(b"precious")
    outcome = command("run", tiny_bundle, "-i", image_file)
    assert outcome.code == 1
    assert outcome.err == f"error: {output} exists; add --overwrite or give another output.\n"
    assert output.read_bytes() == b"precious"
    assert command("run", tiny_bundle, "-i", image_file, "--overwrite").code == 0
    np.testing.assert_array_equal(voxels(output), TRUTH)


def test_the_input_is_never_replaced(command, tiny_bundle, image_file):
    before = image_file.read_bytes()
    outcome = command("run", tiny_bundle, "-i", image_file, "-o", image_file, "--overwrite")
    assert outcome.code == 1
    assert "is an input and would be replaced" in outcome.err
    assert image_file.read_bytes() == before


@pytest.fixture
def channel_images(tmp_path):
    """Two cases of two channels."""
    return [_image(tmp_path / "in", f"{seed}.nii", seed) for seed in range(4)]


@pytest.fixture
def channel_bundle(tmp_path):
    return write_bundle(tmp_path / "channels", "channels")


def _two_channel_truth(first: int, second: int) -> np.ndarray:
    return make_data(seed=first) + 2 * make_data(seed=second) > 1


@pytest.mark.parametrize("with_case", [False, True], ids=["counted", "case"])
def test_images_are_grouped_into_cases(command, channel_bundle, channel_images, with_case):
    a, b, c, d = channel_images
    arguments = ["-i", a, "-i", b, *(["--case"] if with_case else []), "-i", c, "-i", d]
    outcome = command("run", channel_bundle, *arguments)
    outputs = [image.with_name(f"{image.stem}_seg.nii.gz") for image in (a, c)]
    assert outcome == (0, "".join(f"{output}\n" for output in outputs), "")
    np.testing.assert_array_equal(voxels(outputs[0]), _two_channel_truth(0, 1))
    np.testing.assert_array_equal(voxels(outputs[1]), _two_channel_truth(2, 3))
    record = json.loads(outputs[1].with_name("2_seg.json").read_text())
    assert record["Sources"] == ["2.nii", "3.nii"]


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("i", "1 images were given"),
        ("iii", "3 images were given"),
        ("i/iii", "1 images were given for case 1"),
        ("ii/iii", "3 images were given for case 2"),
        ("/ii", "0 images were given for case 1"),
        ("ii/", "0 images were given for case 2"),
        ("ii//ii", "0 images were given for case 2"),
    ],
)
def test_cases_of_a_wrong_size_are_refused(command, channel_bundle, channel_images, pattern, said):
    """Fault 30: of three images for two channels, "1 images were given"."""
    images = iter([*channel_images, *channel_images])
    arguments = [
        part for sign in pattern for part in (["--case"] if sign == "/" else ["-i", next(images)])
    ]
    outcome = command("run", channel_bundle, *arguments)
    assert outcome.code == 1
    assert f"error: {said}; tiny_channels needs 2 per case" in outcome.err
    assert "in this order: t1, t2" in outcome.err


def test_soft_writes_one_probability_map_per_label(command, tmp_path, image_file):
    bundle = write_bundle(tmp_path / "regions", "regions")
    outcome = command("run", bundle, "-i", image_file, "--soft", "-o", tmp_path / "out")
    paths = [tmp_path / "out" / f"t2_{name}_softseg.nii.gz" for name in ("cord", "gray-matter")]
    assert outcome.out.split() == [str(path) for path in paths]
    for path, limit in zip(paths, (0.25, 0.75), strict=True):
        assert nib.load(path).get_data_dtype() == np.float32
        np.testing.assert_array_equal(voxels(path) > 0.5, make_data() > limit)


@pytest.mark.parametrize(
    ("folds", "limit", "used"), [([], 0.6, "01"), (["--folds", "1"], 0.7, "1"),
                                 (["--folds", "0, 1"], 0.6, "01")], ids=["all", "one", "both"]
)  # fmt: skip
def test_folds_are_chosen(command, tmp_path, image_file, folds, limit, used):
    bundle = write_bundle(tmp_path / "folds", "folds")
    assert command("run", bundle, "-i", image_file, *folds).code == 0
    np.testing.assert_array_equal(
        voxels(image_file.with_name("t2_seg.nii.gz")), make_data() > limit
    )
    record = json.loads(image_file.with_name("t2_seg.json").read_text())
    assert list(record["Bundle"]["networks"]) == list(used)


@pytest.mark.parametrize("folds", ["9", "", "0,"])
def test_unknown_folds_are_refused(command, tiny_bundle, image_file, folds):
    outcome = command("run", tiny_bundle, "-i", image_file, "--folds", folds)
    assert outcome.code == 1
    assert "it has 0" in outcome.err


def test_options_reach_the_record(command, tiny_bundle, image_file):
    options = ["--tta", "--step", "0.75", "--threads", "1", "--accumulator", "float16"]
    outcome = command("run", tiny_bundle, "-i", image_file, *options, "--device", "cpu", "--json")
    (result,) = json.loads(outcome.out)["results"]
    assert result["Settings"] == {
        "step": 0.75,
        "mirror": True,
        "soft": False,
        "ensemble": None,
        "contrasts": [],
        "box": {},
        "strict_crop": False,
        "outputs": [],
        "label_vert": False,
        "iso": False,
        "half_precision_sums": True,
        "skip_empty": False,
        "overlap_cases": True,
        "in_rows": False,
        "threshold": None,
        "keep_largest": None,
        "fill_holes": None,
        "remove_small": [],
        "unit": "vox",
    }
    assert result["Device"]["threads"] == 1


def test_json_is_all_there_is_on_stdout(command, tiny_bundle, image_file):
    outcome = command("run", tiny_bundle, "-i", image_file, "--json", "-v")
    document = json.loads(outcome.out)
    assert document["errors"] == []
    (result,) = document["results"]
    assert result["outputs"] == [str(image_file.with_name("t2_seg.nii.gz"))]
    (sidecar,) = result["sidecars"]
    record = json.loads(Path(sidecar).read_text())
    assert result.items() >= record.items()


def test_json_of_a_failing_case_is_still_json(command, tiny_bundle, tmp_path):
    outcome = command("run", tiny_bundle, "-i", tmp_path / "nowhere.nii", "--json")
    document = json.loads(outcome.out)
    assert outcome.code == 1
    assert document["results"] == []
    (error,) = document["errors"]
    assert error["images"] == [str(tmp_path / "nowhere.nii")]
    assert outcome.err == f"error: {error['error']}\n"


def test_one_failing_case_does_not_stop_the_others(command, tiny_bundle, tmp_path):
    good = [_image(tmp_path / "in", f"{seed}.nii", seed) for seed in (0, 1)]
    bad = tmp_path / "in" / "bad.nii"
    bad.write_bytes(b"not an image")
    outcome = command("run", tiny_bundle, "-i", good[0], "-i", bad, "-i", good[1])
    outputs = [image.with_name(f"{image.stem}_seg.nii.gz") for image in good]
    assert outcome.code == 1
    assert outcome.out == "".join(f"{output}\n" for output in outputs)
    assert outcome.err.startswith(f"error: {bad} ")
    assert outcome.err.count("\n") == 1
    assert all(output.exists() for output in outputs)
    assert not bad.with_name("bad_seg.nii.gz").exists()


@pytest.mark.parametrize(
    ("option", "says"), [([], False), (["-v"], True), (["-q"], False)], ids=str
)
def test_v_says_how_long_the_stages_took(command, tiny_bundle, image_file, option, says):
    outcome = command("run", tiny_bundle, "-i", image_file, *option)
    assert outcome.code == 0
    assert ("predict " in outcome.err) == says
    assert outcome.out.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "says"), [(["-q"], False), ([], False), (["-v"], True)], ids=str
)
def test_remarks_of_libraries_are_for_v(
    command, tiny_bundle, image_file, monkeypatch, options, says
):
    """Fault 30: nibabel's reached stderr with ``-q``."""
    prepare = cases.FileRun.prepare

    def remark(run):
        warnings.warn("a remark of numpy", RuntimeWarning, stacklevel=2)
        logging.getLogger("nibabel.global").warning("a remark of nibabel")
        prepare(run)

    monkeypatch.setattr(cases.FileRun, "prepare", remark)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        outcome = command("run", tiny_bundle, "-i", image_file, *options)
    assert outcome.code == 0
    for library in ("nibabel", "numpy"):
        assert (f"a remark of {library}" in outcome.err) == says


def test_a_name_with_a_line_break_is_told_in_one_line(command, tiny_bundle, tmp_path):
    outcome = command("run", tiny_bundle, "-i", tmp_path / "a\nb.nii")
    assert outcome.err.count("\n") == 1
    assert r"a\nb.nii does not exist" in outcome.err


def test_info_answers_what_people_ask(command, tmp_path):
    bundle = write_bundle(tmp_path / "regions", "regions")
    lines = dict(line.split(":", 1) for line in command("info", bundle).out.splitlines())
    facts = {key: value.strip() for key, value in lines.items()}
    assert facts["name"] == "tiny_regions"
    assert facts["inputs"] == "t2"
    assert facts["labels"] == "cord = 1+2, gray/matter = 2"
    assert facts["license"] == "MIT"
    assert facts["citation"] == "The tests"
    assert facts["parity"] == "not recorded"
    assert facts["size"] == "0.0 MB"


def test_info_says_how_far_other_precisions_agree(command):
    said = command("info", "sc_gm_t2star").out
    assert re.search(r"^precisions: +fp32, int8 \(Dice to fp32 >= 0\.\d{4}\)$", said, re.MULTILINE)


def test_info_shows_the_parity_record(command, tmp_path):
    parity = {"reference": "nnunetv2", "images": 2, "voxels": 9, "differing_voxels": 1,
              "min_dice": 0.9995}  # fmt: skip
    bundle = write_bundle(tmp_path / "b", parity=parity)
    assert (
        "1 of 9 voxels differ from nnunetv2 on 2 images, Dice >= 0.9995"
        in command("info", bundle).out
    )


def test_phantom_writes_an_image_and_its_labels(command, tmp_path):
    image, labels = tmp_path / "new" / "p.nii.gz", tmp_path / "labels.nii.gz"
    outcome = command("phantom", image, "--labels", labels, "--seed", 1)
    assert outcome == (0, f"{image}\n{labels}\n", "")
    assert set(np.unique(voxels(labels))) == {0, 1, 2}
    again = command("phantom", image)
    assert (again.code, again.out) == (1, "")
    assert again.err == f"error: {image} exists; add --overwrite or give another name.\n"
    assert command("phantom", image, "--overwrite").code == 0


def test_a_phantom_has_the_shape_that_is_asked_for(command, tmp_path):
    assert command("phantom", tmp_path / "p.nii.gz", "--shape", 120, 110, 3).code == 0
    assert voxels(tmp_path / "p.nii.gz").shape == (120, 110, 3)
    small = command("phantom", tmp_path / "new" / "q.nii.gz", "--shape", 20, 20, 3)
    assert (small.code, small.out, small.err.count("\n")) == (1, "", 1)
    assert "60 mm each way are needed" in small.err
    assert not (tmp_path / "new").exists()


def test_out_of_memory_is_one_line(command, tiny_bundle, image_file, monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr(cases.FileRun, "prepare", fail)
    outcome = command("run", tiny_bundle, "-i", image_file)
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("error: out of memory; give --max-ram")
    assert outcome.err.count("\n") == 1


REFUSED = {
    "no-bundle": ["run", "no/bundle", "-i", "a.nii"],
    "plan": ["plan", "no/bundle", "-i", "a.nii"],
    "usage": ["run", "bundle", "-i", "a.nii", "--threads", "0"],
    "spelling": ["run", "bundle", "-overwrite"],
}


@pytest.mark.parametrize("arguments", REFUSED.values(), ids=REFUSED)
def test_json_of_what_is_refused_before_it_starts(command, arguments):
    """Fault 30: there was nothing on stdout for a program to read."""
    outcome = command(*arguments, "--json")
    document = json.loads(outcome.out)
    assert outcome.code in (1, 2)
    assert document["cases" if arguments[0] == "plan" else "results"] == []
    (error,) = document["errors"]
    assert error["error"] in outcome.err
    assert error["images"] == (["a.nii"] if outcome.code == 1 else [])


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["sc_gm_t2star", "-i", "x.nii"], "deepseg-lite run TASK -i IMAGE"),
        (["sc_gm_t2s"], "deepseg-lite run TASK -i IMAGE"),
        (["-i", "x.nii", "spinalcord"], "deepseg-lite run TASK -i IMAGE"),
        (["-task", "spinalcord", "-i", "x.nii"], "deepseg-lite run TASK -i IMAGE"),
        (["-list-tasks"], "see deepseg-lite list"),
        (["-verbos"], "did you mean --verbose?"),
        (["info", "x.nii.gz"], "x.nii.gz is an image"),
        (["run", "x.NII", "-i", "y.nii"], "x.NII is an image"),
        (["list", "-json"], "did you mean --json?"),
        (["bench", "-output=x"], "did you mean --output?"),
        (["phantom", "x.nii", "--labels", "--overwrite"], "--labels needs a value behind it"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_meant_is_said(command, arguments, hint):
    """Fault 30."""
    outcome = command(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert hint in outcome.err


@pytest.mark.parametrize(
    ("terminal", "options", "drawn"),
    [(True, [], True), (True, ["-q"], False), (False, [], False)],
    ids=["terminal", "quiet", "no-terminal"],
)
def test_progress_is_drawn_on_a_terminal_only(
    command, tiny_bundle, image_file, monkeypatch, terminal, options, drawn
):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    outcome = command("run", tiny_bundle, "-i", image_file, *options)
    assert outcome.code == 0
    assert ("t2.nii.gz" in outcome.err and "[####" in outcome.err) == drawn
    assert drawn or outcome.err == ""
