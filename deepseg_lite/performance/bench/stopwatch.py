"""Where the time of a run goes, measured from outside: the pipeline knows nothing of it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import attrgetter
from threading import Lock
from time import perf_counter
from typing import Any

from deepseg_lite import atomic
from deepseg_lite.api import nifti, results, segmenter
from deepseg_lite.bundles.bundle import Network
from deepseg_lite.engines import engine, predictors
from deepseg_lite.inference import pipeline
from deepseg_lite.performance.bench.figures import STAGES
from deepseg_lite.volume import FloatArray

PREDICT = "predict"  # the network's calls, and the gathering and blending around them
WATCHED = (
    ("load", engine.Engine, "open"),
    ("read", nifti, "load_image"),
    ("read", nifti, "read_case"),
    ("read", nifti, "read_series"),
    ("crop", segmenter, "find_box"),
    ("preprocess", pipeline, "prepare"),
    (PREDICT, pipeline, "predict_sliding_window"),
    ("restore", pipeline, "restore"),
    ("restore", pipeline, "restore_both"),
    ("postprocess", pipeline, "finish"),
    ("postprocess", results, "file_contents"),
    ("write", nifti, "image_bytes"),
    ("write", atomic, "write_files"),
)


@dataclass(frozen=True)
class Call:
    """One call of a network: its patches, the voxels of each, and wall seconds."""

    network: Network
    patches: int
    voxels: int
    seconds: float


@dataclass(eq=False)
class Stopwatch:
    """Seconds per stage and calls of networks since the last `take`, from any thread."""

    _seconds: dict[str, float] = field(default_factory=dict)
    _calls: list[Call] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def start(self) -> None:
        """Watch this process from now on; for good, so only in a process made for measuring."""
        for stage, owner, name in WATCHED:
            setattr(owner, name, self._timed(stage, attrgetter(name)(owner)))
        predict = predictors.PatchPredictor.__call__

        def predict_and_note(network: predictors.PatchPredictor, patches: FloatArray) -> FloatArray:
            started = perf_counter()
            logits = predict(network, patches)
            seconds = perf_counter() - started
            with self._lock:
                self._calls.append(Call(network.network, len(patches), patches[0, 0].size, seconds))
            return logits

        predictors.PatchPredictor.__call__ = predict_and_note  # type: ignore[assignment,method-assign]

    def add(self, stage: str, seconds: float) -> None:
        """Add to a stage."""
        with self._lock:
            self._seconds[stage] = self._seconds.get(stage, 0.0) + seconds

    def take(self, wall: float) -> tuple[dict[str, float], list[Call]]:
        """Return the seconds of every stage and the calls of a run, and begin anew.

        ``wall`` are the seconds of the run. What the other stages leave of them is ``other``;
        nothing is left where stages run beside each other.
        """
        found, calls = self._seconds, self._calls
        self._seconds, self._calls = {}, []
        found["network"] = sum(call.seconds for call in calls)
        found["blend"] = max(0.0, found.pop(PREDICT, 0.0) - found["network"])
        found["other"] = max(0.0, wall - sum(found.values()))
        return {stage: found.get(stage, 0.0) for stage in STAGES}, calls

    def _timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            started = perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.add(stage, perf_counter() - started)

        return timed
