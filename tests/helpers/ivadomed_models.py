"""Model folders as ivadomed leaves them, made without ivadomed.

Networks are pickled under its class names; what their classes would compute is not needed.
"""

from __future__ import annotations

import contextlib
import json
import sys
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

CLASSES = ("Unet", "Encoder", "Decoder", "DownConv", "UpConv", "Modified3DUNet", "UNet3D")


@contextlib.contextmanager
def stand_ins(*names: str) -> Iterator[types.ModuleType]:
    """Put a module ``ivadomed.models`` with empty classes of these names where pickle finds it."""
    from torch import nn

    package, models = types.ModuleType("ivadomed"), types.ModuleType("ivadomed.models")
    for name in names:
        setattr(models, name, type(name, (nn.Module,), {"__module__": "ivadomed.models"}))
    sys.modules.update({"ivadomed": package, "ivadomed.models": models})
    try:
        yield models
    finally:
        del sys.modules["ivadomed"], sys.modules["ivadomed.models"]


def _made(kind: type, parts: dict[str, Any], **settings: Any) -> Any:
    """Return an instance with parts and plain attributes."""
    module = kind()
    for name, value in {**parts, **settings}.items():
        setattr(module, name, value)
    return module


def make_unet(
    models: Any, *, axes: int = 2, channels: int = 1, classes: int = 1, depth: int = 2, **late: Any
) -> Any:
    """Return a U-Net of the shape that ivadomed's has; ``late`` is set on its decoder."""
    from torch import nn

    conv = (nn.Conv2d, nn.Conv3d)[axes - 2]
    norm = (nn.BatchNorm2d, nn.InstanceNorm3d)[axes - 2]
    pool = (nn.MaxPool2d, nn.MaxPool3d)[axes - 2]
    drop = (nn.Dropout2d, nn.Dropout3d)[axes - 2]

    def block(inputs: int, outputs: int) -> Any:
        parts = {}
        for name, size in (("conv1", inputs), ("conv2", outputs)):
            parts[name] = conv(size, outputs, 3, padding=1)
            parts[f"{name}_bn"], parts[f"{name}_drop"] = norm(outputs, momentum=0.1), drop(0.3)
        return _made(models.DownConv, parts)

    widths = [3 * 2**level for level in range(depth)]
    down, up = nn.ModuleList(), nn.ModuleList()
    for inputs, outputs in zip([channels, *widths], widths, strict=False):
        down.extend([block(inputs, outputs), None, pool(2)])
    below = widths[-1]
    for width in reversed(widths):
        outputs = max(width // 2, widths[0]) if width > widths[0] else widths[0]
        up.append(
            _made(models.UpConv, {"downconv": block(below + width, outputs)}, is_2d=axes == 2)
        )
        up.append(None)
        below = outputs
    outputs = classes + 1 if classes > 1 else 1
    encoder = _made(
        models.Encoder,
        {"down_path": down, "conv_bottom": block(widths[-1], widths[-1])},
        depth=depth,
        film_bottom=None,
    )
    decoder = _made(
        models.Decoder,
        {"up_path": up, "last_conv": conv(below, outputs, 3, padding=1), "softmax": nn.Softmax(1)},
        depth=depth,
        out_channel=outputs,
        last_film=None,
        **late,
    )
    return _made(models.Unet, {"encoder": encoder, "decoder": decoder})


def make_modified_unet(
    models: Any, *, channels: int = 1, classes: int = 1, kind: str = "UNet3D", **late: Any
) -> Any:
    """Return a 3-D U-Net of the shape that ivadomed's has; ``late`` is set on it."""
    from torch import nn

    outputs = classes + 1 if classes > 1 else 1

    def conv(inputs: int, width: int, size: int = 3, stride: int = 1) -> Any:
        return nn.Conv3d(inputs, width, size, stride, padding=size // 2, bias=False)

    def norm(width: int) -> Any:
        return nn.InstanceNorm3d(width, momentum=0.1)

    relu = nn.LeakyReLU
    parts: dict[str, Any] = {
        "conv3d_c1_1": conv(channels, 1),
        "conv3d_c1_2": conv(1, 1),
        "lrelu_conv_c1": nn.Sequential(relu(), conv(1, 1)),
        "dropout3d": nn.Dropout3d(0.3),
        "upsacle": nn.Upsample(scale_factor=2, mode="nearest"),
    }
    for level in (2, 3, 4, 5):
        width = 2 ** (level - 1)
        parts[f"conv3d_c{level}"] = conv(width // 2, width, stride=2)
        parts[f"norm_lrelu_conv_c{level}"] = nn.Sequential(norm(width), relu(), conv(width, width))
    for level in range(4):
        width = 2 ** (3 - level)
        inputs = 16 if level == 0 else 2 * width
        parts[f"norm_lrelu_upscale_conv_norm_lrelu_l{level}"] = nn.Sequential(
            *(norm(inputs), relu(), nn.Upsample(scale_factor=2, mode="nearest")),
            *(conv(inputs, width), norm(width), relu()),
        )
        joined = 2 * width
        parts[f"conv_norm_lrelu_l{level + 1}"] = nn.Sequential(
            conv(joined, joined), norm(joined), relu()
        )
        parts[f"conv3d_l{level + 1}"] = conv(joined, width if level < 3 else outputs, 1)
    parts["conv3d_l0"] = conv(8, 8, 1)
    parts["ds2_1x1_conv3d"], parts["ds3_1x1_conv3d"] = conv(8, outputs, 1), conv(4, outputs, 1)
    return _made(getattr(models, kind), parts, attention=False, n_classes=outputs, **late)


def make_settings(*, volume: bool = False, classes: int = 1, **changes: Any) -> dict[str, Any]:
    """Return the JSON of a model; ``changes`` replace top-level entries."""
    size = [32, 32, 16] if volume else [32, 32]
    settings: dict[str, Any] = {
        "command": "train",
        "loader_parameters": {
            "target_suffix": ["_seg-manual", "_gm", "_wm"][:classes],
            "contrast_params": {"training_validation": ["T2star"], "testing": ["T2star"]},
            "slice_axis": "axial",
            "multichannel": False,
        },
        "training_parameters": {"batch_size": 8, "balance_samples": False},
        "default_model": {"name": "Unet", "depth": 2, "is_2d": not volume},
        "transformation": {
            "Resample": {"hspace": 0.75, "wspace": 0.5, "dspace": 2, "preprocessing": True},
            "CenterCrop": {"size": size, "preprocessing": True},
            "NumpyToTensor": {},
            "NormalizeInstance": {"applied_to": ["im"]},
        },
    }
    if volume:
        settings["UNet3D"] = {"applied": True, "length_3D": size, "stride_3D": size}
    return {**settings, **changes}


def write_model(
    folder: Path,
    settings: dict[str, Any],
    network: Any = None,
    onnx: bytes | None = None,
    *,
    legacy: bool = False,
) -> Path:
    """Write a model folder; a pickle in torch's first container when ``legacy``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{folder.name}.json").write_text(json.dumps(settings))
    if network is not None:
        import torch

        file = folder / f"{folder.name}.pt"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the older container would hold the classes' source
            torch.save(network, file, _use_new_zipfile_serialization=not legacy)
    if onnx is not None:
        (folder / f"{folder.name}.onnx").write_bytes(onnx)
    return folder


def make_onnx(
    *middle: Any,
    classes: int = 1,
    axes: int = 2,
    opset: int = 11,
    shape: tuple[Any, ...] | None = None,
    initializers_are_inputs: bool = False,
) -> bytes:
    """Return a convolution to ``features``, nodes of a test from there to ``result``."""
    from onnx import TensorProto, helper, numpy_helper

    weight = np.random.default_rng(0).normal(size=(classes, 1, *[3] * axes)).astype(np.float32)
    shape = shape or ("batch", 1, *[f"size{i}" for i in range(axes)])
    nodes = [helper.make_node("Conv", ["input", "weight"], ["features"], pads=[1] * 2 * axes)]
    nodes += middle or [helper.make_node("Sigmoid", ["features"], ["result"])]
    nodes.append(helper.make_node("Identity", ["result"], ["output"]))
    inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)]
    if initializers_are_inputs:
        inputs.append(helper.make_tensor_value_info("weight", TensorProto.FLOAT, weight.shape))
    outputs = [
        helper.make_tensor_value_info("output", TensorProto.FLOAT, (shape[0], "k", *shape[2:]))
    ]
    graph = helper.make_graph(
        nodes, "g", inputs, outputs, [numpy_helper.from_array(weight, "weight")]
    )
    graph.node[0].doc_string = "/home/somebody/model.py"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=6)
    return bytes(model.SerializeToString())
