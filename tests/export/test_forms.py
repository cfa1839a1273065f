"""Forms in bundles: added without a checkpoint, checked, taken by the device they are for."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deepseg_export import forms
from deepseg_export.errors import NoFormError
from deepseg_export.network import comparing
from deepseg_export.network.slices import making
from helpers.bundles import make_data, make_manifest, write_image
from helpers.dna_networks import described
from helpers.made_up_weights import made_up_unet, write_network

import deepseg_lite
from deepseg_lite.bundles.bundle import read_bundle
from deepseg_lite.engines.engine import Engine
from deepseg_lite.engines.names import FORMS
from deepseg_lite.errors import ChecksumError, OptionError

pytest.importorskip("onnx")
pytestmark = pytest.mark.export
PATCH = (16, 16, 16)


def bundle_of(folder: Path, features: int = 32, **window: Any) -> Path:
    """Write a bundle of a network of two stages."""
    plan = described(
        n_stages=2,
        features_per_stage=[features, features],
        kernel_sizes=3,
        strides=[1, 2],
        n_conv_per_stage=1,
        n_conv_per_stage_decoder=1,
    )
    folder.mkdir()
    network = made_up_unet(plan, heads=2)
    path = write_network(folder / "model.onnx", network, patch=PATCH, channels=1, heads=2)
    manifest = make_manifest()
    facts = {
        "fold": "0",
        "path": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "size": path.stat().st_size,
    }
    window = {**manifest["sliding_window"], "patch_size": list(PATCH), **window}
    manifest = {**manifest, "networks": [facts], "sliding_window": window}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture
def of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the form of a small network take as much as the network."""
    monkeypatch.setattr(making, "MOST_GROWTH", 1.0)


@pytest.mark.usefixtures("of_any_size")
def test_bundles_are_optimized_without_their_checkpoint(tmp_path: Path) -> None:
    folder = bundle_of(tmp_path / "a")
    before = (folder / "model.onnx").read_bytes()

    output = forms.optimize(folder, tmp_path / "b")

    bundle = read_bundle(output)
    (form,) = bundle.networks[0].forms
    assert (output / "model.onnx").read_bytes() == before
    assert form.size < len(before) / 2  # its weights are in the other file
    assert json.loads((output / "manifest.json").read_text())["networks"][0]["forms"][0]["devices"]
    noise = np.random.default_rng(0).standard_normal((2, 1, *PATCH), dtype=np.float32)
    canonical, found = (
        Engine("CPUExecutionProvider", form=name).open(bundle, bundle.networks[0], 1)(noise)
        for name in ("canonical", "auto")
    )
    np.testing.assert_allclose(found, canonical, atol=1e-5 * np.abs(canonical).max())
    assert not np.array_equal(found, canonical)
    image = write_image(tmp_path / "image.nii.gz", make_data((20, 18, 24)))
    runs = [deepseg_lite.load(output, device="cpu", form=name)(image) for name in FORMS]
    np.testing.assert_array_equal(*(np.asarray(each.dataobj) for each in runs))


@pytest.mark.usefixtures("of_any_size")
def test_bundles_are_optimized_in_place_and_again(tmp_path: Path) -> None:
    folder = bundle_of(tmp_path / "a")
    forms.optimize(folder, folder, force=True)
    first = (folder / "manifest.json").read_bytes()
    forms.optimize(folder, folder, force=True)

    assert (folder / "manifest.json").read_bytes() == first
    assert len(list(folder.glob("*.onnx"))) == 2


@pytest.mark.usefixtures("of_any_size")
@pytest.mark.parametrize("name", ["model.onnx", "model.slices.onnx"])
def test_damaged_files_of_a_form_are_found(tmp_path: Path, name: str) -> None:
    output = forms.optimize(bundle_of(tmp_path / "a"), tmp_path / "b")
    content = bytearray((output / name).read_bytes())
    content[len(content) // 2] ^= 1
    (output / name).write_bytes(content)

    with pytest.raises(ChecksumError, match="corrupt"):
        deepseg_lite.load(output, device="cpu")


@pytest.mark.parametrize(
    ("features", "window", "reason"),
    [
        (4, {}, "multiplications would be saved"),
        (32, {"batch_size": 2}, "seen together"),
        (32, {}, "the form takes"),
    ],
)
def test_what_has_no_form_is_told(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    features: int,
    window: dict[str, Any],
    reason: str,
) -> None:
    caplog.set_level(logging.INFO)
    with pytest.raises(NoFormError, match="canonical form alone"):
        forms.optimize(bundle_of(tmp_path / "a", features, **window), tmp_path / "b")
    assert reason in caplog.text
    assert not (tmp_path / "b").exists()


@pytest.mark.usefixtures("of_any_size")
def test_forms_that_lose_too_much_are_not_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(comparing, "PRECISE", 0.0)
    monkeypatch.setattr(comparing, "FACTOR", 0.0)
    with pytest.raises(NoFormError):
        forms.optimize(bundle_of(tmp_path / "a"), tmp_path / "b")
    assert "not precise enough" in caplog.text


def test_lone_files_stay_canonical(tmp_path: Path) -> None:
    from deepseg_export.writing.bundle import write_bundle

    folder = bundle_of(tmp_path / "a")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "model.onnx").rename(tmp_path / "lone.onnx")
    write_bundle(manifest, tmp_path / "lone.onnx", lone_file=True)

    with pytest.raises(OptionError, match="lone"):
        forms.optimize(tmp_path / "lone.onnx", tmp_path / "b")


def test_networks_in_another_precision_alone_have_no_forms(tmp_path: Path) -> None:
    from deepseg_export.quantize.variants import _alone

    names = ("model.onnx", "model.slices.onnx", "model.int8.onnx")
    for name in names:
        (tmp_path / name).touch()
    network = {"fold": "0", "path": names[0], "forms": [{"path": names[1]}]}
    variant = {"precision": "int8", "path": names[2]}
    manifest = {"networks": [{**network, "variants": [variant]}], "precisions": {"int8": {}}}

    (left,) = _alone(manifest, tmp_path)["networks"]

    assert left == {"fold": "0", **variant}
    assert [file.name for file in tmp_path.iterdir()] == [names[2]]
