"""Whole exports: what is written, that it computes the same, that failures leave nothing."""

from __future__ import annotations

import errno
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from deepseg_export import exporting
from deepseg_export.architectures.onnx_file import OnnxFile, write_onnx
from deepseg_export.errors import MissingPackageError, UnsupportedError, VerificationError
from deepseg_export.exporting import export_model
from deepseg_export.families.nnunet import Options, load
from deepseg_export.network.conversion import check_size, to_onnx
from deepseg_export.network.verify import Agreement, compare, verify
from helpers.nnunet_models import write_model
from helpers.paths import ROOT

from deepseg_lite.bundles.bundle import read_bundle
from deepseg_lite.bundles.files import read_network
from deepseg_lite.bundles.manifest import manifest_problems
from deepseg_lite.errors import OptionError, OutputError

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytest.importorskip("dynamic_network_architectures")


pytestmark = pytest.mark.export


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    labels = {"background": 0, "sc": [1, 2], "gm": 2}
    return write_model(
        tmp_path_factory.mktemp("model"),
        folds=("0", "1"),
        dataset={"labels": labels, "regions_class_order": [1, 2]},
    )


@pytest.fixture(scope="module")
def bundle_path(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("out") / "new" / "bundle"
    return export_model("nnunet", model, output, Options(license="CC0-1.0"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the check out where it is not what is tested."""
    monkeypatch.setattr(exporting, "check_direct", lambda *_: Agreement(1e-6, 1e-7))


def run_onnx(data: bytes, batch: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"image": batch})[0]


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_bundle_holds_one_network_per_fold_a_manifest_and_a_card(bundle_path):
    assert listing(bundle_path) == ["README.md", "fold_0.onnx", "fold_1.onnx", "manifest.json"]
    assert listing(bundle_path.parent) == ["bundle"]
    bundle = read_bundle(bundle_path)
    assert [(network.fold, network.path) for network in bundle.networks] == [
        ("0", "fold_0.onnx"),
        ("1", "fold_1.onnx"),
    ]
    for network in bundle.networks:
        assert len(read_network(bundle, network)) == network.size
    manifest = json.loads((bundle_path / "manifest.json").read_text())
    assert manifest_problems(manifest) == []
    assert manifest["export"]["opset"] == 18
    assert set(manifest["export"]["versions"]) == {"deepseg_lite", "onnx", "onnxruntime"}
    checks = manifest["export"]["checks"]
    assert [check["fold"] for check in checks] == ["0", "1"]
    assert {check["against"] for check in checks} == {"numpy"}
    assert all(0 < check["max_abs_error"] < 1e-4 for check in checks)


def test_card_has_its_sections(bundle_path):
    card = (bundle_path / "README.md").read_text()
    sections = [line[3:] for line in card.splitlines() if line.startswith("## ")]
    assert sections == [
        "Task and labels",
        "Input expectations",
        "Source",
        "Conversion",
        "Agreement with the original",
        "Limits",
    ]
    for fact in ("CC0-1.0", "| sc | 1, 2 | 1 |", "LAS", "own x 0.5 x 0.6 mm", "fold_1.onnx"):
        assert fact in card


@pytest.mark.parametrize("size", [1, 3])
def test_exported_networks_compute_the_same_for_any_batch(model, bundle_path, size):
    checkpoint, bundle = load(model, Options(with_torch=True)), read_bundle(bundle_path)
    batch = np.random.default_rng(1).normal(size=(size, 1, 16, 16)).astype(np.float32)
    for network in bundle.networks:
        with torch.inference_mode():
            expected = checkpoint.networks[network.fold](torch.from_numpy(batch)).numpy()
        found = run_onnx(read_network(bundle, network), batch)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_networks_hold_only_what_computes(bundle_path):
    data = (bundle_path / "fold_0.onnx").read_bytes()
    parsed = onnx.load_from_string(data)
    names = {item.name for item in parsed.graph.initializer}
    assert not [name for name in names if "seg_layers.0" in name]
    assert {node.op_type for node in parsed.graph.node} == {
        "Conv",
        "InstanceNormalization",
        "LeakyRelu",
        "ConvTranspose",
        "Concat",
    }
    assert [(item.domain, item.version) for item in parsed.opset_import] == [("", 18)]
    assert {item.data_type for item in parsed.graph.initializer} == {onnx.TensorProto.FLOAT}


def test_networks_tell_nothing_about_this_machine(bundle_path):
    data = (bundle_path / "fold_0.onnx").read_bytes()
    here = {str(Path.home()), str(Path(torch.__file__).parent), str(ROOT)}
    for text in (*here, "site-packages", ".py", "stack_trace", "pkg.torch", str(bundle_path)):
        assert text.encode() not in data, text
    manifest = (bundle_path / "manifest.json").read_text()
    assert str(bundle_path.parents[1]) not in manifest


def test_same_checkpoint_gives_the_same_bytes(model, bundle_path):
    checkpoint = load(model, Options(folds=["1"]))
    graph = exporting.convert(
        checkpoint.networks["1"], checkpoint.input_shape, checkpoint.output_shape
    )
    network = read_bundle(bundle_path).networks[1]
    assert hashlib.sha256(graph.onnx).hexdigest() == network.sha256


def test_torch_converts_the_same_network_to_the_same_bytes(model):
    networks = [load(model, Options(folds=["1"], with_torch=True)) for _ in range(2)]
    first, second = (to_onnx(one.networks["1"], one.input_shape) for one in networks)
    assert first == second


def test_three_dimensional_residual_network_as_a_lone_file(make_model, tmp_path):
    model = make_model(configuration="3d_fullres", network="ResidualEncoderUNet", channels=2)
    output = export_model("nnunet", model, tmp_path / "out" / "lone.onnx")
    assert listing(tmp_path / "out") == ["lone.onnx"]
    onnx.checker.check_model(onnx.load(output))
    bundle = read_bundle(output)
    assert bundle.lone_file
    assert bundle.inputs.channel_names == ("channel0", "channel1")
    batch = np.random.default_rng(2).normal(size=(2, 2, 8, 16, 16)).astype(np.float32)
    with torch.inference_mode():
        expected = (
            load(model, Options(with_torch=True)).networks["0"](torch.from_numpy(batch)).numpy()
        )
    for data in (read_network(bundle, bundle.networks[0]), output.read_bytes()):
        np.testing.assert_allclose(run_onnx(data, batch), expected, atol=1e-5)


def test_residual_decoder_network_exports(make_model):
    checkpoint = load(make_model(network="ResidualUNet"), Options(with_torch=True))
    network = checkpoint.networks["0"]
    data = to_onnx(network, checkpoint.input_shape)
    assert verify(network, data, checkpoint.input_shape, checkpoint.output_shape)[0] < 1e-4


def test_lone_file_holds_one_network(model, tmp_path):
    with pytest.raises(OptionError, match="2 folds"):
        export_model("nnunet", model, tmp_path / "out" / "x.onnx")
    assert listing(tmp_path) == []


def test_failed_verification_leaves_nothing_behind(model, tmp_path, monkeypatch):
    def altered(*given):
        file = write_onnx(*given)
        name = list(file.weights)[-1]
        return OnnxFile(file.model, {**file.weights, name: file.weights[name] + 1})

    monkeypatch.setattr(exporting, "write_onnx", altered)
    with pytest.raises(VerificationError, match="differs from the original by 1"):
        export_model("nnunet", model, tmp_path / "deep" / "er" / "bundle")
    assert listing(tmp_path) == []


def test_failed_verification_of_torch_leaves_nothing_behind(model, tmp_path, monkeypatch):
    def altered(network, shape):
        data = to_onnx(network, shape)
        parsed = onnx.load_from_string(data)
        bias = next(i for i in parsed.graph.initializer if i.name.endswith("seg_layers.1.bias"))
        bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + 1, bias.name))
        return parsed.SerializeToString()

    monkeypatch.setattr(exporting, "to_onnx", altered)
    with pytest.raises(VerificationError, match="differs from the original by 1"):
        export_model("nnunet", model, tmp_path / "deep" / "bundle", Options(with_torch=True))
    assert listing(tmp_path) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left")])
def test_interruption_leaves_nothing_behind(model, tmp_path, monkeypatch, quick, error):
    def stop(*_, **__):
        raise error

    monkeypatch.setattr(exporting, "write_bundle", stop)
    expected = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else OutputError
    with pytest.raises(expected):
        export_model("nnunet", model, tmp_path / "bundle")
    assert listing(tmp_path) == []


@pytest.mark.parametrize("name", ["bundle", "one.onnx"])
def test_existing_bundle_is_replaced_only_when_told(model, tmp_path, quick, name):
    output = export_model("nnunet", model, tmp_path / name, Options(folds=["0"], release="1"))
    with pytest.raises(OutputError, match="--force"):
        export_model("nnunet", model, output, Options(folds=["0"], release="2"))
    assert read_bundle(output).version == "1"
    export_model("nnunet", model, output, Options(folds=["0"], release="2"), force=True)
    assert read_bundle(output).version == "2"
    assert listing(tmp_path) == [name]


def test_failure_keeps_the_bundle_that_is_there(model, tmp_path, monkeypatch, quick):
    output = export_model("nnunet", model, tmp_path / "bundle")
    monkeypatch.setattr(exporting, "check_direct", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export_model("nnunet", model, output, force=True)
    assert len(read_bundle(output).networks) == 2
    assert listing(tmp_path) == ["bundle"]


@pytest.mark.parametrize("name", ["precious", "precious.onnx"])
def test_force_never_replaces_what_is_no_bundle(model, tmp_path, quick, name):
    folder = tmp_path / name
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="not a bundle"):
        export_model("nnunet", model, folder, force=True)
    assert (folder / "thesis.txt").exists()


def test_output_that_cannot_be_made(model, tmp_path, quick):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        export_model("nnunet", model, tmp_path / "file" / "bundle")


@pytest.mark.parametrize(
    ("missing", "options", "extras"),
    [
        (["torch"], Options(), None),
        (["onnx"], Options(), "convert"),
        (["onnx", "onnxruntime"], Options(), "convert,cpu"),
        (["torch", "onnx"], Options(with_torch=True), "export"),
        (["dynamic_network_architectures"], Options(check_torch=True), "export"),
        (["onnxscript"], Options(with_torch=True), "export"),
    ],
)
def test_missing_packages_are_named_by_the_path_that_was_chosen(
    model, tmp_path, monkeypatch, quick, missing, options, extras
):
    for name in missing:
        monkeypatch.setitem(sys.modules, name, None)
    if extras is None:
        assert export_model("nnunet", model, tmp_path / "bundle", options)
        return
    named = rf"needs {', '.join(missing[::-1] if 'torch' in missing else missing)}, which.*"
    with pytest.raises(MissingPackageError, match=rf'{named}"deepseg-lite\[{extras}\]"'):
        export_model("nnunet", model, tmp_path / "bundle", options)
    assert listing(tmp_path) == []


def test_torch_can_check_what_was_written_without_it(model, tmp_path):
    output = export_model("nnunet", model, tmp_path / "b", Options(folds=["0"], check_torch=True))
    record = read_bundle(output).manifest["export"]
    assert "torch" in record["versions"]
    assert [check["against"] for check in record["checks"]] == ["numpy", "torch"]
    assert all(check["max_rel_error"] < 1e-5 for check in record["checks"])
    direct = export_model("nnunet", model, tmp_path / "d", Options(folds=["0"]))
    assert (direct / "model.onnx").read_bytes() == (output / "model.onnx").read_bytes()


def test_network_too_large_for_one_file_is_refused(model):
    checkpoint = load(model, Options(folds=["0"], with_torch=True))
    with pytest.raises(UnsupportedError, match="2 GiB"):
        check_size(checkpoint.networks["0"], max_bytes=100)


@pytest.mark.parametrize(
    ("found", "accepted"), [(0.0, True), (9e-4, True), (1.1e-3, False), (float("nan"), False)]
)
def test_tolerance(found, accepted):
    zeros, values = np.zeros((1, 2)), np.full((1, 2), found)
    if accepted:
        assert compare(zeros, values, (1, 2)).max_abs_error == found
    else:
        with pytest.raises(VerificationError):
            compare(zeros, values, (1, 2))


def test_tolerance_grows_with_the_values():
    agreement = compare(np.full((2,), 100.0), np.full((2,), 100.05), (2,))
    assert agreement.max_rel_error == pytest.approx(5e-4)


def test_shapes_must_agree():
    with pytest.raises(VerificationError, match="shape"):
        compare(np.zeros((1, 2)), np.zeros((1, 2)), (1, 3))


def test_file_that_onnx_runtime_refuses():
    with pytest.raises(VerificationError, match="refuses"):
        verify(torch.nn.Identity(), b"\x0a\x00", (1, 4, 4), (1, 4, 4))
