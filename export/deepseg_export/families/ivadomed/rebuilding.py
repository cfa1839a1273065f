"""From a pickled network to one that can be converted."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from deepseg_export.architectures.network import DirectNetwork
from deepseg_export.architectures.onnx_file import check_weights
from deepseg_export.architectures.weights import Weights
from deepseg_export.errors import CheckpointError
from deepseg_export.families.ivadomed import modified_unet, unet
from deepseg_export.families.ivadomed.layers import ACTIVATIONS
from deepseg_export.families.ivadomed.pickled import PickledNetwork, read_pickle

_MAX_DEPTH = 6


def rebuild(path: Path, channels: int, axes: int, classes: int) -> tuple[DirectNetwork, bool]:
    """Return the network of a pickle, and whether its results depend on the rest of a batch.

    Parameters
    ----------
    path : Path
        What ``torch.save`` wrote of an ivadomed network.
    channels, axes, classes : int
        What the JSON says: images that it takes; 2 for a network of slices, 3 for one of volumes;
        maps that it gives.

    Raises
    ------
    CheckpointError
        If the file is unsafe, damaged or contradicts the JSON.
    """
    pickled = read_pickle(path)
    weights = Weights(pickled.weights, path.name, f"its {pickled.kind}")
    is_unet = pickled.kind == "Unet"
    activation = pickled.settings.get("decoder.final_activation" if is_unet else "final_activation")
    activation = "sigmoid" if activation is None else activation
    if activation not in ACTIVATIONS:
        raise CheckpointError(
            f"{path.name} ends in {activation!r}; {', '.join(ACTIVATIONS)} known."
        )
    last = weights.take(unet.LAST if is_unet else modified_unet.LAST)
    found = (last.ndim - 2, len(last) - (len(last) > 1))
    if found != (axes, classes):
        raise CheckpointError(
            f"{path.name} is a {found[0]}-D network of {found[1]} classes, the JSON says {axes}-D "
            f"and {classes}; they must agree."
        )
    depth = _depth(path, pickled) if is_unet else modified_unet.DEPTH
    compute = (
        partial(unet.unet, depth=depth, activation=activation)
        if is_unet
        else partial(modified_unet.modified_unet, activation=activation)
    )
    # Two voxels per axis are left where maps are smallest: of fewer, norms tell nothing but noise.
    patch = (2 ** (depth + 1),) * axes
    batch_matters = activation == "relu" and not (is_unet and classes > 1)
    network = DirectNetwork(pickled.kind, compute, weights, patch, has_free_batch=not batch_matters)
    return check_weights(network, channels), batch_matters


def _depth(path: Path, pickled: PickledNetwork) -> int:
    depth = pickled.settings.get("encoder.depth")
    if type(depth) is not int or not 1 <= depth <= _MAX_DEPTH:
        raise CheckpointError(
            f"{path.name} has a U-Net of depth {depth!r}; 1 to {_MAX_DEPTH} are known."
        )
    return depth
