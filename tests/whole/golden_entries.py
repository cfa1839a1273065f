"""The command lines of the golden comparison.

An entry has a name and command lines that run one after another in a folder of its own. The first
word is ``lite`` or ``export``; ``b/`` has the bundles, ``m/`` the models to export, and images are
named alone. ``run``, ``plan`` and ``bench`` get ``--device cpu --threads 1``.
"""

from __future__ import annotations

import itertools

Entries = dict[str, list[str]]

TASKS = ["canal_t2w", "graymatter", "mice_gm", "mice_sc", "ms_sc_mp2rage", "sc_gm_t2star",
    "seg_exvivo_gm_wm_t2", "seg_gm_sc_7t_t2star", "seg_lumbar_sc_t2w", "seg_mouse_gm_wm_t1w",
    "seg_ms_lesion", "seg_ms_lesion_mp2rage", "seg_sc_contrast_agnostic", "seg_sc_epi",
    "seg_sc_lesion_t2w_sci", "seg_sc_ms_lesion_axial_t2w", "seg_sc_ms_lesion_stir_psir",
    "seg_sc_t2star", "seg_spinal_rootlets_t2w", "seg_tumor_edema_cavity_t1_t2", "totalspineseg",
    "tumor_t2"]  # fmt: skip
OTHER_NAMES = ["spine", "lesion_ms", "spinalcord", "b/folds", "b/channels", "b/cropped",
    "b/cascade", "b/totalspineseg", "b/ivadomed", "b/monai"]  # fmt: skip
SHIPPED = ["", "--soft", "--tta", "--step 0.75", "--fast", "--skip-empty", "--keep-largest",
    "--remove-small 5mm3", "--max-ram 4G", "--precision int8", "--accumulator float16",
    "--soft --threshold 0.5 --fill-holes", "-thr 0.4 -largest 1"]  # fmt: skip
COMMON = ["", "--soft", "--tta", "--step 0.3", "--keep-largest", "--fill-holes",
    "--remove-small 4", "--accumulator float16", "--fast"]  # fmt: skip
FOLDS = ["--ensemble majority", "--ensemble mean-logits", "--folds 1", "--single-fold",
    "--folds 0,1 --soft --tta"]  # fmt: skip
FACES = "--box-xmin 3 --box-xmax 14 --box-ymin 2 --box-ymax 15 --box-zmin 1 --box-zmax 10"
SPINE = ["", "--label-vert", "--iso", "--outputs step1_levels,step1_cord,step1_canal,step2_raw",
    "--outputs step1_raw,step1_output,step2_output --iso", "-o x.nii", "--step 0.75",
    "-label-vert 1 -r 1"]  # fmt: skip
