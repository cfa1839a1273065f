"""Numbers of the vertebrae and discs, and the rules of their labelling, from `labels.json`.

*Classes* are what a network paints; *labels* are the numbers of the output, each of which names one
vertebra or disc.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal

from deepseg_lite.bundles.schemas import frozen

_DOCUMENT: Mapping[str, Any] = json.loads(
    files("deepseg_lite.workflows.spine").joinpath("labels.json").read_text(encoding="utf-8")
)

NAMES: Mapping[int, str] = {label: name for name, label in _DOCUMENT["names"].items()}
"""Name of each label of the second step, the lowest label first."""

DISCS: tuple[int, ...] = tuple(_DOCUMENT["discs"])
"""Labels that a disc may get, from C2-C3 down, the rare L5-L6 among them."""

VERTEBRAE: tuple[int, ...] = tuple(_DOCUMENT["vertebrae"])
"""Labels that a vertebra may get, from C1 down to the sacrum, the rare L6 among them."""

USUAL_DISCS = tuple(label for label in DISCS if label not in _DOCUMENT["unusual"])
"""Labels of discs that most people have."""

USUAL_VERTEBRAE = tuple(label for label in VERTEBRAE if label not in _DOCUMENT["unusual"])
"""Labels of vertebrae that most people have."""

VERTEBRA_BELOW: Mapping[int, int] = dict(
    zip(DISCS, VERTEBRAE[len(VERTEBRAE) - len(DISCS) :], strict=True)
)
"""Label of the vertebra below each disc."""


@dataclass(frozen=True)
class LabellingStep:
    """Classes of one network, by their meaning for the labelling.

    Attributes
    ----------
    discs : tuple of ints
        Classes of discs. Those that are no landmark do not tell which disc it is.
    landmarks : tuple of (class, label)
        Classes of discs that are known by their look, with their labels, the most reliable first.
    vertebrae : tuple of ints
        Classes that neighbouring vertebrae have in turn; none if vertebrae are not numbered.
    unsure_vertebrae : tuple of ints
        Classes of bone that is part of some vertebra near it.
    canal : tuple of ints
        Classes inside the spinal canal.
    overlays : tuple of (class, label)
        Classes with a fixed label, painted over all others in this order.
    names : mapping of int to str
        Name of each label of the output.
    """

    discs: tuple[int, ...]
    landmarks: tuple[tuple[int, int], ...]
    vertebrae: tuple[int, ...]
    unsure_vertebrae: tuple[int, ...]
    canal: tuple[int, ...]
    overlays: tuple[tuple[int, int], ...]
    names: Mapping[int, str]


@dataclass(frozen=True)
class Rules:
    """Rules in which releases of TotalSpineSeg differ; the defaults are those of 20260807.

    Attributes
    ----------
    minimum_component_voxels : int
        Size below which a component is neither a disc nor a vertebra.
    minimum_landmark_voxels : int
        Size below which the class of a landmark is ignored; at least 1.
    vet_c2_c3 : bool
        Whether C2-C3 is a landmark only where the topmost disc has some of it.
    vet_l5_s1 : "size", "last" or "never"
        L5-S1 is no landmark where a disc below it is larger than a tenth of it ("size"), or where
        the last disc has nothing of it ("last").
    """

    minimum_component_voxels: int = 200
    minimum_landmark_voxels: int = 201
    vet_c2_c3: bool = True
    vet_l5_s1: Literal["size", "last", "never"] = "size"


NEWEST = Rules()
"""Rules of the newest release of TotalSpineSeg."""


def _read_step(key: str, labels: tuple[int, ...]) -> LabellingStep:
    """Return one step; its own names go before those of the labels it shares with the other."""
    document = frozen(_DOCUMENT[key])
    own = {label: name for name, label in document.pop("names").items()}
    names = {label: own.get(label, NAMES[label]) for label in NAMES if label in labels}
    return LabellingStep(**document, names=names)


STEP1 = _read_step("step1", (1, 2, 11, 50, *DISCS))
"""The first network: discs, and all vertebrae but C1 in one."""

STEP2 = _read_step("step2", tuple(NAMES))
"""The second network: discs, and vertebrae in turn."""
