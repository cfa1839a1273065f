"""The network of the Lightning checkpoints, built by torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deepseg_export.reading.weights import load_into

_CLASSES = ("conv_op", "norm_op", "nonlin")


def build_network(arguments: Mapping[str, Any], weights: Mapping[str, Any], where: str) -> Any:
    """Build nnU-Net's plain U-Net, of one channel and one map, and load its weights.

    Parameters
    ----------
    arguments : dict
        Its arguments; classes are named by their paths into torch.nn.
    weights : mapping of str to array
        Its whole state.
    where : str
        The checkpoint, for messages.

    Returns
    -------
    network : torch.nn.Module
        float32, in evaluation mode, one output (deep supervision off).

    Raises
    ------
    CheckpointError
        If the weights are not of this network, or not finite.
    """
    import torch
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    classes = {name: getattr(torch.nn, arguments[name].rpartition(".")[2]) for name in _CLASSES}
    network = PlainConvUNet(
        input_channels=1, num_classes=1, deep_supervision=False, **{**arguments, **classes}
    )
    return load_into(network, weights, where)
