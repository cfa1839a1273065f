"""The original software, run live: what every parity test compares with."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np

from helpers.paths import SHARED

DATA, CHECKPOINTS = SHARED / "data", SHARED / "checkpoints"

for _name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
    os.environ.setdefault(_name, os.devnull)  # nnU-Net warns when they are not set


@contextlib.contextmanager
def _stock_trainers(module):
    """Let the stock trainer stand in for one that nnU-Net does not have.

    A trainer matters to inference by the network it builds, and every one in use builds what the
    plans say.
    """
    find = module.recursive_find_trainer_class_by_name

    def find_or_stock(name):
        try:
            return find(name)
        except RuntimeError:
            return find("nnUNetTrainer")

    module.recursive_find_trainer_class_by_name = find_or_stock
    try:
        yield
    finally:
        module.recursive_find_trainer_class_by_name = find


def nnunet_predictor(
    model: Path,
    folds: tuple[str, ...],
    *,
    mirror: bool,
    checkpoint: str = "checkpoint_final.pth",
):
    """Return an ``nnUNetPredictor`` on the CPU, as the Spinal Cord Toolbox sets it up."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        import torch
        from nnunetv2.inference import predict_from_raw_data
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

        predictor = nnUNetPredictor(
            tile_step_size=0.5,
            use_gaussian=True,
            use_mirroring=mirror,
            perform_everything_on_device=False,
            device=torch.device("cpu"),
            verbose=False,
            verbose_preprocessing=False,
            allow_tqdm=False,
        )
        with _stock_trainers(predict_from_raw_data):
            predictor.initialize_from_trained_model_folder(
                str(model), use_folds=folds, checkpoint_name=checkpoint
            )
    return predictor


def nnunet_segment(predictor, images, *, probabilities: bool = False):
    """Segment nibabel images (channels) as the Spinal Cord Toolbox hands them to nnU-Net.

    Reorientation to the ``image_orientation`` of dataset.json (its letters are the opposite of
    nibabel's), reversed axes, spacing reversed, and all of it undone. Returns labels (X, Y, Z), or
    labels and probabilities (K, X, Y, Z).
    """
    letters = predictor.dataset_json.get("image_orientation", "LPI")
    codes = letters.translate(str.maketrans("RLAPSI", "LRPAIS"))
    stored = nib.io_orientation(images[0].affine)
    wanted = nib.orientations.axcodes2ornt(codes)
    to_model = nib.orientations.ornt_transform(stored, wanted)
    moved = [image.as_reoriented(to_model) for image in images]
    data = np.stack([np.asanyarray(image.dataobj).astype(np.float32) for image in moved])
    spacing = [float(size) for size in moved[0].header.get_zooms()[:3]][::-1]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        result = predictor.predict_single_npy_array(
            data.transpose(0, 3, 2, 1), {"spacing": spacing}, None, None, probabilities
        )
    back = nib.orientations.ornt_transform(wanted, stored)

    def restore(array):
        return nib.orientations.apply_orientation(np.asarray(array).transpose(2, 1, 0), back)

    if not probabilities:
        return restore(result)
    labels, maps = result
    return restore(labels), np.stack([restore(channel) for channel in maps])


class _TorchWithHalf:
    """Torch, except that ``half`` is another type."""

    def __init__(self, half):
        self.half = half

    def __getattr__(self, name):
        import torch

        return getattr(torch, name)


@contextlib.contextmanager
def nnunet_sums(dtype: str):
    """Let nnU-Net add up logits in another type than half precision, as its error text advises.

    Nothing else changes: the importance map keeps half precision.
    """
    import torch
    from nnunetv2.inference import predict_from_raw_data as module

    module.torch = _TorchWithHalf(getattr(torch, dtype))
    try:
        yield
    finally:
        module.torch = torch


def dice(a, b) -> float:
    """Return the Dice coefficient of two masks; 1 when both are empty."""
    total = int(a.sum()) + int(b.sum())
    return 1.0 if total == 0 else 2 * int((a & b).sum()) / total
