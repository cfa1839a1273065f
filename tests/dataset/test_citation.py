"""Citation texts of batches: what was run, and references that stand in the text by number."""

from __future__ import annotations

import re
from importlib.metadata import version

import pytest
from helpers.bibtex import entries
from helpers.bundles import write_bundle

import deepseg_lite
from deepseg_lite.api import loader
from deepseg_lite.dataset.citation import SOURCE_IS_SILENT, citation_files, write_citations
from deepseg_lite.inference.settings import make_settings


def files_of(word, name="the_task"):
    model = loader.load(word, device="cpu", open_networks=False)
    return citation_files(name, model, make_settings()), model


def test_the_shipped_model_is_told_with_what_made_it():
    files, model = files_of("sc_gm_t2star")
    text = files["CITATION.md"]
    paragraph = " ".join(line[2:] for line in text.splitlines() if line.startswith("> "))
    assert f"deepseg-lite {version('deepseg-lite')} [1]" in paragraph
    assert f"version {model.bundle.version} (SHA-256 {model.networks[0].sha256[:12]})" in paragraph
    for package in ("onnxruntime", "numpy", "scipy", "nibabel"):
        assert f"{package} {version(package)}" in paragraph
    numbers = {
        int(n) for group in re.findall(r"\[([\d, ]+)\]", paragraph) for n in group.split(",")
    }
    listed = re.findall(r"^(\d+)\. (.*)$", text, flags=re.MULTILINE)
    assert numbers == {int(number) for number, _ in listed} == set(range(1, len(listed) + 1))
    assert "10.1038/s41592-020-01008-z" in listed[-1][1]
    assert len(entries(files["CITATION.bib"])) == len(listed)
    for citation in model.task.citations:
        assert any(sentence.startswith(citation.text[:30]) for _, sentence in listed)


def test_a_model_that_nobody_says_how_to_cite_is_told_so(tmp_path):
    source = {"family": "keras", "license": None, "citation": None, "files": {}}
    files, _ = files_of(write_bundle(tmp_path / "b", source=source))
    assert SOURCE_IS_SILENT in files["CITATION.md"]
    assert files["CITATION.bib"].count("@misc{") == 1


def test_a_batch_writes_them_for_each_task_and_leaves_what_is_right(tmp_path, tiny_bundle):
    from helpers.datasets import make_dataset

    dataset, out = make_dataset(tmp_path / "data", "sub-01/anat/sub-01_T2w"), tmp_path / "out"
    other = write_bundle(tmp_path / "b", "regions", name="other")
    how = {"device": "cpu", "threads": 1, "jobs": "here"}
    list(deepseg_lite.batch(dataset, out, [tiny_bundle, other], **how))
    written = [
        out / "logs" / n / f"CITATION.{e}"
        for n in ("tiny_threshold", "other")
        for e in ("md", "bib")
    ]
    texts = [path.read_text() for path in written]
    assert "The tests." in texts[0]
    assert "the task other of deepseg-lite" in texts[2]
    times = [path.stat().st_mtime_ns for path in written]
    written[0].write_text("something else")
    list(deepseg_lite.batch(dataset, out, [tiny_bundle, other], **how))
    assert [path.read_text() for path in written] == texts
    assert [path.stat().st_mtime_ns for path in written[1:]] == times[1:]


def test_what_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "logs").write_text("a file")
    with pytest.raises(deepseg_lite.DeepsegError):
        write_citations(tmp_path / "logs", {"a": {"CITATION.md": "b"}})
