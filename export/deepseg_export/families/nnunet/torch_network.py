"""nnU-Net's networks, built by torch from the plans.

Only classes of dynamic_network_architectures and modules of torch.nn are ever looked up, so the
plans of a stranger cannot make us import anything else.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import warnings
from collections.abc import Mapping
from typing import Any

from deepseg_export.errors import UnsupportedError
from deepseg_export.families.nnunet.network import (
    PACKAGE,
    Architecture,
    described,
    without_prefixes,
)
from deepseg_export.reading.weights import load_into, no_larger_than


def check_classes(architecture: Architecture) -> None:
    """Refuse a network of other classes than those that are looked up.

    Raises
    ------
    UnsupportedError
        Naming the class.
    """
    _located(architecture)


def build_network(
    architecture: Architecture, channels: int, heads: int, weights: Mapping[str, Any], where: str
) -> Any:
    """Build a network and load its weights.

    Parameters
    ----------
    architecture : Architecture
        From `read_architecture`.
    channels, heads : int
        Input and output channels.
    weights : dict
        The checkpoint's state; prefixes of wrappers (``module.``, ``_orig_mod.``) are ignored.
    where : str
        The checkpoint, for messages.

    Returns
    -------
    network : torch.nn.Module
        float32, in evaluation mode, one output (deep supervision off).

    Raises
    ------
    UnsupportedError
        If the class does not take the plans' arguments.
    CheckpointError
        If the weights are not of this network, or not finite.
    """
    from torch.nn.modules.batchnorm import _BatchNorm

    name = architecture.name
    network_class, arguments = _located(architecture)
    try:
        with no_larger_than(weights):
            network = network_class(input_channels=channels, num_classes=heads, **arguments)
    except Exception as error:  # upstream asserts, and fails in every other way
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UnsupportedError(f"{name} cannot be built from the plans: {reason}.") from error
    norms = (each for each in network.modules() if isinstance(each, _BatchNorm))
    if any(each.running_mean is None for each in norms):
        raise UnsupportedError(
            f"{name} has batch norms without running statistics, with which PyTorch mixes the "
            "items of a batch; leave --with torch and --check torch out."
        )
    return load_into(network, without_prefixes(weights), where, described(architecture, heads))


def _located(architecture: Architecture) -> tuple[Any, dict[str, Any]]:
    """Return the class of a network and its arguments, classes imported."""
    arguments = dict(architecture.arguments)
    for name in architecture.classes:
        if arguments[name] is not None:
            arguments[name] = _locate_module(arguments[name])
    network_class = _locate_network(architecture.path)
    if "deep_supervision" in inspect.signature(network_class).parameters:
        arguments["deep_supervision"] = False
    return network_class, arguments


def _locate_network(path: str) -> Any:
    """Find a network class by its path, else by its name: classes move between releases."""
    found = _locate_in_package(path)
    if found is not None:
        return found
    architectures = importlib.import_module(f"{PACKAGE}.architectures")
    name = path.rpartition(".")[2]
    modules = [module.name for module in pkgutil.iter_modules(architectures.__path__)]
    # The U-Nets first: some of the others import half the world.
    for module in sorted(modules, key=lambda module: module != "unet"):
        found = _locate_in_package(f"{PACKAGE}.architectures.{module}.{name}")
        if found is not None:
            return found
    raise UnsupportedError(f"{path!r} is not a class of {PACKAGE}")


def _locate_module(path: str) -> Any:
    """Find a layer class that an argument names."""
    import torch

    if path.startswith("torch.nn."):
        found: Any = torch.nn
        for part in path.split(".")[2:]:
            found = getattr(found, part, None)
    else:
        found = _locate_in_package(path)
    if not _is_module_class(found):
        raise UnsupportedError(f"{path!r} is not a class of torch.nn or {PACKAGE}")
    return found


def _locate_in_package(path: str) -> Any:
    """Find a class of dynamic_network_architectures by its path; None when there is none."""
    module_name, _, name = path.rpartition(".")
    if module_name.split(".")[0] != PACKAGE:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = getattr(importlib.import_module(module_name), name, None)
    except Exception:  # a module that is gone, or needs a package that is missing or broken
        return None
    return found if _is_module_class(found) else None


def _is_module_class(value: Any) -> bool:
    import torch

    return isinstance(value, type) and issubclass(value, torch.nn.Module)
