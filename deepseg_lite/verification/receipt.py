"""Receipts: the reference cases of a bundle run here, and what came out."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from deepseg_lite.api.record import now
from deepseg_lite.api.segmenter import Segmenter
from deepseg_lite.api.spine_segmenter import SpineSegmenter
from deepseg_lite.bundles.bundle import Bundle
from deepseg_lite.bundles.references import Reference
from deepseg_lite.engines.engine import device_of
from deepseg_lite.errors import BundleError
from deepseg_lite.machine import describe_machine
from deepseg_lite.notice import Notice, Warn, log
from deepseg_lite.store.lock import manifest_sha256
from deepseg_lite.store.receipts import Receipt, version_of
from deepseg_lite.verification.cases import open_case
from deepseg_lite.verification.counting import count_differing
from deepseg_lite.volume import AnyArray

LIBRARIES = ("numpy", "scipy", "nibabel")


def check_references(bundle: Bundle) -> None:
    """Refuse a bundle that has no reference cases.

    Raises
    ------
    BundleError
        With the command that adds one.
    """
    if not bundle.references:
        raise BundleError(
            f"{bundle.name} has no reference cases to compare with; add one with deepseg-export "
            f"reference {bundle.path} --image IMAGE --labels LABELS --software TEXT, the labels "
            "being the original software's."
        )


def make_receipt(
    model: Segmenter | SpineSegmenter,
    *,
    warn: Warn = log,
    begins: Callable[[str], None] = lambda name: None,
) -> Receipt:
    """Run the reference cases of a model's bundle, and count the voxels that differ.

    Parameters
    ----------
    model : Segmenter
        Of all folds, on the engine and in the precision that are to be verified.
    warn : callable
        Told of every notice of the runs.
    begins : callable
        Told the name of each reference before it is run.

    Returns
    -------
    receipt : dict
        JSON document of the form of ``receipt.schema.json``.

    Raises
    ------
    BundleError
        If there are no references, or one is damaged.
    """
    bundle, engine = model.bundle, model.engine
    check_references(bundle)
    assert isinstance(model, Segmenter)  # the bundles of workflows have no references
    rows = []
    for reference in bundle.references:
        begins(reference.name)
        rows.append(_run(model, reference, warn))
    packages = {name: version_of(name) for name in engine.packages}
    machine = asdict(describe_machine())
    return {
        "schema": 1,
        "date": now(),
        "bundle": {
            "name": bundle.name,
            "version": bundle.version,
            "manifest_sha256": manifest_sha256(bundle.path),
            "networks": {each.fold: engine.file(bundle, each).sha256 for each in model.networks},
        },
        "engine": {
            "device": device_of(engine),
            "provider": engine.provider,
            "precision": engine.precision,
            "form": engine.file(bundle, model.networks[0]).form,
            "threads": model.threads,
            "packages": {name: found for name, found in packages.items() if found != "unknown"},
        },
        "versions": {
            "deepseg-lite": version_of("deepseg-lite"),
            "python": platform.python_version(),
            **{name: version_of(name) for name in LIBRARIES},
        },
        "machine": {**machine, "gpus": list(machine["gpus"])},
        "references": rows,
        "within": _all_within([row["within"] for row in rows]),
    }


def _run(model: Segmenter, reference: Reference, warn: Warn) -> dict[str, Any]:
    told: list[Notice] = []

    def notify(notice: Notice) -> None:
        told.append(notice)
        warn(notice)

    case = open_case(model.bundle, reference, notify)
    start = time.perf_counter()
    image = model(*case.images, notify=notify)
    seconds = time.perf_counter() - start
    found = np.asanyarray(image.dataobj)
    count = count_differing(found, case.labels, model.bundle.outputs)
    bound = reference.bounds.get(model.engine.precision)
    return {
        "name": reference.name,
        "software": reference.software,
        "voxels": count.voxels,
        "differing": count.differing,
        "bound": bound,
        "within": None if bound is None else count.differing <= bound,
        "labels": [{**asdict(each), "dice": round(each.dice, 6)} for each in count.labels],
        "result_sha256": _sha256(found),
        "seconds": round(seconds, 3),
        "warnings": [notice.text for notice in told],
    }


def _sha256(result: AnyArray) -> str:
    """Return the hash that the schema describes: the same for the same voxels anywhere."""
    kind = "<f4" if result.dtype.kind == "f" else "<u2"
    return hashlib.sha256(np.ascontiguousarray(result, kind).tobytes()).hexdigest()


def _all_within(each: list[bool | None]) -> bool | None:
    return False if False in each else None if None in each else True
