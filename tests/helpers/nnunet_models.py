"""Small random models in nnU-Net's true on-disk format."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FINAL = "checkpoint_final.pth"


def interpolation(order: int, **kwargs: Any) -> dict[str, Any]:
    return {"is_seg": False, "order": order, "order_z": 0, "force_separate_z": None, **kwargs}


def architecture(network: str, dimension: int) -> dict[str, Any]:
    """Describe a network of three stages as current plans do."""
    stages = "n_conv_per_stage" if network == "PlainConvUNet" else "n_blocks_per_stage"
    return {
        "network_class_name": f"dynamic_network_architectures.architectures.unet.{network}",
        "arch_kwargs": {
            "n_stages": 3,
            "features_per_stage": [4, 8, 8],
            "conv_op": f"torch.nn.modules.conv.Conv{dimension}d",
            "kernel_sizes": [[3] * dimension] * 3,
            "strides": [[1] * dimension, [2] * dimension, [2] * dimension],
            stages: [1, 1, 1],
            "n_conv_per_stage_decoder": [1, 1],
            "conv_bias": True,
            "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dimension}d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def legacy_architecture(network: str, dimension: int) -> dict[str, Any]:
    """Describe the same network as plans did before they had an ``architecture``."""
    return {
        "UNet_class_name": network,
        "UNet_base_num_features": 4,
        "unet_max_num_features": 8,
        "n_conv_per_stage_encoder": [1, 1, 1],
        "n_conv_per_stage_decoder": [1, 1],
        "num_pool_per_axis": [2] * dimension,
        "pool_op_kernel_sizes": [[1] * dimension, [2] * dimension, [2] * dimension],
        "conv_kernel_sizes": [[3] * dimension] * 3,
    }


def network_of(network: str, dimension: int, channels: int, heads: int, seed: int) -> Any:
    """Build a random network as it is trained: every segmentation head in it."""
    import pydoc

    import torch

    described = architecture(network, dimension)
    arguments = dict(described["arch_kwargs"])
    for name in described["_kw_requires_import"]:
        arguments[name] = pydoc.locate(arguments[name]) if arguments[name] else None
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return pydoc.locate(described["network_class_name"])(
            input_channels=channels, num_classes=heads, deep_supervision=True, **arguments
        )


def weights_of(network: str, dimension: int, channels: int, heads: int, seed: int) -> Any:
    """Return the state of a random network."""
    return network_of(network, dimension, channels, heads, seed).state_dict()


def balance(network: Any, data: Any) -> None:
    """Rescale a random network's outputs so that each one wins somewhere in ``data``.

    ``data`` is normalised, (C, Z, Y, X). Outputs of one mean and one deviation share an image
    between them.
    """
    import torch

    logits = _logits(network, data)
    head = network.decoder.seg_layers[-1]
    with torch.no_grad():
        scale = 4 / logits.std(1)
        head.weight *= scale.reshape(-1, *[1] * (head.weight.ndim - 1))
        head.bias.copy_((head.bias - logits.mean(1)) * scale)


def set_shares(network: Any, data: Any, shares: list[float]) -> None:
    """Shift the outputs for regions so that each is positive in its share of ``data``."""
    import torch

    logits = _logits(network, data)
    with torch.no_grad():
        for i, share in enumerate(shares):
            network.decoder.seg_layers[-1].bias[i] -= (
                logits[i].sort().values[round((1 - share) * logits.shape[1])]
            )


def _logits(network: Any, data: Any) -> Any:
    """Return the outputs for a whole image (C, Z, Y, X) at once, one row per output."""
    import torch

    network.decoder.deep_supervision = False
    batch = torch.from_numpy(data)
    flat = network.decoder.seg_layers[-1].weight.ndim == 4
    batch = batch.transpose(0, 1) if flat else batch[None]
    room = [(0, -size % 4) for size in reversed(batch.shape[2:])]
    with torch.no_grad():
        logits = network(torch.nn.functional.pad(batch, [n for pair in room for n in pair]))
    return logits.transpose(0, 1).flatten(1)


def fit(
    network: Any,
    data: Any,
    target: Any,
    *,
    patch: tuple[int, ...],
    steps: int,
    seed: int,
) -> None:
    """Train for some steps on patches of one image, every other one around a structure.

    ``data`` is normalised, (C, Z, Y, X); ``target`` has labels, (Z, Y, X), or masks of regions,
    (L, Z, Y, X). A 2-D network gets slices.
    """
    import numpy as np
    import torch
    from torch.nn import functional

    network.decoder.deep_supervision = False
    sigmoid = target.ndim == 4
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0.05, steps)
    rng = np.random.default_rng(seed)
    size = [*[1] * (3 - len(patch)), *patch]
    room = [(0, max(0, side - have)) for side, have in zip(size, data.shape[1:], strict=True)]
    data = np.pad(data, [(0, 0), *room])
    target = np.pad(target, [(0, 0)] * (target.ndim - 3) + room)
    masks = target if sigmoid else [target == value for value in np.unique(target)[1:]]
    places = [np.argwhere(mask) for mask in masks]
    limits = np.subtract(data.shape[1:], size)
    for step in range(steps):
        inside = rng.choice(places[step % len(places)])
        starts = [np.clip(inside - np.array(size) // 2, 0, limits), rng.integers(0, limits + 1)]
        boxes = [
            tuple(slice(a, a + n) for a, n in zip(start, size, strict=True)) for start in starts
        ]
        inputs = torch.from_numpy(np.stack([data[(slice(None), *box)] for box in boxes]))
        wanted = torch.from_numpy(np.stack([target[(..., *box)] for box in boxes]))
        if len(patch) == 2:
            inputs, wanted = inputs.squeeze(2), wanted.squeeze(-3)
        logits = network(inputs)
        if sigmoid:
            wanted, found = wanted.float(), logits.sigmoid()
            loss = functional.binary_cross_entropy_with_logits(logits, wanted)
        else:
            loss = functional.cross_entropy(logits, wanted.long())
            wanted = functional.one_hot(wanted.long(), logits.shape[1]).movedim(-1, 1)[:, 1:]
            found = logits.softmax(1)[:, 1:]
        axes = [0, *range(2, logits.ndim)]
        dice = (2 * (found * wanted).sum(axes) + 1) / (found.sum(axes) + wanted.sum(axes) + 1)
        loss = loss + 1 - dice.mean()  # cross-entropy alone gives up small structures
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def checkpoint_content(weights: Any, configuration: str) -> dict[str, Any]:
    """Return what nnU-Net's trainer saves, optimizer, scaler and log included."""
    import numpy as np
    import torch

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], 0.01, momentum=0.99)
    optimizer.param_groups[0]["params"][0].grad = torch.ones(2)
    optimizer.step()
    return {
        "network_weights": weights,
        "optimizer_state": optimizer.state_dict(),
        "grad_scaler_state": {"scale": 65536.0, "growth_factor": 2.0, "_growth_tracker": 3},
        "logging": {
            "mean_fg_dice": [np.float32(0.5), np.float64(0.25)],
            "dice_per_class_or_region": [[np.float64(0.5), np.float32(0.25)]],
            "lrs": [0.01],
        },
        "_best_ema": np.float64(0.7),
        "current_epoch": 1000,
        "init_args": {
            "plans": {},
            "configuration": configuration,
            "fold": 0,
            "dataset_json": {},
            "device": torch.device("cpu"),
        },
        "trainer_name": "nnUNetTrainer_of_somebody",
        "inference_allowed_mirroring_axes": (0, 1),
    }


