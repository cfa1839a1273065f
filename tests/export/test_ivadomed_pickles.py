"""ivadomed's pickled networks: rebuilt without running what they name."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deepseg_export.errors import CheckpointError
from deepseg_export.exporting import convert
from deepseg_export.families.ivadomed import Options, load
from helpers import torch_files
from helpers.ivadomed_models import (
    NETWORKS,
    Module,
    make_modified_unet,
    make_settings,
    make_unet,
    write_model,
)

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

pytestmark = [pytest.mark.export, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


def computed(checkpoint: Any, batch: int = 2) -> np.ndarray:
    """Convert a network and return what ONNX Runtime makes of noise."""
    (network,) = checkpoint.networks.values()
    graph = convert(network, checkpoint.input_shape, checkpoint.output_shape)
    assert graph.agreements["numpy"].max_rel_error < 1e-4
    noise = np.random.default_rng(3).standard_normal((batch, *checkpoint.input_shape))
    session = onnxruntime.InferenceSession(graph.onnx, providers=["CPUExecutionProvider"])
    maps: np.ndarray = session.run(None, {"image": noise.astype(np.float32)})[0]
    return maps


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "before-1.6"])
@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize(
    ("classes", "late"),
    [(1, {}), (2, {"final_activation": "softmax"}), (2, {"final_activation": "relu"})],
)
def test_unets_are_rebuilt_with_all_their_weights(tmp_path, legacy, axes, classes, late):
    network = make_unet(axes=axes, classes=classes, **late)
    settings = make_settings(volume=axes == 3, classes=classes)
    folder = write_model(tmp_path / "m", settings, network, legacy=legacy)
    expected = network.state()
    checkpoint = load(folder, Options())
    weights = checkpoint.networks["0"].weights
    assert set(weights) == {name for name in expected if "num_batches" not in name}
    for name in weights:
        np.testing.assert_array_equal(weights.take(name), expected[name])
    maps = computed(checkpoint)
    assert maps.shape == (2, *checkpoint.output_shape)
    assert 0 <= maps.min() < maps.max() <= 1


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "before-1.6"])
@pytest.mark.parametrize("kind", ["UNet3D", "Modified3DUNet"])
@pytest.mark.parametrize("classes", [1, 2])
def test_modified_unets_are_rebuilt(tmp_path, kind, legacy, classes):
    network = make_modified_unet(classes=classes, kind=kind)
    settings = make_settings(volume=True, classes=classes)
    folder = write_model(tmp_path / "m", settings, network, legacy=legacy)
    names = set(network.state())
    checkpoint = load(folder, Options())
    assert set(checkpoint.networks["0"].weights) == names
    assert computed(checkpoint, 1).shape[1:] == checkpoint.output_shape


def test_an_output_that_is_not_named_is_a_sigmoid(tmp_path):
    results = []
    for name in (None, "sigmoid", "softmax"):
        late = {} if name is None else {"final_activation": name}
        network = make_unet(classes=2, **late)
        folder = write_model(tmp_path / str(name), make_settings(classes=2), network)
        results.append(computed(load(folder, Options())))
    np.testing.assert_array_equal(results[0], results[1])
    assert not np.allclose(results[0], results[2], atol=0.1)


def test_a_batch_is_recorded_where_results_depend_on_it(tmp_path):
    for name, classes, expected in (("one", 1, 8), ("two", 2, None)):
        network = make_unet(classes=classes, final_activation="relu")
        folder = write_model(tmp_path / name, make_settings(classes=classes), network)
        window = load(folder, Options()).manifest["sliding_window"]
        assert window.get("batch_size") == expected


class _Evil:
    def __reduce__(self) -> Any:
        return print, ("this must not run",)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "before-1.6"])
def test_code_in_a_pickle_does_not_run(tmp_path, capsys, legacy):
    network = make_unet()
    network.settings["extra"] = _Evil()
    folder = write_model(tmp_path / "m", make_settings(), network, legacy=legacy)
    with pytest.raises(CheckpointError, match=r"names builtin\w*\.print"):
        load(folder, Options())
    assert "must not run" not in capsys.readouterr().out


def test_a_network_of_other_parts_is_refused_by_name(tmp_path):
    network = make_unet()
    network.parts["decoder"].settings["last_film"] = Module(NETWORKS, "FiLMlayer").record()
    folder = write_model(tmp_path / "m", make_settings(), network)
    with pytest.raises(CheckpointError, match=r"names ivadomed\.models\.FiLMlayer"):
        load(folder, Options())


def test_weights_must_be_there_once_and_all(tmp_path):
    network = make_unet()
    del network.parts["encoder"].parts["conv_bottom"].parts["conv2"]
    missing = write_model(tmp_path / "missing", make_settings(), network)
    network = make_unet()
    network.parts["encoder"].parts["surplus"] = network.parts["decoder"].parts["last_conv"]
    surplus = write_model(tmp_path / "surplus", make_settings(), network)
    with pytest.raises(CheckpointError, match=r"Unet: encoder\.conv_bottom\.conv2\.weight is miss"):
        computed(load(missing, Options()))
    with pytest.raises(CheckpointError, match=r"no layer has: encoder\.surplus"):
        computed(load(surplus, Options()))


@pytest.mark.parametrize(
    ("settings", "made", "message"),
    [
        (make_settings(classes=2), {}, "2-D network of 1 classes"),
        (make_settings(volume=True), {}, "2-D network of 1 classes, the JSON says 3-D"),
        (make_settings(), {"final_activation": "tanh"}, "tanh"),
    ],
)
def test_network_and_json_must_agree(tmp_path, settings, made, message):
    folder = write_model(tmp_path / "m", settings, make_unet(**made))
    with pytest.raises(CheckpointError, match=message):
        load(folder, Options())


def _write_pickle(path: Path) -> None:
    torch_files.save(path, {"weights": torch_files.tensor(np.zeros(1))})


def _write_script(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/constants.pkl", pickle.dumps(()))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_bytes(b"no pickle"), "no file of torch.save"),
        (lambda path: path.write_bytes(b"\x80\x02garbage"), "not a readable checkpoint"),
        (lambda path: path.write_bytes(b"PK\x03\x04broken"), "not a readable zip"),
        (_write_pickle, "holds a dict"),
        (_write_script, "with 0 pickles of torch.save"),
    ],
)
def test_what_is_no_network_is_refused(tmp_path, write, message):
    folder = write_model(tmp_path / "m", make_settings())
    write(folder / "m.pt")
    with pytest.raises(CheckpointError, match=message):
        load(folder, Options())
