"""The golden comparison's calls through Python: what `deepseg_lite.load` gives, hashed."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np


def summary(result: Any) -> Any:
    """Return type, shape and hash of arrays and images; a dictionary's by their names."""
    if isinstance(result, dict):
        return {name: summary(value) for name, value in result.items()}
    if isinstance(result, np.ndarray):
        digest = hashlib.sha256(np.ascontiguousarray(result)).hexdigest()
        return f"{result.dtype} {result.shape} {digest}"
    found = {"kind": type(result).__name__, "voxels": summary(np.asarray(result.dataobj))}
    return {**found, "affine": summary(np.asarray(result.affine))}


def facts(bundle: Any) -> dict[str, str]:
    """Return the public attributes of a bundle as texts."""
    names = [name for name in dir(bundle) if not name.startswith("_")]
    values = {name: getattr(bundle, name) for name in names}
    return {name: repr(value) for name, value in values.items() if not callable(value)}


def attempt(call: Callable[[], Any]) -> Any:
    """Return what a call gives, or the error it ends in."""
    import deepseg_lite

    try:
        return call()
    except deepseg_lite.DeepsegError as error:
        bases = [kind.__name__ for kind in type(error).__mro__]
        return {"error": str(error), "kinds": bases}


def results(work: Path) -> dict[str, Any]:
    """Return the results of all calls by their names."""
    import deepseg_lite

    logging.disable(logging.WARNING)
    image = nib.load(work / "i" / "t2.nii.gz")
    array = np.asarray(image.dataobj)
    found: dict[str, Any] = {"names": sorted(deepseg_lite.__all__)}
    for seed in (0, 3):
        made = deepseg_lite.make_phantom(seed)
        for name in ("image", "labels", "affine"):
            found[f"phantom {seed}: {name}"] = summary(np.asarray(getattr(made, name)))
    for name in ("threshold", "folds", "regions", "resampled", "maps", "labels", "monai"):
        bundle = work / "b" / name
        segment = deepseg_lite.load(bundle, device="cpu", threads=1)
        calls: dict[str, Callable[[Any], Any]] = {
            "image": lambda call: call(image),
            "path": lambda call: call(str(work / "i" / "b.nii.gz")),
            "array": lambda call: call(array, affine=image.affine),
            "soft": lambda call: call(image, soft=True, tta=True),
            "step": lambda call: call(array, affine=image.affine, soft=True, step=0.5),
        }
        for kind, call in calls.items():
            found[f"{name}: {kind}"] = attempt(lambda call=call, f=segment: summary(call(f)))
        found[f"{name}: facts"] = facts(deepseg_lite.read_bundle(bundle))
    seen: list[tuple[int, int]] = []
    segment = deepseg_lite.load(work / "b" / "threshold", device="cpu", threads=1)
    segment(image, progress=lambda done, total: seen.append((done, total)))
    found["progress"] = str(seen)
    pair = [nib.load(work / "i" / name) for name in ("first.nii", "second.nii")]
    for name in ("channels", "cascade"):
        segment = deepseg_lite.load(work / "b" / name, device="cpu", threads=1)
        found[f"{name}: images"] = summary(segment(*pair))
    cropped = deepseg_lite.load(work / "b" / "cropped", device="cpu", threads=1)
    found["cropped: box"] = summary(cropped(image, box={"zmin": 3}))
    spine = deepseg_lite.load(work / "b" / "totalspineseg", device="cpu", threads=1)
    found["spine"] = attempt(lambda: summary(spine(work / "i" / "spine.nii.gz", label_vert=True)))
    outputs = ["step1_cord", "step1_output"]
    found["spine: outputs"] = attempt(
        lambda: summary(spine(nib.load(work / "i" / "spine.nii.gz"), outputs=outputs, iso=True))
    )
    shipped = deepseg_lite.load("sc_gm_t2star", device="cpu", threads=1)
    short = nib.load(work / "i" / "phantom_short.nii.gz")
    found["shipped"] = summary(shipped(short))
    found["shipped: soft"] = summary(shipped(short.get_fdata(), affine=short.affine, soft=True))
    load = deepseg_lite.load
    segment = load(work / "b" / "threshold", device="cpu", threads=1)
    wrong: dict[str, Callable[[], Any]] = {
        "cancelled": lambda: segment(image, cancel=lambda: True),
        "no affine": lambda: segment(array),
        "two images": lambda: segment(image, image),
        "zeros": lambda: segment(np.zeros((4, 4, 4)), affine=np.eye(4)),
        "unknown": lambda: load("nonsense", device="cpu"),
        "device": lambda: load(work / "b" / "threshold", device="nowhere"),
        "fold": lambda: load(work / "b" / "threshold", device="cpu", folds=["9"]),
        "corrupt": lambda: load(work / "b" / "corrupt", device="cpu"),
        "not here": lambda: load("seg_sc_epi", device="cpu"),
    }
    found |= {f"wrong: {name}": attempt(call) for name, call in wrong.items()}
    return {f"python: {name}": value for name, value in found.items()}
