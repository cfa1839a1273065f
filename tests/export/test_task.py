"""Exports by the name of a task, from the download to the bundle in the cache."""

from __future__ import annotations

import json
import shutil
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
from deepseg_export import exporting
from deepseg_export.errors import CheckpointError, UnsupportedError, VerificationError
from deepseg_export.families.monai import lightning
from deepseg_export.network.verify import Agreement
from deepseg_export.tasks.everything import Outcome, export_all
from deepseg_export.tasks.export import Supply, export_task
from deepseg_export.tasks.pins import pin_file
from helpers.hub import HubServer
from helpers.ivadomed_models import make_onnx, make_settings
from helpers.ivadomed_models import write_model as write_ivadomed
from helpers.monai_models import write_lightning
from helpers.nnunet_models import write_zip
from helpers.tasks import RETIRED, TASK, UNSUPPORTED, add_task

from deepseg_lite import load
from deepseg_lite.bundles.bundle import read_bundle
from deepseg_lite.errors import BundleNotFoundError, NetworkError, OptionError, OutputError
from deepseg_lite.store import cache, download, transfer
from deepseg_lite.store.tasks import find_bundle
from deepseg_lite.volume import Volume

pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("dynamic_network_architectures")

pytestmark = pytest.mark.export

LEVEL = "nnUNetTrainer__nnUNetPlans__2d"
FOLDS = TASK.replace(
    '[["https://example.org/two.zip", "https://example.com/two.zip"]]',
    '[["https://example.org/fold0.zip"], ["https://example.org/fold1.zip"]]',
)
LABELS = {"labels": {"background": 0, "cord": 1}}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with HubServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def nothing_but_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the addresses of the task files from being asked."""
    answer = transfer._answer

    def answer_of_loopback(request: Any, meter: Any) -> Any:
        if request.host.split(":")[0] != "127.0.0.1":
            raise URLError("no such host")
        return answer(request, meter)

    monkeypatch.setattr(transfer, "_answer", answer_of_loopback)


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a catalogue of one task, of one archive."""
    monkeypatch.setattr("deepseg_lite.store.tasks.models_directory", lambda: tmp_path / "catalogue")
    add_task(tmp_path / "catalogue", "tiny", kind=None)
    return tmp_path / "catalogue"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the check out; test_bundle has it."""
    monkeypatch.setattr(exporting, "check_direct", lambda *_: Agreement(1e-6, 1e-7))


@pytest.fixture
def archive(make_model: Any, tmp_path: Path) -> Path:
    """Write the official archive of the task."""
    model = make_model(name=LEVEL, dataset=LABELS)
    return write_zip(tmp_path / "two.zip", model, "wrapper/")


def manifest_of(bundle: Path) -> dict[str, Any]:
    return json.loads((bundle / "manifest.json").read_text())


def serve(server: HubServer, *files: Path) -> str:
    server.mirror |= {f"x/{file.name}": file.read_bytes() for file in files}
    return f"{server.url}/mirror/x"


def left() -> list[str]:
    """Return every file below the cache."""
    files = (file for file in cache.home().rglob("*") if file.is_file())
    return sorted(file.relative_to(cache.home()).as_posix() for file in files)


def test_a_task_is_downloaded_exported_and_found_by_its_name(models, server, archive):
    mirror = serve(server, archive)
    assert export_task("TINY-T2-W", supply=Supply(mirror=mirror)) == cache.bundle_directory("tiny")
    bundle, task = find_bundle("tiny", models)
    assert (bundle.name, bundle.version, task.name) == ("tiny", "r2", "tiny")
    manifest = manifest_of(bundle.path)
    assert manifest["source"]["urls"] == [f"{mirror}/two.zip"]
    assert (manifest["source"]["license"], manifest["source"]["citation"]) == (
        "MIT",
        "Nobody; Nowhere",
    )
    assert manifest["inputs"]["contrasts"] == [["t2"]]
    assert manifest["outputs"]["files"] == [{"suffix": "cord", "kind": "mask", "labels": ["cord"]}]
    card = (bundle.path / "README.md").read_text()
    assert "- Contrasts: t2\n" in card
    assert "- File `_cord`: mask, cord\n" in card
    assert left() == [
        "bundles/tiny/README.md",
        "bundles/tiny/manifest.json",
        "bundles/tiny/model.onnx",
        "pins/tiny/r2.json",
    ]


def test_a_release_that_is_named_has_a_bundle_of_its_own(models, archive, tmp_path):
    path = export_task("tiny", release="r2", supply=Supply([archive]))
    assert path == cache.bundle_directory("tiny-r2")
    assert read_bundle(path).name == "tiny-r2"
    other = export_task(
        "tiny", tmp_path / "out", supply=Supply([archive]), choices={"folds": ["0"]}
    )
    assert (other, read_bundle(other).name) == (tmp_path / "out", "tiny")
    assert "urls" not in manifest_of(other)["source"]


def test_downloads_stay_when_asked_for_and_serve_offline(models, server, archive):
    supply = Supply(mirror=serve(server, archive), keep_downloads=True)
    export_task("tiny", supply=supply)
    assert [name for name in left() if "two.zip" in name] == [
        "downloads/tiny/r2/two.zip",
        "downloads/tiny/r2/two.zip.json",
    ]
    server.requests.clear()
    path = export_task("tiny", supply=Supply(offline=True), force=True)
    assert manifest_of(path)["source"]["urls"] == [f"{server.url}/mirror/x/two.zip"]
    assert server.requests == []


def test_a_download_that_broke_is_gone_on_with(models, server, archive, monkeypatch):
    mirror = serve(server, archive)
    server.faults["two.zip"] = ["cut"]
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    with pytest.raises(NetworkError, match="cut off"):
        export_task("tiny", supply=Supply(mirror=mirror))
    export_task("tiny", supply=Supply(mirror=mirror))
    first, second = (asked for _, _, asked in server.requests)
    assert (first, second) == (None, f"bytes={archive.stat().st_size // 2}-")
    assert left()[-1] == "pins/tiny/r2.json"


def test_retired_tasks_export_when_named(models, archive):
    add_task(models, "old", RETIRED, kind=None)
    assert read_bundle(export_task("old", supply=Supply([archive]))).name == "old"


def test_what_cannot_run_is_refused_before_any_download(models, server, archive):
    mirror = serve(server, archive)
    text = TASK.replace('version = "r1"', 'version = "r1"\nobstacle = "nobody knows how"')
    add_task(models, "tiny", text, kind=None)
    with pytest.raises(UnsupportedError, match="tiny r1 cannot be exported: nobody knows how"):
        export_task("tiny", release="r1", supply=Supply(mirror=mirror))
    with pytest.raises(OptionError, match="no release r9"):
        export_task("tiny", release="r9", supply=Supply(mirror=mirror))
    with pytest.raises(BundleNotFoundError, match=r"tinny is not a task \(closest: tiny"):
        export_task("tinny")
    shutil.copytree(cache.models_directory() / "sc_gm_t2star", models / "sc_gm_t2star")
    with pytest.raises(OptionError, match=r"sc_gm_t2star [\d.]+ ships with deepseg_lite"):
        export_task("sc_gm_t2star")
    export_task("tiny", supply=Supply(mirror=mirror))
    server.requests.clear()
    with pytest.raises(OutputError, match="exists"):
        export_task("tiny", supply=Supply(mirror=mirror))
    assert server.requests == []


def test_a_model_in_the_place_of_one_that_ships(models, make_model):
    text = "\n".join(line for line in TASK.splitlines() if not line.startswith("archives"))
    add_task(models, "shipped", text, kind=None)
    assert read_bundle(export_task("shipped", supply=Supply([make_model(dataset=LABELS)])))


@pytest.mark.parametrize("given", ["zips", "folder", "folder of releases", "folders"])
def test_folds_in_archives_of_their_own(models, make_model, tmp_path, given):
    add_task(models, "folds", FOLDS, kind=None)
    marker = tmp_path / "marker"
    releases = tmp_path / "all" / ("folds/r2" if given == "folder of releases" else "")
    releases.mkdir(parents=True)
    sources = []
    for fold in "01":
        model = make_model(root=tmp_path / fold, name=LEVEL, folds=(fold,), dataset=LABELS)
        (model / "trainer_class.py").write_text(f"open({str(marker)!r}, 'w')")
        archive = write_zip(releases / f"fold{fold}.zip", model, f"fold{fold}/")
        sources.append(model if given == "folders" else archive)
    if given in ("folder", "folder of releases"):
        sources = [tmp_path / "all"]
    path = export_task("folds", supply=Supply(sources))
    bundle = read_bundle(path)
    assert [network.fold for network in bundle.networks] == ["0", "1"]
    assert set(bundle.manifest["source"]["files"]) == {
        "plans.json",
        "dataset.json",
        "fold_0/checkpoint_final.pth",
        "fold_1/checkpoint_final.pth",
    }
    assert not marker.exists()
    archives = json.loads(pin_file("folds", "r2").read_text())["archives"]
    assert set(archives) == (set() if given == "folders" else {"fold0.zip", "fold1.zip"})


def test_another_model_under_the_same_release_is_refused(models, make_model, archive, tmp_path):
    path = export_task("tiny", supply=Supply([archive]))
    before = (path / "manifest.json").read_bytes()
    export_task("tiny", supply=Supply([archive]), force=True)
    other = make_model(root=tmp_path / "other", name=LEVEL, dataset={**LABELS, "numTraining": 6})
    with pytest.raises(CheckpointError, match=r"dataset\.json of tiny r2 has SHA-256"):
        export_task("tiny", supply=Supply([other]), force=True)
    assert (path / "manifest.json").read_bytes() == before
    export_task("tiny", supply=Supply([other], repin=True), force=True)
    export_task("tiny", supply=Supply([other]), force=True)


def test_disagreements_are_told(models, make_model, caplog):
    export_task("tiny", supply=Supply([make_model(name=LEVEL)]))
    assert "labels: the archive says sc=1, the catalogue expected cord=1" in caplog.text


def test_a_cropped_release(models, make_model, caplog):
    add_task(
        models,
        "cropped",
        TASK.replace('family = "nnunet"', 'family = "nnunet"\ncrop = true'),
        kind=None,
    )
    model = make_model(name=LEVEL, dataset=LABELS)
    with pytest.raises(CheckpointError, match=r"cropped r2 needs crop_metadata\.json"):
        export_task("cropped", supply=Supply([model]))
    faces = ("superior", "inferior", "left", "right", "anterior", "posterior")
    paddings = {f"pad_{face}": 10 for face in faces}
    (model / "crop_metadata.json").write_text(json.dumps(paddings))
    caplog.set_level("INFO")
    path = export_task("cropped", supply=Supply([model]))
    assert "deepseg-export cord-detector" in caplog.text
    assert manifest_of(path)["cord_crop"]["padding_mm"] == dict.fromkeys(faces, 10)
    assert "Cut first to the box around the cord" in (path / "README.md").read_text()
    assert "crop_metadata.json" in json.loads(pin_file("cropped", "r2").read_text())["files"]


def test_an_ivadomed_release_keeps_what_its_archive_says(models, server, tmp_path, caplog):
    text = TASK.replace('"nnunet"', '"ivadomed"\nlayout = {{ weights = ["pt"] }}')
    add_task(models, "slices", text, kind=None)
    steps = {"keep_largest": {}, "binarize_prediction": {"thr": 0.5}}
    settings = make_settings(classes=2, postprocessing=steps)
    model = write_ivadomed(tmp_path / "model_x", settings, onnx=make_onnx(classes=2))
    archive = write_zip(tmp_path / "two.zip", model, "model_x-r2/")
    caplog.set_level("INFO")
    path = export_task("slices", supply=Supply(mirror=serve(server, archive)))
    manifest = manifest_of(path)
    assert (manifest["source"]["family"], manifest["version"]) == ("ivadomed", "r2")
    assert [file["suffix"] for file in manifest["outputs"]["files"]] == ["seg-manual", "gm"]
    steps = [step["step"] for step in manifest["postprocessing"]]
    assert steps == ["limit", "keep_largest", "binarize"]
    assert manifest["inputs"]["contrasts"] == [["t2"]]
    for line in (
        "files: the archive says _seg-manual (mask), _gm (mask), the catalogue expected _cord",
        "weights: the archive says model_x.json, model_x.onnx, the catalogue expected .pt",
    ):
        assert line in caplog.text
    assert "labels:" not in caplog.text
    pinned = json.loads(pin_file("slices", "r2").read_text())["files"]
    assert set(pinned) == {"model_x.json", "model_x.onnx"}


CASCADE = """
[[releases.stages]]
name = "cord"
model = "model_cord"
archives = [["https://example.org/r2.zip"]]
labels = [{{ name = "sc", values = [1] }}]

