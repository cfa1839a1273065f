"""Releases of a task: which one is here, which one runs, which one is fetched."""

from __future__ import annotations

import json
import threading

import pytest
from helpers.bundles import write_bundle
from helpers.hub import HubServer
from helpers.tasks import add_task

from deepseg_lite.errors import BundleNotFoundError, OptionError
from deepseg_lite.store.cache import bundle_directory
from deepseg_lite.store.tasks import find_bundle, installed_path, list_tasks

TASK, RELEASES = "seg_ms_lesion", ("r20250909", "r20250626")


@pytest.fixture
def models(tmp_path):
    add_task(tmp_path / "models", "cord", kind=None)
    return tmp_path / "models"


def _install(name, version):
    return write_bundle(bundle_directory(name), version=version, name=name)


def test_the_release_under_the_tasks_own_name_comes_first(models):
    (task,) = list_tasks(models)
    assert installed_path(task) is None
    older = _install("cord-r1", "r1")
    assert installed_path(task) == older
    _install("cord-r2", "r2")
    assert find_bundle("cord", models)[0].version == "r2"
    _install("cord", "r1")
    assert find_bundle("cord", models)[0].name == "cord"


def test_a_release_is_found_wherever_it_is(models):
    _install("cord", "r1")
    _install("cord-r2", "r2")
    assert find_bundle("cord", models, release="r1")[0].name == "cord"
    assert find_bundle("cord_T2-w", models, release="r2")[0].name == "cord-r2"


def test_a_release_that_is_not_here_or_nowhere_is_told(models):
    _install("cord", "r1")
    with pytest.raises(BundleNotFoundError, match="no bundle of cord r2 is on this machine"):
        find_bundle("cord", models, release="r2")
    with pytest.raises(OptionError, match="cord has no release r3; it has r2, r1"):
        find_bundle("cord", models, release="r3")


def test_a_release_runs_by_its_version(command, image_file):
    for version in RELEASES:
        _install(f"{TASK}-{version}", version)
    outcome = command(
        "run", "lesion_ms", "-i", image_file, "--release", RELEASES[1], "--json", "--overwrite"
    )
    (result,) = json.loads(outcome.out)["results"]
    assert result["Bundle"]["version"] == RELEASES[1]


def test_a_release_is_fetched_and_removed_by_its_version(command):
    server = HubServer()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        made = _install(f"{TASK}-{RELEASES[1]}", RELEASES[1])
        for file in made.iterdir():
            server.mirror[f"{made.name}/{file.name}"] = file.read_bytes()
        options = (TASK, "--release", RELEASES[1])
        assert command("remove", *options).code == 0
        assert not made.exists()
        outcome = command("fetch", *options, "--mirror", f"{server.url}/mirror")
        assert outcome.code == 0, outcome.err
        assert outcome.out.strip() == str(made)
    finally:
        server.shutdown()
        server.server_close()
    assert command("fetch", TASK, "--release", "r0").code == 1
    assert "leave --release out" in command("fetch", "unheard", "--release", "r0").err
