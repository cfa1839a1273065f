"""Make the tiny networks in ``tests/data``; needs the onnx package.

python tests/make_data.py            write them
python tests/make_data.py --check    say which committed file differs; exit code 1 if one does
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from helpers import detector as stand_in_detector
from helpers import spine_bundles
from onnx import TensorProto, helper, numpy_helper

DATA = Path(__file__).parent / "data"
OPSET, IR_VERSION = 18, 8


def linear(weights: list[list[float]], biases: list[float], axes: str) -> bytes:
    """Return a network that is one convolution of one voxel: logits = weights @ channels + biases.

    ``weights`` has one row per output channel; the batch and all ``axes`` are of any length.
    """
    kernel = np.array(weights, np.float32).reshape(len(weights), -1, *[1] * len(axes))
    shapes = [["N", channels, *axes] for channels in (kernel.shape[1], kernel.shape[0])]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "kernel", "bias"], ["logits"])],
        "linear",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shapes[0])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, shapes[1])],
        [
            numpy_helper.from_array(kernel, "kernel"),
            numpy_helper.from_array(np.array(biases, np.float32), "bias"),
        ],
    )
    return _serialized(graph)


def _serialized(graph: onnx.GraphProto) -> bytes:
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="deepseg_lite tests",
    )
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


def class_reader(step: int) -> bytes:
    """Return a network that reads the classes of a step of the spine off the first channel."""
    weights, biases = spine_bundles.hinges(step)
    count = weights.shape[1]
    hinge_kernel = np.zeros((count, step, 1, 1, 1), np.float32)
    hinge_kernel[:, 0] = 1 / spine_bundles.STEP
    constants = {
        "hinge_kernel": hinge_kernel,
        "hinge_bias": -np.arange(count, dtype=np.float32),
        "kernel": weights.astype(np.float32).reshape(*weights.shape, 1, 1, 1),
        "bias": biases.astype(np.float32),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "hinge_kernel", "hinge_bias"], ["above"]),
            helper.make_node("Relu", ["above"], ["hinges"]),
            helper.make_node("Conv", ["hinges", "kernel", "bias"], ["logits"]),
        ],
        "class_reader",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", step, *"XYZ"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(weights), *"XYZ"])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return _serialized(graph)


def networks() -> dict[str, bytes]:
    """Return every file by name."""
    return {
        "threshold_3d.onnx": linear([[-1], [1]], [0.5, -0.5], "XYZ"),
        "threshold_3d_high.onnx": linear([[-1], [1]], [0.7, -0.7], "XYZ"),
        "regions_2d.onnx": linear([[1], [1]], [-0.25, -0.75], "YZ"),
        "two_channels_3d.onnx": linear([[0, 0], [1, 2]], [0, -1], "XYZ"),
        "spine_step1.onnx": class_reader(1),
        "spine_step2.onnx": class_reader(2),
        "cord_detector.onnx": stand_in_detector.detector(),
        "cord_classifier.onnx": stand_in_detector.classifier(),
    }


def main() -> int:
    """Write or check the files."""
    made = networks()
    if "--check" not in sys.argv[1:]:
        for name, data in made.items():
            (DATA / name).write_bytes(data)
        return 0
    committed = {file.name: file.read_bytes() for file in DATA.glob("*.onnx")}
    different = sorted(
        name for name in made.keys() | committed if made.get(name) != committed.get(name)
    )
    for name in different:
        print(f"{name} differs from what tests/make_data.py makes")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