WRONG = [
    "run b/threshold -i nowhere.nii.gz",
    *(
        f"run b/threshold -i {name}"
        for name in ("stack.nii", "plane.nii", "zeros.nii", "nan.nii", "complex.nii", "text.nii",
            "empty.nii", "cut.nii.gz", "plain.nii.gz")
    ),
    *(
        f"run b/{name} -i t2.nii.gz"
        for name in ("corrupt", "incomplete", "not_json", "newer", "unexpected", "nothing",
            "text.onnx")
    ),
    "run b/channels -i t2.nii.gz",
    "run b/channels -i t2.nii.gz -i b.nii.gz",
    "run b/threshold --case -i t2.nii.gz -i b.nii.gz --case -i b.nii.gz",
    "run sc_gm_t2sta -i t2.nii.gz",
    "run no/such/bundle -i t2.nii.gz",
    "run seg_sc_epi -i t2.nii.gz",
    "run seg_sc_ms_lesion_stir_psir -i t2.nii.gz",
    "run sc_gm_t2star -i t2.nii.gz --release r7",
    "run sc_crop -i t2.nii.gz",
    "run b/threshold",
    "run b/threshold -i t2.nii.gz --nonsense",
    "run b/threshold -i t2.nii.gz --device nowhere",
    "run b/threshold -i t2.nii.gz -install x",
    *(
        f"run b/threshold -i t2.nii.gz {words}"
        for words in (
            "--folds 9", "--step nan", "--step 2", "--soft --fill-holes", "--remove-small 5cm",
            "--remove-small 5mm3 --remove-small 5vox", "--remove-small 5 --remove-small 5",
            "-c t2", "--single-fold --folds 0", "--label-vert", "--iso", "--cropbox",
            "--box-zmin 1", "--precision int8", "--max-ram x", "-o t2.nii.gz", "-o t2.nii.gz/out",
            "--device rocm", "--release r7",
        )
    ),
    "run b/threshold -i t2.nii.gz -i b.nii.gz -o x.nii.gz",
    "run b/threshold -i t2.nii.gz -i t2.nii.gz",
    "run b/threshold -i t2.nii.gz -i text.nii -o out",
    "run b/maps -i t2.nii.gz --ensemble majority",
    "run b/strides -i t2.nii.gz",
    "run b/strides -i second.nii --tta",
    "run b/cascade -i dark.nii -i dark.nii",
    "run b/totalspineseg -i dark.nii",
    "run b/totalspineseg -i spine.nii.gz --outputs step3",
    "run b/totalspineseg -i spine.nii.gz --soft",
    "run b/cropped -i t2.nii.gz --box-xmax 90",
    "info nonsense", "info b/corrupt", "info b/newer", "fetch nonsense --offline",
    "fetch seg_sc_epi", "fetch", "remove nonsense", "phantom x.png", "phantom t2.nii.gz",
    "nonsense", "", "plan b/threshold -i stack.nii --no-calibrate", "bench nonsense",
    "bench b/channels -i t2.nii.gz",
]  # fmt: skip


def _numbered(prefix: str, lines: list[str]) -> Entries:
    return {f"{prefix}: {line.strip()}": [f"lite {line.strip()}"] for line in lines}


def texts() -> Entries:
    """Return the entries of what is printed alone."""
    commands = ["", "list", "info", "phantom", "run", "plan", "bench", "fetch", "remove"]
    exports = ["", "nnunet", "ivadomed", "monai-ckpt", "monai-bundle", "task", "all", "publish",
        "cord-detector", "quantize"]  # fmt: skip
    entries = {f"help: {c}": [f"lite {c} --help", f"lite {c} -h"] for c in commands}
    entries |= {f"help of export: {c}": [f"export {c} --help"] for c in exports}
    entries |= _numbered("text", ["--version", "list", "list --json"])
    names = [*TASKS, *OTHER_NAMES]
    return entries | {f"info: {n}": [f"lite info {n}", f"lite info {n} --json"] for n in names}


def wrong() -> Entries:
    """Return the entries of bad input."""
    entries = _numbered("wrong", WRONG)
    entries["wrong: existing output"] = ["lite run b/threshold -i t2.nii.gz"] * 2
    entries["wrong: existing table"] = ["lite run b/totalspineseg -i spine.nii.gz"] * 2
    entries["overwrite"] = ["lite run b/threshold -i t2.nii.gz --overwrite"] * 2
    return entries


def shipped(image: str, short: str) -> Entries:
    """Return the entries of the model that is in the package, on an image and on slices of it."""
    entries = _numbered(image, [f"run sc_gm_t2star -i {short} {words}" for words in SHIPPED])
    entries |= _numbered(image, [f"run sc_gm_t2star -i {image}"])
    entries |= _numbered(image, [f"run sc_gm_t2s -i {image} -i {short} -o out"])
    plans = [
        "",
        "--soft --tta",
        "--max-ram 250M",
        "--max-ram 1M",
        "--fast",
        f"-i {short} --step 0.3",
    ]
    lines = [f"plan sc_gm_t2star -i {image} --no-calibrate {words}" for words in plans]
    return entries | _numbered(image, [*lines, *(f"{line} --json" for line in lines)])


