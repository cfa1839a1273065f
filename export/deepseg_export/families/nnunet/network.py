"""nnU-Net's networks, as the plans describe them; the trainer's code is never needed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from deepseg_export.architectures.modules import ADVICE
from deepseg_export.architectures.network import DirectNetwork
from deepseg_export.architectures.onnx_file import check_weights
from deepseg_export.architectures.unets import NAMES, direct_unet, read_plan
from deepseg_export.architectures.weights import Weights
from deepseg_export.errors import UnsupportedError
from deepseg_export.reading.limits import check_numbers, check_patch

PACKAGE = "dynamic_network_architectures"
_LEGACY_CLASSES = {
    "PlainConvUNet": (f"{PACKAGE}.architectures.unet.PlainConvUNet", "n_conv_per_stage"),
    "ResidualEncoderUNet": (
        f"{PACKAGE}.architectures.unet.ResidualEncoderUNet",
        "n_blocks_per_stage",
    ),
}


class Architecture(NamedTuple):
    """A network class and the arguments the plans give it; nothing is imported.

    Attributes
    ----------
    path : str
        Of the class.
    arguments : dict
        Its arguments, classes among them as paths.
    classes : sequence of str
        Names of the arguments that are classes.
    """

    path: str
    arguments: Mapping[str, Any]
    classes: Sequence[str]

    @property
    def name(self) -> str:
        """Return the name of the class."""
        return self.path.rpartition(".")[2]


def read_architecture(configuration: Mapping[str, Any]) -> Architecture:
    """Find what a configuration says of its network.

    Raises
    ------
    UnsupportedError
        If it has numbers beyond those of any network.

    Notes
    -----
    Source: nnunetv2 2.8.1, ``get_network_from_plans``.
    """
    check_numbers(configuration)
    described = configuration.get("architecture") or _from_legacy(configuration)
    arguments = dict(described["arch_kwargs"])
    if isinstance(arguments.get("input_shape"), list):
        check_patch(arguments["input_shape"])
    classes = list(described["_kw_requires_import"])
    for name in classes:
        if not isinstance(arguments[name], (str, type(None))):
            raise UnsupportedError(f"{name} is no path of a class")
    return Architecture(str(described["network_class_name"]), arguments, classes)


def check_direct(architecture: Architecture) -> None:
    """Refuse a network that is not written directly.

    Raises
    ------
    UnsupportedError
        If its class or one of its arguments is unknown here.
    """
    if architecture.path.split(".")[0] != PACKAGE or architecture.name not in NAMES:
        raise UnsupportedError(
            f"{architecture.path[:80]!r} is none of {', '.join(NAMES)} of {PACKAGE}; {ADVICE}"
        )
    read_plan(architecture.name, architecture.arguments)


def direct_network(
    architecture: Architecture, channels: int, heads: int, weights: Mapping[str, Any], where: str
) -> DirectNetwork:
    """Return a network that `check_direct` accepted, with its weights.

    Parameters
    ----------
    architecture : Architecture
        From `read_architecture`.
    channels, heads : int
        Input and output channels.
    weights : dict
        The checkpoint's state.
    where : str
        The checkpoint, for messages.

    Raises
    ------
    CheckpointError
        If the weights are not those of the network, or no finite real numbers.
    """
    plan = read_plan(architecture.name, architecture.arguments)
    what = described(architecture, heads)
    given = Weights(without_prefixes(weights), where, what)
    return check_weights(direct_unet(architecture.name, plan, heads, given), channels)


def described(architecture: Architecture, heads: int) -> str:
    """Return what the network is called in messages."""
    return f"the {architecture.name} in plans.json with {heads} outputs"


def without_prefixes(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Return weights without the prefixes of wrappers, ``module.`` and ``_orig_mod.``."""
    prefixes = re.compile(r"^(?:(?:module|_orig_mod)\.)+")
    return {prefixes.sub("", str(key)): value for key, value in weights.items()}


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