[[releases.stages]]
name = "tumor"
model = "model_tumor"
archives = [["https://example.com/r2.zip"]]
crop_to = {{ stage = "cord" }}
labels = [{{ name = "seg-manual", values = [1] }}]
"""


@pytest.fixture
def cascade(models, tmp_path):
    """Add a task of two models; return the folder of their archives, of the same name."""
    head = TASK.split("[[releases]]", 1)[0]
    text = f"""{head}[[releases]]
version = "r2"
changes = "First release."
family = "ivadomed"
outputs = [{{{{ suffix = "seg-manual", kind = "mask" }}}}]
{CASCADE}"""
    add_task(models, "tumor", text, kind=None)
    first = make_settings(volume=True, postprocessing={"binarize_prediction": {"thr": 0.5}})
    second = make_settings(
        volume=True,
        object_detection_params={"object_detection_path": "/x", "safety_factor": [1, 1, 1]},
        transformation={"Resample": {"hspace": 0.75, "wspace": 0.5, "dspace": 2}},
        postprocessing={"binarize_prediction": {"thr": 0.5}},
    )
    folder = tmp_path / "archives" / "tumor" / "r2"
    for name, settings in (("cord", first), ("tumor", second)):
        model = write_ivadomed(tmp_path / f"m_{name}", settings, onnx=make_onnx(axes=3))
        (folder / name).mkdir(parents=True)
        write_zip(folder / name / "r2.zip", model, f"m_{name}-r2/")
    return folder.parents[1]


def test_a_cascade_gives_a_bundle_for_each_model(cascade, server, tmp_path, rng, caplog):
    folder = cascade / "tumor" / "r2"
    for name in ("cord", "tumor"):
        server.mirror[f"c/{name}/r2.zip"] = (folder / name / "r2.zip").read_bytes()
    path = export_task("tumor", supply=Supply(mirror=f"{server.url}/mirror/c"))
    assert path == cache.bundle_directory("tumor")
    assert cache.bundle_directory("tumor.cord").is_dir()
    assert manifest_of(path)["prior"] == {"bundle": "tumor.cord", "channels": ["T2star"]}
    assert "prior" not in manifest_of(cache.bundle_directory("tumor.cord"))
    pinned = json.loads(pin_file("tumor", "r2").read_text())["files"]
    assert set(pinned) == {
        *(f"cord/m_cord.{end}" for end in ("json", "onnx")),
        *(f"tumor/m_tumor.{end}" for end in ("json", "onnx")),
    }
    assert not (cache.home() / "downloads").exists() or not any(
        (cache.home() / "downloads").iterdir()
    )
    image = rng.normal(100, 30, (40, 36, 20)).astype("float32")
    found = load("tumor", device="cpu")(image, affine=np.diag([0.75, 0.5, 2, 1]))
    assert found.shape == (1, *image.shape)
    assert 0 < found.sum() < found.size


def test_sources_of_a_cascade_are_told_apart(cascade, tmp_path):
    folder = cascade / "tumor" / "r2"
    both = [folder / name / "r2.zip" for name in ("cord", "tumor")]
    path = export_task("tumor", tmp_path / "a" / "x", supply=Supply(both))
    assert sorted(found.name for found in path.parent.iterdir()) == ["tumor.cord", "x"]
    export_task("tumor", tmp_path / "b" / "x", supply=Supply([cascade]))
    with pytest.raises(OptionError, match=r"is 2 models \(cord, tumor\), and --from gives 1"):
        export_task("tumor", tmp_path / "c" / "x", supply=Supply(both[:1]))
    with pytest.raises(OptionError, match="--prior"):
        export_task("tumor", tmp_path / "d" / "x", supply=Supply(both[::-1]))
    assert not (tmp_path / "c").exists()
    assert not (tmp_path / "d").exists()
    outcomes = export_all(tmp_path / "e", supply=Supply([cascade]))
    (outcome,) = (outcome for outcome in outcomes if outcome.task == "tumor")
    assert (outcome.failed, outcome.result) == (False, str(tmp_path / "e" / "tumor"))


def test_a_lightning_release_is_treated_as_its_toolbox_did(models, tmp_path, monkeypatch, caplog):
    features = (2, 2, 2, 2, 2, 4)
    monkeypatch.setattr(lightning, "FEATURES", {4: features})
    monkeypatch.setattr(lightning, "_NEWEST_OF_FEATURES", {4: "6.5"})
    text = TASK.replace('"nnunet"', '"monai"').replace("since 7.0", "6.3")
    add_task(models, "agnostic", text, kind=None)
    folder = tmp_path / "model"
    folder.mkdir()
    write_lightning(folder / "best_model_loss.ckpt", features)
    archive = write_zip(tmp_path / "two.zip", folder, "model/")
    manifest = manifest_of(export_task("agnostic", supply=Supply([archive])))
    assert manifest["source"]["details"]["sct"] == "6.3"
    assert manifest["preprocessing"][1]["mode"] == "constant"
    assert [step["step"] for step in manifest["postprocessing"]] == ["binarize"]
    assert manifest["outputs"]["files"] == [{"suffix": "seg", "kind": "mask", "labels": ["sc"]}]
    assert "files: the archive says _seg (mask), the catalogue expected _cord (mask)" in caplog.text


def test_options_of_another_family_are_refused(models, tmp_path):
    add_task(models, "slices", TASK.replace('"nnunet"', '"ivadomed"'), kind=None)
    with pytest.raises(OptionError, match="r2 is a model of ivadomed, which has no --folds; leave"):
        export_task("slices", supply=Supply([tmp_path]), choices={"folds": ["0"]})


def test_separate_archives_are_the_networks_of_one_bundle(models, server, tmp_path):
    text = FOLDS.replace('"nnunet"', '"ivadomed"\nensemble = "mean_output"')
    add_task(models, "seeds", text, kind=None)
    for fold, kind in enumerate(("Sigmoid", "HardSigmoid")):
        graph = make_onnx(onnx.helper.make_node(kind, ["features"], ["result"]), axes=3)
        model = write_ivadomed(tmp_path / f"seed{fold}", make_settings(volume=True), onnx=graph)
        archive = write_zip(tmp_path / f"fold{fold}.zip", model, "model-r2/")
        server.mirror[f"seeds/{archive.name}"] = archive.read_bytes()
    path = export_task("seeds", supply=Supply(mirror=f"{server.url}/mirror/seeds"))
    manifest = manifest_of(path)
    assert [network["path"] for network in manifest["networks"]] == ["fold_0.onnx", "fold_1.onnx"]
    assert manifest["ensemble"] == "mean_output"
    assert len(manifest["source"]["urls"]) == 2
    pinned = json.loads(pin_file("seeds", "r2").read_text())["files"]
    assert set(pinned) == {f"{i}/seed{i}.{kind}" for i in (0, 1) for kind in ("json", "onnx")}
    image = np.random.default_rng(4).normal(size=(40, 36, 20)).astype(np.float32)
    volume = Volume.from_array(image, np.diag([1, 1, 2, 1]))
    each = [load(path, folds=[fold], device="cpu").segment(volume).data for fold in ("0", "1")]
    np.testing.assert_allclose(
        load(path, device="cpu").segment(volume).data, np.mean(each, axis=0), atol=1e-6
    )
    assert np.abs(each[0] - each[1]).max() > 0.01


@pytest.mark.parametrize("error", [VerificationError("differs"), KeyboardInterrupt()])
def test_a_failure_leaves_the_download_and_nothing_else(
    models, server, archive, monkeypatch, error
):
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(exporting, "check_direct", fail)
    with pytest.raises(type(error)):
        export_task("tiny", supply=Supply(mirror=serve(server, archive)))
    assert left() == ["downloads/tiny/r2/two.zip", "downloads/tiny/r2/two.zip.json"]
    assert not (cache.home() / "bundles").exists()


@pytest.mark.parametrize("name", ["../evil.json", "/evil.json"])
def test_hostile_archives_leave_nothing(models, server, tmp_path, name):
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as file:
        file.writestr(name, b"evil")
    with pytest.raises(CheckpointError, match="outside the archive"):
        export_task("tiny", supply=Supply([tmp_path / "two.zip"]))
    assert left() == []


def test_all_goes_on_after_a_failure(models, archive, tmp_path, monkeypatch):
    add_task(models, "later", TASK.replace("/two.zip", "/later.zip"), kind=None)
    add_task(models, "never", UNSUPPORTED, kind=None)
    add_task(models, "old", RETIRED, kind=None)
    add_task(models, "broken", TASK.replace("/two.zip", "/broken.zip"), kind=None)
    text = "\n".join(line for line in TASK.splitlines() if not line.startswith("archives"))
    add_task(models, "shipped", text, kind="threshold")
    (tmp_path / "broken.zip").write_bytes(b"junk")
    output = tmp_path / "out"
    outcomes = export_all(output, supply=Supply([tmp_path]))
    assert [(o.task, o.release, o.path, o.failed) for o in outcomes] == [
        ("broken", "r2", "direct", True),
        ("later", "r2", "direct", True),
        ("never", "r2", "", False),
        ("old", "r2", "direct", False),
        ("shipped", "r2", "", False),
        ("tiny", "r2", "direct", False),
    ]
    results = {outcome.task: outcome.result for outcome in outcomes}
    assert "broken.zip is not a readable zip file" in results["broken"]
    assert results["later"] == f"failed: later.zip not in {tmp_path}."
    assert results["never"] == "nobody knows how"
    assert results["old"] == str(output / "old")
    assert results["shipped"] == "in the wheel"
    assert read_bundle(output / "tiny").name == "tiny"
    again = export_all(output, supply=Supply([tmp_path]))
    assert Outcome("tiny", "r2", f"there already: {output / 'tiny'}", path="direct") in again

    def fail(*_: Any) -> None:
        raise RuntimeError("a bug\nin two lines")

    monkeypatch.setattr(exporting, "check_direct", fail)
    forced = export_all(output, supply=Supply([tmp_path]), force=True)
    assert Outcome("tiny", "r2", "failed: a bug", failed=True, path="direct") in forced
    assert read_bundle(output / "tiny").name == "tiny"
