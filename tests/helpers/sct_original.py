"""What ``sct_deepseg`` of the Spinal Cord Toolbox (SCT) writes for an nnU-Net task.

SCT's documented steps around the live ``nnUNetPredictor``, with numpy, scipy and nibabel alone:
nothing here is taken from, or imports, the software under test.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from scipy import ndimage

from helpers.nnunet_original import nnunet_predictor, nnunet_segment

CORD, MS_LESION = "seg_sc_contrast_agnostic", "seg_ms_lesion"
STIR_PSIR = "seg_sc_ms_lesion_stir_psir"
FACES = ndimage.generate_binary_structure(3, 1)
FACES_AND_EDGES = ndimage.generate_binary_structure(3, 2)  # 18 neighbours
FULL = np.ones((3, 3, 3), bool)

Files = dict[str, Any]
Box = tuple[tuple[int, int], ...]


def install(archives: Iterable[Path], folder: Path) -> Path:
    """Unpack archives onto one another as SCT installs them; return the trained-model folder.

    One top folder of an archive is taken away unless it is called after a trainer.
    """
    for archive in archives:
        unpacked = folder / "unpacked"
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(unpacked)
        shutil.rmtree(unpacked / "__MACOSX", ignore_errors=True)
        top = list(unpacked.iterdir())
        lone = len(top) == 1 and top[0].is_dir() and "nnUNetTrainer" not in top[0].name
        shutil.copytree(top[0] if lone else unpacked, folder / "model", dirs_exist_ok=True)
        shutil.rmtree(unpacked)
    (model,) = {file.parent for file in (folder / "model").rglob("plans.json")}
    return model


def segment(
    model: Path,
    image: nib.Nifti1Image,
    *,
    task: str,
    test_time_aug: bool = False,
    soft_ms_lesion: bool = False,
    single_fold: bool = False,
    contrast: str | None = None,
    largest: bool = False,
    fill_holes: bool = False,
    remove_small: str | None = None,
    rootlets: str = "rootlets",
    box: Box | None = None,
) -> Files:
    """Return what SCT writes for an image: suffix to array (X, Y, Z).

    Parameters
    ----------
    model : Path
        A trained-model folder.
    image : Nifti1Image
        The input.
    task : str
        The gallery's name; three tasks have steps of their own.
    test_time_aug, soft_ms_lesion, single_fold, largest, fill_holes, remove_small
        SCT's options of these names.
    contrast : str, optional
        SCT's ``-c``: stir or psir.
    rootlets : str
        Suffix of the rootlets; before SCT 6.5 it was seg.
    box : tuple of 3 pairs of ints, optional
        First and last voxel along each axis of the file: where a cropped model looks, found by
        sc-crop or given with ``-box-xmin`` and so on.
    """
    if box is not None:
        inside = tuple(slice(first, last + 1) for first, last in box)
        chosen = {"contrast": contrast, "rootlets": rootlets, "single_fold": single_fold}
        chosen |= {"test_time_aug": test_time_aug, "soft_ms_lesion": soft_ms_lesion}
        cut = segment(model, image.slicer[inside], task=task, **chosen)
        files = {suffix: np.zeros(image.shape, array.dtype) for suffix, array in cut.items()}
        for suffix, array in cut.items():
            files[suffix][inside] = array
        return _clean(files, image, task, largest, fill_holes, remove_small)
    if contrast == "psir" and task == STIR_PSIR:
        inverted = -np.asanyarray(image.dataobj).astype(np.float32)
        image = nib.Nifti1Image(inverted, image.affine)
    dataset = json.loads((model / "dataset.json").read_text())
    folds = _folds(model, single=single_fold)
    if task == MS_LESION:
        result = _vote(model, folds, image, mirror=test_time_aug, soft=soft_ms_lesion)
    else:
        result = predict(model, folds, image, mirror=test_time_aug)
    if task == MS_LESION and soft_ms_lesion:
        files = {"msLesionSoft": result}
    else:
        files = split(result, dataset["labels"], rootlets)
    return _clean(files, image, task, largest, fill_holes, remove_small)


def _clean(
    files: Files,
    image: nib.Nifti1Image,
    task: str,
    largest: bool,
    fill_holes: bool,
    remove_small: str | None,
) -> Files:
    """Return the files after what options ask for, and what SCT always does to the cord."""
    for suffix, array in files.items():
        if largest or task == CORD:
            array = keep_largest(array)
        if fill_holes:
            array = fill(array)
        if remove_small is not None:
            array = without_small(array, remove_small, image.header.get_zooms()[:3])
        files[suffix] = array
    return files


def predict(
    model: Path,
    folds: tuple[str, ...],
    image: nib.Nifti1Image,
    *,
    mirror: bool = False,
    probabilities: bool = False,
) -> Any:
    """Run nnU-Net, final checkpoints first, in the orientation SCT decides on."""
    names = ("checkpoint_final.pth", "checkpoint_best.pth")
    (checkpoint, *_) = [n for n in names if (model / f"fold_{folds[0]}" / n).is_file()]
    predictor = nnunet_predictor(model, folds, mirror=mirror, checkpoint=checkpoint)
    plans = json.loads((model / "plans.json").read_text())
    default = "AIL" if "RegionBasedLesionSeg" in plans["dataset_name"] else "LPI"
    predictor.dataset_json.setdefault("image_orientation", default)
    return nnunet_segment(predictor, [image], probabilities=probabilities)


def _folds(model: Path, *, single: bool) -> tuple[str, ...]:
    """Return every fold, or fold 1 where there is one, else the first."""
    found = sorted(folder.name.removeprefix("fold_") for folder in model.glob("fold_*"))
    return ("1" if "1" in found else found[0],) if single else tuple(found)


def _vote(
    model: Path, folds: tuple[str, ...], image: nib.Nifti1Image, *, mirror: bool, soft: bool
) -> Any:
    """Return where more than half of the folds see a lesion, or the mean of what they are sure of.

    Each fold is run alone. Soft: p(lesion) where it is above p(background), else 0.
    """
    votes = []
    for fold in folds:
        labels, maps = predict(model, (fold,), image, mirror=mirror, probabilities=True)
        votes.append(np.where(maps[1] > maps[0], maps[1], 0) if soft else labels)
    mean = np.mean(votes, axis=0)
    return mean.astype(np.float32) if soft else (mean > 0.5).astype(np.uint8)


def split(result: Any, labels: dict[str, Any], rootlets: str = "rootlets") -> Files:
    """Divide a label map into the files that SCT makes of it, by suffix."""
    names = [name for name in labels if name not in ("background", "ignore")]
    if "canal_seg" in names:
        result = keep_largest(result)
    if names == [f"lvl{i}" for i in range(1, len(names) + 1)]:
        return {rootlets: result}
    if names == ["sc"]:
        return {"seg": result}
    return {
        f"{name}_seg": np.isin(result, np.atleast_1d(labels[name]).astype(int)).astype(np.uint8)
        for name in names
    }


def keep_largest(array: Any) -> Any:
    """Keep the largest face-connected object with its values; the first of equal ones."""
    array = np.where(array < 0.001, 0, array).astype(array.dtype)
    objects, count = ndimage.label(array, FACES)
    if count == 0:
        return array
    sizes = np.bincount(objects.ravel())[1:]
    return np.where(objects == np.argmax(sizes) + 1, array, 0).astype(array.dtype)


def fill(array: Any) -> Any:
    """Fill the holes of a mask, diagonal neighbours included."""
    assert np.isin(array, (0, 1)).all()
    return ndimage.binary_fill_holes(array, FULL).astype(array.dtype)


def without_small(array: Any, smallest: str, spacing: Iterable[float]) -> Any:
    """Remove the objects (18 neighbours) below a size such as ``20``, ``20vox`` or ``5mm3``."""
    if "mm3" in smallest:
        volume = float(np.prod([float(size) for size in spacing]))
        limit = round(int(smallest.replace("mm3", "")) / volume)
    else:
        limit = int(smallest.replace("vox", ""))
    objects, _ = ndimage.label(array, FACES_AND_EDGES)
    sizes = np.bincount(objects.ravel())
    return np.where(sizes[objects] < limit, 0, array).astype(array.dtype)
