"""Model folders as ivadomed leaves them, made without ivadomed and torch."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from helpers import torch_files

NETWORKS = "ivadomed.models"
Array = np.ndarray


@dataclass
class Module:
    """Module of torch or ivadomed as a pickle describes it; what it computes is not needed."""

    module: str
    name: str
    parts: dict[str, Module | None] = field(default_factory=dict)
    parameters: dict[str, Array | None] = field(default_factory=dict)
    buffers: dict[str, Array] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    def state(self, prefix: str = "") -> dict[str, Array]:
        """Return all weights by name, as torch's ``state_dict``."""
        own = {**self.parameters, **self.buffers}
        found = {prefix + name: array for name, array in own.items() if array is not None}
        for name, part in self.parts.items():
            found |= {} if part is None else part.state(f"{prefix}{name}.")
        return found

    def record(self) -> Any:
        """Return what a pickle says of it."""
        parameters = {
            name: None if array is None else torch_files.parameter(torch_files.tensor(array))
            for name, array in self.parameters.items()
        }
        state = {
            "training": True,
            "_parameters": OrderedDict(parameters),
            "_buffers": OrderedDict((n, torch_files.tensor(a)) for n, a in self.buffers.items()),
            "_modules": OrderedDict((n, p and p.record()) for n, p in self.parts.items()),
            **self.settings,
        }
        return torch_files.instance(self.module, self.name, state)


class _Layers:
    """Layers of torch with random weights."""

    def __init__(self, axes: int, seed: int) -> None:
        self.axes, self.rng = axes, np.random.default_rng(seed)

    def convolution(
        self, inputs: int, outputs: int, size: int = 3, *, has_bias: bool = True
    ) -> Module:
        limit = (inputs * size**self.axes) ** -0.5
        shape = (outputs, inputs, *[size] * self.axes)
        weight, bias = (
            self.rng.uniform(-limit, limit, each).astype(np.float32) for each in (shape, outputs)
        )
        parameters = {"weight": weight, "bias": bias if has_bias else None}
        return Module(
            "torch.nn.modules.conv",
            f"Conv{self.axes}d",
            parameters=parameters,
            settings={"in_channels": inputs, "kernel_size": (size,) * self.axes},
        )

    def batch_norm(self, width: int) -> Module:
        ones, zeros = np.ones(width, np.float32), np.zeros(width, np.float32)
        return Module(
            "torch.nn.modules.batchnorm",
            "BatchNorm2d",
            parameters={"weight": ones, "bias": zeros},
            buffers={
                "running_mean": zeros,
                "running_var": ones,
                "num_batches_tracked": np.array(7),
            },
            settings={"eps": 1e-5},
        )

    def instance_norm(self) -> Module:
        return Module(
            "torch.nn.modules.instancenorm",
            "InstanceNorm3d",
            parameters={"weight": None, "bias": None},
            settings={"eps": 1e-5},
        )


def _listed(*parts: Module | None, kind: str = "ModuleList") -> Module:
    return Module("torch.nn.modules.container", kind, {str(i): p for i, p in enumerate(parts)})


def _plain(module: str, name: str) -> Module:
    return Module(f"torch.nn.modules.{module}", name)


