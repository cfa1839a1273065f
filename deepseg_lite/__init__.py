"""Spinal-cord MRI segmentation on ONNX Runtime, without PyTorch.

>>> import deepseg_lite
>>> segment = deepseg_lite.load("sc_gm_t2star", device="cpu")    # doctest: +SKIP
>>> labels = segment("t2star.nii.gz")                            # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepseg_lite.api.loader import load
    from deepseg_lite.api.phantom import make_phantom
    from deepseg_lite.api.segmenter import Segmenter
    from deepseg_lite.api.spine_segmenter import SpineSegmenter
    from deepseg_lite.bundles.bundle import Bundle, read_bundle
    from deepseg_lite.dataset.batch import batch
    from deepseg_lite.errors import Cancelled, DeepsegError
    from deepseg_lite.notice import Notice
    from deepseg_lite.performance.plan.limit import limit_memory
    from deepseg_lite.store.fetch import fetch

    __version__: str

_HOME = {
    "Bundle": "bundles.bundle",
    "Cancelled": "errors",
    "DeepsegError": "errors",
    "Notice": "notice",
    "Segmenter": "api.segmenter",
    "SpineSegmenter": "api.spine_segmenter",
    "batch": "dataset.batch",
    "fetch": "store.fetch",
    "limit_memory": "performance.plan.limit",
    "load": "api.loader",
    "make_phantom": "api.phantom",
    "read_bundle": "bundles.bundle",
}

__all__ = [
    "Bundle",
    "Cancelled",
    "DeepsegError",
    "Notice",
    "Segmenter",
    "SpineSegmenter",
    "__version__",
    "batch",
    "fetch",
    "limit_memory",
    "load",
    "make_phantom",
    "read_bundle",
]


if not TYPE_CHECKING:  # a name that is not there is then seen by type checkers, too

    def __getattr__(name: str) -> Any:
        """Import a public name when it is first used, so that importing the package is instant."""
        if name == "__version__":
            from importlib.metadata import version

            return version("deepseg-lite")
        if name in _HOME:
            from importlib import import_module

            return getattr(import_module(f"deepseg_lite.{_HOME[name]}"), name)
        raise AttributeError(f"module 'deepseg_lite' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