def write_model(
    root: Path,
    *,
    configuration: str = "2d",
    network: str = "PlainConvUNet",
    legacy: bool = False,
    folds: tuple[str, ...] = ("0",),
    checkpoint: str = FINAL,
    prefix: str = "",
    heads: int = 2,
    channels: int = 1,
    plans: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    dataset: dict[str, Any] | None = None,
    content: dict[str, Any] | None = None,
    weights: Mapping[str, Any] | None = None,
    without: tuple[str, ...] = (),
    name: str | None = None,
) -> Path:
    """Write a trained-model folder; ``plans``, ``settings``, ``dataset`` and ``content`` override.

    ``weights`` are the states of the folds, random ones by default. ``without`` names keys to
    leave out of any document.
    """
    import torch

    dimension = 2 if configuration == "2d" else 3
    folder = root / (name or f"nnUNetTrainer_of_somebody__nnUNetPlans__{configuration}")
    described = (
        legacy_architecture(network, dimension)
        if legacy
        else {"architecture": architecture(network, dimension)}
    )
    one = {
        "data_identifier": f"nnUNetPlans_{configuration}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [8, 16, 16][-dimension:],
        "median_image_size_in_voxels": [20.0, 64.0, 64.0][-dimension:],
        "spacing": [3.0, 0.5, 0.6][-dimension:],
        "normalization_schemes": ["ZScoreNormalization"] * channels,
        "use_mask_for_norm": [False] * channels,
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": interpolation(3),
        "resampling_fn_seg_kwargs": interpolation(1, is_seg=True),
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": interpolation(1),
        "batch_dice": True,
        **described,
        **(settings or {}),
    }
    all_plans = {
        "dataset_name": "Dataset042_Tiny",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [3.0, 0.5, 0.6],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {configuration: one},
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {},
        **(plans or {}),
    }
    all_dataset = {
        "channel_names": {str(channel): f"channel{channel}" for channel in range(channels)},
        "labels": {"background": 0, "sc": 1},
        "numTraining": 5,
        "file_ending": ".nii.gz",
        "image_orientation": "RPI",
        **(dataset or {}),
    }
    for document in (all_plans, one, all_dataset):
        for key in without:
            document.pop(key, None)
    folder.mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(all_plans))
    (folder / "dataset.json").write_text(json.dumps(all_dataset))
    for seed, fold in enumerate(folds):
        state = weights[fold] if weights else weights_of(network, dimension, channels, heads, seed)
        saved = checkpoint_content(
            {f"{prefix}{key}": value for key, value in state.items()}, configuration
        ) | (content or {})
        for key in without:
            saved.pop(key, None)
        (folder / f"fold_{fold}").mkdir()
        torch.save(saved, folder / f"fold_{fold}" / checkpoint)
    return folder


def write_zip(path: Path, folder: Path, wrapper: str = "") -> Path:
    """Pack a folder, with its own name and below ``wrapper``."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, f"{wrapper}{file.relative_to(folder.parent).as_posix()}")
    return path
