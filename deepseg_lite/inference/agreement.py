"""Agreement of members, that is of folds or of mirrored passes, which run anyhow.

For each label it is what all members find as a share of what any of them finds. Source: Roy et al.,
Bayesian QuickNAT, NeuroImage 195 (2019), 10.1016/j.neuroimage.2019.03.042: of such measures the
intersection over the union of samples follows the Dice to the truth best.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Lock

import numpy as np

from deepseg_lite.bundles.bundle import Outputs
from deepseg_lite.volume import AnyArray, FloatArray
from deepseg_lite.watch import Watch

Compare = Callable[[Iterator[FloatArray]], Iterator[FloatArray]]
"""Sees the logits of members on their way."""
MOST_CHANNELS = 64
"""Bits of the largest integer; members of networks with more channels are not compared."""


def comparison(
    kind: str,
    outputs: Outputs,
    watch: Watch,
    *,
    axis: int = 0,
    weights: FloatArray | None = None,
) -> Compare:
    """Return what compares the logits of members, and keeps in a watch how far they agree.

    Parameters
    ----------
    kind : str
        ``folds`` or ``flips``: the name in ``watch.agreements``.
    outputs : Outputs
        What the channels mean. Members whose labels are not decided by logits are not compared.
    watch : Watch
        Nothing is compared where its ``agreements`` are None.
    axis : int
        Axis of the channels.
    weights : array, optional
        How much a voxel counts, of a shape that broadcasts; by default all count alike.
    """
    kept = watch.agreements
    if kept is None or outputs.values is not None or outputs.channel_count > MOST_CHANNELS:
        return iter
    agreement = Agreement(outputs, axis, weights)

    def compare(members: Iterator[FloatArray]) -> Iterator[FloatArray]:
        yield from agreement.compared(members)
        kept[kind] = agreement.shares()

    return compare


class Agreement:
    """Agreement of members on each label; the parameters are those of `comparison`."""

    def __init__(self, outputs: Outputs, axis: int = 0, weights: FloatArray | None = None) -> None:
        self._labels = [label.name for label in outputs.labels]
        self._is_softmax = outputs.activation == "softmax"
        self._axis, self._weights = axis, weights
        self._sizes = np.zeros((2, len(self._labels)))
        self._lock = Lock()

    def compared(self, members: Iterator[FloatArray]) -> Iterator[FloatArray]:
        """Yield the logits of members of the same voxels, and count what all and any find."""
        every: AnyArray | None = None
        some: AnyArray | None = None
        for logits in members:
            bits = self._bits(logits)
            every = bits if every is None else every & bits
            some = bits if some is None else some | bits
            yield logits
        assert every is not None
        assert some is not None
        sizes = [[self._size(bits, i) for i in range(len(self._labels))] for bits in (every, some)]
        with self._lock:  # patches may be predicted in several threads
            self._sizes += sizes

    def shares(self) -> dict[str, float]:
        """Return which share of each label all members found, 0 to 1; of those that any found."""
        every, some = self._sizes
        return {
            label: round(float(every[place] / some[place]), 4)
            for place, label in enumerate(self._labels)
            if some[place] > 0
        }

    def _bits(self, logits: FloatArray) -> AnyArray:
        """Return the channels that each voxel belongs to, as bits of an integer."""
        channels = np.moveaxis(logits, self._axis, 0)
        kind = np.uint8 if len(channels) <= 8 else np.uint64
        powers = np.array([1 << place for place in range(len(channels))], kind)
        bits: AnyArray = np.zeros(channels.shape[1:], kind)
        for row in range(len(bits)):  # row by row, so that little memory is taken
            if self._is_softmax:
                bits[row] = powers[channels[:, row].argmax(axis=0)]
            else:
                for power, channel in zip(powers, channels, strict=True):
                    bits[row] |= np.where(channel[row] > 0, power, kind(0))
        return bits

    def _size(self, bits: AnyArray, label: int) -> float:
        """Return the weight of the voxels of a label; the background is no label."""
        mask = (bits & bits.dtype.type(1 << (label + self._is_softmax))) != 0
        return float(mask.sum() if self._weights is None else (mask * self._weights).sum())