def make_unet(
    *,
    axes: int = 2,
    channels: int = 1,
    classes: int = 1,
    depth: int = 2,
    seed: int = 0,
    **late: Any,
) -> Module:
    """Return a U-Net of the shape that ivadomed's has; ``late`` is set on its decoder."""
    layers = _Layers(axes, seed)

    def block(inputs: int, outputs: int) -> Module:
        parts: dict[str, Module | None] = {}
        for name, size in (("conv1", inputs), ("conv2", outputs)):
            parts[name] = layers.convolution(size, outputs)
            norm = layers.batch_norm(outputs) if axes == 2 else layers.instance_norm()
            parts[f"{name}_bn"] = norm
            parts[f"{name}_drop"] = _plain("dropout", f"Dropout{axes}d")
        return Module(NETWORKS, "DownConv", parts)

    widths = [3 * 2**level for level in range(depth)]
    down: list[Module | None] = []
    up: list[Module | None] = []
    for inputs, outputs in zip([channels, *widths], widths, strict=False):
        down += [block(inputs, outputs), None, _plain("pooling", f"MaxPool{axes}d")]
    below = widths[-1]
    for width in reversed(widths):
        outputs = max(width // 2, widths[0])
        part = block(below + width, outputs)
        settings = {"is_2d": axes == 2}
        up += [Module(NETWORKS, "UpConv", {"downconv": part}, settings=settings), None]
        below = outputs
    outputs = classes + 1 if classes > 1 else 1
    encoder = Module(
        NETWORKS,
        "Encoder",
        {"down_path": _listed(*down), "conv_bottom": block(widths[-1], widths[-1])},
        settings={"depth": depth, "film_bottom": None},
    )
    decoder = Module(
        NETWORKS,
        "Decoder",
        {
            "up_path": _listed(*up),
            "last_conv": layers.convolution(below, outputs),
            "softmax": _plain("activation", "Softmax"),
        },
        settings={"depth": depth, "out_channel": outputs, "last_film": None, **late},
    )
    return Module(NETWORKS, "Unet", {"encoder": encoder, "decoder": decoder})


def make_modified_unet(
    *, channels: int = 1, classes: int = 1, kind: str = "UNet3D", seed: int = 0, **late: Any
) -> Module:
    """Return a 3-D U-Net of the shape that ivadomed's has; ``late`` is set on it."""
    layers, outputs = _Layers(3, seed), classes + 1 if classes > 1 else 1
    norm = layers.instance_norm
    relu, double = _plain("activation", "LeakyReLU"), _plain("upsampling", "Upsample")

    def conv(inputs: int, width: int, size: int = 3) -> Module:
        return layers.convolution(inputs, width, size, has_bias=False)

    def row(*parts: Module) -> Module:
        return _listed(*parts, kind="Sequential")

    parts: dict[str, Module | None] = {
        "conv3d_c1_1": conv(channels, 1),
        "conv3d_c1_2": conv(1, 1),
        "lrelu_conv_c1": row(relu, conv(1, 1)),
        "dropout3d": _plain("dropout", "Dropout3d"),
        "upsacle": double,
    }
    for level in (2, 3, 4, 5):
        width = 2 ** (level - 1)
        parts[f"conv3d_c{level}"] = conv(width // 2, width)
        parts[f"norm_lrelu_conv_c{level}"] = row(norm(), relu, conv(width, width))
    for level in range(4):
        width = 2 ** (3 - level)
        inputs = 16 if level == 0 else 2 * width
        name = f"norm_lrelu_upscale_conv_norm_lrelu_l{level}"
        parts[name] = row(norm(), relu, double, conv(inputs, width), norm(), relu)
        joined = 2 * width
        parts[f"conv_norm_lrelu_l{level + 1}"] = row(conv(joined, joined), norm(), relu)
        parts[f"conv3d_l{level + 1}"] = conv(joined, width if level < 3 else outputs, 1)
    parts["conv3d_l0"] = conv(8, 8, 1)
    parts["ds2_1x1_conv3d"], parts["ds3_1x1_conv3d"] = conv(8, outputs, 1), conv(4, outputs, 1)
    settings = {"attention": False, "n_classes": outputs, **late}
    return Module(NETWORKS, kind, parts, settings=settings)


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
    network: Module | None = None,
    onnx: bytes | None = None,
    *,
    legacy: bool = False,
) -> Path:
    """Write a model folder; a pickle in torch's first container when ``legacy``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{folder.name}.json").write_text(json.dumps(settings))
    if network is not None:
        torch_files.save(folder / f"{folder.name}.pt", network.record(), legacy=legacy)
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
