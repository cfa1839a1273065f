"""Networks that ivadomed pickled whole, read without running anything they name.

Every class becomes a plain holder of attributes, and only classes that ivadomed's U-Nets are made
of are let in. Weights and settings are taken from the holders; the network is built anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepseg_export.errors import CheckpointError
from deepseg_export.reading.checkpoint import load_trusted, read_saved
from deepseg_export.reading.unpickling import ForbiddenGlobal, Holder

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
_HOLDERS = {
    (module, name): type(name, (Holder,), {}) for module, names in _PARTS.items() for name in names
}
_UNUSED = "num_batches_tracked"


@dataclass(frozen=True)
class PickledNetwork:
    """Parts of a pickled network.

    Attributes
    ----------
    kind : str
        Name of its class, without the module.
    weights : dict
        Name to tensor, as in a state dictionary, counters left out.
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
    network = _load(path)
    kind = type(network).__name__
    if not isinstance(network, Holder) or kind not in ("Unet", "Modified3DUNet", "UNet3D"):
        raise CheckpointError(
            f"{path} holds a {kind}; one of ivadomed's networks Unet and Modified3DUNet is needed."
        )
    try:
        return PickledNetwork(kind, dict(_weights(network, "")), dict(_settings(network, "")))
    except (AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is no network that ivadomed saved ({error}); get it again."
        ) from error


def read_trusted(path: Path) -> Any:
    """Unpickle a network, which runs whatever code the file names; needs ivadomed itself.

    Raises
    ------
    CheckpointError
        If it is damaged, holds no network, or needs a module that is not installed.
    """
    import torch

    try:
        network = load_trusted(path)
    except ImportError as error:
        raise CheckpointError(
            f"{path} needs {error.name}, which is not installed; install it beside this software, "
            "or leave --trust-checkpoint out."
        ) from error
    if not isinstance(network, torch.nn.Module):
        raise CheckpointError(f"{path} holds a {type(network).__name__}; a network is needed.")
    return network.eval()


def _load(path: Path) -> Any:
    try:
        return read_saved(path, lambda module, name: _HOLDERS.get((module, name)))
    except ForbiddenGlobal as error:
        raise CheckpointError(
            f"{path} names {error}, which is no part of the U-Nets that can be rebuilt, and would "
            "run its code when loaded. If you trust where it comes from, install ivadomed 2.9.10 "
            "beside this software and give --trust-checkpoint."
        ) from error


def _parts(holder: Holder) -> Iterator[tuple[str, Holder]]:
    for name, part in holder._modules.items():  # type: ignore[attr-defined]
        if isinstance(part, Holder):
            yield name, part


def _weights(holder: Holder, prefix: str) -> Iterator[tuple[str, Any]]:
    import torch

    for values in (holder._parameters, holder._buffers):  # type: ignore[attr-defined]
        for name, value in values.items():
            if isinstance(value, torch.Tensor) and name != _UNUSED:
                yield prefix + name, value.detach()
    for name, part in _parts(holder):
        yield from _weights(part, f"{prefix}{name}.")


def _settings(holder: Holder, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in vars(holder).items():
        if isinstance(value, (bool, int, float, str)):
            yield prefix + name, value
    for name, part in _parts(holder):
        yield from _settings(part, f"{prefix}{name}.")
