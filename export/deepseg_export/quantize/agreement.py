"""Agreement of a variant's results with those in float32, and its lower limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from deepseg_export.errors import QuantizationError
from deepseg_lite.bundles.bundle import Outputs
from deepseg_lite.bundles.schemas import in_words
from deepseg_lite.errors import OptionError

FOREGROUND = "foreground"
"""All labels taken together, among the names of a gate."""
_LEAST_FOREGROUND, _LEAST_LABEL = 0.99, 0.98
_IN = 0.5
"""Value above which a voxel of a map counts as inside."""


@dataclass(frozen=True)
class Gate:
    """Dice that every image must reach: of all labels taken together, and of each label.

    Attributes
    ----------
    least : mapping of str to float
        In place of 0.98 for the label of that name, or of 0.99 for ``foreground``.
    """

    least: Mapping[str, float] = field(default_factory=dict)

    def describe(self, outputs: Outputs) -> dict[str, Any]:
        """Return the gate of a model as its manifest has it.

        Raises
        ------
        OptionError
            If a name is none of the model's labels.
        """
        names = [label.name for label in outputs.labels]
        if unknown := [name for name in self.least if name not in (FOREGROUND, *names)]:
            raise OptionError(
                f"a gate for {', '.join(unknown)} was given; this model has {', '.join(names)}, "
                f"and {FOREGROUND} for all of them together."
            )
        return {
            "foreground": self.least.get(FOREGROUND, _LEAST_FOREGROUND),
            "labels": {name: self.least.get(name, _LEAST_LABEL) for name in names},
        }


def compare(
    results: Sequence[np.ndarray], references: Sequence[np.ndarray], outputs: Outputs
) -> dict[str, Any]:
    """Measure how far results agree with references, as a manifest records it.

    Parameters
    ----------
    results, references : sequences of arrays
        One for each image: labels (X, Y, Z), or maps (L, X, Y, Z) of which the voxels above 0.5
        are compared.
    outputs : Outputs
        What the labels are.

    Returns
    -------
    agreement : dict
        Images, voxels and those that differ; and the lowest Dice of all images for each label and
        for all labels together, None where no image shows it.
    """
    pairs = [
        (list(_masks(result, outputs)), list(_masks(reference, outputs)))
        for result, reference in zip(results, references, strict=True)
    ]
    lowest = [
        _lowest(_dice(result[i], reference[i]) for result, reference in pairs)
        for i in range(len(outputs.labels))
    ]
    together = _lowest(_dice(_union(result), _union(reference)) for result, reference in pairs)
    return {
        "cases": len(pairs),
        "voxels": sum(result[0].size for result, _ in pairs),
        "differing_voxels": sum(_differing(result, reference) for result, reference in pairs),
        "foreground": together,
        "labels": {label.name: dice for label, dice in zip(outputs.labels, lowest, strict=True)},
    }


def check_gate(
    precision: str, gate: Mapping[str, Any], agreement: Sequence[Mapping[str, Any]]
) -> None:
    """Refuse a variant whose agreement is below its gate.

    Raises
    ------
    QuantizationError
        With a figure that is too low, and how many more there are; all were logged.
    """
    low = [
        f"{name} {dice:.4f} on {each['images'].replace('_', '-')} images by {each['provider']} "
        f"(at least {least:g} is needed)"
        for each in agreement
        for name, dice, least in _judged(each, gate)
        if dice is not None and dice < least
    ]
    if low:
        raise QuantizationError(
            f"{precision} does not agree with fp32, so nothing was written. Dice of "
            f"{in_words(low, 100)}. Calibrate on more images like those it is for, or lower the "
            "gate with --gate NAME=DICE."
        )


def _judged(
    agreement: Mapping[str, Any], gate: Mapping[str, Any]
) -> Iterator[tuple[str, float | None, float]]:
    yield FOREGROUND, agreement["foreground"], gate["foreground"]
    for name, dice in agreement["labels"].items():
        yield name, dice, gate["labels"][name]


def _masks(result: np.ndarray, outputs: Outputs) -> Iterator[np.ndarray]:
    """Yield where each label is."""
    for i, label in enumerate(outputs.labels):
        yield result[i] > _IN if result.ndim == 4 else np.isin(result, label.values)


def _union(masks: Sequence[np.ndarray]) -> np.ndarray:
    united: np.ndarray = np.logical_or.reduce(masks)
    return united


def _differing(result: Sequence[np.ndarray], reference: Sequence[np.ndarray]) -> int:
    return int(_union([a != b for a, b in zip(result, reference, strict=True)]).sum())


def _dice(result: np.ndarray, reference: np.ndarray) -> float | None:
    """Return the Dice of two masks; None where both are empty."""
    total = int(result.sum()) + int(reference.sum())
    return 2 * int((result & reference).sum()) / total if total else None


def _lowest(figures: Iterator[float | None]) -> float | None:
    return min((figure for figure in figures if figure is not None), default=None)
