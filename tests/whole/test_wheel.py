"""The wheel, built through the sdist: what is in it and what is not."""

from __future__ import annotations

import subprocess
import zipfile

import pytest
from helpers.built import build_here
from helpers.paths import ROOT

MAX_BYTES = 12e6

pytestmark = pytest.mark.wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build_here(tmp_path_factory.mktemp("dist")).wheel


@pytest.fixture(scope="module")
def names(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def _tracked(folder: str) -> set[str]:
    done = subprocess.run(
        ["git", "ls-files", folder], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip("this is not a git checkout")
    return set(done.stdout.splitlines())


def test_models_are_the_tracked_ones(names):
    shipped = {name for name in names if name.startswith("deepseg_lite/_models/")}
    expected = {f"deepseg_lite/_models/{name.partition('/')[2]}" for name in _tracked("models")}
    assert shipped == expected


def test_both_packages_are_whole(names):
    for folder, prefix in (("deepseg_lite", ""), ("export/deepseg_export", "export/")):
        expected = {name.removeprefix(prefix) for name in _tracked(folder)}
        assert expected <= names
    assert {"deepseg_lite/bundles/manifest.schema.json", "deepseg_lite/py.typed"} <= names


def test_nothing_else_is_in_it(names):
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "deepseg_lite",
        "deepseg_export",
    }
    assert not [name for name in names if "test" in name or "__pycache__" in name]


def test_it_is_small(wheel):
    assert wheel.stat().st_size < MAX_BYTES
