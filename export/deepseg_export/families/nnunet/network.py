"""nnU-Net's networks, built from the plans; the trainer's code is never needed."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

from deepseg_export.errors import UnsupportedError
from deepseg_export.reading.limits import check_numbers, check_patch
from deepseg_export.reading.weights import load_into, no_larger_than

_PACKAGE = "dynamic_network_architectures"
_LEGACY_CLASSES = {
    "PlainConvUNet": (f"{_PACKAGE}.architectures.unet.PlainConvUNet", "n_conv_per_stage"),
    "ResidualEncoderUNet": (
        f"{_PACKAGE}.architectures.unet.ResidualEncoderUNet",
        "n_blocks_per_stage",
    ),
}


class Architecture(NamedTuple):
    """A network class and the arguments the plans give it."""

    network_class: Any
    arguments: Mapping[str, Any]


def read_architecture(configuration: Mapping[str, Any]) -> Architecture:
    """Find the network class of a configuration and import what its arguments name.

    Only classes of dynamic_network_architectures and modules of torch.nn are ever looked up, so
    the plans of a stranger cannot make us import anything else.

    Raises
    ------
    UnsupportedError
        If the class, or the class of an argument, is any other.

    Notes
    -----
    Source: nnunetv2 2.8.1, ``get_network_from_plans``.
    """
    check_numbers(configuration)
    described = configuration.get("architecture") or _from_legacy(configuration)
    arguments = dict(described["arch_kwargs"])
    if isinstance(arguments.get("input_shape"), list):
        check_patch(arguments["input_shape"])
    for name in described["_kw_requires_import"]:
        if arguments[name] is not None:
            arguments[name] = _locate_module(arguments[name])
    network_class = _locate_network(described["network_class_name"])
    if "deep_supervision" in inspect.signature(network_class).parameters:
        arguments["deep_supervision"] = False
    return Architecture(network_class, arguments)


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
    name = architecture.network_class.__name__
    try:
        with no_larger_than(weights):
            network = architecture.network_class(
                input_channels=channels, num_classes=heads, **architecture.arguments
            )
    except Exception as error:  # upstream asserts, and fails in every other way
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UnsupportedError(f"{name} cannot be built from the plans: {reason}.") from error
    prefixes = re.compile(r"^(?:(?:module|_orig_mod)\.)+")
    weights = {prefixes.sub("", str(key)): value for key, value in weights.items()}
    what = f"the {name} in plans.json with {heads} outputs"
    return load_into(network, weights, where, what)


def _from_legacy(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Describe the network of plans from before they had an ``architecture``.

    Source: nnunetv2 2.8.1, ``ConfigurationManager.__init__``.
    """
    class_name = configuration["UNet_class_name"]
    if class_name not in _LEGACY_CLASSES:
        raise UnsupportedError(f"{class_name!r} is unknown")
    network_class_name, convolutions = _LEGACY_CLASSES[class_name]
    stages = len(configuration["n_conv_per_stage_encoder"])
    dimension = len(configuration["patch_size"])
    base, most = configuration["UNet_base_num_features"], configuration["unet_max_num_features"]
    return {
        "network_class_name": network_class_name,
        "arch_kwargs": {
            "n_stages": stages,
            "features_per_stage": [min(base * 2**stage, most) for stage in range(stages)],
            "conv_op": f"torch.nn.Conv{dimension}d",
            "kernel_sizes": configuration["conv_kernel_sizes"],
            "strides": configuration["pool_op_kernel_sizes"],
            convolutions: configuration["n_conv_per_stage_encoder"],
            "n_conv_per_stage_decoder": configuration["n_conv_per_stage_decoder"],
            "conv_bias": True,
            "norm_op": f"torch.nn.InstanceNorm{dimension}d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def _locate_network(path: str) -> Any:
    """Find a network class by its path, else by its name: classes move between releases."""
    found = _locate_in_package(path)
    if found is not None:
        return found
    architectures = importlib.import_module(f"{_PACKAGE}.architectures")
    name = path.rpartition(".")[2]
    modules = [module.name for module in pkgutil.iter_modules(architectures.__path__)]
    # The U-Nets first: some of the others import half the world.
    for module in sorted(modules, key=lambda module: module != "unet"):
        found = _locate_in_package(f"{_PACKAGE}.architectures.{module}.{name}")
        if found is not None:
            return found
    raise UnsupportedError(f"{path!r} is not a class of {_PACKAGE}")


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
        raise UnsupportedError(f"{path!r} is not a class of torch.nn or {_PACKAGE}")
    return found


def _locate_in_package(path: str) -> Any:
    """Find a class of dynamic_network_architectures by its path; None when there is none."""
    module_name, _, name = path.rpartition(".")
    if module_name.split(".")[0] != _PACKAGE:
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
