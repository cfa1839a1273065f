"""The other families, from the command line to a bundle that the runtime reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deepseg_export.architectures.numpy_layers import NumpyLayers
from deepseg_export.cli.group import cli
from deepseg_export.errors import VerificationError
from deepseg_export.families import ivadomed
from deepseg_export.families.monai import lightning
from deepseg_export.network.conversion import example_shapes, to_onnx
from deepseg_export.network.verify import verify
from helpers.click_runner import invoke
from helpers.ivadomed_models import (
    make_onnx,
    make_settings,
    make_unet,
    write_model,
)
from helpers.monai_models import DYNUNET, dynunet, write_bundle, write_lightning

from deepseg_lite.bundles.bundle import Bundle, read_bundle
from deepseg_lite.bundles.files import read_network

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

pytestmark = [pytest.mark.export, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

SLICES = {"Resample": {"hspace": 0.5, "wspace": 0.5}, "NormalizeInstance": {"applied_to": ["im"]}}


def run(*arguments: Any) -> Bundle:
    """Run the command and read the bundle whose path it printed."""
    result = invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    return read_bundle(Path(result.stdout.strip()))


def predict(bundle: Bundle, batch: np.ndarray) -> np.ndarray:
    data = read_network(bundle, bundle.networks[0])
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    result: np.ndarray = session.run(None, {session.get_inputs()[0].name: batch})[0]
    return result


def test_a_network_that_is_onnx_stays_as_it_is(tmp_path):
    model = write_model(tmp_path / "m", make_settings(classes=2), onnx=make_onnx(classes=2))
    output = tmp_path / "out"
    bundle = run("ivadomed", model, "-o", output, "--name", "mine", "--license", "MIT")
    (ready,) = ivadomed.load(model, ivadomed.Options()).networks.values()
    assert (output / "model.onnx").read_bytes() == ready.onnx
    assert (bundle.name, bundle.manifest["source"]["license"]) == ("mine", "MIT")
    record = bundle.manifest["export"]
    assert (record["opset"], "torch" in record["versions"]) == (ready.opset, False)
    assert record["checks"] == [
        {"fold": "0", "against": "onnx", **ready.agreements["onnx"]._asdict()}
    ]
    assert "the ONNX file that was given" in (output / "README.md").read_text()


def test_a_pickled_network_of_whole_slices_takes_any_size(tmp_path, rng):
    settings = make_settings(classes=2, transformation=SLICES)
    network = make_unet(classes=2, depth=3, final_activation="softmax")
    model = write_model(tmp_path / "m", settings, network)
    bundle = run("ivadomed", model, "-o", tmp_path / "out")
    assert bundle.sliding_window.patch_size == (1, None, None)
    rebuilt = ivadomed.load(model, ivadomed.Options()).networks["0"]
    for shape in ((1, 1, 40, 56), (3, 1, 61, 47)):
        batch = rng.standard_normal(shape, dtype=np.float32)
        expected = rebuilt.on(NumpyLayers(2), batch)
        np.testing.assert_allclose(predict(bundle, batch), expected, atol=1e-5)
    assert "Patch size: 1 x all x all voxels" in (tmp_path / "out" / "README.md").read_text()


def test_a_monai_bundle_of_whole_images_takes_any_size(tmp_path, rng):
    pytest.importorskip("monai")
    folder = write_bundle(tmp_path / "zoo", dynunet())
    bundle = run("monai-bundle", folder, "-o", tmp_path / "out", "--url", "https://example.org/z")
    assert bundle.sliding_window.patch_size == (None, None, None)
    assert (bundle.name, bundle.manifest["source"]["urls"]) == ("zoo", ["https://example.org/z"])
    from monai.networks.nets import DynUNet

    network = DynUNet(**{key: value for key, value in DYNUNET.items() if key[0] != "_"}).eval()
    network.load_state_dict(torch.load(folder / "models" / "model.pt", weights_only=True))
    batch = rng.standard_normal((2, 1, 24, 36, 20), dtype=np.float32)
    with torch.inference_mode():
        expected = network(torch.from_numpy(batch)).numpy()
    np.testing.assert_allclose(predict(bundle, batch), expected, atol=1e-4)


def test_a_lightning_checkpoint(tmp_path, monkeypatch):
    pytest.importorskip("dynamic_network_architectures")
    features = (2, 2, 2, 2, 2, 4)
    monkeypatch.setattr(lightning, "FEATURES", {4: features})
    monkeypatch.setattr(lightning, "PATCH_SIZE", (32, 32, 64))
    file = write_lightning(tmp_path / "best.ckpt", features)
    bundle = run("monai-ckpt", file, "-o", tmp_path / "out", "--sct", "6.3", "--soft")
    assert bundle.manifest["source"]["details"]["sct"] == "6.3"
    assert [file.kind for file in bundle.outputs.files] == ["soft"]
    assert bundle.manifest["postprocessing"] == []
    assert predict(bundle, np.zeros((1, 1, 32, 32, 64), np.float32)).shape == (1, 1, 32, 32, 64)


class _Halved(torch.nn.Module):
    """Half of a size, and back: right for multiples of ``needs`` alone."""

    def __init__(self, needs: int) -> None:
        super().__init__()
        self.needs = needs

    def forward(self, image: Any) -> Any:
        pooled = torch.nn.functional.max_pool2d(image, self.needs)
        return image + torch.nn.functional.interpolate(pooled, scale_factor=self.needs)


def test_examples_of_free_axes_differ_from_their_neighbours():
    assert example_shapes((2, 1, 8)) == [(2, 1, 8)]
    assert example_shapes((1, None, None)) == [(1, 96, 64), (1, 64, 96)]


def test_an_odd_size_is_tried_only_where_the_original_can():
    network = _Halved(16)
    shape = (1, None, None)
    assert verify(network, to_onnx(network, shape), shape, shape).max_abs_error == 0


def test_a_network_that_fails_at_another_size_is_refused():
    network = _Halved(2)
    fixed = to_onnx(network, (1, 96, 64))
    shape = (1, None, None)
    with pytest.raises(VerificationError, match=r"exported network fails on .* \(2, 1, 64, 96\)"):
        verify(network, fixed, shape, shape)


def test_an_original_that_fails_at_another_size_is_refused():
    network = _Halved(64)
    shape = (1, None, None)
    with pytest.raises(VerificationError, match=r"^The network fails on input .* \(2, 1, 96, 64\)"):
        verify(network, to_onnx(_Halved(2), shape), shape, shape)


def test_large_patches_go_one_by_one():
    seen = []
    network = _Halved(2)

    def watched(image: Any) -> Any:
        seen.append(len(image))
        return network(image)

    shape = (1, 16, 32)
    data = to_onnx(network, shape)
    for limit, expected in ((512, [2, 1]), (511, [1, 1])):
        seen.clear()
        verify(watched, data, shape, shape, large=limit)
        assert seen == expected
