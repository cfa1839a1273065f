"""Variants of a bundle in other precisions: chosen, checked, recorded, taken along."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.bundles import make_manifest, voxels, write_bundle
from helpers.hub import HubServer
from helpers.paths import DATA

import deepseg_lite
from deepseg_lite.bundles.bundle import read_bundle
from deepseg_lite.bundles.manifest import manifest_problems
from deepseg_lite.engines.engine import Engine
from deepseg_lite.engines.onnxruntime_network import CPU
from deepseg_lite.errors import ChecksumError, OptionError
from deepseg_lite.store import fetch
from deepseg_lite.store.installed import intact

EXACT, OTHER = "threshold_3d.onnx", "threshold_3d_high.onnx"
"""The variant of these bundles has a threshold of its own, 0.7 in place of 0.5."""


def described(file: str, path: str) -> dict[str, Any]:
    content = (DATA / file).read_bytes()
    return {"path": path, "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}


def networks(precision: str = "int8") -> list[dict[str, Any]]:
    """Return one network with one variant, as a manifest has them."""
    variant = {"precision": precision, **described(OTHER, "model.int8.onnx")}
    return [{"fold": "0", **described(EXACT, EXACT), "variants": [variant]}]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Write a bundle whose int8 is told from its fp32 by the labels."""
    folder = write_bundle(tmp_path / "bundle", networks=networks())
    (folder / "model.int8.onnx").write_bytes((DATA / OTHER).read_bytes())
    return folder


def test_all_files_of_a_bundle_are_its_networks_and_their_variants(bundle):
    found = read_bundle(bundle)
    assert [file.precision for file in found.files] == ["fp32", "int8"]
    assert found.size == sum((DATA / file).stat().st_size for file in (EXACT, OTHER))


@pytest.mark.parametrize(("precision", "threshold"), [("fp32", 0.5), ("int8", 0.7)])
def test_a_run_takes_the_file_of_its_precision_and_says_so(
    command, bundle, image_file, tmp_path, precision, threshold
):
    output = tmp_path / "seg.nii.gz"
    done = command(
        *("run", bundle, "-i", image_file, "-o", output),
        *("--device", "cpu", "--precision", precision),
    )
    assert done.code == 0, done.err
    np.testing.assert_array_equal(voxels(output), voxels(image_file) > threshold)
    record = json.loads((tmp_path / "seg.json").read_text())
    assert record["Device"]["precision"] == precision
    file = {"fp32": EXACT, "int8": OTHER}[precision]
    assert record["Bundle"]["networks"] == {"0": described(file, file)["sha256"]}


@pytest.mark.parametrize(
    ("precision", "making"),
    [("int8", "--calibrate IMAGE --force"), ("fp16-weights", "--fp16-weights --held-out IMAGE")],
)
def test_a_precision_that_is_not_there_is_one_line(
    command, tiny_bundle, image_file, tmp_path, precision, making
):
    done = command(
        *("run", tiny_bundle, "-i", image_file, "-o", tmp_path / "out"),
        *("--device", "cpu", "--precision", precision),
    )
    assert done.code == 1
    assert done.out == ""
    (line,) = done.err.splitlines()
    assert f"tiny_threshold has no networks in {precision}; " in line
    assert "--precision (fp32)" in line
    assert f"deepseg-export quantize {tiny_bundle} {making}" in line
    assert not (tmp_path / "out").exists()


def test_every_fold_is_looked_at_before_any_work(tmp_path):
    folds = make_manifest("folds")["networks"]
    folds[0]["variants"] = networks()[0]["variants"]
    folder = write_bundle(tmp_path / "bundle", "folds", networks=folds)
    (folder / "model.int8.onnx").write_bytes((DATA / OTHER).read_bytes())
    with pytest.raises(OptionError, match="no networks in int8"):
        deepseg_lite.load(folder, device="cpu", precision="int8")
    deepseg_lite.load(folder, device="cpu", precision="int8", folds=["0"])


def test_variants_must_be_the_manifests(bundle):
    found = read_bundle(bundle)
    file = bundle / "model.int8.onnx"
    file.write_bytes(bytes(file.stat().st_size))
    with pytest.raises(ChecksumError, match="is corrupt or was changed"):
        Engine(CPU, "int8").open(found, found.networks[0], 1)
    file.unlink()
    with pytest.raises(ChecksumError, match="is missing; the manifest lists it"):
        read_bundle(bundle)


def test_bfloat16_is_computed_from_the_float32_file(bundle):
    found = read_bundle(bundle)
    assert Engine("openvino", "bf16").file(found, found.networks[0]).path == EXACT


@pytest.mark.parametrize("precision", ["int4", "fp32", "bf16"])
def test_only_known_precisions_have_files_of_their_own(precision):
    (problem,) = manifest_problems({**make_manifest(), "networks": networks(precision)})
    assert precision in problem


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"gate": {"foreground": 2, "labels": {}}}, "precisions.int8.gate"),
        ({"agreement": [{"images": "mine"}]}, "precisions.int8.agreement[0]"),
        ({"more": 1}, "precisions.int8"),
    ],
)
def test_records_of_agreement_have_a_form(changes, named):
    row = {
        **{"images": "held_out", "provider": CPU, "cases": 1, "voxels": 8, "differing_voxels": 0},
        **{"foreground": None, "labels": {"cord": None}},
    }
    record = {"versions": {}, "gate": None, "agreement": [row]}
    document = {**make_manifest(), "networks": networks()}
    assert manifest_problems({**document, "precisions": {"int8": record}}) == []
    problems = manifest_problems({**document, "precisions": {"int8": {**record, **changes}}})
    assert problems
    assert all(problem.startswith(named) for problem in problems)


def test_variants_come_along_when_a_bundle_is_fetched(bundle):
    name = "tiny_threshold"
    with HubServer() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        server.mirror = {f"{name}/{file.name}": file.read_bytes() for file in bundle.iterdir()}
        installed = fetch.fetch(name, mirror=f"{server.url}/mirror")
        server.shutdown()
    assert [file.precision for file in installed.bundle.files] == ["fp32", "int8"]
    there = installed.bundle.path / "model.int8.onnx"
    assert there.read_bytes() == (DATA / OTHER).read_bytes()
    there.write_bytes(bytes(there.stat().st_size))
    assert intact(name) is None
