"""From a pickled network to one that can be converted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deepseg_export.errors import CheckpointError
from deepseg_export.families.ivadomed.layers import ACTIVATIONS, Weights
from deepseg_export.families.ivadomed.modified_unet import Modified3DUNet
from deepseg_export.families.ivadomed.pickled import PickledNetwork, read_pickle
from deepseg_export.families.ivadomed.unet import Unet
from deepseg_export.reading.weights import check_finite

_MAX_DEPTH = 16


def rebuild(path: Path, axes: int, classes: int) -> tuple[Any, bool]:
    """Return the network of a pickle, and whether its results depend on the rest of a batch.

    Parameters
    ----------
    path : Path
        What ``torch.save`` wrote of an ivadomed network.
    axes : int
        2 for a network of slices, 3 for one of volumes: as the JSON says.
    classes : int
        Maps that it gives, as the JSON says.

    Raises
    ------
    CheckpointError
        If the file is unsafe, damaged or contradicts the JSON.
    """
    pickled = read_pickle(path)
    check_finite(pickled.weights, path.name)
    weights = Weights(pickled.weights, path.name)
    is_unet = pickled.kind == "Unet"
    activation = pickled.settings.get("decoder.final_activation" if is_unet else "final_activation")
    activation = "sigmoid" if activation is None else activation
    if activation not in ACTIVATIONS:
        raise CheckpointError(
            f"{path.name} ends in {activation!r}; {', '.join(ACTIVATIONS)} known."
        )
    if is_unet:
        network = Unet(weights, _depth(path, pickled), activation)
        last = network.last
    else:
        network = Modified3DUNet(weights, activation)
        last = network.convolutions["l4"]
    weights.check_all_taken()
    found = (last.weight.ndim - 2, last.out_channels - (last.out_channels > 1))
    if found != (axes, classes):
        raise CheckpointError(
            f"{path.name} is a {found[0]}-D network of {found[1]} classes, the JSON says {axes}-D "
            f"and {classes}; they must agree."
        )
    return network.eval(), activation == "relu" and not (is_unet and classes > 1)


def _depth(path: Path, pickled: PickledNetwork) -> int:
    depth = pickled.settings.get("encoder.depth")
    if type(depth) is not int or not 1 <= depth <= _MAX_DEPTH:
        raise CheckpointError(f"{path.name} has a U-Net of depth {depth!r}; a number is needed.")
    return depth
