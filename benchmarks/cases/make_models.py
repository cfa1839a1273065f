"""Models to measure with: genuine folders of the original frameworks, the same weights every time.

    python benchmarks/cases/make_models.py full OUT                 nnU-Net, 3-D, 32 to 320 features
    python benchmarks/cases/make_models.py classes OUT              nnU-Net, 40 classes at 1.5 mm
    python benchmarks/cases/make_models.py scaling OUT --classes N --folds N
    python benchmarks/cases/make_models.py folds OUT --source M     five folds of a trained model
    python benchmarks/cases/make_models.py monai OUT                a bundle of the model zoo's kind
    python benchmarks/cases/make_models.py ivadomed OUT             2-D; needs ivadomed
    python benchmarks/cases/make_models.py ivadomed3d OUT           3-D; needs ivadomed

Weights are random; nnU-Net's last layers are fitted to the cord of `make_image`, by least squares,
because random outputs are near a tie everywhere and rounding alone would decide their labels.
"""

from __future__ import annotations

import argparse
import json
import pydoc
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from make_image import make_volume

TESTS = Path(__file__).resolve().parents[2] / "tests"
sys.path.insert(0, str(TESTS))
STEEPNESS = 20  # logits of a fitted layer are that far apart
FIT_VOXELS = 100_000
HALF = {"binarize_prediction": {"thr": 0.5}}  # what ivadomed does to its maps


@dataclass(frozen=True)
class Model:
    """A 3-D nnU-Net: features of its stages, patch (Z, Y, X), spacing in mm, classes, folds.

    ``volume`` is the shape (X, Y, Z) of the image whose middle patch the last layer is fitted to.
    """

    features: tuple[int, ...]
    patch: tuple[int, int, int]
    spacing: float
    volume: tuple[int, int, int]
    classes: int = 2
    folds: int = 1


FULL = Model((32, 64, 128, 256, 320, 320), (64, 192, 160), 0.8, (320, 320, 64))
CLASSES = Model((32, 64, 128, 256, 320, 320), (32, 96, 96), 1.5, (171, 171, 34), 40)
SCALING = Model((16, 32, 64), (32, 64, 64), 1.0, (96, 96, 48))


def write_nnunet(folder: Path, model: Model) -> None:
    """Write a trained-model folder of nnU-Net v2."""
    from helpers.nnunet_models import write_model

    labels = {f"level_{value}": value for value in range(1, model.classes)}
    networks = {str(fold): _fitted_network(model, fold) for fold in range(model.folds)}
    write_model(
        folder.parent,
        name=folder.name,
        configuration="3d_fullres",
        folds=tuple(networks),
        weights={fold: network.state_dict() for fold, network in networks.items()},
        settings={
            "architecture": _architecture(model),
            "patch_size": list(model.patch),
            "spacing": [model.spacing] * 3,
        },
        plans={
            "original_median_spacing_after_transp": [model.spacing] * 3,
            "foreground_intensity_properties_per_channel": {"0": {"mean": 300.0, "std": 60.0}},
        },
        dataset={"labels": {"background": 0, **labels}},
        content={"trainer_name": "nnUNetTrainer"},
    )


