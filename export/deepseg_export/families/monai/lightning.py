"""The contrast-agnostic cord models of the Spinal Cord Toolbox 6.2 to 6.5: Lightning checkpoints.

Nothing in such a file says how an image is prepared; the toolbox had it in its code.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from deepseg_export.architectures.onnx_file import check_weights
from deepseg_export.architectures.unets import direct_unet, read_plan
from deepseg_export.architectures.weights import Weights
from deepseg_export.errors import CheckpointError
from deepseg_export.families.checkpoint import Checkpoint
from deepseg_export.families.monai import torch_network
from deepseg_export.families.monai.options import Options
from deepseg_export.families.monai.weights import read_weights
from deepseg_export.families.options import bundle_name, source_record
from deepseg_export.reading.archive import opened_model
from deepseg_export.reading.checkpoint import file_sha256
from deepseg_lite.errors import OptionError

logger = logging.getLogger(__name__)

PATCH_SIZE = (64, 192, 320)
FEATURES = {320: (32, 64, 128, 256, 320, 320), 384: (32, 64, 128, 256, 384, 384)}
"""Per width of the deepest stage, of all stages: releases up to v2.4, and v2.5."""

TREATMENTS: dict[str, dict[str, Any]] = {
    "6.2": {"padding": "constant", "floor": None},
    "6.3": {"padding": "constant", "floor": None},
    "6.4": {"padding": "edge", "floor": 0.1},
    "6.5": {"padding": "edge", "floor": 0.1},
}
"""Treatment of images by a version of the toolbox."""
_NEWEST_OF_FEATURES = {320: "6.4", 384: "6.5"}

_NAME = "PlainConvUNet"
_PLAN: dict[str, Any] = {
    "n_stages": 6,
    "conv_op": "torch.nn.Conv3d",
    "kernel_sizes": [[3, 3, 3]] * 6,
    "strides": [[1, 1, 1], *[[2, 2, 2]] * 4, [1, 2, 2]],
    "n_conv_per_stage": [2] * 6,
    "n_conv_per_stage_decoder": [2] * 5,
    "conv_bias": True,
    "norm_op": "torch.nn.InstanceNorm3d",
    "norm_op_kwargs": {"eps": 1e-5, "affine": True},
    "nonlin": "torch.nn.LeakyReLU",
    "nonlin_kwargs": {"inplace": True},
}
"""Arguments of the network, but for its widths."""
_PREFIX = "net."
_WIDTH = "encoder.stages.5.0.convs.0.conv.weight"


def load_lightning(model: Path | Sequence[Path], options: Options) -> Checkpoint:
    """Read a Lightning checkpoint of the contrast-agnostic model.

    Parameters
    ----------
    model : Path, or sequence of Path
        A ``.ckpt`` file, or a folder or zip with exactly one. Several folders and zips are laid
        onto one another first.
    options : Options
        The user's choices; ``sct`` says which version's treatment the image gets.

    Returns
    -------
    checkpoint : Checkpoint
        Manifest and network.

    Raises
    ------
    CheckpointError
        If there is not exactly one checkpoint, or it is damaged or another model's.
    OptionError
        If ``sct`` is not a version that ran this model.

    Notes
    -----
    Source: the Spinal Cord Toolbox 6.2 to 6.5, its MONAI inference; MONAI's part is checked by
    ``tests/parity/test_monai.py``.
    """
    sources = (model,) if isinstance(model, Path) else tuple(model)
    given = ", ".join(map(str, sources))
    if len(sources) == 1 and sources[0].suffix == ".ckpt" and os.path.isfile(sources[0]):
        return _load(sources[0], sources[0].name, options)
    with opened_model(sources, _is_wanted) as root:
        found = sorted(file for file in root.rglob("*.ckpt") if file.is_file())
        if len(found) != 1:
            names = ", ".join(file.relative_to(root).as_posix() for file in found)
            raise CheckpointError(
                f"{given} holds {len(found)} Lightning checkpoints{names and ': '}{names}; name a "
                "folder or zip with one .ckpt file, or the file."
            )
        return _load(found[0], found[0].relative_to(root).as_posix(), options)


def _is_wanted(member: PurePosixPath) -> bool:
    return member.suffix == ".ckpt" and "__MACOSX" not in member.parts


def _load(file: Path, shown: str, options: Options) -> Checkpoint:
    logger.info("Reading %s", shown)
    weights = {
        key.removeprefix(_PREFIX): value
        for key, value in read_weights(file).items()
        if key.startswith(_PREFIX)
    }
    width = len(weights[_WIDTH]) if _WIDTH in weights else None
    if width not in FEATURES:
        raise CheckpointError(
            f"{shown} is not the contrast-agnostic model: its state must have {_PREFIX}{_WIDTH} "
            f"with {' or '.join(map(str, FEATURES))} outputs; there is {width or 'no such entry'}."
        )
    sct = options.sct or _NEWEST_OF_FEATURES[width]
    if sct not in TREATMENTS:
        raise OptionError(f"--sct {sct} did not run this model; {', '.join(TREATMENTS)} did.")
    network = _network(FEATURES[width], weights, shown, options)
    manifest = describe(**TREATMENTS[sct], soft=options.soft)
    manifest |= {
        "name": bundle_name(options, f"contrast-agnostic-{options.release}"),
        "version": options.release,
        "source": source_record(
            "monai",
            options,
            {"checkpoint": shown, "features": ", ".join(map(str, FEATURES[width])), "sct": sct},
            {file.name: file_sha256(file)},
        ),
    }
    shape = (1, *PATCH_SIZE)
    return Checkpoint(manifest, {"0": network}, shape, shape)


def _network(
    features: tuple[int, ...], weights: Mapping[str, Any], shown: str, options: Options
) -> Any:
    """Return nnU-Net's plain U-Net with the plan that the toolbox fixed in its code."""
    arguments = {**_PLAN, "features_per_stage": list(features)}
    build = partial(torch_network.build_network, arguments, weights, shown)
    if options.with_torch:
        return build()
    given = Weights(weights, shown, "the contrast-agnostic model")
    direct = direct_unet(_NAME, read_plan(_NAME, arguments), 1, given)
    return replace(check_weights(direct, 1), original=build if options.check_torch else None)


