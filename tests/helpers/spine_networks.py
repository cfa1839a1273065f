"""Two trained-model folders of nnU-Net that find a spine which was painted into a real image.

Every pair of classes (``spine_bundles.PAIRS``) gets an intensity of its own, far above those of the
image. The networks are nnU-Net's U-Net with weights that were worked out, not trained: they know
each intensity again after nnU-Net's z-score, whose mean and deviation are put into them. Between
two intensities they see background, so that what interpolation blurs has ragged edges.
"""

from __future__ import annotations

import contextlib
import pydoc
import warnings
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from scipy import ndimage

from deepseg_lite.errors import ImageError
from deepseg_lite.workflows.spine.workflow import label_image
from helpers.nnunet_models import FINAL, architecture, write_model
from helpers.releases import INTENSITIES
from helpers.spine import Spine
from helpers.spine_bundles import PAIRS, regions

FIRST, DISTANCE = 400.0, 100.0  # intensity of the first pair, and from one to the next
BRIGHTEST = 200.0  # of the image itself
WIDTH = 0.31  # of a peak, in distances: half of it is no whole intensity, so no logit is 0
DATASETS = ("Dataset101_TotalSpineSeg_step1", "Dataset102_TotalSpineSeg_step2")
PATCH = [40, 48, 40]
MODEL = "nnUNetTrainer__nnUNetPlans__3d_fullres"


def painted(image: nib.Nifti1Image, spine: Spine, dtype: Any = np.int16) -> nib.Nifti1Image:
    """Return an image with a spine painted into its middle, on the image's own grid."""
    data = np.asarray(image.dataobj, np.float64)
    data = data * (BRIGHTEST / np.abs(data).max())
    ours, theirs = np.array(data.shape[:3]), np.array(spine.step1.shape)
    middle = (image.affine @ [*(ours - 1) / 2, 1])[:3] - (spine.affine @ [*(theirs - 1) / 2, 1])[:3]
    moved = np.linalg.inv(spine.affine) @ np.block(
        [[np.eye(3), -middle[:, None]], [np.zeros((1, 3)), np.ones((1, 1))]]
    )
    onto = moved @ image.affine
    first, second = (
        ndimage.affine_transform(
            classes, onto[:3, :3], onto[:3, 3], output_shape=tuple(ours), order=0
        )
        for classes in (spine.step1, spine.step2)
    )
    for index, pair in enumerate(PAIRS[1:]):
        data[(first == pair[0]) & (second == pair[1])] = FIRST + index * DISTANCE
    made = nib.Nifti1Image(data.astype(dtype), image.affine)
    made.set_qform(image.affine, 1)
    made.set_sform(image.affine, 1)
    return made


def write_models(folder: Path, image: nib.Nifti1Image) -> list[Path]:
    """Write both models for a painted image, as totalspineseg installs them below its data folder.

    Returns
    -------
    models : list of Path
        The trained-model folder of each step.
    """
    statistics: list[tuple[float, float]] = []

    def reader(step: int) -> Any:
        def predict(data: np.ndarray, affine: Any, soft: Any) -> tuple[np.ndarray, None]:
            box = ndimage.find_objects((data != 0).any(axis=0).astype(int))[0]
            statistics.append((data[0][box].mean(), data[0][box].std()))
            return _classes(data[0], step), None

        return predict

    data = np.asanyarray(image.dataobj)
    with contextlib.suppress(ImageError):  # the second network then never runs
        label_image(data, image.affine, ["step2_output"], reader(1), reader(2))
    statistics = (statistics * 2)[:2]
    return [
        write_model_folder(folder, step, weights=_weights(step, *statistics[step - 1]))
        for step in (1, 2)
    ]


