"""Release archives in the official layouts, with small networks of the same kind.

``python tests/helpers/releases.py FOLDER [TASK ...]`` writes the zip files of every nnU-Net release
of the catalogue, or of some tasks, into FOLDER/TASK/RELEASE/ under their official names. Where
nobody knows how an archive is laid out, the variants that occur are spread over the releases.
Needs torch; the networks are balanced, and some trained, on images of ``../shared/data``, or on the
phantom where that is missing.
"""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from deepseg_lite.api.phantom import make_phantom
from deepseg_lite.bundles.bundle import Label
from deepseg_lite.bundles.task_file import Release, Task
from deepseg_lite.store.tasks import list_tasks
from helpers.paths import SHARED

DATA = SHARED / "data"
FINAL, BEST = "checkpoint_final.pth", "checkpoint_best.pth"
MARKER = "trainer_class_was_executed"
GET_TRAINER = "def get_trainer_class():\n    raise RuntimeError('must not run')\n"
PADDINGS = {"superior": 4, "inferior": 3, "left": 2, "right": 1, "anterior": 2, "posterior": 1}
INTENSITIES = {"mean": 90.0, "std": 40.0, "percentile_00_5": 5.0, "percentile_99_5": 200.0}
T2, LESION = "sct_testing/t2.nii.gz", "sct_testing/t2_fake_lesion.nii.gz"
CORD_MASK = "sct_testing/t2_seg-manual.nii.gz"
LESION_MASKS = (
    "sct_testing/t2_fake_lesion_sc_seg.nii.gz",
    "sct_testing/t2_fake_lesion_lesion_seg.nii.gz",
)


@dataclass(frozen=True)
class Variant:
    """How the archives of a release are made, beyond what the task file says.

    ``wrapper`` is the archive's top folder, ``{fold}`` in it the fold; ``key`` the
    ``image_orientation`` of dataset.json. ``truth`` are masks, painted as 1, 2, ... over each
    other, to train with; without them the networks are random. ``scale`` shrinks the test image.
    """

    wrapper: str = ""
    trainer: str = "nnUNetTrainer"
    plans: str = "nnUNetPlans"
    trainer_level: bool = True
    network: str = "PlainConvUNet"
    legacy: bool = False
    folds: tuple[str, ...] = ("0",)
    checkpoints: tuple[str, ...] = (FINAL,)
    key: str | None = "RPI"
    dataset: str = "Dataset042_Tiny"
    text_values: bool = False
    spacing: tuple[float, float, float] = (1.1, 1.0, 0.95)
    image: str = T2
    truth: tuple[str, ...] = ()
    steps: int = 50
    scale: float = 1.0
    extras: bool = False
    trainer_class: bool = False
    once: bool = False  # plans.json, dataset.json in the first archive alone
    junk: bool = False
    seed: int = 0


RESIDUAL = "ResidualEncoderUNet"
MS_LESION = Variant(
    trainer="nnUNetTrainerDiceCELoss_noSmooth_4000epochs_fromScratch",
    plans="nnUNetResEncUNetL1x1x1_Model2_Plans",
    network=RESIDUAL,
    dataset="Dataset902_lesionAgnostic",
    spacing=(1.0, 1.0, 1.0),
    image=LESION,
)