def bundles() -> Entries:
    """Return the entries of the small bundles."""
    lines = []
    for name, words in itertools.product(
        ("threshold", "regions", "resampled", "resampled_2d"), COMMON
    ):
        lines.append(f"run b/{name} -i t2.nii.gz {words}")
    for name in ("folds", "vote", "mean_output"):
        lines += [f"run b/{name} -i t2.nii.gz {words}" for words in ["", *FOLDS]]
    for name in ("maps", "cleaned", "labels", "ivadomed", "monai"):
        words = ["", "--soft", "--keep-largest", "--no-keep-largest --no-fill-holes", "-thr 0.6"]
        lines += [f"run b/{name} -i b.nii.gz {word}" for word in words]
    lines += [
        "run b/threshold -i t2.nii.gz -i b.nii.gz -i int16.nii -o out --json",
        "run b/threshold -i int16.nii -o x.nii -v",
        "run b/threshold -i t2.nii.gz -o deep/er/x.nii.gz -q",
        "run b/threshold -i t2.nii.gz -qc folder -largest 1 -r 0 -v 1",
        "run b/threshold/fold_0.onnx -i t2.nii.gz",
        "run b/variants -i t2.nii.gz --precision int8",
        "run b/variants -i t2.nii.gz",
        "run b/channels -i first.nii -i second.nii",
        "run b/channels -i first.nii -i second.nii --case -i second.nii -i first.nii -o out",
        "run b/cascade -i first.nii -i second.nii --json",
        "run b/cropped -i t2.nii.gz --cropbox --json -o out",
        f"run b/cropped -i t2.nii.gz {FACES} --soft",
        "run b/cropped -i t2.nii.gz --box-zmax 7 --strict-crop",
    ]
    everything = "threshold folds regions resampled maps ivadomed monai cropped channels cascade"
    images = {"channels": "first.nii -i second.nii", "cascade": "first.nii -i second.nii"}
    lines += [
        f"plan b/{name} -i {images.get(name, 't2.nii.gz')} --no-calibrate --json"
        for name in everything.split()
    ]
    return _numbered("bundle", lines)


def spine() -> Entries:
    """Return the entries of the workflow of the spine."""
    lines = [f"run b/totalspineseg -i spine.nii.gz {words}" for words in SPINE]
    lines += ["run b/totalspineseg -i bold.nii.gz --json"]
    plan = "plan b/totalspineseg -i spine.nii.gz --no-calibrate"
    return _numbered("spine", [*lines, plan, f"{plan} --json", f"{plan} --label-vert --json"])


def store() -> Entries:
    """Return the entries of the local cache; URL is that of a server of the bundles."""
    return {
        "store: fetch and remove": [
            "lite fetch folds --mirror URL --json", "lite fetch folds --offline", "lite list",
            "lite info folds --json", "lite run folds -i t2.nii.gz", "lite remove folds",
            "lite fetch totalspineseg --mirror URL", "lite info spine", "lite remove spine --json",
            "lite fetch nonsense --mirror URL", "lite fetch corrupt --mirror URL",
            "lite fetch totalspineseg regions --mirror URL", "lite fetch regions",
            "lite list --json",
        ],
        "store: phantom": ["lite phantom p.nii.gz --labels l.nii", "lite phantom q.nii --seed 3"],
        "store: bench": ["lite bench b/threshold -i t2.nii.gz --repeat 1"],
    }  # fmt: skip


def convolutions() -> Entries:
    """Return the entries of bundles with networks that see more than one voxel."""
    lines = []
    pairs = ("3d", "t2"), ("3d", "b"), ("2d", "b"), ("monai", "t2"), ("ivadomed", "t2")
    for name, image in pairs:
        words = [*COMMON, *FOLDS] if name in ("3d", "2d") else COMMON[:2]
        lines += [f"run b/conv_{name} -i {image}.nii.gz {word}" for word in words]
    return _numbered("convolutions", lines)