def write_model_folder(
    folder: Path, step: int, *, weights: Any = None, name: str = MODEL, checkpoint: str = FINAL
) -> Path:
    """Write the model of one step; without weights it is a random U-Net of the tests' own."""
    heads, channels = len(regions(step)), step
    names = {"0": "MRI", "1": "noNorm"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return write_model(
            folder / "nnUNet" / "results" / DATASETS[step - 1],
            configuration="3d_fullres",
            heads=heads,
            channels=channels,
            plans={
                "dataset_name": DATASETS[step - 1],
                "foreground_intensity_properties_per_channel": {"0": INTENSITIES, "1": INTENSITIES},
            },
            settings={
                "patch_size": PATCH,
                "spacing": [1.0, 1.0, 1.0],
                "normalization_schemes": ["ZScoreNormalization", "NoNormalization"][:channels],
                **({"architecture": _architecture()} if weights is not None else {}),
            },
            dataset={
                "channel_names": {key: names[key] for key in list(names)[:channels]},
                "labels": {
                    "background": 0,
                    **{name: list(values) for name, values in regions(step)},
                },
                "regions_class_order": list(range(1, heads + 1)),
            },
            content={"trainer_name": "nnUNetTrainer"},
            weights=None if weights is None else {"0": weights},
            name=name,
            checkpoint=checkpoint,
        )


def _classes(data: np.ndarray, step: int) -> np.ndarray:
    """Return the classes that the networks are made to see."""
    index = (data - FIRST) / DISTANCE
    nearest = np.rint(index).astype(int)
    seen = (np.abs(index - nearest) < WIDTH / 2) & (nearest >= 0) & (nearest < len(PAIRS) - 1)
    classes = np.array([pair[step - 1] for pair in PAIRS[1:]], np.uint8)
    return np.where(seen, classes[np.clip(nearest, 0, len(PAIRS) - 2)], 0).astype(np.uint8)


def _architecture() -> dict[str, Any]:
    """Describe a U-Net of two stages without normalisation, each convolution of one voxel."""
    described = architecture("PlainConvUNet", 3)
    described["arch_kwargs"] |= {
        "n_stages": 2,
        "features_per_stage": [3 * (len(PAIRS) - 1), 2],
        "kernel_sizes": [[1, 1, 1]] * 2,
        "strides": [[1, 1, 1], [2, 2, 2]],
        "n_conv_per_stage": [1, 1],
        "n_conv_per_stage_decoder": [1],
        "norm_op": None,
        "norm_op_kwargs": None,
        "nonlin": "torch.nn.ReLU",
    }
    return described


def _weights(step: int, mean: float, deviation: float) -> Any:
    """Return the state of a network that sees peaks at the intensities of the pairs.

    A peak is made of three hinges; the first stage has them, and the decoder passes them on.
    """
    import torch

    count = len(PAIRS) - 1
    at = (np.arange(count)[:, None] + [-WIDTH, 0, WIDTH]).ravel()
    described = _architecture()
    arguments = dict(described["arch_kwargs"])
    for name in described["_kw_requires_import"]:
        arguments[name] = pydoc.locate(arguments[name]) if arguments[name] else None
    network: Any = pydoc.locate(described["network_class_name"])
    made = network(
        input_channels=step, num_classes=len(regions(step)), deep_supervision=True, **arguments
    )
    kernel = np.zeros((3 * count, step))
    kernel[:, 0] = deviation / DISTANCE
    passed = np.concatenate([np.zeros((3 * count, 3 * count)), np.eye(3 * count)], axis=1)
    peak = np.kron(np.eye(count), np.array([1, -2, 1]) / WIDTH)
    wanted = np.array(
        [[pair[step - 1] in classes for pair in PAIRS[1:]] for _, classes in regions(step)]
    )
    head = made.decoder.seg_layers[0]
    values = {
        made.encoder.stages[0][0].convs[0].conv: (kernel, (mean - FIRST) / DISTANCE - at),
        made.decoder.stages[0].convs[0].conv: (passed, np.zeros(3 * count)),
        head: (2.0 * wanted @ peak, np.full(len(wanted), -1.0)),
    }
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.zero_()
        for layer, pair in values.items():
            for parameter, value in zip((layer.weight, layer.bias), pair, strict=True):
                parameter.copy_(torch.tensor(value).reshape(parameter.shape))
    return made.state_dict()