def _architecture(model: Model) -> dict[str, Any]:
    """Return the network as plans describe it."""
    stages = len(model.features)
    return {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {
            "n_stages": stages,
            "features_per_stage": list(model.features),
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": [[3, 3, 3]] * stages,
            "strides": [[1, 1, 1]] + [[2, 2, 2]] * (stages - 1),
            "n_conv_per_stage": [2] * stages,
            "n_conv_per_stage_decoder": [2] * (stages - 1),
            "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def _fitted_network(model: Model, seed: int) -> Any:
    """Return a random network whose last layer finds the cord's levels."""
    import torch

    described = _architecture(model)
    arguments = dict(described["arch_kwargs"])
    for name in described["_kw_requires_import"]:
        arguments[name] = pydoc.locate(arguments[name]) if arguments[name] else None
    torch.manual_seed(seed)
    network = pydoc.locate(described["network_class_name"])(
        input_channels=1, num_classes=model.classes, deep_supervision=True, **arguments
    )
    data, labels = make_volume(model.volume, model.spacing, model.classes - 1)
    starts = [(size - side) // 2 for size, side in zip(data.T.shape, model.patch, strict=True)]
    box = tuple(slice(a, a + side) for a, side in zip(starts, model.patch, strict=True))
    patch = torch.from_numpy((data.T[box] - data.mean()) / data.std())[None, None].float()
    head, features = network.decoder.seg_layers[-1], []
    hook = head.register_forward_pre_hook(lambda _, given: features.append(given[0][0]))
    with torch.inference_mode():
        network(patch)
    hook.remove()
    solved = _solve(features[0].flatten(1).numpy(), labels.T[box].ravel(), model.classes, seed)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(solved[:, :-1]).reshape(head.weight.shape))
        head.bias.copy_(torch.from_numpy(solved[:, -1]))
    return network


def _solve(features: np.ndarray, labels: np.ndarray, classes: int, seed: int) -> np.ndarray:
    """Return weights and bias (K, C + 1) for features (C, N): as much cord as background."""
    cord, rest = np.flatnonzero(labels), np.flatnonzero(labels == 0)
    rng, count = np.random.default_rng(seed), min(len(cord), FIT_VOXELS)
    chosen = np.concatenate([rng.permutation(part)[:count] for part in (cord, rest)])
    inputs = np.vstack([features[:, chosen], np.ones(len(chosen))]).astype(float)
    wanted = STEEPNESS * (labels[chosen] == np.arange(classes)[:, None])
    return np.linalg.lstsq(inputs.T, wanted.T.astype(float), rcond=None)[0].T


def write_folds(folder: Path, source: Path, count: int = 5) -> None:
    """Write folds of a trained model: its own weights, and copies disturbed by 2 %."""
    import torch

    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("fold_*"))
    content = torch.load(source / "fold_all" / "checkpoint_final.pth", weights_only=False)
    trained = content["network_weights"]
    for fold in range(count):
        torch.manual_seed(fold)
        own = {  # nnU-Net names the encoder's weights twice
            weight.data_ptr(): weight * (1 + 0.02 * bool(fold) * torch.randn_like(weight))
            for weight in trained.values()
        }
        content["network_weights"] = {
            name: own[weight.data_ptr()] for name, weight in trained.items()
        }
        (folder / f"fold_{fold}").mkdir()
        torch.save(content, folder / f"fold_{fold}" / "checkpoint_final.pth")


def write_monai(folder: Path) -> None:
    """Write a bundle with the network of the model zoo's CT bundles."""
    from helpers.monai_models import ct_organ, window, write_bundle

    parts = ct_organ()
    parts["network_def"] |= {
        "channels": [16, 32, 64, 128, 256],
        "strides": [2, 2, 2, 2],
        "num_res_units": 2,
    }
    parts["inferer"] = window(96, 96, 32, overlap=0.5)
    data, _ = make_volume((96, 96, 32), 1.5)
    example = (data[None] / 400).clip(0, 1).astype(np.float32)
    write_bundle(folder, parts, example=example)


def write_ivadomed(folder: Path) -> None:
    """Write a model of the size of SCT's T2*-weighted cord model, as ivadomed saves it."""
    import torch
    from helpers import ivadomed_original as reference

    torch.manual_seed(0)
    made = {**reference.MODELS["t2star_sc"], "postprocessing": HALF}
    network = reference.models.Unet(in_channel=1, out_channel=1, depth=3, n_filters=64)
    example = torch.randn(1, 1, 160, 160)
    head = network.eval().decoder.last_conv
    with torch.no_grad():
        head.bias -= network(example).logit().median()  # so that half of a slice is found
    _save_ivadomed(folder, made, network, example)


def write_ivadomed_3d(folder: Path) -> None:
    """Write a 3-D model with as many filters as ivadomed has by itself, as it saves it."""
    import torch
    from helpers import ivadomed_original as reference

    made = {
        "targets": ["_seg"],
        "transformation": reference.resample(1, 1, 1) | reference.crop(192, 192, 48),
        "patch": [96, 96, 48],
        "stride": [48, 48, 48],
        "batch": 1,
        "n_filters": 16,
        "postprocessing": HALF,
    }
    network = reference.build(made).eval()
    _save_ivadomed(folder, made, network, torch.randn(1, 1, *made["patch"]))


def _save_ivadomed(folder: Path, made: dict[str, Any], network: Any, example: Any) -> None:
    """Write the files of ivadomed's model folder."""
    import functools

    import torch
    from helpers import ivadomed_original as reference

    torch.onnx.export = functools.partial(torch.onnx.export, dynamo=False)
    name = folder.name
    folder.mkdir(parents=True)
    (folder / f"{name}.json").write_text(json.dumps(reference.config(name, made)))
    torch.save(network, folder / f"{name}.pt")
    reference.utils.save_onnx_model(network, example, str(folder / f"{name}.onnx"))


def main() -> None:
    """Write one model, in place of what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    writers: dict[str, Callable[..., None]] = {
        "full": lambda out, _: write_nnunet(out, FULL),
        "classes": lambda out, _: write_nnunet(out, CLASSES),
        "scaling": lambda out, options: write_nnunet(
            out, replace(SCALING, classes=options.classes, folds=options.folds)
        ),
        "folds": lambda out, options: write_folds(out, options.source),
        "monai": lambda out, _: write_monai(out),
        "ivadomed": lambda out, _: write_ivadomed(out),
        "ivadomed3d": lambda out, _: write_ivadomed_3d(out),
    }
    parser.add_argument("kind", choices=writers)
    parser.add_argument("out", type=Path)
    parser.add_argument("--source", type=Path, help="Trained-model folder (folds).")
    parser.add_argument("--classes", type=int, default=2)
    parser.add_argument("--folds", type=int, default=1)
    options = parser.parse_args()
    shutil.rmtree(options.out, ignore_errors=True)
    writers[options.kind](options.out, options)


if __name__ == "__main__":
    main()