# By task and release; a release that is not here gets the defaults.
VARIANTS = {
    ("canal_t2w", "r20260406"): Variant(
        "model-canal-seg-r20260406/", "nnUNetTrainerDAExtGPU", key="LAS", seed=1
    ),
    ("canal_t2w", "r20241126"): Variant(folds=("2",), key="LAS", seed=12),
    ("canal_t2w", "r20241031"): Variant("model-canal-seg_r20241030/", key="LAS", seed=3),
    ("graymatter", "r20250420"): Variant(
        "Dataset820_gm-seg/",
        plans="nnUNetResEncUNetLPlans",
        network=RESIDUAL,
        dataset="Dataset820_gm-seg",
        spacing=(17.0, 0.8, 0.8),
        image="sct_testing/mt1.nii.gz",
        junk=True,
    ),
    ("seg_mouse_gm_wm_t1w", "v0.4"): Variant(
        "model/", legacy=True, key=None, text_values=True, spacing=(0.05, 0.05, 0.05), scale=0.05
    ),
    ("seg_ms_lesion", "r20260703"): replace(
        MS_LESION, image=T2, trainer_class=True, once=True, seed=30
    ),
    ("seg_ms_lesion", "r20250909"): replace(
        MS_LESION, wrapper="model_fold{fold}/", truth=LESION_MASKS[:1], trainer_class=True
    ),
    ("seg_ms_lesion", "r20250626"): replace(
        MS_LESION, wrapper="20250626_model_fold0_ESMRMB_abstract/", image=T2, extras=True, seed=20
    ),
    ("seg_ms_lesion", "r20241101"): Variant(folds=("1",), dataset="Dataset901_msLesionUnet3d"),
    ("seg_ms_lesion_mp2rage", "r20240610"): Variant(legacy=True, key=None, extras=True, seed=4),
    ("seg_sc_contrast_agnostic", "v4.0"): Variant(
        "model_contrast_agnostic_20260628/", truth=(CORD_MASK,), seed=5
    ),
    ("seg_sc_contrast_agnostic", "v3.0"): Variant(
        "model_contrast_agnostic_20250123/", checkpoints=(FINAL, BEST), truth=(CORD_MASK,)
    ),
    **{
        ("seg_sc_epi", version): Variant(
            wrapper,
            trainer_level=level,
            legacy=True,
            folds=("all",),
            checkpoints=(BEST,),
            key=None,
            dataset="Dataset020_fmri",
            spacing=(5.0, 1.2, 1.2),
            image="fmri/sub-leipzigR01_mean_bold.nii.gz",
            truth=("fmri/sub-leipzigR01_spinalcord_mask.nii.gz",),
        )
        for version, wrapper, level in (
            ("v0.2", "", True),
            ("v0.2-flat", "model-fmri-segmentation-v0.2/", False),
        )
    },
    ("seg_sc_lesion_t2w_sci", "r20240729"): Variant(
        "model_SCIsegV2_r20240729/", image=LESION, truth=LESION_MASKS, steps=120
    ),
    ("seg_sc_lesion_t2w_sci", "r20240130"): Variant(
        "model-sci-multisite_r20240130/",
        legacy=True,
        folds=("0", "1", "2"),
        dataset="Dataset500_sciMultisite",
        seed=7,
    ),
    ("seg_sc_ms_lesion_axial_t2w", "r20241111"): Variant(
        "model_bavaria_quebec_axial_t2w_ms/",
        folds=("0", "4"),
        spacing=(7.5, 1.1, 1.1),
        image="sct_tutorial/t2_ms.nii.gz",
        seed=8,
    ),
    ("seg_sc_ms_lesion_stir_psir", "r20240125"): Variant(
        legacy=True, key=None, dataset="Dataset012_msRegionBasedLesionSeg", seed=9
    ),
    ("seg_spinal_rootlets_t2w", "r20250318"): Variant(
        "model-spinal-rootlets-multicon-r20250318/", dataset="Dataset300_RootletsMulticon", seed=10
    ),
    ("seg_spinal_rootlets_t2w", "r20240730"): Variant(
        "model-spinal-rootlets_M5_r20240129-2/", legacy=True, key=None, seed=11
    ),
    ("seg_spinal_rootlets_t2w", "r20240129"): Variant(legacy=True, key=None, seed=11),
}


def nnunet_releases() -> list[tuple[Task, Release]]:
    """Return every release of the catalogue that is one nnU-Net model with archives."""
    return [
        (task, release)
        for task in list_tasks()
        for release in task.releases
        if [(stage.family, bool(stage.archives)) for stage in release.stages] == [("nnunet", True)]
    ]


def variant_of(task: Task, release: Release) -> Variant:
    """Return how the archives of a release are made."""
    return VARIANTS.get((task.name, release.version), Variant())


