"""Networks that ivadomed pickled whole, read without running anything they name.

Every class becomes a plain holder of attributes, and only classes that ivadomed's U-Nets are made
of are let in. Weights and settings are taken from the holders; the network is built anew.
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from deepseg_export.errors import CheckpointError

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
_STARTS = (b"PK\x03\x04", b"\x80")  # torch's two containers: a zip, or pickles one after another
_UNUSED = "num_batches_tracked"


class Holder:
    """Stands in for an instance of a class that is never imported."""

    dump_patches = False  # torch asks for it when it compares a file's source with a class's


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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network = torch.load(path, map_location="cpu", weights_only=False)
    except ImportError as error:
        raise CheckpointError(
            f"{path} needs {error.name}, which is not installed; install it beside this software, "
            "or leave --trust-checkpoint out."
        ) from error
    except Exception as error:  # a pickle may raise anything at all
        raise _unreadable(path, error) from error
    if not isinstance(network, torch.nn.Module):
        raise CheckpointError(f"{path} holds a {type(network).__name__}; a network is needed.")
    return network.eval()


def _load(path: Path) -> Any:
    import torch

    with path.open("rb") as file:
        if not file.read(4).startswith(_STARTS):
            raise CheckpointError(f"{path} is no file of torch.save; get it again.")
    if zipfile.is_zipfile(path) and _is_script(path):
        raise CheckpointError(f"{path} is a TorchScript program; a pickled network is needed.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(
                path, map_location="cpu", pickle_module=_restricted(), weights_only=False
            )
    except _ForbiddenGlobal as error:
        raise CheckpointError(
            f"{path} names {error}, which is no part of the U-Nets that can be rebuilt, and would "
            "run its code when loaded. If you trust where it comes from, install ivadomed 2.9.10 "
            "beside this software and give --trust-checkpoint."
        ) from error
    except Exception as error:  # a damaged pickle may raise anything at all
        raise _unreadable(path, error) from error


def _is_script(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


class _ForbiddenGlobal(pickle.UnpicklingError):
    """A pickle names something that is not on the list."""


def _restricted() -> Any:
    """Return what ``torch.load`` takes for pickle: the same machine with a list of what is known.

    torch's own restricted unpickler does not read whole networks in its older container.
    """
    known = _known_globals()

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            if (module, name) not in known:
                raise _ForbiddenGlobal(f"{module}.{name}")
            return known[module, name]

    def load(file: Any, **options: Any) -> Any:
        return Unpickler(file, **options).load()

    return SimpleNamespace(__name__="restricted", Unpickler=Unpickler, load=load)


def _known_globals() -> dict[tuple[str, str], Any]:
    """Return what a pickle may name: holders for classes, and what tensors are made of.

    torch's functions are wrapped, so that a pickle cannot change their attributes.
    """
    from torch import _utils

    known: dict[tuple[str, str], Any] = {
        (module, name): type(name, (Holder,), {})
        for module, names in _PARTS.items()
        for name in names
    }
    for name in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter"):
        known["torch._utils", name] = partial(getattr(_utils, name))
    for module in ("builtins", "__builtin__"):
        known[module, "set"] = set
    return known | {("collections", "OrderedDict"): OrderedDict}


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    return CheckpointError(f"{path} is not a readable checkpoint ({reason}); get it again.")


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
