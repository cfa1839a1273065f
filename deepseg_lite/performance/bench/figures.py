"""Figures of a benchmark: medians, minima and rates of its passes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

from deepseg_lite.engines.engine import OPENVINO
from deepseg_lite.engines.onnxruntime_network import CPU, PROVIDERS

ON_CPU = (CPU, OPENVINO)


def figures(report: Mapping[str, Any], gemm: float) -> dict[str, Any]:
    """Return what people want to know of one configuration.

    Parameters
    ----------
    report : mapping
        What `deepseg_lite.performance.bench.worker.measure` returned.
    gemm : float
        Floating-point operations a second of float32 matrix products with as many threads.

    Returns
    -------
    figures : dict
        The report without its passes, and:

        - ``cold``: ``seconds`` from the start of the process to the last file, ``stages``, and
          ``inference_seconds``, the stages that the Spinal Cord Toolbox times;
        - ``warm``: ``seconds`` and ``stages`` of a pass with everything loaded, each as ``median``
          and ``min``;
        - ``rates`` of warm passes, from medians: patches, voxels and 10^9 floating-point operations
          a second, the latter as a share of ``gemm``, too, and volumes an hour. Those of patches
          and operations count the network's seconds alone, the others the whole pass. None where
          the manifest does not know the operations; the share is None on GPUs, too.
    """
    kept = {name: value for name, value in report.items() if name != "passes"}
    cold, *warm = report["passes"]
    devices = {provider: device for device, provider in PROVIDERS.items()}
    return {
        **kept,
        "device": devices.get(report["provider"], report["provider"]),
        "on_cpu": report["provider"] in ON_CPU,
        "patches": cold["patches"],
        "cold": {
            "seconds": round(cold["seconds"], 6),
            "inference_seconds": round(sum(cold["stages"][stage] for stage in INFERENCE), 6),
            "stages": {stage: round(cold["stages"][stage], 6) for stage in STAGES},
        },
        "warm": {
            "seconds": _middle_and_least([each["seconds"] for each in warm]),
            "stages": {
                stage: _middle_and_least([each["stages"][stage] for each in warm])
                for stage in STAGES
            },
        },
        "rates": _rates(warm, report, gemm),
    }


def _rates(
    warm: Sequence[Mapping[str, Any]], report: Mapping[str, Any], gemm: float
) -> dict[str, float | None]:
    seconds = median(each["seconds"] for each in warm)
    network = median(each["stages"]["network"] for each in warm)
    flop = warm[0]["flop"]
    flop_per_s = None if flop is None else flop / network
    known = flop_per_s is not None and report["provider"] in ON_CPU
    return {
        "patches_per_s": round(warm[0]["patches"] / network, 3),
        "voxels_per_s": round(math.prod(report["image"]["shape"]) / seconds),
        "volumes_per_h": round(3600 / seconds, 3),
        "gflop_per_s": None if flop_per_s is None else round(flop_per_s / 1e9, 3),
        "share_of_gemm": round(flop_per_s / gemm, 3) if known and flop_per_s else None,
    }


def _middle_and_least(seconds: Sequence[float]) -> dict[str, float]:
    return {"median": round(median(seconds), 6), "min": round(min(seconds), 6)}


class Stage(NamedTuple):
    """Title and colour of a stage in the plot and the tables."""

    title: str
    colour: str


STAGES = {
    "import": Stage("import", "#332288"),
    "load": Stage("load", "#88CCEE"),
    "read": Stage("read", "#44AA99"),
    "crop": Stage("crop", "#555555"),
    "preprocess": Stage("preprocess", "#117733"),
    "network": Stage("network", "#DDCC77"),
    "blend": Stage("blend", "#CC6677"),
    "restore": Stage("resample and decode", "#882255"),
    "postprocess": Stage("postprocess", "#999933"),
    "write": Stage("write", "#AA4499"),
    "other": Stage("other", "#DDDDDD"),
}

INFERENCE = ("preprocess", "network", "blend", "restore")
"""Stages that SCT calls inference: it times neither files nor models nor imports."""
