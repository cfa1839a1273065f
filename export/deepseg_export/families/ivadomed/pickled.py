"""Networks that ivadomed pickled whole, read without running anything they name.

Only classes that ivadomed's U-Nets are made of are let in. Weights and settings are taken from what
a pickle says of their instances; the network is built anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepseg_export.errors import CheckpointError
from deepseg_export.reading.checkpoint import read_saved
from deepseg_export.reading.limits import check_tree
from deepseg_export.reading.records import Record, kind_of, record_parts

_PARTS = {
    "ivadomed.models": (
        *("Unet", "Encoder", "Decoder", "DownConv", "UpConv", "Modified3DUNet", "UNet3D"),
    ),
    "torch.nn.modules.activation": ("LeakyReLU", "ReLU", "Sigmoid", "Softmax"),
    "torch.nn.modules.batchnorm": ("BatchNorm2d", "BatchNorm3d"),
    "torch.nn.modules.container": ("ModuleList", "Sequential"),
    "torch.nn.modules.conv": ("Conv2d", "Conv3d"),
    "torch.nn.modules.dropout": ("Dropout2d", "Dropout3d"),
    "torch.nn.modules.instancenorm": ("InstanceNorm2d", "InstanceNorm3d"),
    "torch.nn.modules.pooling": ("MaxPool2d", "MaxPool3d"),
    "torch.nn.modules.upsampling": ("Upsample",),
}
_KNOWN = {f"{module}.{name}" for module, names in _PARTS.items() for name in names}
_NETWORKS = ("Unet", "Modified3DUNet", "UNet3D")
_UNUSED = "num_batches_tracked"


@dataclass(frozen=True)
class PickledNetwork:
    """Parts of a pickled network.

    Attributes
    ----------
    kind : str
        Name of its class, without the module.
    weights : dict
        Name to array, as in a state dictionary, counters left out.
    settings : dict
        Plain attributes of the network and, under their names before a dot, of its parts.
    """

    kind: str
    weights: Mapping[str, Any]
    settings: Mapping[str, Any]


def read_pickle(path: Path) -> PickledNetwork:
    """Read a file that ``torch.save`` wrote of an ivadomed network.

    Raises
    ------
    CheckpointError
        If it is damaged, or names anything but known classes and tensors.
    """
    network = read_saved(path)
    kind = network.name.rpartition(".")[2] if isinstance(network, Record) else ""
    if kind not in _NETWORKS:
        raise CheckpointError(
            f"{path} holds a {kind_of(network)}; one of ivadomed's networks Unet and "
            "Modified3DUNet is needed."
        )
    check_tree(network, path, record_parts)
    for record in _records(network):
        if record.name not in _KNOWN:
            raise CheckpointError(
                f"{path} names {record!r}, which is no part of the U-Nets that can be rebuilt; "
                "another export of the network, as .onnx, is needed."
            )
    try:
        return PickledNetwork(kind, dict(_weights(network, "")), dict(_settings(network, "")))
    except (AttributeError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} is no network that ivadomed saved ({error}); get it again."
        ) from error


def _records(value: Any) -> Iterator[Record]:
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, Record):
            yield item
        left.extend(record_parts(item))


def _parts(record: Record) -> Iterator[tuple[str, Record]]:
    for name, part in record.state["_modules"].items():
        if isinstance(part, Record):
            yield name, part


def _weights(record: Record, prefix: str) -> Iterator[tuple[str, np.ndarray]]:
    for values in (record.state["_parameters"], record.state["_buffers"]):
        for name, value in values.items():
            if isinstance(value, np.ndarray) and name != _UNUSED:
                yield prefix + name, value
    for name, part in _parts(record):
        yield from _weights(part, f"{prefix}{name}.")


def _settings(record: Record, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in record.state.items():
        if isinstance(value, (bool, int, float, str)):
            yield prefix + name, value
    for name, part in _parts(record):
        yield from _settings(part, f"{prefix}{name}.")
