"""The record of a run: what a sidecar says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import SpatialImage

from deepseg_lite.api.model import Model, Part, ResultFile
from deepseg_lite.bundles.files import CANONICAL
from deepseg_lite.engines.engine import Engine
from deepseg_lite.inference.cleaning import Cleaning
from deepseg_lite.inference.settings import Settings


def describe_run(
    model: Model,
    images: Sequence[Path],
    settings: Settings,
    labels: Mapping[str, Any],
    command: Sequence[str],
) -> dict[str, Any]:
    """Return what made a result: software, model, device, settings.

    ``GeneratedBy`` is as in BIDS, and has the fields of the Spinal Cord Toolbox. ``Companions`` are
    the bundles that were used beside the model's own, if any.
    """
    number = _version("deepseg-lite")
    main, *others = model.parts(settings)
    urls = [
        url for part in (main, *others) for url in part.bundle.manifest["source"].get("urls", [])
    ]
    return {
        "GeneratedBy": [
            {
                "Name": "deepseg-lite",
                "Version": number,
                "CodeURL": f"pkg:pypi/deepseg-lite@{number}",
                "ModelURL": urls,
                "Date": now(),
                "Command": " ".join(["deepseg-lite", *command]),
            }
        ],
        "Sources": [path.name for path in images],
        "SpatialReference": "orig",
        "Bundle": {
            **_describe(main, model.engine),
            "task": model.task.name if model.task else None,
        },
        **({"Companions": [_describe(part, model.engine) for part in others]} if others else {}),
        "Device": {
            "provider": model.engine.provider,
            "precision": model.engine.precision,
            "threads": model.threads,
            **({"chosen": model.engine.why} if model.engine.why else {}),
            **versions(*model.engine.packages),
            "numpy": np.__version__,
        },
        "Settings": recorded_settings(settings),
        "Labels": dict(labels),
    }


def now() -> str:
    """Return date and time as records have them, in UTC."""
    return f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%SZ}"


def recorded_seconds(seconds: Mapping[str, float]) -> dict[str, float]:
    """Return the stages of a record in their order: cleaning counts as restoring."""
    rest = dict(seconds)
    rest.pop("open", None)
    cleaning = rest.pop("postprocess", 0.0)
    if "restore" in rest or cleaning:
        rest["restore"] = round(rest.get("restore", 0.0) + cleaning, 4)
    write = rest.pop("write", None)
    return rest if write is None else {**rest, "write": write}


def recorded_settings(settings: Settings) -> dict[str, Any]:
    """Return settings by the names that records have had from the start."""
    cleaning = asdict(Cleaning.of(settings))
    choices = {name: value for name, value in settings.items() if name not in (*cleaning, "fast")}
    for name in ("reorient", "center", "center_task", "center_prior"):  # few models have them
        if not choices[name]:
            del choices[name]
    if settings["center"]:
        choices["center"] = Path(settings["center"]).name
    choices["mirror"] = choices.pop("tta")
    choices["half_precision_sums"] = choices.pop("accumulator") == "float16"
    if settings["ensemble"]:
        choices["ensemble"] = settings["ensemble"].replace("-", "_")
    choices |= cleaning
    return {k: list(v) if isinstance(v, tuple) else v for k, v in choices.items()}


def _describe(part: Part, engine: Engine) -> dict[str, Any]:
    """Return what identifies a model: its bundle and the checksums of the files in use."""
    files = {network.fold: engine.file(part.bundle, network) for network in part.networks}
    forms = {fold: file.form for fold, file in files.items() if file.form != CANONICAL}
    return {
        "name": part.bundle.name,
        "version": part.bundle.version,
        "networks": {fold: file.sha256 for fold, file in files.items()},
        **({"forms": forms} if forms else {}),
    }


def versions(*packages: str) -> Mapping[str, str]:
    """Return the versions of those of some packages that are installed."""
    found = {package: _version(package) for package in packages}
    return {package: number for package, number in found.items() if number is not None}


@cache
def _version(package: str) -> str | None:
    """Return the version of a package, if it is installed; looked up once, for it takes a ms."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def label_tables(file: ResultFile, *, for_bids: bool = False) -> dict[str, bytes]:
    """Return the tables of the values of a file, by what follows the stem of its name.

    Parameters
    ----------
    file : ResultFile
        Where it names no values there are no tables.
    for_bids : bool
        Whether the table is called as the file, as BIDS wants it.

    Returns
    -------
    tables : dict
        ``_labels.json``, value to name; and ``_labels.tsv`` with the columns index and name. For
        BIDS the latter alone, as ``.tsv``.
    """
    names = file.names
    rows = [("index", "name"), *((str(value), names[value]) for value in sorted(names))]
    text = "".join("\t".join(row) + "\n" for row in rows).encode()
    if not names or not (for_bids or file.has_tables):
        return {}
    if for_bids:
        return {".tsv": text}
    document = (json.dumps(dict(rows[1:]), indent=2) + "\n").encode()
    return {"_labels.json": document, "_labels.tsv": text}


def slices_found(image: SpatialImage) -> int:
    """Return in how many slices of an image something was found: across the superior axis.

    Of probabilities, something above 0.5.
    """
    data = np.asanyarray(image.dataobj)
    found = data > 0.5 if data.dtype.kind == "f" else data != 0
    axes = nib.aff2axcodes(image.affine)
    axis = next((i for i, code in enumerate(axes) if code in ("S", "I")), 2)
    for i in range(found.ndim):  # one by one: numpy is slow at several of an array in C order
        found = found if i == axis else found.any(axis=i, keepdims=True)
    return int(found.sum())
