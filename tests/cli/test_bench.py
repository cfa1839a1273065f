"""``deepseg-lite bench``: whole commands, on tiny models."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from xml.etree import ElementTree

import nibabel as nib
import pytest
from helpers.bundles import make_manifest, write_bundle
from helpers.spine import make_spine
from helpers.spine_bundles import image_of, write_bundles

from deepseg_lite.api import calibration
from deepseg_lite.bundles.bundle import read_bundle
from deepseg_lite.engines.engine import Engine
from deepseg_lite.engines.onnxruntime_network import CPU
from deepseg_lite.inference.patches import plan_windows
from deepseg_lite.performance.bench.running import FILES

FLOP = 10**9


@pytest.fixture(autouse=True)
def temporary(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give every command a folder for temporary files, and see that it leaves none of its own."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert not list(folder.glob("deepseg*"))


def write_counted(folder: Path, kind: str = "threshold", **changes: object) -> Path:
    """Write a bundle whose manifest knows the operations of a patch."""
    networks = [{**network, "flop": FLOP} for network in make_manifest(kind)["networks"]]
    return write_bundle(folder, kind, networks=networks, **changes)


def whole_phantom() -> dict:
    """Return a window that takes the phantom as one patch."""
    return {**make_manifest()["sliding_window"], "patch_size": [12, 256, 256]}


def test_it_measures_every_configuration_and_writes_what_it_found(command, tmp_path, image_file):
    model, out = write_counted(tmp_path / "tiny"), tmp_path / "new" / "out"
    before = {file: file.read_bytes() for file in (*model.iterdir(), image_file)}
    ended = command(
        *("bench", model, "-i", image_file, "--device", "cpu", "--threads", "1,2"),
        *("--repeat", 2, "-o", out),
    )
    assert (ended.code, ended.err) == (0, "")
    assert {file: file.read_bytes() for file in (*model.iterdir(), image_file)} == before
    assert sorted(file.name for file in out.iterdir()) == sorted(FILES)
    document = json.loads((out / "bench.json").read_text())
    assert document["errors"] == []
    assert document["images"] == [image_file.name]
    assert str(tmp_path) not in (out / "bench.json").read_text().replace(str(model), "")
    assert [(r["device"], r["precision"], r["threads"]) for r in document["results"]] == [
        ("cpu", "fp32", 1),
        ("cpu", "fp32", 2),
    ]
    row = (out / "row.md").read_text()
    assert row.count("\n") == 3
    assert row.strip() in ended.out
    ElementTree.fromstring((out / "stages.svg").read_text())
    assert set(document["gemm_gflop_per_s"]) == {"1", "2"}


def test_figures_fit_together_and_programs_get_them_as_json(command, tmp_path, image_file):
    model = write_counted(tmp_path / "tiny")
    ended = command("bench", model, "-i", image_file, "--device", "cpu", "--repeat", 1, "--json")
    assert ended.code == 0
    (found,) = json.loads(ended.out)["results"]
    cold, warm = found["cold"], found["warm"]
    for stage in ("import", "load", "read", "preprocess", "network", "restore", "write"):
        assert cold["stages"][stage] > 0
    for stage in ("import", "load"):
        assert warm["stages"][stage]["median"] < cold["stages"][stage]
    assert warm["stages"]["network"]["min"] > 0
    assert sum(cold["stages"].values()) == pytest.approx(cold["seconds"], abs=1e-3)
    assert warm["seconds"]["min"] == warm["seconds"]["median"]
    bundle, shape = read_bundle(model), (12, 17, 18)  # without the image's rim of zeros
    assert found["patches"] == plan_windows(bundle.sliding_window, shape).count
    assert found["image"]["shape"] == [20, 18, 12]
    assert found["image"]["spacing_mm"] == pytest.approx([0.7, 1.1, 2.5])
    assert found["version"] == bundle.version
    rates, network = found["rates"], warm["stages"]["network"]["median"]
    operations = rates["gflop_per_s"] * 1e9 * network
    assert operations == pytest.approx(FLOP * found["patches"], rel=0.01)
    assert rates["volumes_per_h"] == pytest.approx(3600 / warm["seconds"]["median"], rel=0.01)
    assert 1e7 < found["peak_memory"]["cold"] <= found["peak_memory"]["warm"] < 1e10


def test_folds_that_are_opened_in_turn_are_loaded_in_every_pass(command, tmp_path, image_file):
    model = write_counted(tmp_path / "folds", "folds")
    ended = command("bench", model, "-i", image_file, "--device", "cpu", "--repeat", 1, "--json")
    (found,) = json.loads(ended.out)["results"]
    assert found["folds"] == 2
    assert found["warm"]["stages"]["load"]["median"] > 0


def test_without_an_image_every_channel_is_the_phantom(command, tmp_path):
    model = write_bundle(tmp_path / "two", "channels", sliding_window=whole_phantom())
    ended = command("bench", model, "--device", "cpu", "--repeat", 1, "--json")
    document = json.loads(ended.out)
    assert (ended.code, document["images"]) == (0, ["phantom"])
    (found,) = document["results"]
    assert found["image"]["shape"] == [256, 256, 12]
    assert found["patches"] == 1
    assert found["rates"]["gflop_per_s"] is None  # this manifest says nothing of operations


def test_a_model_with_a_workflow_is_measured_too(command, tmp_path):
    image = tmp_path / "spine.nii.gz"
    nib.save(image_of(make_spine()), image)
    model = write_bundles(tmp_path / "bundles")
    ended = command("bench", model, "-i", image, "--device", "cpu", "--repeat", 1, "--json")
    (found,) = json.loads(ended.out)["results"]
    assert found["patches"] > 1
    for stage in ("read", "preprocess", "network", "restore", "write"):
        assert found["warm"]["stages"][stage]["min"] > 0


def test_what_a_patch_takes_is_kept_for_plans(command, tmp_path, image_file):
    model = write_counted(tmp_path / "tiny")
    command("bench", model, "-i", image_file, "--device", "cpu", "--threads", 1, "--repeat", 1)
    (network,) = read_bundle(model).networks
    kept = calibration.lookup(calibration.setup_of(Engine(CPU), 1, network))
    assert kept.seconds > 0
    assert (kept.voxels, kept.flop) == (8**3, FLOP)


def test_engines_are_compared_in_one_command(command, tmp_path, image_file):
    pytest.importorskip("openvino", reason="openvino (the extra openvino) is not installed")
    ended = command(
        *("bench", write_counted(tmp_path / "tiny"), "-i", image_file, "--threads", 1),
        *("--device", "cpu", "--device", "openvino", "--repeat", 1, "--json"),
    )
    first, second = json.loads(ended.out)["results"]
    assert (first["device"], second["device"]) == ("cpu", "openvino")
    assert first["patches"] == second["patches"]
    assert second["rates"]["share_of_gemm"] is not None


def test_a_device_that_is_missing_is_an_error_before_anything_runs(command, tmp_path, image_file):
    out = tmp_path / "out"
    ended = command(
        *("bench", write_counted(tmp_path / "tiny"), "-i", image_file),
        *("--device", "cpu,rocm", "-o", out),
    )
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("error: ROCMExecutionProvider was asked for")
    assert ended.err.count("\n") == 1
    assert not out.exists()


def test_a_model_that_fails_is_named_and_the_others_go_on(command, tmp_path, image_file):
    one, two = write_counted(tmp_path / "one"), write_counted(tmp_path / "two", "channels")
    missing = command("run", "seg_sc_epi", "-i", image_file)
    ended = command(
        *("bench", two, "seg_sc_epi", one, "-i", image_file, "--device", "cpu", "--threads", "1,2"),
        *("--repeat", 1, "--json"),
    )
    assert ended.code == 1
    document = json.loads(ended.out)
    assert [result["model"] for result in document["results"]] == [str(one)] * 2
    first, second, third = document["errors"]
    assert first["error"].startswith(f"{two} on cpu, fp32, 1 thread: 1 images were given")
    assert second["error"].startswith(f"{two} on cpu, fp32, 2 threads: 1 images were given")
    assert third["model"] == "seg_sc_epi"
    assert ended.err == f"error: {first['error']}\nerror: {second['error']}\n{missing.err}"


def test_nothing_is_written_when_nothing_was_measured(command, tmp_path):
    out = tmp_path / "out"
    ended = command("bench", "seg_sc_epi", "-o", out)
    assert (ended.code, ended.out) == (1, "")
    assert not list(out.iterdir())


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--threads", "0"], 2, "0 is not a whole number above 0."),
        (["--threads", "1,x"], 2, "x is not a whole number above 0."),
        (["--device", "cpu,,auto"], 2, "has an empty value"),
        (["--repeat", "0"], 2, "0 is not in the range x>=1"),
        (["--device", "abacus"], 1, "device is 'abacus'; it must be one of auto,"),
        (["--precision", "bf16", "--device", "cpu"], 1, "precision bf16 was asked for"),
    ],
)
def test_options_that_are_wrong_are_named(command, tiny_bundle, options, code, message):
    ended = command("bench", tiny_bundle, *options)
    assert (ended.code, ended.out) == (code, "")
    assert message in ended.err
    assert "Traceback" not in ended.err


def test_results_are_replaced_only_when_asked(command, tmp_path, image_file):
    out = tmp_path / "out"
    out.mkdir()
    (out / "row.md").write_text("mine")
    line = ("bench", write_counted(tmp_path / "tiny"), "-i", image_file, "--device", "cpu")
    ended = command(*line, "-o", out)
    assert (ended.code, ended.out) == (1, "")
    assert (
        ended.err
        == f"error: {out / 'row.md'} exists; add --overwrite or give another output folder.\n"
    )
    assert (out / "row.md").read_text() == "mine"
    assert command(*line, "-o", out, "--repeat", 1, "--overwrite").code == 0
    assert (out / "row.md").read_text().startswith("| DL Model Name")


def test_a_folder_that_cannot_be_made_is_an_error(command, tmp_path, image_file):
    ended = command("bench", write_counted(tmp_path / "tiny"), "-o", image_file / "out")
    assert (ended.code, ended.out) == (1, "")
    assert "cannot be made" in ended.err
    assert ended.err.count("\n") == 1


LISTENING = """\
import signal
from deepseg_lite.cli.group import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by what a shell starts with &
main()
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="children are found in /proc")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_stopped_benchmark_leaves_no_process_and_no_file(tmp_path, image_file, temporary, name):
    out = tmp_path / "out"
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", LISTENING, "bench"),
            *(write_counted(tmp_path / "tiny"), "-i", image_file, "--device", "cpu"),
            *("--repeat", "1000000", "-o", out),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        while not list(temporary.glob(".deepseg-lite.*/results/*.json")):  # the first pass is done
            assert process.poll() is None
            time.sleep(0.02)
        workers = children(process.pid)
        assert workers
        process.send_signal(getattr(signal, name))
        output, errors = process.communicate()
    finally:
        process.kill()
    assert process.returncode not in (0, None)
    assert output == ""
    assert "Traceback" not in errors
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)
    assert not list(out.iterdir())


def children(parent: int) -> list[int]:
    """Return the processes that a process started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            after_name = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it is gone
            continue
        if int(after_name[1]) == parent:
            found.append(int(folder.name))
    return found
