"""Models to export for the golden comparison, and their command lines; needs torch.

Run as a program it writes the models into a folder. Helpers of the export tests are found by their
file names, below the tests of the checkout that the installed package comes from.
"""

from __future__ import annotations

import importlib.util
import sys
import warnings
from pathlib import Path
from types import ModuleType

EXPORTS = {
    "nnunet 2d": ("nnunet m/nn_2d --license MIT --url here", "b.nii.gz"),
    "nnunet 3d": ("nnunet m/nn_3d --folds 0 --citation Nobody --name mine", "b.nii.gz"),
    "nnunet regions": ("nnunet m/nn_regions --orientation RAS --release r2", "b.nii.gz"),
    "nnunet old": ("nnunet m/nn_old.zip", "t2.nii.gz"),
    "monai organ": ("monai-bundle m/ct_organ", "int16.nii"),
    "monai soft": ("monai-bundle m/dynunet", "int16.nii"),
    "ivadomed slices": ("ivadomed m/t2star_sc", "t2.nii.gz"),
    "ivadomed onnx": ("ivadomed m/t2star_gm", "t2.nii.gz"),
}
WRONG = ["nnunet nowhere -o out", "nnunet b -o out", "nnunet m/nn_2d -o out --folds 7",
    "ivadomed m/nn_2d -o out", "monai-ckpt m/ct_organ -o out", "monai-bundle m/nn_2d -o out",
    "nnunet m/nn_2d", "task nonsense", "task mice_sc a.zip", "task mice_sc --offline",
    "quantize b/threshold",
    "quantize nowhere --fp16", "cord-detector --from m/nn_2d", "nonsense",
    "publish b/threshold --repo x"]  # fmt: skip


def entries() -> dict[str, list[str]]:
    """Return the entries: each model is exported, shown and run."""
    made = {
        f"export: {name}": [
            f"export {words} -o out",
            f"lite run out -i {image}",
            f"lite run out -i {image} --soft -o soft",
        ]
        for name, (words, image) in EXPORTS.items()
    }
    made |= {f"export: wrong: {words}": [f"export {words}"] for words in WRONG}
    made["export: one file"] = [
        "export nnunet m/nn_2d --folds 0 -o x.onnx",
        "lite run x.onnx -i b.nii.gz",
    ]
    made["export: quantize"] = [
        "export nnunet m/nn_2d -o out",
        "export quantize out --calibrate t2.nii.gz --held-out b.nii.gz --gate foreground=1 -o q",
        "export quantize out --calibrate t2.nii.gz --held-out b.nii.gz --no-gate -o q",
        "lite run q -i t2.nii.gz --precision int8",
        "export quantize b/conv_3d --calibrate t2.nii.gz",
        "export quantize b/conv_3d --fp16-weights --held-out b.nii.gz -o h",
        "lite run h -i t2.nii.gz --precision fp16-weights -o halved",
        "lite info q",
    ]
    made["export: task"] = [
        "export task canal_t2w --from m/canal.zip --repin",
        "lite info canal_t2w --json",
        "lite run canal -i t2.nii.gz",
        "export task canal --from m/canal.zip",
        "lite remove canal",
        "export task canal_t2w --from m/nn_old.zip",
        "export task canal_t2w --from m/nn_old.zip --repin",
    ]
    return made


def long_entries() -> dict[str, list[str]]:
    """Return the entry of a Lightning checkpoint, whose network has but one size: minutes."""
    return {"export: lightning": ["export monai-ckpt m/l.ckpt -o out --sct 6.4 --soft"]}


def helper(*names: str) -> ModuleType:
    """Import a helper of the export tests, wherever it lies below ``tests`` under these names."""
    import deepseg_lite

    above = Path(deepseg_lite.__file__).resolve().parents
    tests = [folder / "tests" for folder in above[1:3]] + [Path(__file__).resolve().parents[1]]
    found = [
        (folder, file)
        for folder in tests
        for name in names
        for file in sorted(folder.rglob(f"{name}.py"))
    ]
    if not found:
        places = ", ".join(map(str, tests))
        raise FileNotFoundError(f"{' or '.join(names)}.py is not below {places}")
    folder, file = found[0]
    sys.path.append(str(folder))  # helpers may import each other
    name = f"golden_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def write_models(folder: Path, *, long: bool) -> None:
    """Write one seeded model or more of each family; the Lightning checkpoint where ``long``."""
    import torch

    nnunet = helper("nnunet_models", "tiny_models")
    monai, ivadomed = helper("monai_models", "tiny_monai"), helper("ivadomed_models")
    nnunet.write_model(folder / "nn_2d", folds=("0", "1"))
    nnunet.write_model(
        folder / "nn_3d",
        configuration="3d_fullres",
        network="ResidualEncoderUNet",
        folds=("0", "1"),
        heads=3,
        dataset={"labels": {"background": 0, "sc": 1, "gm": 2}},
    )
    nnunet.write_model(
        folder / "nn_regions",
        dataset={
            "labels": {"background": 0, "sc": [1, 2], "gm": 2},
            "regions_class_order": [1, 2],
        },
    )
    old = nnunet.write_model(folder / "old", legacy=True, folds=("all",))
    nnunet.write_zip(folder / "nn_old.zip", old, "packed/")
    canal = nnunet.write_model(
        folder / "canal",
        configuration="3d_fullres",
        dataset={"labels": {"background": 0, "canal": 1}},
    )
    nnunet.write_zip(folder / "canal.zip", canal, "model-canal-seg-r20260406/")
    for name in ("ct_organ", "dynunet"):
        monai.write_bundle(folder / name, monai.ZOO[name]())
    if long:
        features = (32, 64, 128, 256, 320, 320)
        monai.write_lightning(folder / "l.ckpt", features)
    torch.manual_seed(0)
    network = ivadomed.make_unet()
    ivadomed.write_model(folder / "t2star_sc", ivadomed.make_settings(), network)
    settings = ivadomed.make_settings(postprocessing={"binarize_prediction": {"thr": 0.5}})
    ivadomed.write_model(folder / "t2star_gm", settings, onnx=ivadomed.make_onnx())


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    write_models(Path(sys.argv[1]), long="long" in sys.argv[2:])