def test_image(variant: Variant) -> tuple[nib.Nifti1Image, Any]:
    """Return the image to segment and the label map (X, Y, Z) to train with, or None."""
    if DATA.is_dir():
        image = nib.load(DATA / variant.image)
        data, truth = np.asanyarray(image.dataobj), None
        for value, name in enumerate(variant.truth, 1):
            mask = np.asanyarray(nib.load(DATA / name).dataobj) > 0
            truth = np.where(mask, value, 0 if truth is None else truth)
        affine = image.affine
    else:
        spacing = (1.0, 1.0, min(max(variant.spacing), 5.0) / min(variant.scale, 1.0))
        drawn = make_phantom(shape=(60, 60, 14), spacing=spacing if spacing[2] <= 10 else (1, 1, 1))
        data, affine = drawn.image.astype(np.int16), drawn.affine
        # Its gray matter is too little to be learnt, so models of two structures stay random.
        truth = (drawn.labels > 0).astype(int) if len(variant.truth) == 1 else None
    return nib.Nifti1Image(data, affine @ np.diag([*[variant.scale] * 3, 1.0])), truth


test_image.__test__ = False


def write_release(task: Task, release: Release, folder: Path) -> list[Path]:
    """Write the archives of a release, under their official names, into ``folder``."""
    stage, variant = release.stages[0], variant_of(task, release)
    folder.mkdir(parents=True, exist_ok=True)
    work = folder / "work"
    model = _write_model(task, release, variant, work)
    folds = sorted(model.glob("fold_*"))
    names = [mirrors[0].rsplit("/", 1)[-1] for mirrors in stage.archives]
    per_archive = [[fold] for fold in folds] if len(names) > 1 else [folds]
    written = []
    for i, (name, chosen) in enumerate(zip(names, per_archive, strict=True)):
        members = {}
        for file in sorted(work.rglob("*.*")):
            own = [fold for fold in folds if fold in file.parents]
            shared = i == 0 or not (variant.once or file.name == "trainer_class.py")
            if file.is_file() and (own[0] in chosen if own else shared):
                top = work if variant.trainer_level else model
                members[file.relative_to(top).as_posix()] = file
        wrapper = variant.wrapper.format(fold=chosen[0].name.removeprefix("fold_"))
        written.append(_pack(folder / name, wrapper, members, junk=variant.junk))
    shutil.rmtree(work)
    return written


def _pack(path: Path, wrapper: str, members: dict[str, Path], *, junk: bool) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, file in members.items():
            archive.write(file, wrapper + name)
            if junk:
                there, _, last = (wrapper + name).rpartition("/")
                archive.writestr(f"__MACOSX/{there}/._{last}", b"\0\5\x16\7")
        if junk:
            archive.writestr(f"{wrapper}.DS_Store", b"\0\0\0\1Bud1")
    return path


def _write_model(task: Task, release: Release, variant: Variant, work: Path) -> Path:
    """Write the trained-model folder below ``work``, with everything that comes with it."""
    from helpers.nnunet_models import write_model

    stage = release.stages[0]
    layout = stage.layout
    configuration = layout.configuration or "3d_fullres"
    default = f"{variant.trainer}__{variant.plans}__{configuration}"
    name = layout.folder or default
    trainer, plans, _ = name.split("__")
    folds = layout.folds or variant.folds
    regions = stage.regions_class_order is not None
    labels: dict[str, Any] = {"background": 0}
    for label in stage.labels:
        labels[label.name] = list(label.values) if regions else label.values[0]
    if variant.text_values:
        labels = {key: str(value) for key, value in labels.items()}
    dataset = {"labels": labels, "image_orientation": variant.key}
    if regions:
        dataset["regions_class_order"] = list(stage.regions_class_order)
    patch = [32, 32] if configuration == "2d" else [16, 32, 32]
    common: dict[str, Any] = {
        "configuration": configuration,
        "network": variant.network,
        "legacy": variant.legacy,
        "folds": folds,
        "plans": {
            "dataset_name": layout.dataset or variant.dataset,
            "plans_name": plans,
            "original_median_spacing_after_transp": list(variant.spacing),
            "foreground_intensity_properties_per_channel": {"0": INTENSITIES},
        },
        "settings": {"patch_size": patch, "spacing": list(variant.spacing)[-len(patch) :]},
        "dataset": dataset,
        "content": {
            "trainer_name": trainer,
            "inference_allowed_mirroring_axes": tuple(range(len(patch))),
        },
        "without": () if variant.key else ("image_orientation",),
        "name": name,
    }
    for i, checkpoint in enumerate(variant.checkpoints):
        weights = {
            fold: _weights(
                stage.labels,
                stage.orientation or "RAS",
                replace(variant, wrapper="", trainer_level=True),  # the same weights, cached
                tuple(patch),
                sigmoid=regions,
                seed=variant.seed + 100 * i + number,
            )
            for number, fold in enumerate(folds)
        }
        if i == 0:
            model = write_model(work, checkpoint=checkpoint, weights=weights, **common)
            continue
        other = write_model(work / "other", checkpoint=checkpoint, weights=weights, **common)
        for file in other.rglob(checkpoint):
            file.replace(model / file.relative_to(other))
        shutil.rmtree(work / "other")
    for file, text in _company(work, model, stage, variant):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    return model


