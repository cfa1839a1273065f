"""Images for the golden comparison, and the folder that its commands work on."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
from golden_bundles import (
    BUNDLES,
    CORD,
    DATA,
    SLICES,
    SPLINES,
    ZSCORE,
    write_bundle,
    write_detector,
    write_spine,
)

REAL = "gm_challenge/sub-9709Ses2_T2starw.nii.gz"


def make_affine(orientation: str = "RAS", *, turned: bool = True) -> np.ndarray:
    """Return an affine of uneven voxels whose axes point nearest to ``orientation``."""
    turn = np.eye(3)
    for axis, angle in enumerate(np.radians((8.0, -12.0, 20.0) if turned else (0, 0, 0))):
        first, second = [other for other in range(3) if other != axis]
        one = np.eye(3)
        one[first, first] = one[second, second] = np.cos(angle)
        one[first, second], one[second, first] = -np.sin(angle), np.sin(angle)
        turn = one @ turn
    affine = np.eye(4)
    for column, (code, spacing) in enumerate(zip(orientation, (0.7, 1.1, 2.5), strict=True)):
        row = next(i for i, pair in enumerate(("RL", "AP", "SI")) if code in pair)
        affine[:3, column] = turn[:, row] * (1 if code in "RAS" else -1) * spacing
    affine[:3, 3] = (-31.0, 12.5, 40.25)
    return affine


def make_data(shape: tuple[int, ...] = (20, 18, 12), seed: int = 0) -> np.ndarray:
    """Return smooth float32 voxels from 0.05 to 0.95 with a rim of zeros."""
    values = np.random.default_rng(seed).random(shape)
    for axis in range(3):
        values = values + 0.7 * np.roll(values, 1, axis) + 0.4 * np.roll(values, 2, axis)
    values = 0.05 + 0.9 * (values - values.min()) / np.ptp(values)
    values[:2] = 0
    values[:, -1:] = 0
    return values.astype(np.float32)


def make_spine() -> np.ndarray:
    """Return the image of a neck, C1 to T1, as the networks in ``tests/data`` read it.

    A voxel is 10 times the place of its pair of classes: 1 disc, 2 and 3 the discs C2-C3 and
    C7-T1, 6 to 8 vertebrae, 10 C1, 12 canal, 13 cord. Shape (47, 63, 104), RAS+ at 1 mm.
    """
    x, y, z = np.ogrid[-23:24, -28:35, 0:104]
    level = 1 + (103 - z) / 13 + 0.002 * y + 0 * x
    number = level.astype(int)
    inside = level - number
    canal = (x / 8) ** 2 + (y / 6.5) ** 2 < 1
    cord = (x / 5) ** 2 + (y / 3.5) ** 2 < 1
    body = (abs(x) < 9) & (abs(y - 16) < 7) & (abs(inside - 0.5) < 0.34) & (number > 1)
    ring = ((x / 13) ** 2 + (y / 11) ** 2 < 1) & (abs(inside - 0.5) < 0.25)
    process = (abs(x) < 2.6) & (y < -7) & (y > -24) & (abs(inside - 0.6) < 0.25)
    bone = body | ring | process
    image = np.zeros(level.shape, np.int16)
    image[bone] = np.where(number == 1, 10, np.where(number % 2 == 1, 7, 8))[bone]
    image[bone & (y < 0) & ((inside < 0.4) | (inside > 0.75)) & (number > 1)] = 6
    for disc in range(3, 9):
        high = (level - disc) * 13
        where = (x / 9) ** 2 + ((y - 16) / 7.5) ** 2 + (high / 2.6) ** 2 < 1
        image[where] = {3: 2, 8: 3}.get(disc, 1)
    image[canal & (level > 0)] = 12
    image[cord & (level > 0)] = 13
    return image * 10


def save(path: Path, data: np.ndarray, affine: np.ndarray | None = None) -> None:
    """Write voxels as NIfTI-1 with scanner coordinates."""
    affine = make_affine("LPS") if affine is None else affine
    image = nib.Nifti1Image(data, affine)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)


def write_images(folder: Path) -> None:
    """Write the images that commands name, good ones and bad ones."""
    folder.mkdir()
    data = make_data()
    save(folder / "t2.nii.gz", data)
    save(folder / "b.nii.gz", make_data((17, 21, 15), 1), make_affine("PSR"))
    save(folder / "int16.nii", (data * 1000).astype(np.int16), make_affine("RIA"))
    straight = make_affine("LAS", turned=False)
    block = np.full(data.shape, 0.2, np.float32)
    block[6:15, 4:13, 2:11] = 0.9
    save(folder / "first.nii", block, straight)
    save(folder / "second.nii", data, straight)
    save(folder / "dark.nii", np.full(data.shape, 0.2, np.float32), straight)
    save(folder / "stack.nii", np.repeat(data[..., None], 3, -1))
    save(folder / "plane.nii", data[..., 0])
    save(folder / "zeros.nii", np.zeros_like(data))
    save(folder / "nan.nii", np.where(data > 0.9, np.nan, data))
    save(folder / "complex.nii", data.astype(np.complex64))
    (folder / "text.nii").write_text("no image" * 100)
    (folder / "empty.nii").write_bytes(b"")
    content = (folder / "t2.nii.gz").read_bytes()
    (folder / "cut.nii.gz").write_bytes(content[: len(content) // 2])
    (folder / "plain.nii.gz").write_bytes(gzip.decompress(content))
    spine = make_spine()
    affine = np.eye(4)
    affine[:3, 3] = -23.0, -28.0, -52.0
    save(folder / "spine.nii.gz", spine, affine)
    save(folder / "bold.nii.gz", np.stack([spine, spine + 1, spine - (spine > 0)], -1), affine)


def cut(source: Path, target: Path, slices: int) -> None:
    """Write some slices from the middle of an image."""
    image = nib.load(source)
    start = (image.shape[2] - slices) // 2
    nib.save(image.slicer[:, :, start : start + slices], target)


def convolutions(axes: int, channels: int, outputs: int, seed: int) -> bytes:
    """Return a network of two random convolutions with kernels of 3 voxels."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(seed)
    weights = {
        "first": rng.normal(size=(4, channels, *[3] * axes)),
        "second": rng.normal(size=(outputs, 4, *[3] * axes)) / 4,
        "bias": np.linspace(-0.2, 0.2, outputs),
    }
    pads = {"pads": [1] * 2 * axes}
    nodes = [
        helper.make_node("Conv", ["image", "first"], ["features"], **pads),
        helper.make_node("LeakyRelu", ["features"], ["active"], alpha=0.01),
        helper.make_node("Conv", ["active", "second", "bias"], ["logits"], **pads),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", count, *"XYZ"[-axes:]])
        for name, count in (("image", channels), ("logits", outputs))
    ]
    constants = [numpy_helper.from_array(w.astype(np.float32), n) for n, w in weights.items()]
    graph = helper.make_graph(nodes, "convolutions", ends[:1], ends[1:], constants)
    opset = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


