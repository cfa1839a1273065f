"""``deepseg-lite fetch`` with the real exporter: from an official archive to a mask."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers.official import start
from helpers.releases import nnunet_releases, test_image, variant_of, write_release
from helpers.serve_releases import served

from deepseg_lite.store.cache import home

pytest.importorskip("onnx")
pytest.importorskip("torch", reason="the archives are made with it")
pytest.importorskip("dynamic_network_architectures")
pytestmark = [pytest.mark.export, pytest.mark.filterwarnings("ignore")]

NAME, VERSION = "seg_sc_lesion_t2w_sci", "r20240729"
RELEASES = {(task.name, release.version): (task, release) for task, release in nnunet_releases()}


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the archive of a release once."""
    folder = tmp_path_factory.mktemp("releases")
    write_release(*RELEASES[NAME, VERSION], folder / NAME / VERSION)
    return folder


@pytest.fixture
def variables(archives: Path) -> Iterator[dict[str, str]]:
    with served(archives) as variables:
        yield variables


def run(variables: dict[str, str], *words: object) -> tuple[int, str, str]:
    process = start(*words, **variables)
    out, err = process.communicate()
    return process.returncode, out, err


def left() -> list[str]:
    files = (file for file in home().rglob("*") if file.is_file() and file.suffix != ".lock")
    return sorted(file.relative_to(home()).as_posix() for file in files)


def test_from_nothing_to_a_mask_in_two_commands(variables, tmp_path):
    image, _ = test_image(variant_of(*RELEASES[NAME, VERSION]))
    nib.save(image, tmp_path / "t2.nii.gz")
    code, out, err = run(variables, "fetch", "lesion_sci_t2")
    assert (code, out.strip()) == (0, str(home() / "bundles" / NAME)), err
    assert [line.split()[0] for line in err.splitlines()][:2] == [NAME, "Downloading"]
    assert any(line.startswith("Converting fold 0") for line in err.splitlines())
    assert left() == [
        *(f"bundles/{NAME}/{file}" for file in ("README.md", "manifest.json", "model.onnx")),
        f"bundles/{NAME}/source.json",
        f"pins/{NAME}/{VERSION}.json",
    ]
    code, out, err = run(variables, "run", "lesion_sci_t2", "-i", tmp_path / "t2.nii.gz")
    assert code == 0, err
    masks = [Path(line) for line in out.split()]
    assert [mask.name for mask in masks] == ["t2_sc_seg.nii.gz", "t2_lesion_seg.nii.gz"]
    assert np.asanyarray(nib.load(masks[0]).dataobj).any()


@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda data: b"<html>"], ids=["half", "a page"]
)
def test_a_broken_archive_is_one_line(archives, tmp_path, damage):
    (source,) = (archives / NAME / VERSION).iterdir()
    place = tmp_path / "served" / NAME / VERSION
    place.mkdir(parents=True)
    (place / source.name).write_bytes(damage(source.read_bytes()))
    with served(tmp_path / "served") as variables:
        code, out, err = run(variables, "fetch", NAME)
    assert (code, out) == (1, "")
    assert "is not a readable zip file" in err.splitlines()[-1]
    assert "Traceback" not in err
    assert left() == []


def test_files_that_changed_since_the_first_conversion_are_refused(variables):
    pins = home() / "pins" / NAME / f"{VERSION}.json"
    pins.parent.mkdir(parents=True)
    known = {"sha256": "0" * 64, "pinned": "2026-01-01"}
    pins.write_text(json.dumps({"files": {"plans.json": known}, "archives": {}}))
    code, _, err = run(variables, "fetch", NAME)
    assert code == 1
    assert f"plans.json of {NAME} {VERSION} has SHA-256" in err.splitlines()[-1]
    assert not (home() / "bundles" / NAME).exists()
