"""The record of a run: what a sidecar says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from deepseg_lite.segmenter import Segmenter
from deepseg_lite.settings import Settings


def describe_run(
    segmenter: Segmenter,
    images: Sequence[Path],
    settings: Settings,
    command: Sequence[str],
) -> dict[str, Any]:
    """Return what made a result: software, model, device, settings.

    ``GeneratedBy`` is as in BIDS, and has the fields of the Spinal Cord Toolbox.
    """
    number = version("deepseg-lite")
    choices = asdict(settings)
    choices |= choices.pop("cleaning")
    source = segmenter.bundle.manifest["source"]
    return {
        "GeneratedBy": [
            {
                "Name": "deepseg-lite",
                "Version": number,
                "CodeURL": f"pkg:pypi/deepseg-lite@{number}",
                "ModelURL": source.get("urls", []),
                "Command": " ".join(["deepseg-lite", *command]),
            }
        ],
        "Sources": [path.name for path in images],
        "Bundle": describe_bundle(segmenter),
        "Device": {
            "provider": segmenter.provider,
            "threads": segmenter.threads,
            **_versions("onnxruntime", "onnxruntime-gpu"),
            "numpy": np.__version__,
        },
        "Settings": {k: list(v) if isinstance(v, tuple) else v for k, v in choices.items()},
        "Labels": {label.name: list(label.values) for label in segmenter.bundle.outputs.labels},
    }


def describe_bundle(segmenter: Segmenter) -> dict[str, Any]:
    """Return what identifies the model of a run."""
    bundle = segmenter.bundle
    return {
        "name": bundle.name,
        "version": bundle.version,
        "task": segmenter.task.name if segmenter.task else None,
        "networks": {network.fold: network.sha256 for network in segmenter.networks},
    }


def _versions(*packages: str) -> Mapping[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
