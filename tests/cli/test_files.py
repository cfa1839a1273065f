"""Images by folder, pattern and list, and the home folder."""

from __future__ import annotations

import json
import logging
import os

import pytest
from helpers.bundles import make_data, voxels, write_bundle, write_image

from deepseg_lite.cli.files import expanded, find_images
from deepseg_lite.errors import ImageError


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Return a folder of three images, something else, and a result of an earlier run."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "study"
    folder.mkdir()
    for name in (
        "b.nii.gz",
        "a.nii",
        "c.nii.gz",
        "a_seg.nii.gz",
        "a_cropbox.nii.gz",
        ".hidden.nii",
    ):
        (folder / name).write_bytes(b"x")
    (folder / "notes.txt").write_text("x")
    record = {
        "GeneratedBy": [{"Name": "deepseg-lite"}],
        "SHA256": {"a_seg.nii.gz": "", "a_cropbox.nii.gz": ""},
    }
    (folder / "a_seg.json").write_text(json.dumps(record))
    return folder


OURS = '"GeneratedBy": [{"Name": "deepseg-lite"}]'
NOT_RECORDS = [
    "[",
    "[]",
    "{}",
    '{"GeneratedBy": 3}',
    f"{{{OURS}}}",
    '{"GeneratedBy": [{"Name": "SCT"}], "SHA256": {"b.nii.gz": ""}}',
    f'{{{OURS}, "SHA256": ["b.nii.gz"]}}',
    "[" * 9999,
    " " * (1 << 20) + f'{{{OURS}, "SHA256": {{"b.nii.gz": ""}}}}',
]


def test_a_folder_is_its_images_without_results(study):
    for number, text in enumerate(NOT_RECORDS):
        (study / f"{number}.json").write_text(text)
    found = find_images("study")
    assert [image.name for image in found.images] == ["a.nii", "b.nii.gz", "c.nii.gz"]
    assert found.remark == "study: 3 images, without 2 results of earlier runs"


def test_a_pattern_is_what_it_matches(study):
    found = find_images("s*/*.nii.gz")
    assert [image.name for image in found.images] == ["b.nii.gz", "c.nii.gz"]
    assert found.remark == "s*/*.nii.gz: 2 images, without 2 results of earlier runs"
    (study / "sub-01" / "anat").mkdir(parents=True)
    (study / "sub-01" / "anat" / "t2.nii").write_bytes(b"x")
    (image,) = find_images(f"{study}/**/anat/*.nii").images
    assert image == study / "sub-01" / "anat" / "t2.nii"


def test_a_list_has_commas(study):
    found = find_images("study/c.nii.gz,study/a.nii")
    assert [image.name for image in found.images] == ["c.nii.gz", "a.nii"]
    assert found.remark == "study/c.nii.gz,study/a.nii: 2 images"
    assert len(find_images("study,study/a.nii").images) == 4


@pytest.mark.parametrize("name", ["a,b.nii", "a*.nii", "[x].nii"])
def test_a_file_of_that_name_is_that_file(study, name):
    (study / name).write_bytes(b"x")
    found = find_images(f"study/{name}")
    assert (found.images, found.remark) == ((study.relative_to(study.parent) / name,), None)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("empty", "empty is a folder with no .nii or .nii.gz images; give images, or a pattern"),
        ("x*.nii", r"x\*.nii is no image, and as a pattern it matches none; give images\."),
        ("~nobody-of-that-name/x.nii", "names a home folder that is not known"),
    ],
)
def test_nothing_there_is_said(study, word, message):
    (study.parent / "empty").mkdir()
    with pytest.raises(ImageError, match=message):
        find_images(word)


def test_the_home_folder_is_known_in_quotes(monkeypatch, tmp_path):
    """Fault 30: a folder ``~`` was made."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert expanded("~/a.nii") == tmp_path / "a.nii"
    (tmp_path / "~a.nii").write_bytes(b"x")
    assert str(expanded("~a.nii")) == "~a.nii"


@pytest.mark.skipif(os.name == "nt", reason="HOME is not asked there")
def test_paths_of_every_option_know_the_home_folder(command, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    write_bundle(tmp_path / "bundle")
    assert command("phantom", "~/p.nii", "--labels", "~/l.nii").code == 0
    assert command("run", "~/bundle", "-i", "~/p.nii", "-o", "~/out").code == 0
    assert command("plan", "~/bundle", "-i", "~/p.nii", "--no-calibrate").code == 0
    assert command("info", "~/bundle").code == 0
    assert (tmp_path / "out" / "p_seg.nii.gz").exists()
    assert list(work.iterdir()) == []


def test_a_folder_is_run_and_said_and_run_again(command, tiny_bundle, tmp_path):
    images = [write_image(tmp_path / f"{n}.nii", make_data(seed=n)) for n in range(2)]
    outcome = command("run", tiny_bundle, "-i", tmp_path)
    results = [image.with_name(f"{image.stem}_seg.nii.gz") for image in images]
    assert (outcome.code, outcome.out.splitlines()) == (0, [str(path) for path in results])
    assert outcome.err.endswith(": 2 images.\n")
    for seed, result in enumerate(results):
        assert (voxels(result) == (make_data(seed=seed) > 0.5)).all()
    again = command("run", tiny_bundle, "-i", tmp_path, "--overwrite", "-q")
    assert (again.out, again.err) == (outcome.out, "")
    assert logging.getLogger().level == logging.ERROR


def test_words_are_counted_at_each_case(command, tmp_path):
    bundle = write_bundle(tmp_path / "bundle", "channels")
    images = [write_image(tmp_path / f"{n}.nii", make_data(seed=n)) for n in range(4)]
    first, second = ",".join(map(str, images[:2])), ",".join(map(str, images[2:]))
    outcome = command("run", bundle, "-i", first, "--case", "-i", second)
    assert outcome.code == 0, outcome.err
    assert [line[-12:] for line in outcome.out.splitlines()] == ["0_seg.nii.gz", "2_seg.nii.gz"]


def test_an_empty_name_is_refused(command, tiny_bundle, image_file):
    outcome = command("run", tiny_bundle, "-i", image_file, "-o", "")
    assert outcome.code == 2
    assert "it is empty" in outcome.err