def describe(padding: str, floor: float | None, *, soft: bool) -> dict[str, Any]:
    """Return the manifest of a checkpoint, but for its name, version and source.

    Parameters
    ----------
    padding : str
        How the image is padded to the patch: ``constant`` (zeros) or ``edge``.
    floor : float or None
        Values of the result up to it become 0, and those from 1 on become 1; None leaves them.
    soft : bool
        Leave the result a soft map instead of cutting it at 0.5.
    """
    spline = {"method": "spline", "order": 2, "padding": "nearest", "align_corners": False}
    limits = [] if floor is None else [{"step": "limit", "floor": floor, "ceiling": 1.0}]
    cut = [] if soft else [{"step": "binarize", "threshold": 0.5, "inclusive": False}]
    steps: list[Mapping[str, Any]] = [
        {
            "step": "respace",
            "spacing": [1.0, 1.0, 1.0],
            "diagonal": False,
            "image": spline,
            "scores": spline,
        },
        {
            "step": "pad_or_crop",
            "shape": [PATCH_SIZE[0], PATCH_SIZE[1], None],
            "at_end": False,
            "mode": padding,
            "value": 0.0,
        },
        {
            "step": "pad_to_multiple",
            "of": [32, 32, 32],
            "at_end": False,
            "mode": "edge",
            "value": 0.0,
        },
        {"step": "standardize", "mean": None, "std": None, "nonzero": False, "per_channel": False},
    ]
    return {
        "schema": 1,
        "inputs": {"channel_names": ["image"], "orientation": "RPI", "axes": "xyz"},
        "preprocessing": steps,
        "sliding_window": {
            "patch_size": list(PATCH_SIZE),
            "overlap": [0.5, 0.5, 0.5],
            "placement": "interval",
            "importance_map": "gaussian",
            "sigma_scale": [0.125, 0.125, 0.125],
            "padding": {"mode": "constant", "value": 0.0},
        },
        "ensemble": "mean_logits",
        "mirror_axes": [],
        "outputs": {
            "values": "maps",
            "channels": 1,
            "activation": "relu_scaled",
            "before_undo": [],
            "labels": [{"name": "sc", "values": [1]}],
            "regions_class_order": None,
            "files": [{"suffix": "seg", "kind": "soft" if soft else "mask", "labels": ["sc"]}],
        },
        "postprocessing": [*limits, *cut],
    }
