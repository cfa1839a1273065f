"""deepseg-export publish, against the hub on loopback."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from deepseg_export.cli.group import cli
from helpers.bundles import make_manifest, write_bundle
from helpers.click_runner import invoke
from helpers.hub import TOKEN, HubServer
from helpers.references import write_reference_bundle

from deepseg_lite.store import fetch

# huggingface_hub's own, about its HTTP client
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

REPO = "someone/models"
NAME = "tiny_folds"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip(
        "huggingface_hub", reason="huggingface_hub (the extra hub) is not installed"
    )
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with HubServer() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server
        server.shutdown()


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = write_bundle(tmp_path / "made", "folds")
    (folder / "README.md").write_text("# A card\n")
    (folder / "notes.txt").write_text("not part of it")
    return folder


def publish(*arguments: Any) -> Result:
    return invoke(cli, ["publish", *arguments, "--repo", REPO])


def _licensed(folder: Path, text: str | None) -> Path:
    source = {**make_manifest("folds")["source"], "license": text}
    return write_bundle(folder, "folds", source=source)


@pytest.mark.parametrize("branch", [False, True])
def test_what_is_published_can_be_fetched(branch, hub, bundle):
    hub.commit(REPO, "main", {".gitattributes": b"", "other/manifest.json": b"{}"})
    done = publish(bundle, *(["--branch"] if branch else []))
    assert done.exit_code == 0, done.output
    revision = done.stdout.strip()
    installed = fetch.fetch(NAME, repo=REPO)
    assert installed.source["revision"] == revision
    for file in installed.bundle.path.iterdir():
        if file.name != "source.json":
            assert file.read_bytes() == (bundle / file.name).read_bytes()
    assert "other/manifest.json" in hub.files(REPO)
    assert not [path for path in hub.files(REPO) if path.endswith("notes.txt")]
    assert TOKEN not in done.output


def test_references_come_along_and_those_of_the_last_release_go(hub, tmp_path):
    folder = write_reference_bundle(tmp_path / "made")
    name = "tiny_threshold"
    hub.commit(REPO, "main", {f"{name}/reference/old.nii.gz": b"old"})
    assert publish(folder).exit_code == 0
    assert f"{name}/reference/old.nii.gz" not in hub.files(REPO)
    there = fetch.fetch(name, repo=REPO).bundle.path
    for file in (folder / "reference").iterdir():
        assert (there / "reference" / file.name).read_bytes() == file.read_bytes()
    names = {file.name for file in there.iterdir()}
    assert names == {"manifest.json", "reference", "source.json", "threshold_3d.onnx"}
    (folder / "reference" / "case_labels.nii.gz").write_bytes(b"other")
    refused = publish(folder)
    assert refused.exit_code == 1
    assert "is corrupt or was changed" in refused.stderr


def test_what_else_belongs_to_a_bundle_is_named(hub, tmp_path):
    prior = {"bundle": "tiny.first", "channels": ["t1"]}
    steps = [{"step": "crop_to_prior", "safety_factor": [1.0, 1.0, 1.0]}]
    folder = write_bundle(tmp_path / "made", "channels", prior=prior, preprocessing=steps)
    hub.commit(REPO, "main", {})
    done = publish(folder)
    assert done.exit_code == 0, done.output
    assert "It needs tiny.first, too" in done.stderr


def test_networks_of_the_last_release_go(hub, bundle):
    hub.commit(REPO, "main", {f"{NAME}/old.onnx": b"old", "x/old.onnx": b"another's"})
    assert publish(bundle).exit_code == 0
    assert f"{NAME}/old.onnx" not in hub.files(REPO)
    assert "x/old.onnx" in hub.files(REPO)


def test_a_repository_is_made_only_when_asked(hub, bundle):
    refused = publish(bundle)
    assert refused.exit_code == 1
    assert refused.stderr.startswith(f"error: the hub has no repository {REPO}")
    assert publish(bundle, "--create").exit_code == 0
    assert publish(bundle, "--create").exit_code == 0
    assert f"{NAME}/manifest.json" in hub.files(REPO)


@pytest.mark.parametrize("text", [None, "unknown", "proprietary", "mitigated", "see the website"])
def test_weights_that_may_not_be_passed_on_are_refused(text, hub, tmp_path):
    hub.commit(REPO, "main", {})
    folder = _licensed(tmp_path / "made", text)
    refused = publish(folder)
    assert refused.exit_code == 1
    assert "--no-license-check" in refused.stderr
    assert hub.requests == []
    assert publish(folder, "--no-license-check").exit_code == 0


@pytest.mark.parametrize(
    "text",
    ["MIT", "CC-BY-NC-4.0", "CC BY 4.0", "cc0", "Apache License 2.0", "GPLv3", "LGPL-3.0-only"],
)
def test_other_licences_are_fine(text, hub, tmp_path):
    hub.commit(REPO, "main", {})
    assert publish(_licensed(tmp_path / "made", text)).exit_code == 0


def test_without_a_token_one_line_says_how_to_log_in(hub, bundle, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    hub.commit(REPO, "main", {})
    refused = publish(bundle)
    assert refused.exit_code == 1
    assert "hf auth login" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_changed_file_is_not_published(hub, bundle):
    hub.commit(REPO, "main", {})
    file = bundle / "threshold_3d.onnx"
    file.write_bytes(bytes(file.stat().st_size))
    refused = publish(bundle)
    assert refused.exit_code == 1
    assert "corrupt" in refused.stderr
    assert hub.requests == []