def write_convolutions(folder: Path) -> None:
    """Write bundles whose results depend on patches, mirroring and weights; needs onnx."""
    steps = [{"step": "crop_to_nonzero"}, ZSCORE, SPLINES]
    three = {**CORD, "name": "gm", "values": [2]}
    outputs = {"activation": "softmax", "labels": [CORD, three], "regions_class_order": None}
    nets = [convolutions(3, 1, 3, seed) for seed in range(3)]
    write_bundle(folder / "conv_3d", nets, preprocessing=steps, outputs=outputs)
    nets = [convolutions(2, 1, 2, seed) for seed in (3, 4)]
    write_bundle(folder / "conv_2d", nets, preprocessing=steps, **SLICES)
    for family in ("monai", "ivadomed"):
        _, made = BUNDLES[family]
        write_bundle(folder / f"conv_{family}", [convolutions(
            3 if family == "monai" else 2, 1, 2, 5
        )], **made)  # fmt: skip


def damage(folder: Path) -> None:
    """Write bundles with faults: changed, incomplete, not JSON, newer, without networks."""
    for name in ("corrupt", "incomplete", "not_json", "newer", "unexpected"):
        shutil.copytree(folder / "threshold", folder / name)
    file = folder / "corrupt" / "fold_0.onnx"
    content = bytearray(file.read_bytes())
    content[-20] ^= 1
    file.write_bytes(content)
    (folder / "incomplete" / "fold_0.onnx").unlink()
    (folder / "not_json" / "manifest.json").write_text("{")
    manifest = json.loads((folder / "newer" / "manifest.json").read_text())
    for name, change in (("newer", {"schema": 2}), ("unexpected", {"colour": "red"})):
        (folder / name / "manifest.json").write_text(json.dumps({**manifest, **change}))
    (folder / "nothing").mkdir()
    (folder / "text.onnx").write_text("no network")


def write_all(folder: Path) -> None:
    """Write bundles (``b``), images (``i``) and homes with a detector (``home``, ``planning``)."""
    for name, (files, changes) in BUNDLES.items():
        write_bundle(folder / "b" / name, [(DATA / f).read_bytes() for f in files], **changes)
    shutil.copytree(folder / "b" / "threshold", folder / "b" / "variants")
    manifest = json.loads((folder / "b" / "folds" / "manifest.json").read_text())
    first, second = manifest["networks"]
    variant = {"precision": "int8", **{k: second[k] for k in ("path", "sha256", "size")}}
    manifest |= {"name": "variants", "networks": [{**first, "variants": [variant]}]}
    manifest["export"]["checks"] = manifest["export"]["checks"][:1]
    (folder / "b" / "variants" / "manifest.json").write_text(json.dumps(manifest))
    shutil.copy(folder / "b" / "folds" / "fold_1.onnx", folder / "b" / "variants")
    write_spine(folder / "b")
    for home in ("home", "planning"):
        write_detector(folder / home / "bundles" / "sc_crop")
    damage(folder / "b")
    write_images(folder / "i")
