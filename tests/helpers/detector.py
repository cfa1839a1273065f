"""Stand-ins for the two networks that find the cord, and bundles of them.

What they answer depends on every pixel and on the order of the colours, so that a picture which is
made wrongly shows. They know nothing of cords. Making them needs the onnx package;
bundles take them from ``tests/data``.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from helpers.paths import DATA

FILES = {"detector": "cord_detector.onnx", "classifier": "cord_classifier.onnx"}

# What Ultralytics writes into its exports, and reads from them.
METADATA = {
    "task": "detect",
    "stride": "32",
    "batch": "1",
    "imgsz": "[320, 320]",
    "names": "{0: 'cord'}",
    "channels": "3",
    "end2end": "True",
    "args": "{'dynamic': True, 'nms': False}",
}


def _model(
    nodes: list[tuple[str, str, str, dict[str, object]]],
    constants: dict[str, object],
    shapes: tuple[list[object], list[object]],
    metadata: dict[str, str],
) -> bytes:
    """Return a network of nodes (operator, inputs, output, attributes)."""
    from onnx import TensorProto, checker, helper, numpy_helper

    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node(operator, inputs.split(), [output], **attributes)
                for operator, inputs, output, attributes in nodes
            ],
            "stand_in",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, shapes[0])],
            [helper.make_tensor_value_info("output0", TensorProto.FLOAT, shapes[1])],
            [numpy_helper.from_array(np.array(value), name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=8,
        producer_name="deepseg_lite tests",
    )
    helper.set_model_props(model, metadata)
    checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def detector(size: int | None = None) -> bytes:
    """Return a detector of pictures of any size, or of ``size`` x ``size`` alone.

    The box is where bright pixels are: their centre, and once or twice their spread to each side.
    The confidence goes up and down with the contrast of the picture, so that there are gaps. The
    first row is a decoy.
    """
    nodes: list[tuple[str, str, str, dict[str, object]]] = [
        ("Mul", "images colours", "weighted", {}),
        ("ReduceSum", "weighted channel", "gray", {"keepdims": 1}),
        ("Sub", "gray dark", "above", {}),
        ("Relu", "above", "bright", {}),
        ("Add", "bright tiny", "mass", {}),
        ("ReduceSum", "mass plane", "total", {"keepdims": 1}),
        ("Sub", "mass mass", "zeros", {}),
        ("Add", "zeros one", "ones", {}),
    ]
    for axis, name in ((3, "x"), (2, "y")):
        nodes += [
            ("CumSum", f"ones axis{axis}", f"{name}_at", {}),
            ("Mul", f"{name}_at mass", f"{name}_m", {}),
            ("ReduceSum", f"{name}_m plane", f"{name}_sum", {"keepdims": 1}),
            ("Div", f"{name}_sum total", f"{name}_c", {}),
            ("Sub", f"{name}_at {name}_c", f"{name}_off", {}),
            ("Mul", f"{name}_off {name}_off", f"{name}_off2", {}),
            ("Mul", f"{name}_off2 mass", f"{name}_off2m", {}),
            ("ReduceSum", f"{name}_off2m plane", f"{name}_spread2", {"keepdims": 1}),
            ("Div", f"{name}_spread2 total", f"{name}_variance", {}),
            ("Sqrt", f"{name}_variance", f"{name}_s", {}),
            ("Mul", f"{name}_s two", f"{name}_2s", {}),
            ("Sub", f"{name}_c {name}_s", f"{name}1", {}),
            ("Add", f"{name}_c {name}_2s", f"{name}2", {}),
        ]
    nodes += [
        ("ReduceMean", "gray plane", "mean", {"keepdims": 1}),
        ("Sub", "gray mean", "off", {}),
        ("Mul", "off off", "off2", {}),
        ("ReduceMean", "off2 plane", "contrast", {"keepdims": 1}),
        ("Mul", "contrast gain", "phase", {}),
        ("Sin", "phase", "confidence", {}),
        ("Mul", "confidence half", "less", {}),
        ("Sub", "mean mean", "class", {}),
        ("Concat", "x1 y1 x2 y2 confidence class", "first", {"axis": 3}),
        ("Concat", "y1 x1 y2 x2 less class", "second", {"axis": 3}),
        ("Concat", "second first", "rows", {"axis": 2}),
        ("Squeeze", "rows channel", "output0", {}),
    ]
    constants: dict[str, object] = {
        "colours": np.array([0.2, 0.5, 0.3], np.float32).reshape(1, 3, 1, 1),
        "channel": np.array([1]),
        "plane": np.array([2, 3]),
        "axis2": np.array(2),
        "axis3": np.array(3),
        "dark": np.float32(0.4),
        "tiny": np.float32(1e-6),
        "one": np.float32(1),
        "two": np.float32(2),
        "half": np.float32(0.5),
        "gain": np.float32(150),
    }
    sides: list[object] = ["height", "width"] if size is None else [size, size]
    batch: object = "batch" if size is None else 1
    shapes = ([batch, 3, *sides], [batch, 2, 6])
    metadata = METADATA
    if size is not None:
        metadata = {**METADATA, "args": "{'dynamic': False, 'nms': False}"}
    return _model(nodes, constants, shapes, metadata)


def classifier(size: int = 320) -> bytes:
    """Return a classifier: cord where the last colour is brighter than the first."""
    nodes: list[tuple[str, str, str, dict[str, object]]] = [
        ("Mul", "images colours", "weighted", {}),
        ("ReduceMean", "weighted pixels", "score", {"keepdims": 0}),
        ("Unsqueeze", "score last", "scores", {}),
        ("Mul", "scores signs", "logits", {}),
        ("Softmax", "logits", "output0", {"axis": 1}),
    ]
    constants: dict[str, object] = {
        "colours": np.array([-1, 0.01, 1], np.float32).reshape(1, 3, 1, 1),
        "pixels": np.array([1, 2, 3]),
        "last": np.array([1]),
        "signs": np.array([[-200, 200]], np.float32),
    }
    return _model(nodes, constants, ([1, 3, size, size], [1, 2]), {})


def constant_detector(rows: list[list[float]]) -> bytes:
    """Return a detector that finds the same rows in every picture."""
    values = np.array([rows], np.float32)
    nodes: list[tuple[str, str, str, dict[str, object]]] = [
        ("Shape", "images", "batch", {"start": 0, "end": 1}),
        ("Concat", "batch rest", "shape", {"axis": 0}),
        ("Expand", "rows shape", "output0", {}),
    ]
    constants: dict[str, object] = {"rows": values, "rest": np.array(values.shape[1:])}
    shapes: tuple[list[object], list[object]] = (
        ["batch", 3, "height", "width"],
        ["batch", len(rows), 6],
    )
    return _model(nodes, constants, shapes, METADATA)


def make_detector_manifest() -> dict[str, Any]:
    """Return a valid manifest document of a bundle of the stand-ins."""
    networks = {}
    for role, file in FILES.items():
        content = (DATA / file).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        networks[role] = {"path": file, "sha256": digest, "size": len(content)}
    sides = {"superior": 40, "inferior": 100, "left": 15, "right": 15, "anterior": 15}
    return {
        "schema": 1,
        "kind": "cord_detector",
        "name": "tiny_detector",
        "version": "1.0",
        "networks": networks,
        "settings": {
            "slice_spacing_mm": 10.0,
            "in_plane_spacing_mm": 1.0,
            "percentiles": [0.5, 99.5],
            "image_size": 320,
            "letterbox": "minimum_rectangle",
            "confidence": 0.1,
            "regularization": "cls",
            "classifier_threshold": 0.5,
            "padding_mm": {**sides, "posterior": 22},
        },
        "source": {"family": "sc_crop", "license": None, "citation": None, "files": {}},
        "export": {"versions": {"onnxruntime": "0"}},
    }


def write_detector(folder: Path, **changes: Any) -> Path:
    """Write a bundle directory; ``changes`` replace top-level keys of the manifest."""
    folder.mkdir(parents=True)
    for file in FILES.values():
        (folder / file).write_bytes((DATA / file).read_bytes())
    manifest = {**make_detector_manifest(), **changes}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder
