"""What the workflow gives: its results by their original names, and what their values mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from deepseg_lite.spine.tables import NAMES, STEP1, STEP2, USUAL_DISCS

LEVEL_NAMES: Mapping[int, str] = {
    1: "top_of_C1",
    2: "C1_C2",
    **{number: NAMES[disc].removeprefix("disc_") for number, disc in enumerate(USUAL_DISCS, 3)},
}
"""Name of each numbered level, from the head down."""


@dataclass(frozen=True)
class Output:
    """One result of the workflow.

    Attributes
    ----------
    kind : {"classes", "labels", "points", "soft"}
        What a network painted, labels of the spine, single voxels with a number, or probabilities.
    step : {1, 2}
        The step that gives it.
    names : mapping of int to str
        Name of each value of labels and points; those of classes only the networks know.
    structure, channel : str and int
        Of probabilities: what they are of, and its channel in the first network.
    around : tuple of ints
        Labels of the first step near which probabilities stay.
    """

    kind: Literal["classes", "labels", "points", "soft"]
    step: int
    names: Mapping[int, str] = field(default_factory=dict)
    structure: str = ""
    channel: int = 0
    around: tuple[int, ...] = ()


OUTPUTS: Mapping[str, Output] = {
    "step1_raw": Output("classes", 1),
    "step1_canal": Output("soft", 1, structure=NAMES[2], channel=7, around=(1, 2)),
    "step1_cord": Output("soft", 1, structure=NAMES[1], channel=8, around=(1,)),
    "step1_levels": Output("points", 1, LEVEL_NAMES),
    "step1_output": Output("labels", 1, STEP1.names),
    "step2_raw": Output("classes", 2),
    "step2_output": Output("labels", 2, STEP2.names),
}
"""Every result, by the name of the folder that the original software writes it to."""


def needs_second_step(outputs: tuple[str, ...]) -> bool:
    """Return whether some of these results are of the second step."""
    return any(OUTPUTS[name].step == 2 for name in outputs)
