"""Checked networks: what comes out of any engine is looked at before it is believed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from deepseg_lite.bundles.bundle import Bundle
from deepseg_lite.bundles.files import BundleFiles, NetworkFile
from deepseg_lite.errors import BundleError
from deepseg_lite.volume import FloatArray


class CheckedNetwork:
    """Network of any engine whose outputs have the right type and shape, and are finite.

    Parameters
    ----------
    opened : OpenNetwork
        Network as an engine opened it.
    bundle : BundleFiles
        Bundle that it was opened from; of one that segments the outputs' shape is known.
    network : NetworkFile
        Row of the bundle's manifest.
    precision : str
        What it computes in.
    """

    def __init__(
        self, opened: Any, bundle: BundleFiles, network: NetworkFile, precision: str
    ) -> None:
        self._opened, self._precision = opened, precision
        self._name = f"{bundle.name}, fold {getattr(network, 'fold', network.path)}"
        self._classes = bundle.outputs.channel_count if isinstance(bundle, Bundle) else None
        self.input_shape: Sequence[object] = opened.input_shape
        self.output_shape: Sequence[object] = opened.output_shape
        self.calls_at_once: int = getattr(opened, "calls_at_once", 1)

    def __call__(self, batch: FloatArray) -> FloatArray:
        """Return the first output for an input.

        Raises
        ------
        BundleError
            If it is not what such a network gives.
        """
        result: FloatArray = self._opened(batch)
        if result.dtype != np.float32:
            raise self._refused(f"numbers of type {result.dtype}, not float32")
        if self._classes is not None:
            expected = (len(batch), self._classes, *batch.shape[2:])
            if result.shape != expected:
                raise self._refused(f"an array of shape {result.shape}, not {expected}")
        # One NaN or infinity is enough to show in the sum. Large numbers may, too.
        with np.errstate(over="ignore", invalid="ignore"):
            total = result.sum()
        if not np.isfinite(total) and not np.isfinite(result).all():
            count = int(result.size - np.isfinite(result).sum())
            raise self._refused(f"{count} numbers that are NaN or infinite, of {result.size}")
        return result

    def _refused(self, what: str) -> BundleError:
        advice = "Check the image's intensities, or export the model again."
        if self._precision != "fp32":
            advice = f"It computes in {self._precision}; leave `precision` out to compute in fp32."
        return BundleError(f"{self._name}, gives {what}. {advice}")
