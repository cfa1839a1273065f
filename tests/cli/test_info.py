"""What ``info`` prints for papers."""

from __future__ import annotations

import json
import re

import pytest
from helpers.bibtex import entries
from helpers.bundles import write_bundle

from deepseg_lite.bundles.citation import references_of
from deepseg_lite.store.tasks import find_task


@pytest.mark.parametrize("name", ["totalspineseg", "spine", "lesion_ms"])
def test_a_task_is_cited_by_all_that_it_names(command, name):
    done = command("info", name, "--bibtex")
    assert (done.code, done.err) == (0, "")
    known = references_of(None, find_task(name))
    found = entries(done.out)
    assert [kind for kind, _ in found.values()] == [each.publication.kind for each in known] + [
        "misc"
    ]
    assert re.findall(r"doi = \{(10\.[^}]*)\}", done.out)
    assert "title = {{deepseg-lite " in done.out


def test_a_bundle_is_cited_by_its_source(command, tmp_path):
    folder = write_bundle(tmp_path / "bundle")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["source"]["citation"] = "Doe et al., A & B (2024)"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    done = command("info", folder, "--bibtex")
    assert done.code == 0
    assert r"note = {Doe et al., A \& B (2024)}" in done.out


def test_two_forms_at_once_are_wrong_usage(command):
    done = command("info", "spine", "--bibtex", "--json")
    assert (done.code, done.out) == (2, "")
    assert "give one of them" in done.err
