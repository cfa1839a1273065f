"""What every stack's script notes: seconds of stages and of the network. It needs only Python."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Notes:
    """Times of one process, from its script's first line; `print` gives them to the driver."""

    def __init__(self) -> None:
        self.began_at = time.time()
        self.seconds: dict[str, float] = {}
        self.cases_ended_at: list[float] = []
        self.first_patch_at = 0.0
        self.network_calls = self.patches = 0
        self.network_seconds = 0.0

    def add(self, stage: str, seconds: float) -> None:
        """Add to a stage."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that adds its run time to a stage."""

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.add(stage, time.perf_counter() - started)

        return wrapper

    def network(self, forward: Callable[..., Any], batch: int = 0) -> Callable[..., Any]:
        """Return a network's function that notes its calls; ``batch`` is where patches are."""

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            self.first_patch_at = self.first_patch_at or time.time()
            started = time.perf_counter()
            result = forward(*args, **kwargs)
            self.network_seconds += time.perf_counter() - started
            self.network_calls += 1
            self.patches += len(args[batch])
            return result

        return wrapper

    def case_ended(self) -> None:
        """Note that the result of a case is written."""
        self.cases_ended_at.append(time.time())

    def print(self, **more: Any) -> None:
        """Print everything as a JSON object."""
        print(json.dumps({**vars(self), **more}))


def arguments(description: str) -> argparse.ArgumentParser:
    """Return a parser of what every script takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("out", type=Path, help="Folder; the result of case N is N.nii.gz.")
    parser.add_argument("images", type=Path, nargs="+", help="Cases, of one image each.")
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, default=1)
    return parser
