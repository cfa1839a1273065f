"""Small bundles and images for the golden comparison, made without deepseg_lite's own modules."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parents[1] / "data"
CORD = {"name": "cord", "values": [1]}
SOFTMAX = {"activation": "softmax", "labels": [CORD], "regions_class_order": None}
REGIONS = {
    "activation": "sigmoid",
    "labels": [{"name": "cord", "values": [1, 2]}, {"name": "gray/matter", "values": [2]}],
    "regions_class_order": [1, 2],
}
MAPS = {
    "activation": "softmax",
    "values": "maps",
    "channels": 2,
    "before_undo": [],
    "labels": [{"name": "rest", "values": [1]}, {"name": "cord", "values": [2]}],
    "regions_class_order": None,
    "files": [
        {"suffix": "rest", "kind": "mask", "labels": ["rest"]},
        {"suffix": "cord", "kind": "mask", "labels": ["cord"]},
    ],
}
SPREAD = {
    "patch_size": [8, 8, 8],
    "overlap": 0.5,
    "placement": "spread",
    "importance_map": "gaussian_filter",
}
STRIDE = {
    "patch_size": [8, 8, 8],
    "stride": [4, 4, 4],
    "placement": "stride",
    "importance_map": "constant",
}
INTERVAL = {
    "patch_size": [8, 8, 8],
    "overlap": [0.5, 0.25, 0.5],
    "placement": "interval",
    "importance_map": "gaussian",
    "sigma_scale": [0.125, 0.125, 0.2],
}
NONE = {"step": "normalize", "channels": [{"scheme": "none"}]}
ZSCORE = {"step": "normalize", "channels": [{"scheme": "zscore", "nonzero_only": False}]}
SPLINES = {
    "step": "resample",
    "spacing": [1.5, 0.9, 0.8],
    "image": {"order": 3, "separate_axis": "auto", "separate_order": 0},
    "scores": {"order": 1, "separate_axis": "auto", "separate_order": 0},
}
LINEAR = {"method": "linear", "order": 1, "padding": "border", "align_corners": False}
RESPACE = {
    "step": "respace",
    "spacing": [0.9, 0.9, 1.5],
    "diagonal": False,
    "image": LINEAR,
    "scores": LINEAR,
}
HALF = {"step": "binarize", "threshold": 0.5, "inclusive": True}
SMALL = {"step": "remove_small", "minimum": [1, 3], "unit": "vox"}
LARGEST = {
    "step": "keep_components",
    "labels": [1],
    "one_hot": False,
    "independent": True,
    "connectivity": 3,
    "count": 1,
}
LABELS = {
    "activation": "softmax",
    "values": "labels",
    "channels": 2,
    "before_undo": [{"step": "argmax"}],
    "labels": [CORD],
    "regions_class_order": None,
}
CROP = {
    "detector": "sc_crop",
    "padding_mm": {
        **dict.fromkeys(("superior", "right", "anterior", "posterior"), 0),
        **{"left": 3.0, "inferior": 5.0},
    },
}
LOW, HIGH, FLAT = "threshold_3d.onnx", "threshold_3d_high.onnx", "regions_2d.onnx"
SLICES = {
    "outputs": REGIONS,
    "sliding_window": {**SPREAD, "patch_size": [1, 8, 8]},
    "mirror_axes": [1, 2],
}
IVADOMED = {
    "inputs": {
        "channel_names": ["T2star"],
        "orientation": "RAS",
        "axes": "zxy",
        "spacing": "reoriented",
    },
    "preprocessing": [
        {"step": "drop_constant_slices"},
        {"step": "zoom", "spacing": [None, 0.9, 0.8]},
        {"step": "center_crop", "size": [None, 16, 16]},
    ],
    "sliding_window": {
        **STRIDE,
        "patch_size": [1, 16, 16],
        "stride": [1, 16, 16],
        "patch_normalization": "instance",
    },
    "mirror_axes": [],
    "outputs": {**MAPS, "activation": "sigmoid"},
    "postprocessing": [{"step": "limit", "floor": 0.01, "ceiling": None}, HALF, SMALL],
}
MONAI = {
    "inputs": {"channel_names": ["t2"], "orientation": "RAS", "axes": "xyz"},
    "preprocessing": [
        RESPACE,
        {"step": "scale_range", "source": [0, 1], "target": [0, 1], "clip": True},
        {
            "step": "crop_to_foreground",
            "channels": None,
            "above": 0,
            "margin": [1, 1, 1],
            "inside": False,
            "multiple": [1, 1, 1],
            "mode": "constant",
            "value": 0,
        },
    ],
    "sliding_window": INTERVAL,
    "mirror_axes": [],
    "outputs": LABELS,
    "postprocessing": [LARGEST],
}
BUNDLES: dict[str, tuple[list[str], dict[str, Any]]] = {
    "threshold": ([LOW], {}),
    "folds": ([LOW, HIGH], {}),
    "vote": ([LOW, HIGH, LOW], {"ensemble": "majority"}),
    "mean_output": ([LOW, HIGH], {"ensemble": "mean_output", "outputs": MAPS}),
    "regions": ([FLAT], SLICES),
    "resampled": ([LOW], {"preprocessing": [{"step": "crop_to_nonzero"}, ZSCORE, SPLINES]}),
    "resampled_2d": ([FLAT], {**SLICES, "preprocessing": [NONE, SPLINES]}),
    "channels": (["two_channels_3d.onnx"], {"channels": ["t1", "t2"]}),
    "maps": ([LOW], {"outputs": MAPS, "postprocessing": [HALF, SMALL]}),
    "cleaned": (
        [LOW],
        {
            "outputs": MAPS,
            "postprocessing": [HALF, {"step": "keep_largest"}, {"step": "fill_holes"}],
        },
    ),
    "labels": ([LOW], {"outputs": LABELS}),
    "ivadomed": ([FLAT], IVADOMED),
    "monai": ([LOW], MONAI),
    "cropped": ([LOW], {"cord_crop": CROP}),
    "tiny.first": ([LOW], {}),
    "cascade": (
        ["two_channels_3d.onnx"],
        {
            "channels": ["t1", "t2"],
            "prior": {"bundle": "tiny.first", "channels": ["t1"]},
            "preprocessing": [{"step": "crop_to_prior", "safety_factor": [1.0, 1.0, 1.0]}],
            "sliding_window": STRIDE,
            "mirror_axes": [],
        },
    ),
    "strides": ([LOW], {"sliding_window": STRIDE, "mirror_axes": []}),
}
RULES = {
    "minimum_component_voxels": 200,
    "minimum_landmark_voxels": 201,
    "vet_c2_c3": True,
    "vet_l5_s1": "size",
}
DISCS = {"disc": [1, 2, 3, 4, 5], "C2_C3": [2], "C7_T1": [3], "T12_L1": [4], "L5_S": [5]}
STEPS = (
    {**DISCS, "vertebrae": [6, 7], "C1": [7], "canal": [8, 9], "cord": [9]},
    {
        **DISCS,
        **{"vertebrae": [6, 7, 8, 9], "odd": [7], "even": [8], "sacrum": [9]},
        **{"canal": [10, 11], "cord": [11]},
    },
)


def _listed(fold: str, path: str, content: bytes) -> dict[str, Any]:
    return {
        "fold": fold,
        "path": path,
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
    }


def write_bundle(
    folder: Path, networks: list[bytes], *, channels: list[str] | None = None, **changes: Any
) -> None:
    """Write a bundle; ``changes`` replace top-level keys of its manifest."""
    folder.mkdir(parents=True)
    channels = channels or ["t2"]
    files = []
    for fold, content in enumerate(networks):
        files.append(_listed(str(fold), f"fold_{fold}.onnx", content))
        (folder / f"fold_{fold}.onnx").write_bytes(content)
    normalized = {"step": "normalize", "channels": [{"scheme": "none"} for _ in channels]}
    checks = [{"fold": file["fold"], "max_abs_error": 0, "max_rel_error": 0} for file in files]
    manifest = {
        "schema": 1,
        "name": folder.name,
        "version": "1.0",
        "inputs": {"channel_names": channels, "orientation": "LAS", "axes": "zyx"},
        "preprocessing": [{"step": "crop_to_nonzero"}, normalized],
        "sliding_window": SPREAD,
        "networks": files,
        "ensemble": "mean_logits",
        "mirror_axes": [0, 1, 2],
        "outputs": SOFTMAX,
        "postprocessing": [],
        "source": {"family": "nnunet", "license": "MIT", "citation": "The tests", "files": {}},
        "export": {"versions": {"onnx": "0"}, "opset": 18, "checks": checks},
    }
    (folder / "manifest.json").write_text(json.dumps({**manifest, **copy.deepcopy(changes)}))


def write_spine(folder: Path) -> None:
    """Write the two bundles of the workflow of the spine."""
    names = ("totalspineseg", "totalspineseg.step2")
    default, vert = ("step1_levels", "step1_output"), ("step1_levels", "step2_output")
    files = {
        option: [
            {"output": output, "suffix": f"totalspineseg_{suffix}"}
            for output, suffix in zip(outputs, ("discs", "all"), strict=True)
        ]
        for option, outputs in (("default", default), ("label-vert", vert))
    }
    workflow = {"name": names[0], "second": names[1], "rules": RULES, "files": files}
    for step, (name, regions) in enumerate(zip(names, STEPS, strict=True), 1):
        channels = ["MRI", "discs"][:step]
        labels = [{"name": label, "values": values} for label, values in regions.items()]
        write_bundle(
            folder / name,
            [(DATA / f"spine_step{step}.onnx").read_bytes()],
            channels=channels,
            inputs={"channel_names": channels, "orientation": "RAS", "axes": "zyx"},
            outputs={
                "activation": "sigmoid",
                "labels": labels,
                "regions_class_order": list(range(1, len(labels) + 1)),
            },
            mirror_axes=[],
            sliding_window={**SPREAD, "patch_size": [32, 32, 32]},
            **({"workflow": workflow} if step == 1 else {}),
        )


def write_detector(folder: Path) -> None:
    """Write the bundle of the stand-ins that find the cord."""
    folder.mkdir(parents=True)
    networks = {}
    for role in ("detector", "classifier"):
        content = (DATA / f"cord_{role}.onnx").read_bytes()
        (folder / f"cord_{role}.onnx").write_bytes(content)
        networks[role] = _listed("", f"cord_{role}.onnx", content)
        del networks[role]["fold"]
    sides = dict(zip(("superior", "inferior", "posterior"), (40, 100, 22), strict=True))
    manifest = {
        "schema": 1,
        "kind": "cord_detector",
        "name": folder.name,
        "version": "1.0",
        "networks": networks,
        "settings": {
            "slice_spacing_mm": 10.0,
            "in_plane_spacing_mm": 1.0,
            "percentiles": [0.5, 99.5],
            "image_size": 320,
            "letterbox": "minimum_rectangle",
            "confidence": 0.1,
            "regularization": "cls",
            "classifier_threshold": 0.5,
            "padding_mm": {**sides, **dict.fromkeys(("left", "right", "anterior"), 15)},
        },
        "source": {"family": "sc_crop", "license": None, "citation": None, "files": {}},
        "export": {"versions": {"onnxruntime": "0"}},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
