"""ivadomed's ONNX files: taken over, brought up to date, repaired or refused."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from deepseg_export.errors import CheckpointError, UnsupportedError
from deepseg_export.families.ivadomed import Options, load
from helpers.ivadomed_models import make_onnx, make_settings, write_model

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper  # noqa: E402

pytestmark = [pytest.mark.export, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


def run(onnx_bytes: bytes, batch: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(onnx_bytes, providers=["CPUExecutionProvider"])
    result: np.ndarray = session.run(None, {session.get_inputs()[0].name: batch})[0]
    return result


def test_a_graph_is_taken_over_without_the_pickle(tmp_path, rng):
    given = make_onnx(classes=2, opset=9)
    folder = write_model(tmp_path / "m", make_settings(classes=2), onnx=given)
    (folder / "m.pt").write_bytes(b"never read")
    graph = load(folder, Options()).networks["0"]
    batch = rng.standard_normal((3, 1, 20, 24), dtype=np.float32)
    np.testing.assert_allclose(run(graph.onnx, batch), run(given, batch), atol=1e-6)
    assert graph.agreements["onnx"].max_abs_error < 1e-6
    assert graph.has_free_batch
    model = onnx.load_model_from_string(graph.onnx)
    assert model.opset_import[0].version == graph.opset == 18
    assert b"somebody" not in graph.onnx
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param


def test_constants_are_folded(tmp_path):
    middle = [
        helper.make_node(
            "Constant", [], ["one"], value=helper.make_tensor("", TensorProto.FLOAT, [1], [1])
        ),
        helper.make_node("Add", ["one", "one"], ["two"]),
        helper.make_node("Mul", ["features", "two"], ["result"]),
    ]
    folder = write_model(tmp_path / "m", make_settings(), onnx=make_onnx(*middle))
    model = onnx.load_model_from_string(load(folder, Options()).networks["0"].onnx)
    assert sorted(node.op_type for node in model.graph.node if node.op_type != "Identity") == [
        "Conv",
        "Mul",
    ]


def test_a_batch_of_one_is_freed(tmp_path, rng):
    given = make_onnx(shape=(1, 1, 32, 32), initializers_are_inputs=True)
    graph = load(write_model(tmp_path / "m", make_settings(), onnx=given), Options()).networks["0"]
    batch = rng.standard_normal((2, 1, 32, 32), dtype=np.float32)
    found = run(graph.onnx, batch)
    np.testing.assert_allclose(found[:1], run(given, batch[:1]), atol=1e-6)
    assert graph.has_free_batch


def test_a_batch_that_cannot_be_freed_is_recorded(tmp_path):
    middle = [
        helper.make_node(
            "Constant", [], ["to"], value=helper.make_tensor("", TensorProto.INT64, [2], [1, 1024])
        ),
        helper.make_node("Reshape", ["features", "to"], ["flat"]),
        helper.make_node(
            "Constant",
            [],
            ["back"],
            value=helper.make_tensor("", TensorProto.INT64, [4], [1, 1, 32, 32]),
        ),
        helper.make_node("Reshape", ["flat", "back"], ["result"]),
    ]
    onnx_file = make_onnx(*middle, shape=(1, 1, 32, 32))
    settings = make_settings(training_parameters={"batch_size": 1})
    checkpoint = load(write_model(tmp_path / "m", settings, onnx=onnx_file), Options())
    assert not checkpoint.networks["0"].has_free_batch
    assert checkpoint.manifest["sliding_window"]["batch_size"] == 1


def test_a_division_by_the_largest_of_the_batch_is_noticed(tmp_path):
    middle = [
        helper.make_node("Relu", ["features"], ["positive"]),
        helper.make_node("ReduceMax", ["positive"], ["largest"], keepdims=0),
        helper.make_node("Div", ["positive", "largest"], ["result"]),
    ]
    folder = write_model(tmp_path / "m", make_settings(), onnx=make_onnx(*middle))
    assert load(folder, Options()).manifest["sliding_window"]["batch_size"] == 8


def test_booleans_among_numbers_are_repaired(tmp_path, rng, caplog):
    middle = [
        helper.make_node(
            "Constant", [], ["zero"], value=helper.make_tensor("", TensorProto.FLOAT, [1], [0])
        ),
        helper.make_node("Greater", ["features", "zero"], ["is_positive"]),
        helper.make_node("Mul", ["features", "is_positive"], ["result"]),
    ]
    onnx_file = make_onnx(*middle)
    batch = rng.standard_normal((1, 1, 16, 16), dtype=np.float32)
    with pytest.raises(Exception, match="bool"):
        run(onnx_file, batch)
    folder = write_model(tmp_path / "m", make_settings(), onnx=onnx_file)
    found = run(load(folder, Options()).networks["0"].onnx, batch)
    assert found.min() == 0 < found.max()
    assert "booleans" in caplog.text


def test_a_graph_of_the_oldest_form_is_taken_over(tmp_path, rng):
    model = onnx.load_model_from_string(make_onnx(opset=9, initializers_are_inputs=True))
    model.ir_version = 3
    given = model.SerializeToString()
    graph = load(write_model(tmp_path / "m", make_settings(), onnx=given), Options()).networks["0"]
    batch = rng.standard_normal((2, 1, 20, 24), dtype=np.float32)
    np.testing.assert_allclose(run(graph.onnx, batch), run(given, batch), atol=1e-6)
    assert graph.opset == 18


def test_lists_of_tensors_are_folded_away(tmp_path):
    middle = [
        helper.make_node("SequenceConstruct", ["features", "features"], ["list"]),
        helper.make_node("ConcatFromSequence", ["list"], ["result"], axis=1),
    ]
    settings = make_settings(classes=2)
    folder = write_model(tmp_path / "m", settings, onnx=make_onnx(*middle, classes=1))
    model = onnx.load_model_from_string(load(folder, Options()).networks["0"].onnx)
    assert not [node for node in model.graph.node if "Sequence" in node.op_type]


def _sequence_output() -> bytes:
    model = onnx.load_model_from_string(make_onnx())
    model.graph.node[-1].CopyFrom(helper.make_node("SequenceConstruct", ["result"], ["output"]))
    kind = helper.make_tensor_sequence_value_info("output", TensorProto.FLOAT, None)
    model.graph.output[0].CopyFrom(kind)
    return bytes(model.SerializeToString())


def _foreign_operator() -> bytes:
    model = onnx.load_model_from_string(make_onnx())
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"no onnx", CheckpointError, "readable ONNX"),
        (b"", CheckpointError, "no ONNX network"),
        (make_onnx(classes=3), UnsupportedError, "output of shape"),
        (make_onnx(axes=3), CheckpointError, "2 axes"),
        (make_onnx(shape=("n", 1, 48, 48)), CheckpointError, "patches of"),
        (make_onnx(helper.make_node("Wish", ["features"], ["result"])), UnsupportedError, "Wish"),
        (_sequence_output(), UnsupportedError, "list of tensors"),
        (_foreign_operator(), UnsupportedError, r"com\.example"),
    ],
)
def test_a_graph_that_cannot_run_is_refused_with_the_reason(tmp_path, content, error, message):
    folder = write_model(tmp_path / "m", make_settings(), onnx=content)
    with pytest.raises(error, match=message):
        load(folder, Options())


def test_a_ready_graph_needs_nothing_but_onnx(tmp_path):
    folder = write_model(tmp_path / "m", make_settings(), onnx=make_onnx())
    program = """
import pathlib, sys
for name in ("torch", "ivadomed", "onnxscript"):
    sys.modules[name] = None  # importing it fails
from deepseg_export.families.ivadomed import Options, load
print(load(pathlib.Path(sys.argv[1]), Options()).networks["0"].opset)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.strip(), done.returncode) == ("18", 0), done.stderr


def test_the_same_files_give_the_same_bytes(tmp_path):
    folder = write_model(tmp_path / "m", make_settings(), onnx=make_onnx())
    first, second = (load(folder, Options()) for _ in range(2))
    assert first.networks["0"].onnx == second.networks["0"].onnx
    assert json.dumps(first.manifest) == json.dumps(second.manifest)
