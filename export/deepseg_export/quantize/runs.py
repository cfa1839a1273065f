"""Whole runs of a bundle with its networks opened in other ways: watched, or as variants."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from deepseg_export.quantize.agreement import compare
from deepseg_export.quantize.ranges import ObservedNetwork, Ranges
from deepseg_export.quantize.request import Request
from deepseg_lite.api.images import read_images
from deepseg_lite.api.segmenter import Segmenter
from deepseg_lite.bundles.bundle import Bundle
from deepseg_lite.bundles.files import CANONICAL, BundleFiles, NetworkFile, read_network
from deepseg_lite.bundles.networks import Network
from deepseg_lite.engines.engine import OFFERED, OPENVINO, Engine, OpenNetwork
from deepseg_lite.engines.onnxruntime_network import CPU
from deepseg_lite.engines.openvino_network import is_installed
from deepseg_lite.inference.settings import make_settings
from deepseg_lite.machine import available_threads

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Engine(Engine):
    """An engine that opens some networks in a way of its own."""

    ways: Mapping[str, Callable[[int], OpenNetwork]] = field(default_factory=dict)

    def open(self, bundle: BundleFiles, network: NetworkFile, threads: int) -> OpenNetwork:
        """Open a network; another model that this one needs stays as it is."""
        way = self.ways.get(network.sha256)
        return way(threads) if way else super().open(bundle, network, threads)


def observing(bundle: Bundle, ranges: Mapping[str, Ranges]) -> Engine:
    """Return ONNX Runtime, noting ranges of a bundle's networks."""

    def way(network: Network) -> Callable[[int], OpenNetwork]:
        return lambda threads: ObservedNetwork(
            read_network(bundle, network), ranges[network.sha256], threads
        )

    return _Engine(
        CPU, form=CANONICAL, ways={network.sha256: way(network) for network in bundle.networks}
    )


def in_place(made: Bundle, engine: Engine) -> Engine:
    """Return an engine that opens variants of ``made`` in place of its networks in float32."""

    def way(network: Network) -> Callable[[int], OpenNetwork]:
        return lambda threads: engine.open(made, network, threads)

    return _Engine(
        engine.provider, ways={network.sha256: way(network) for network in made.networks}
    )


def exact_results(bundle: Bundle, request: Request) -> dict[str, list[np.ndarray]]:
    """Return what a bundle gives in float32 for both sets of images, on ONNX Runtime's CPU."""
    # Not while it is watched: that changes what the engine fuses, and with it the last bits.
    return {
        kind: segment_all(bundle, images, request, Engine(CPU, form=CANONICAL))
        for kind, images in _sets(request).items()
    }


def agreements(
    bundle: Bundle,
    made: Bundle,
    precision: str,
    request: Request,
    references: Mapping[str, Sequence[np.ndarray]],
) -> Iterator[dict[str, Any]]:
    """Yield how far a variant agrees with float32, on every engine and set of images."""
    with_openvino = OPENVINO in OFFERED[precision] and is_installed()
    for provider in (CPU, OPENVINO) if with_openvino else (CPU,):
        engine = in_place(made, Engine(provider, precision))
        for kind, images in _sets(request).items():
            results = segment_all(bundle, images, request, engine)
            agreement = compare(results, references[kind], bundle.outputs)
            logger.info(
                "%s, %s images, %s: %d of %d voxels differ, lowest Dice %s",
                *(precision, kind.replace("_", "-"), provider),
                *(agreement["differing_voxels"], agreement["voxels"]),
                ", ".join(
                    f"{label} {'not there' if dice is None else f'{dice:.4f}'}"
                    for label, dice in agreement["labels"].items()
                ),
            )
            yield {"images": kind, "provider": provider, **agreement}


def _sets(request: Request) -> dict[str, Sequence[Path]]:
    """Return the images to compare on, by what they are."""
    both = {"calibration": request.calibrate, "held_out": request.held_out}
    return {kind: images for kind, images in both.items() if images}


def segment_all(
    bundle: Bundle, images: Sequence[Path], request: Request, engine: Engine
) -> list[np.ndarray]:
    """Return the results of a whole run on each case."""
    segmenter = Segmenter(bundle, None, engine, available_threads(), bundle.networks)
    settings = make_settings(contrasts=tuple(request.contrasts))
    channels = len(bundle.inputs.channel_names)
    results = []
    for start in range(0, len(images), channels):
        case = images[start : start + channels]
        segmenter.check_channel_count(len(case))
        given = read_images(case)
        results.append(segmenter.segment(given.volume, settings, stored=given.stored).data)
    return results
