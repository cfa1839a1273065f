"""A trained-model folder of nnU-Net, written without torch: a small random 2-D network."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from helpers import torch_files
from helpers.nnunet_models import architecture, interpolation

FEATURES = (1, 4, 8, 8)


def _weights(seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the state of PlainConvUNet as its class names it, each layer's in one place."""
    rng = np.random.default_rng(seed)

    def layer(name: str, *shape: int, bias: int) -> Iterator[tuple[str, np.ndarray]]:
        limit = float(np.prod(shape[1:])) ** -0.5
        yield f"{name}.weight", rng.uniform(-limit, limit, shape).astype(np.float32)
        yield f"{name}.bias", rng.uniform(-limit, limit, bias).astype(np.float32)

    def block(name: str, inputs: int, outputs: int) -> Iterator[tuple[str, np.ndarray]]:
        yield from layer(f"{name}.convs.0.conv", outputs, inputs, 3, 3, bias=outputs)
        yield f"{name}.convs.0.norm.weight", np.ones(outputs, np.float32)
        yield f"{name}.convs.0.norm.bias", np.zeros(outputs, np.float32)

    for stage, (inputs, outputs) in enumerate(itertools.pairwise(FEATURES)):
        yield from block(f"encoder.stages.{stage}.0", inputs, outputs)
    for step, (below, skip) in enumerate(itertools.pairwise(FEATURES[:0:-1])):
        yield from layer(f"decoder.transpconvs.{step}", below, skip, 2, 2, bias=skip)
        yield from block(f"decoder.stages.{step}", 2 * skip, skip)
        yield from layer(f"decoder.seg_layers.{step}", 2, skip, 1, 1, bias=2)


def write_plain_model(root: Path, folds: Sequence[str] = ("0",)) -> Path:
    """Write a folder of one 2-D configuration for one channel and one label."""
    folder = root / "nnUNetTrainer__nnUNetPlans__2d"
    folder.mkdir(parents=True)
    one: dict[str, Any] = {
        "data_identifier": "nnUNetPlans_2d",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [128, 128],
        "median_image_size_in_voxels": [256.0, 256.0],
        "spacing": [0.6, 0.6],
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": interpolation(3),
        "resampling_fn_seg_kwargs": interpolation(1, is_seg=True),
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": interpolation(1),
        "batch_dice": True,
        "architecture": architecture("PlainConvUNet", 2),
    }
    plans = {
        "dataset_name": "Dataset042_Cord",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [3.0, 0.6, 0.6],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {"2d": one},
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {},
    }
    dataset = {
        "channel_names": {"0": "T2starw"},
        "labels": {"background": 0, "cord": 1},
        "numTraining": 5,
        "file_ending": ".nii.gz",
    }
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    for seed, fold in enumerate(folds):
        (folder / f"fold_{fold}").mkdir()
        weights = {name: torch_files.tensor(array) for name, array in _weights(seed)}
        content = {
            "network_weights": weights,
            "trainer_name": "nnUNetTrainer",
            "init_args": {"configuration": "2d", "fold": int(fold)},
            "inference_allowed_mirroring_axes": (0, 1),
        }
        torch_files.save(folder / f"fold_{fold}" / "checkpoint_final.pth", content)
    return folder
