"""Make the tiny networks in ``tests/data``; needs the onnx package.

python tests/make_data.py            write them
python tests/make_data.py --check    say which committed file differs; exit code 1 if one does
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import stand_in_detector
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
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="deepseg_lite tests",
    )
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


def networks() -> dict[str, bytes]:
    """Return every file by name."""
    return {
        "threshold_3d.onnx": linear([[-1], [1]], [0.5, -0.5], "XYZ"),
        "threshold_3d_high.onnx": linear([[-1], [1]], [0.7, -0.7], "XYZ"),
        "regions_2d.onnx": linear([[1], [1]], [-0.25, -0.75], "YZ"),
        "two_channels_3d.onnx": linear([[0, 0], [1, 2]], [0, -1], "XYZ"),
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
