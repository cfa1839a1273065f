"""ivadomed's pickled networks: rebuilt without running what they name."""

from __future__ import annotations

import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from deepseg_export.errors import CheckpointError
from deepseg_export.families.ivadomed import Options, load

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from helpers.ivadomed_models import (  # noqa: E402 - it imports torch
    CLASSES,
    make_modified_unet,
    make_settings,
    make_unet,
    stand_ins,
    write_model,
)

pytestmark = [pytest.mark.export, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "before-1.6"])
@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize(
    ("classes", "late"),
    [(1, {}), (2, {"final_activation": "softmax"}), (2, {"final_activation": "relu"})],
)
def test_unets_are_rebuilt_with_all_their_weights(tmp_path, legacy, axes, classes, late):
    with stand_ins(*CLASSES) as models:
        network = make_unet(models, axes=axes, classes=classes, **late)
        settings = make_settings(volume=axes == 3, classes=classes)
        folder = write_model(tmp_path / "m", settings, network, legacy=legacy)
        expected = {name: value.clone() for name, value in network.state_dict().items()}
    assert "ivadomed" not in sys.modules
    checkpoint = load(folder, Options())
    rebuilt = checkpoint.networks["0"]
    sizes = sorted(tuple(w.shape) for n, w in expected.items() if "num_batches" not in n)
    found = [*rebuilt.parameters(), *(b for n, b in rebuilt.named_buffers() if "num_b" not in n)]
    assert sorted(tuple(weight.shape) for weight in found) == sizes
    maps = rebuilt(torch.randn(2, *checkpoint.input_shape))
    assert maps.shape == (2, *checkpoint.output_shape)
    assert 0 <= maps.min() <= maps.max() <= 1
    assert not rebuilt.training


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "before-1.6"])
@pytest.mark.parametrize("kind", ["UNet3D", "Modified3DUNet"])
@pytest.mark.parametrize("classes", [1, 2])
def test_modified_unets_are_rebuilt(tmp_path, kind, legacy, classes):
    with stand_ins(*CLASSES) as models:
        network = make_modified_unet(models, classes=classes, kind=kind)
        settings = make_settings(volume=True, classes=classes)
        folder = write_model(tmp_path / "m", settings, network, legacy=legacy)
        count = sum(weight.numel() for weight in network.parameters())
    checkpoint = load(folder, Options())
    rebuilt = checkpoint.networks["0"]
    assert sum(weight.numel() for weight in rebuilt.parameters()) == count
    assert rebuilt(torch.randn(1, *checkpoint.input_shape)).shape[1:] == checkpoint.output_shape


def test_a_rebuilt_network_converts(tmp_path):
    from deepseg_export.network.conversion import to_onnx
    from deepseg_export.network.verify import verify

    with stand_ins(*CLASSES) as models:
        network = make_unet(models, classes=2, final_activation="relu")
        folder = write_model(tmp_path / "m", make_settings(classes=2), network)
    checkpoint = load(folder, Options())
    converted = to_onnx(checkpoint.networks["0"], checkpoint.input_shape)
    shapes = checkpoint.input_shape, checkpoint.output_shape
    assert verify(checkpoint.networks["0"], converted, *shapes).max_abs_error < 1e-4


@pytest.mark.parametrize("late", [{}, {"final_activation": "sigmoid"}])
def test_an_output_that_is_not_named_is_a_sigmoid(tmp_path, late):
    with stand_ins(*CLASSES) as models:
        folder = write_model(tmp_path / "m", make_settings(), make_unet(models, **late))
    assert load(folder, Options()).networks["0"].activation == "sigmoid"


def test_a_batch_is_recorded_where_results_depend_on_it(tmp_path):
    for name, classes, expected in (("one", 1, 8), ("two", 2, None)):
        with stand_ins(*CLASSES) as models:
            network = make_unet(models, classes=classes, final_activation="relu")
            folder = write_model(tmp_path / name, make_settings(classes=classes), network)
        window = load(folder, Options()).manifest["sliding_window"]
        assert window.get("batch_size") == expected


class _Evil:
    def __reduce__(self) -> Any:
        return print, ("this must not run",)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "before-1.6"])
def test_code_in_a_pickle_does_not_run(tmp_path, capsys, legacy):
    with stand_ins(*CLASSES) as models:
        network = make_unet(models)
        network.extra = _Evil()
        folder = write_model(tmp_path / "m", make_settings(), network, legacy=legacy)
    with pytest.raises(CheckpointError, match=r"names builtin\w*\.print"):
        load(folder, Options())
    assert "must not run" not in capsys.readouterr().out


def test_a_network_of_other_parts_is_refused_by_name(tmp_path):
    with stand_ins(*CLASSES, "FiLMlayer") as models:
        network = make_unet(models)
        network.decoder.last_film = models.FiLMlayer()
        folder = write_model(tmp_path / "m", make_settings(), network)
    with pytest.raises(CheckpointError, match=r"names ivadomed\.models\.FiLMlayer"):
        load(folder, Options())


def test_weights_must_be_there_once_and_all(tmp_path):
    with stand_ins(*CLASSES) as models:
        network = make_unet(models)
        del network.encoder.conv_bottom.conv2
        missing = write_model(tmp_path / "missing", make_settings(), network)
        network = make_unet(models)
        network.encoder.surplus = torch.nn.Conv2d(1, 1, 1)
        surplus = write_model(tmp_path / "surplus", make_settings(), network)
    with pytest.raises(CheckpointError, match=r"no weights encoder\.conv_bottom\.conv2\.weight"):
        load(missing, Options())
    with pytest.raises(CheckpointError, match=r"no place for: encoder\.surplus"):
        load(surplus, Options())


@pytest.mark.parametrize(
    ("settings", "made", "message"),
    [
        (make_settings(classes=2), {}, "2-D network of 1 classes"),
        (make_settings(volume=True), {}, "2-D network of 1 classes, the JSON says 3-D"),
        (make_settings(), {"final_activation": "tanh"}, "tanh"),
    ],
)
def test_network_and_json_must_agree(tmp_path, settings, made, message):
    with stand_ins(*CLASSES) as models:
        folder = write_model(tmp_path / "m", settings, make_unet(models, **made))
    with pytest.raises(CheckpointError, match=message):
        load(folder, Options())


def _write_pickle(path: Path) -> None:
    torch.save({"weights": torch.zeros(1)}, path)


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
