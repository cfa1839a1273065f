"""Every model in ``models/``: complete, unchanged and usable."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import numpy as np
import pytest
from helpers.paths import MODELS

from deepseg_lite.bundles.bundle import Bundle, read_bundle
from deepseg_lite.bundles.files import read_network
from deepseg_lite.bundles.task_file import read_task
from deepseg_lite.engines.onnxruntime_network import CPU, OnnxNetwork
from deepseg_lite.engines.predictors import PatchPredictor
from deepseg_lite.store.tasks import list_tasks

SECTIONS = (
    "Task and labels",
    "Input expectations",
    "Source",
    "Conversion",
    "Agreement with the original",
    "Limits",
)
DIRECTORIES = sorted(file.parent for file in MODELS.glob("*/task.toml"))
BUNDLED = [directory for directory in DIRECTORIES if (directory / "bundle").is_dir()]
MAX_BYTES = 12e6  # of everything that ships in the wheel, which is a zip

every_task = pytest.mark.parametrize("directory", DIRECTORIES, ids=lambda path: path.name)
every_bundle = pytest.mark.parametrize("directory", BUNDLED, ids=lambda path: path.name)


def _bundle(directory: Path) -> Bundle:
    return read_bundle(directory / "bundle")


def _card(directory: Path) -> str:
    return (directory / "README.md").read_text(encoding="utf-8")


def _check_sections(card: str) -> None:
    parts = re.split(r"^## (.+)$", card, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert [name for name in sections if name in SECTIONS] == list(SECTIONS)
    assert all(sections[name].strip() for name in SECTIONS)


def test_one_model_ships():
    assert "sc_gm_t2star" in [directory.name for directory in BUNDLED]


def test_every_directory_is_a_task():
    assert sorted(path for path in MODELS.iterdir() if path.is_dir()) == DIRECTORIES


def test_names_and_aliases_are_there_once():
    names = [
        name
        for task in list_tasks(MODELS)
        for name in {text.casefold().replace("-", "_") for text in (task.name, *task.aliases)}
    ]
    assert sorted(names) == sorted(set(names))


def test_shipped_files_are_small():
    files = [file.read_bytes() for file in MODELS.rglob("*") if file.is_file()]
    assert sum(len(zlib.compress(data)) for data in files) < MAX_BYTES


@every_task
def test_a_task_is_named_as_its_directory(directory):
    assert read_task(directory).name == directory.name


@every_task
def test_a_task_says_what_it_is_and_under_which_terms(directory):
    task = read_task(directory)
    assert task.description.endswith(".")
    assert task.license or "pass the weights on" in _card(directory)


@every_task
def test_releases_have_files_unless_the_bundle_ships(directory):
    task = read_task(directory)
    stages = [stage for release in task.releases for stage in release.stages]
    assert all(stage.archives for stage in stages) or directory in BUNDLED
    assert all(stage.orientation for stage in stages)


@every_task
def test_what_supersedes_a_task_is_another_active_one(directory):
    active = {task.name for task in list_tasks(MODELS) if not task.is_retired}
    assert set(read_task(directory).superseded_by) <= active - {directory.name}


@every_task
def test_the_card_has_its_sections_in_order_and_none_is_empty(directory):
    _check_sections(_card(directory))


@every_task
def test_the_card_names_every_release_and_output(directory):
    task, card = read_task(directory), _card(directory)
    assert card.startswith(f"# {task.name}")
    for release in task.releases:
        assert release.version in card
        for url in (url for stage in release.stages for m in stage.archives for url in m):
            assert f"({url})" in card
    for output in task.releases[0].outputs:
        assert f"_{output.suffix}.nii.gz`" in card
    words = " ".join(card.replace("\n- ", "\n").replace("\\*", "*").split())
    for fact in (
        () if directory in BUNDLED else (*task.unverified, *(each.text for each in task.citations))
    ):
        assert fact in words


@every_bundle
def test_networks_are_the_ones_of_the_manifest(directory):
    bundle = _bundle(directory)
    for file in bundle.files:
        assert len(read_network(bundle, file)) == file.size


@every_bundle
def test_a_bundle_holds_nothing_else(directory):
    bundle = _bundle(directory)
    expected = {"manifest.json", "README.md", *(file.path for file in bundle.contents)}
    folder = directory / "bundle"
    files = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    assert files == expected


@every_bundle
def test_the_bundle_has_the_same_sections(directory):
    _check_sections((directory / "bundle" / "README.md").read_text(encoding="utf-8"))


@every_bundle
def test_the_card_names_every_label_and_network(directory):
    bundle = _bundle(directory)
    card = (directory / "bundle" / "README.md").read_text(encoding="utf-8")
    for label in bundle.outputs.labels:
        assert re.search(rf"\b{re.escape(label.name)}\b", card)
    for network in bundle.networks:
        assert network.path in card


@every_bundle
def test_the_export_was_checked(directory):
    bundle = _bundle(directory)
    checks = {check["fold"]: check for check in bundle.manifest["export"]["checks"]}
    assert set(checks) == {network.fold for network in bundle.networks}
    assert max(check["max_rel_error"] for check in checks.values()) < 1e-4


@every_bundle
def test_networks_open_and_answer_with_finite_logits(directory, rng):
    bundle = _bundle(directory)
    patch = (1, len(bundle.inputs.channel_names), *bundle.sliding_window.patch_size)
    for network in bundle.networks:
        predict = PatchPredictor(OnnxNetwork(bundle, network, CPU, 2), bundle, network)
        logits = predict(rng.normal(size=patch).astype(np.float32))
        assert logits.shape == (1, bundle.outputs.channel_count, *patch[2:])
        assert np.isfinite(logits).all()
        assert logits.std() > 0


@pytest.mark.parametrize("task", list_tasks(MODELS), ids=lambda task: task.name)
def test_a_card_says_how_the_model_is_converted_today(task):
    card = (task.directory / "README.md").read_text(encoding="utf-8")
    conversion = card.partition("## Conversion")[2].partition("\n## ")[0]
    release = task.exportable
    if release is None:
        assert task.releases[0].obstacle in conversion
    elif release.stages[0].archives:
        assert f"deepseg-export task {task.name}\n" in conversion
        for other in task.releases:
            assert other.version in conversion
            if other.obstacle:
                assert other.obstacle in " ".join(conversion.split())


@every_task
def test_structures_are_named_by_labels_and_files(directory):
    task = read_task(directory)
    labels = {
        label.name
        for release in task.releases
        for stage in release.stages
        for label in stage.labels
    }
    suffixes = {output.suffix for release in task.releases for output in release.outputs}
    assert task.structures.keys() <= labels | suffixes
    assert task.structures.get("sc", "SC") == "SC"
    assert "sc" not in labels or "sc" in task.structures
