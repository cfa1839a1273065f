"""Manifests as exporters make them, or parts of one, run by the runtime's own pipeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deepseg_lite.bundles.bundle import Bundle, parse_manifest
from deepseg_lite.inference import pipeline
from deepseg_lite.inference.settings import make_settings
from deepseg_lite.inference.sliding_window import predict_sliding_window
from deepseg_lite.steps.table import MAP_STEPS, apply_step
from deepseg_lite.volume import Volume

Network = Callable[[np.ndarray], np.ndarray]
REST: dict[str, Any] = {
    "schema": 1,
    "name": "given",
    "version": "1",
    "inputs": {"channel_names": ["image"], "orientation": None, "axes": "xyz"},
    "preprocessing": [],
    "sliding_window": {
        "patch_size": [None] * 3,
        "stride": [None] * 3,
        "placement": "stride",
        "importance_map": "constant",
    },
    "ensemble": "mean_logits",
    "mirror_axes": [],
    "outputs": {
        "activation": "none",
        "values": "maps",
        "channels": 1,
        "labels": [{"name": "map", "values": [1]}],
        "regions_class_order": None,
    },
    "postprocessing": [],
    "source": {"family": "monai", "license": None, "citation": None, "files": {}},
    "networks": [{"fold": "0", "path": "model.onnx", "sha256": "0" * 64, "size": 1}],
    "export": {"versions": {}, "opset": 18, "checks": []},
}


def bundle_of(manifest: Mapping[str, Any]) -> Bundle:
    """Return a bundle in memory; what the manifest does not say is as simple as it can be."""
    document = {**REST, **manifest, "inputs": {**REST["inputs"], **manifest.get("inputs", {})}}
    return parse_manifest(document, Path("memory"))


def prepare(manifest: Mapping[str, Any], volume: Volume) -> tuple[Volume, list[Any]]:
    """Return the volume in front of the network and the records that undo its way there."""
    return pipeline.prepare(volume, bundle_of(manifest))


def predict(window: Mapping[str, Any], data: np.ndarray, network: Network) -> np.ndarray:
    """Return the blended scores (K, X, Y, Z) of images (C, X, Y, Z)."""
    bundle = bundle_of({"sliding_window": window})
    options = {"predict_window": predict_sliding_window}
    (scores,) = pipeline.fold_scores(data, bundle, [network], make_settings(), **options)
    return scores


def patches(manifest: Mapping[str, Any], volume: Volume) -> np.ndarray:
    """Return all patches (N, C, *P) that the network sees."""
    seen = []

    def look(batch: np.ndarray) -> np.ndarray:
        seen.append(batch)
        return batch

    bundle = bundle_of(manifest)
    prepared, _ = pipeline.prepare(volume, bundle)
    options = {"predict_window": predict_sliding_window}
    list(pipeline.fold_scores(prepared.data, bundle, [look], make_settings(), **options))
    return np.concatenate(seen)


def apply_map_steps(
    steps: list[Mapping[str, Any]], maps: np.ndarray, spacing: Any = (1.0, 1.0, 1.0)
) -> np.ndarray:
    """Return what steps make of maps (L, X, Y, Z); ``spacing`` in mm."""
    for step in steps:
        maps = apply_step(MAP_STEPS, step, maps, image_spacing=spacing)
    return maps


def segment(
    manifest: Mapping[str, Any], volume: Volume, network: Network, prior: Volume | None = None
) -> np.ndarray:
    """Run a manifest; the result is (L, X, Y, Z), a label map being one map.

    A network of slices gets what ONNX Runtime's session gives it: no axis of one voxel.
    """
    bundle = bundle_of(manifest)
    predict = network
    if bundle.sliding_window.patch_size[0] == 1:
        predict = lambda batch: network(batch[:, :, 0])[:, :, None]  # noqa: E731
    mask = None if prior is None else prior.data[0]
    result = pipeline.segment(volume, bundle, [predict], prior=mask).data
    return result if result.ndim == 4 else result[None]
