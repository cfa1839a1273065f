"""What of an ONNX graph is computed beforehand, and what is left as it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from deepseg_export.network.folding import MAX_ELEMENTS, with_constants_folded

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

pytestmark = pytest.mark.export


def model_of(*nodes: Any, shape: Any = ("a", "b", "c"), **constants: Any) -> Any:
    """Return a graph from ``x``, 2 x 3 x N, to ``y`` of some shape."""
    values = [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (2, 3, "n"))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        values,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def operators(model: Any) -> list[str]:
    return [node.op_type for node in model.graph.node]


def folded(model: Any) -> Any:
    """Fold a graph, which must compute the same afterwards and be left alone itself."""
    before = model.SerializeToString()
    result = with_constants_folded(model)
    assert model.SerializeToString() == before
    onnx.checker.check_model(result, full_check=True)
    x = np.random.default_rng(5).standard_normal((2, 3, 4), dtype=np.float32)
    found, expected = (
        onnxruntime.InferenceSession(each, providers=["CPUExecutionProvider"]).run(None, {"x": x})
        for each in (result.SerializeToString(), before)
    )
    np.testing.assert_array_equal(found[0], expected[0])
    return result


def test_shapes_that_are_put_together_of_constants_become_one():
    model = model_of(
        helper.make_node("Constant", [], ["two"], value_ints=[2]),
        helper.make_node("Constant", [], ["zero"], value_int=0),
        helper.make_node("Gather", ["sizes", "zero"], ["first"]),
        helper.make_node("Unsqueeze", ["first", "axis"], ["row"]),
        helper.make_node("Concat", ["row", "two", "rest"], ["shape"], axis=0),
        helper.make_node("Reshape", ["x", "shape"], ["y"]),
        sizes=np.array([3, 9]),
        axis=np.array([0]),
        rest=np.array([-1]),
    )
    result = folded(model)
    assert operators(result) == ["Reshape"]
    (shape,) = result.graph.initializer
    np.testing.assert_array_equal(numpy_helper.to_array(shape), [3, 2, -1])


def test_what_depends_on_the_input_stays():
    model = model_of(
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Mul", ["shape", "one"], ["same"]),
        helper.make_node("Reshape", ["x", "same"], ["y"]),
        one=np.array([1]),
    )
    assert operators(folded(model)) == ["Shape", "Mul", "Reshape"]


def test_what_passes_on_or_is_not_needed_goes():
    model = model_of(
        helper.make_node("Identity", ["x"], ["same"]),
        helper.make_node("Relu", ["same"], ["positive"]),
        helper.make_node("Add", ["positive", "weight"], ["unused"]),
        helper.make_node("Neg", ["positive"], ["y"]),
        weight=np.float32(1),
    )
    result = folded(model)
    assert operators(result) == ["Relu", "Neg"]
    assert not result.graph.initializer


def test_an_output_keeps_its_name():
    model = model_of(
        helper.make_node("Identity", ["weight"], ["y"]),
        weight=np.float32([1, 2]),
        shape=[2],
    )
    assert operators(folded(model)) == ["Identity"]


def test_large_constants_are_not_multiplied():
    model = model_of(
        helper.make_node("Add", ["column", "row"], ["table"]),
        helper.make_node("Add", ["table", "table"], ["twice"]),
        helper.make_node("ReduceSum", ["twice"], ["sum"]),
        helper.make_node("Add", ["x", "sum"], ["y"]),
        column=np.ones((MAX_ELEMENTS, 1), np.float32),
        row=np.ones((1, 2), np.float32),
    )
    assert operators(folded(model)) == ["Add", "ReduceSum", "Add"]


@pytest.mark.parametrize(("new_axis", "expected"), [(0, ["Concat"]), (1, None)])
def test_a_list_that_is_made_to_be_joined_is_joined(new_axis, expected):
    model = model_of(
        helper.make_node("SequenceConstruct", ["x", "x"], ["list"]),
        helper.make_node("ConcatFromSequence", ["list"], ["y"], axis=1, new_axis=new_axis),
        shape=("a", "b", "c", "d")[: 3 + new_axis],
    )
    assert operators(folded(model)) == (expected or operators(model))


def test_graphs_within_nodes_see_what_they_saw():
    inner = helper.make_graph(
        [helper.make_node("Identity", ["same"], ["z"])],
        "inner",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
    )
    model = model_of(
        helper.make_node("Identity", ["x"], ["same"]),
        helper.make_node("If", ["yes"], ["y"], then_branch=inner, else_branch=inner),
        yes=np.array(True),
    )
    assert operators(folded(model)) == ["Identity", "If"]
