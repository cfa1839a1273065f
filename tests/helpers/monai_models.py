"""Small random bundles in the form of MONAI's model zoo, and Lightning checkpoints."""

from __future__ import annotations

import itertools
import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from helpers import torch_files

UNET = {
    "_target_": "UNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 3,
    "channels": [4, 8, 8],
    "strides": [2, 2],
    "num_res_units": 1,
    "norm": "batch",
}
SEGRESNET = {
    "_target_": "SegResNet",
    "blocks_down": [1, 1],
    "blocks_up": [1],
    "init_filters": 8,
    "in_channels": 2,
    "out_channels": 3,
    "norm": ["GROUP", {"num_groups": 4}],
    "dropout_prob": 0.2,
}
SWIN = {
    "_target_": "monai.networks.nets.SwinUNETR",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 2,
    "feature_size": 12,
    "depths": [1, 1, 1, 1],
    "num_heads": [1, 2, 2, 4],
}
DYNUNET = {
    "_target_": "DynUNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 2,
    "kernel_size": [[3, 3, 3], [3, 3, 3], [3, 3, 3]],
    "strides": [1, 2, [2, 2, 1]],
    "upsample_kernel_size": [2, [2, 2, 1]],
    "filters": [4, 8, 8],
    "norm_name": "instance",
    "deep_supervision": True,
    "deep_supr_num": 1,
}
LOAD = [
    {"_target_": "LoadImaged", "keys": "image"},
    {"_target_": "EnsureChannelFirstd", "keys": "image"},
]
INVERT = {
    "_target_": "Invertd",
    "keys": "pred",
    "transform": "@preprocessing",
    "orig_keys": "image",
    "nearest_interp": False,
    "to_tensor": True,
}
SAVE = {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir"}
SOFTMAX = {"_target_": "Activationsd", "keys": "pred", "softmax": True}
SIGMOID = {"_target_": "Activationsd", "keys": "pred", "sigmoid": True}
ARGMAX = {"_target_": "AsDiscreted", "keys": "pred", "argmax": True}


def window(*roi_size: int, **choices: Any) -> dict[str, Any]:
    return {
        "_target_": "SlidingWindowInferer",
        "roi_size": list(roi_size),
        "sw_batch_size": 2,
        **choices,
    }


def ct_organ() -> dict[str, Any]:
    """Return the parts of a CT organ bundle: fixed range, foreground, largest component."""
    return {
        "network_def": UNET,
        "preprocessing": [
            *LOAD,
            {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
            {
                "_target_": "Spacingd",
                "keys": "image",
                "pixdim": "@pixdim",
                "mode": "bilinear",
            },
            {
                "_target_": "ScaleIntensityRanged",
                "keys": "image",
                "a_min": 0,
                "a_max": 400,
                "b_min": 0.0,
                "b_max": 1.0,
                "clip": True,
            },
            {
                "_target_": "CropForegroundd",
                "keys": "image",
                "source_key": "image",
                "select_fn": "$lambda x: x > 0",
                "margin": 3,
            },
            {"_target_": "EnsureTyped", "keys": "image"},
        ],
        "inferer": window(32, 32, 16, overlap=0.5),
        "postprocessing": [
            SOFTMAX,
            INVERT,
            ARGMAX,
            {
                "_target_": "KeepLargestConnectedComponentd",
                "keys": "pred",
                "applied_labels": [1, 2],
            },
            SAVE | {"output_postfix": "organs"},
        ],
        "names": ["background", "liver", "spleen"],
        "pixdim": [1.5, 1.5, 2.0],
    }


def mr_regions() -> dict[str, Any]:
    """Return the parts of a BraTS-like bundle: two channels, overlapping regions."""
    return {
        "network_def": SEGRESNET,
        "preprocessing": [
            *LOAD,
            {
                "_target_": "NormalizeIntensityd",
                "keys": "image",
                "nonzero": True,
                "channel_wise": True,
            },
        ],
        "inferer": window(48, 48, 16, overlap=[0.5, 0.25, 0.5], mode="gaussian"),
        "postprocessing": [
            SIGMOID,
            INVERT,
            {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5},
            SAVE,
        ],
        "names": ["tumor core", "whole tumor", "enhancing tumor"],
    }


def swin() -> dict[str, Any]:
    """Return the parts of a transformer bundle, labels inverted with nearest neighbours."""
    return {
        "network_def": SWIN,
        "preprocessing": [
            *LOAD,
            {"_target_": "Orientationd", "keys": "image", "axcodes": "LPS"},
            {"_target_": "Spacingd", "keys": "image", "pixdim": [2.0, 2.0, 3.0], "mode": 3},
            {"_target_": "ScaleIntensityd", "keys": "image"},
        ],
        "inferer": window(64, 64, 32, overlap=0.25, mode="gaussian", sigma_scale=0.2),
        "postprocessing": [SOFTMAX, ARGMAX, INVERT | {"nearest_interp": True}, SAVE],
        "names": ["background", "cord"],
    }


def dynunet() -> dict[str, Any]:
    """Return the parts of a bundle that takes the whole image at once and gives soft maps."""
    return {
        "network_def": DYNUNET,
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                *LOAD,
                {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
                {"_target_": "ThresholdIntensityd", "keys": "image", "threshold": 20},
                {"_target_": "NormalizeIntensityd", "keys": "image"},
                {"_target_": "DivisiblePadd", "keys": "image", "k": [4, 4, 2], "mode": "reflect"},
            ],
        },
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": [SOFTMAX, INVERT, SAVE],
        "names": ["background", "cord"],
    }


ZOO = {"ct_organ": ct_organ, "mr_regions": mr_regions, "swin": swin, "dynunet": dynunet}


def write_bundle(
    root: Path, parts: Mapping[str, Any], *, example: Any = None, seed: int = 0, **changes: Any
) -> Path:
    """Write a bundle: configurations, metadata and the weights of a random network.

    ``changes`` replace entries of ``inference.json``. Outputs get a mean of 0 on an ``example``,
    (C, X, Y, Z), so that each of them wins somewhere.
    """
    import torch
    from monai.bundle import ConfigParser

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = ConfigParser({"network": parts["network_def"]}).get_parsed_content("network")
        if example is not None:
            center(network.eval(), torch.from_numpy(example)[None], parts["network_def"])
    extra = {key: value for key, value in parts.items() if key not in (*_PARTS, "names")}
    config = {
        "imports": ["$import os"],
        "bundle_root": ".",
        "output_dir": "$@bundle_root + '/eval'",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": parts["network_def"],
        "network": "$@network_def.to(@device)",
        "preprocessing": _composed(parts["preprocessing"]),
        "inferer": parts["inferer"],
        "postprocessing": _composed(parts["postprocessing"]),
        **extra,
        **changes,
    }
    channels = {str(i): f"channel {i}" for i in range(parts["network_def"]["in_channels"])}
    names = {str(i): name for i, name in enumerate(parts["names"])}
    metadata = {
        "version": "0.1.2",
        "monai_version": "1.4.0",
        "network_data_format": {
            "inputs": {"image": {"channel_def": channels}},
            "outputs": {"pred": {"channel_def": names}},
        },
    }
    for folder in ("configs", "models"):
        (root / folder).mkdir(parents=True)
    (root / "configs" / "inference.json").write_text(json.dumps(config, indent=2))
    (root / "configs" / "metadata.json").write_text(json.dumps(metadata))
    torch.save(network.state_dict(), root / "models" / "model.pt")
    return root


def center(network: Any, example: Any, definition: Mapping[str, Any]) -> None:
    """Move the last bias of a network so that its outputs have a mean of 0."""
    import torch

    count = definition["out_channels"]
    bias = [p for n, p in network.named_parameters() if n.endswith("bias") and len(p) == count]
    with torch.no_grad():
        bias[-1] -= network(example).mean((0, 2, 3, 4))


_PARTS = ("network_def", "preprocessing", "inferer", "postprocessing")


def _composed(transforms: Any) -> Any:
    if isinstance(transforms, Sequence):
        return {"_target_": "Compose", "transforms": list(transforms)}
    return transforms


def plain_unet_state(features: Sequence[int], *, seed: int = 0) -> dict[str, np.ndarray]:
    """Return random weights of the contrast-agnostic network, named as its class names them.

    The class lists most of them more than once.
    """
    rng = np.random.default_rng(seed)
    state: dict[str, np.ndarray] = {}

    def uniform(limit: float, *shape: int) -> np.ndarray:
        return rng.uniform(-limit, limit, shape).astype(np.float32)

    def blocks(name: str, inputs: int, outputs: int) -> None:
        for index, channels in enumerate((inputs, outputs)):
            limit = (27 * channels) ** -0.5
            parts = {
                ("conv", 0): (uniform(limit, outputs, channels, 3, 3, 3), uniform(limit, outputs)),
                ("norm", 1): (1 + uniform(0.3, outputs), uniform(0.3, outputs)),
            }
            for (role, place), arrays in parts.items():
                for listed in (role, f"all_modules.{place}"):
                    for kind, array in zip(("weight", "bias"), arrays, strict=True):
                        state[f"{name}.convs.{index}.{listed}.{kind}"] = array

    for stage, (inputs, outputs) in enumerate(itertools.pairwise((1, *features))):
        blocks(f"encoder.stages.{stage}.0", inputs, outputs)
    state |= {f"decoder.{name}": array for name, array in state.items()}
    for step, (below, skip) in enumerate(itertools.pairwise(reversed(features))):
        blocks(f"decoder.stages.{step}", 2 * skip, skip)
        stride, name = (1, 2, 2) if step == 0 else (2, 2, 2), f"decoder.transpconvs.{step}"
        state[f"{name}.weight"] = uniform(below**-0.5, below, skip, *stride)
        state[f"{name}.bias"] = uniform(below**-0.5, skip)
        name = f"decoder.seg_layers.{step}"
        state[f"{name}.weight"] = 20 * uniform(skip**-0.5, 1, skip, 1, 1, 1)
        state[f"{name}.bias"] = uniform(skip**-0.5, 1)
    return state


def write_lightning(path: Path, features: Sequence[int], *, seed: int = 0) -> Path:
    """Write a checkpoint as Lightning saves it, with things in it that are no weights."""
    state = plain_unet_state(features, seed=seed)
    tensors = {id(array): torch_files.tensor(array) for array in state.values()}
    content = {
        "epoch": 1,
        "pytorch-lightning_version": "2.0.9",
        "state_dict": OrderedDict((f"net.{n}", tensors[id(array)]) for n, array in state.items()),
        "hyper_parameters": {"root": PurePosixPath("somewhere"), "lr": 0.001},
        "callbacks": {"ModelCheckpoint": {"best": torch_files.tensor(np.float32(0.5))}},
    }
    return torch_files.save(path, content)
