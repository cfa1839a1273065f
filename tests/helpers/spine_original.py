"""TotalSpineSeg's own inference, run live on one image in this process alone."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import pkgutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

for _name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
    os.environ.setdefault(_name, os.devnull)


def _in_turn(function: Any, *lists: Any, **_: Any) -> list[Any]:
    return [function(*items) for items in zip(*lists, strict=True)]


def _predict_in_turn(self: Any, source: Any, target: Any, **given: Any) -> Any:
    known = ("save_probabilities", "overwrite", "folder_with_segs_from_prev_stage")
    return self.predict_from_files_sequential(
        source, target, **{name: given[name] for name in known}
    )


@contextlib.contextmanager
def in_this_process() -> Iterator[Any]:
    """Give totalspineseg's ``inference`` without its pools of processes.

    Nor does it copy its trainer into nnU-Net's package: what a trainer does after training is what
    the plans say.
    """
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from totalspineseg import inference, utils

    modules = [
        importlib.import_module(f"totalspineseg.utils.{module.name}")
        for module in pkgutil.iter_modules(utils.__path__)
        if module.name not in ("augment", "predict_nnunet", "install_weights", "utils")
    ]
    replaced = [
        *(
            (module, "process_map", _in_turn)
            for module in modules
            if hasattr(module, "process_map")
        ),
        (inference, "add_trainer", lambda name: None),
        (nnUNetPredictor, "predict_from_files", _predict_in_turn),
    ]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in replaced]
    for owner, name, value in replaced:
        setattr(owner, name, value)
    try:
        yield inference.inference
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


def original_outputs(
    image: Path, output: Path, data: Path, names: list[str], *, iso: bool = False
) -> dict[str, nib.Nifti1Image]:
    """Return the results of those names that totalspineseg gives for an image.

    ``data`` is its data folder, with both models below ``nnUNet/results``. What it could not make
    is not there.
    """
    import torch

    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        in_this_process() as inference,
    ):
        warnings.simplefilter("ignore")
        inference(
            image,
            output,
            data,
            "custom",
            torch.device("cpu"),
            output_iso=iso,
            keep_only=names,
            max_workers=1,
            max_workers_nnunet=1,
            quiet=True,
        )
    files = {name: output / name / f"{image.name.removesuffix('.nii.gz')}.nii.gz" for name in names}
    return {name: nib.load(file) for name, file in files.items() if file.is_file()}


def to_grid_of(image: Path, labels: nib.Nifti1Image) -> np.ndarray:
    """Return labels on the grid of an image by totalspineseg's own nearest transform."""
    from totalspineseg.utils.transform_seg2image import transform_seg2image

    return np.asarray(transform_seg2image(nib.load(image), labels, interpolation="nearest").dataobj)