def _company(work: Path, model: Path, stage: Any, variant: Variant) -> Iterator[tuple[Path, str]]:
    """Yield the files that releases have beside the model, and what is in them."""
    if stage.crop:
        paddings = {f"pad_{face}": size for face, size in PADDINGS.items()}
        yield work / "crop_metadata.json", json.dumps({**paddings, "sc_crop_version": "0.12.1"})
    if variant.trainer_class:
        marker = work.parent.parent.resolve() / MARKER
        yield (
            model / "trainer_class.py",
            f"import pathlib\n\npathlib.Path({str(marker)!r}).touch()\n\n\n{GET_TRAINER}",
        )
    if variant.extras:
        yield model / "dataset_fingerprint.json", json.dumps({"shapes_after_crop": [[60, 55, 52]]})
        yield model / "dataset_split.md", "# Split\n\nEverybody is in training.\n"
        yield model / "datasplits" / "datasplit_seed50.yaml", "train: [sub-01]\n"
        for fold in model.glob("fold_*"):
            yield fold / "debug.json", json.dumps({"fold": fold.name})
            yield fold / "progress.png", "\x89PNG, not a real one"
            yield fold / "training_log_2024_5_1_10_00_00.txt", "Epoch 0\n"


@cache
def _weights(
    labels: tuple[Label, ...],
    orientation: str,
    variant: Variant,
    patch: tuple[int, ...],
    *,
    sigmoid: bool,
    seed: int,
) -> Any:
    """Return the state of one fold: trained where there is a truth, else random and balanced."""
    import torch

    from helpers.nnunet_models import balance, fit, network_of, set_shares

    image, truth = test_image(variant)
    data = _as_the_model_sees(image, np.asanyarray(image.dataobj), orientation)
    data = ((data - data.mean()) / data.std()).astype(np.float32)[None]
    shares = [1 / 3] * len(labels)
    network = network_of(variant.network, len(patch), 1, len(labels) + (not sigmoid), seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if truth is None:
            balance(network, data)
        else:
            target = _as_the_model_sees(image, truth, orientation)
            if sigmoid:
                target = np.stack([np.isin(target, label.values) for label in labels])
                shares = [float(mask.mean()) for mask in target]
            fit(network, data, target, patch=patch, steps=variant.steps, seed=seed)
    if sigmoid:
        set_shares(network, data, shares)
    return network.state_dict()


def _as_the_model_sees(image: nib.Nifti1Image, array: Any, codes: str) -> Any:
    """Bring an array on the image's grid to (Z, Y, X) of the model's orientation."""
    change = nib.orientations.ornt_transform(
        nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(codes)
    )
    return np.ascontiguousarray(nib.orientations.apply_orientation(array, change).transpose())


def main() -> None:
    """Write what the command line asks for."""
    folder, *tasks = sys.argv[1:] or sys.exit(__doc__)
    for task, release in nnunet_releases():
        if not tasks or task.name in tasks:
            for file in write_release(task, release, Path(folder) / task.name / release.version):
                print(file)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent / "export"))
    main()
