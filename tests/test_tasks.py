"""Tasks: a directory each, found by name, alias or path."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_bundles import write_bundle

from deepseg_lite.errors import BundleError, BundleNotFoundError
from deepseg_lite.store import models_directory
from deepseg_lite.tasks import find_bundle, list_tasks, read_task

TASK = """\
name = "{name}"
aliases = ["{name}_alias"]
title = "A title"
description = "What it does"
group = "tests"
suffix = "cord"
license = "MIT"
citation = "Nobody"
"""


def _add(models: Path, name: str, text: str = TASK, kind: str = "threshold") -> Path:
    write_bundle(models / name / "bundle", kind)
    (models / name / "task.toml").write_text(text.format(name=name), encoding="utf-8")
    return models / name


@pytest.fixture
def models(tmp_path):
    _add(tmp_path / "models", "spinalcord")
    _add(tmp_path / "models", "lesion", kind="channels")
    return tmp_path / "models"


def test_a_task_is_a_directory(models):
    assert [task.name for task in list_tasks(models)] == ["lesion", "spinalcord"]
    _add(models, "graymatter")
    assert [task.name for task in list_tasks(models)] == ["graymatter", "lesion", "spinalcord"]
    assert find_bundle("graymatter", models)[0].name == "tiny_threshold"


def test_folders_without_a_task_file_are_not_tasks(models):
    (models / "notes").mkdir()
    assert len(list_tasks(models)) == 2


def test_a_task_says_what_its_file_says(models):
    task = read_task(models / "lesion")
    assert (task.name, task.aliases, task.title) == ("lesion", ("lesion_alias",), "A title")
    assert (task.group, task.suffix, task.license) == ("tests", "cord", "MIT")
    assert task.bundle_path == models / "lesion" / "bundle"


def test_aliases_are_optional(models):
    text = "\n".join(line for line in TASK.splitlines() if not line.startswith("aliases"))
    assert read_task(_add(models, "other", text)).aliases == ()


@pytest.mark.parametrize("name", ["spinalcord", "spinalcord_alias"])
def test_a_bundle_is_found_by_name_and_alias(models, name):
    bundle, task = find_bundle(name, models)
    assert task.name == "spinalcord"
    assert bundle.path == models / "spinalcord" / "bundle"


def test_a_bundle_is_found_by_path_and_has_no_task(models, tiny_bundle):
    bundle, task = find_bundle(str(tiny_bundle), models)
    assert (bundle.path, task) == (tiny_bundle, None)


def test_names_come_before_paths(models, tmp_path, monkeypatch):
    write_bundle(tmp_path / "spinalcord", "regions")
    monkeypatch.chdir(tmp_path)
    assert find_bundle("spinalcord", models)[0].name == "tiny_threshold"
    assert find_bundle("./spinalcord", models)[0].name == "tiny_regions"


def test_the_closest_names_are_shown(models):
    with pytest.raises(BundleNotFoundError, match=r"spinalcrd is neither.*closest: spinalcord"):
        find_bundle("spinalcrd", models)


def test_all_names_are_shown_where_none_is_close(models):
    with pytest.raises(BundleNotFoundError, match=r"known: lesion, lesion_alias, spinalcord,"):
        find_bundle("zzz", models)


def test_every_problem_of_a_task_file_is_listed(models):
    text = 'name = "another"\naliases = "x"\ntitle = 3\nsurprise = 1\n'
    folder = _add(models, "bad", text)
    with pytest.raises(BundleError) as caught:
        read_task(folder)
    for part in (
        "description is missing",
        "citation is missing",
        "surprise is unknown",
        "title must be text",
        "aliases must be a list of texts",
        "name must be 'bad'",
    ):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["name = ", "\ufffe = [", "name = 1\nname = 2"], ids=repr)
def test_a_task_file_that_is_not_toml_is_refused(models, text):
    with pytest.raises(BundleError, match=r"task\.toml cannot be read"):
        read_task(_add(models, "bad", text))


def test_a_missing_task_file_is_refused(tmp_path):
    with pytest.raises(BundleError, match=r"task\.toml cannot be read"):
        read_task(tmp_path)


def test_the_shipped_models_are_found():
    assert (models_directory() / "sc_gm_t2star" / "task.toml").is_file()
    assert "sc_gm_t2star" in [task.name for task in list_tasks()]
