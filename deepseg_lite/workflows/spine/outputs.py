"""Files that a run of the workflow writes, and the volumes in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from nibabel.affines import voxel_sizes

from deepseg_lite.bundles.workflow import Workflow, WorkflowFile
from deepseg_lite.errors import OptionError
from deepseg_lite.inference.settings import Settings
from deepseg_lite.volume import Affine, AnyArray, voxel_volume
from deepseg_lite.workflows.spine.tables import NAMES, STEP1, STEP2, USUAL_DISCS

DEFAULT, LABEL_VERT = "default", "label-vert"


def check_choices(name: str, workflow: Workflow, settings: Settings) -> None:
    """Refuse what this workflow does not do; ``name`` is its bundle's.

    Raises
    ------
    OptionError
        Saying which and why.
    """
    if unknown := [output for output in settings["outputs"] if output not in OUTPUTS]:
        raise OptionError(
            f"{name} has no output {', '.join(unknown)}; it has {', '.join(OUTPUTS)}."
        )
    if len(set(settings["outputs"])) < len(settings["outputs"]):
        raise OptionError("an output was asked for twice; name each one once.")
    if settings["outputs"] and settings["label_vert"]:
        raise OptionError(
            "`outputs` and `label_vert` were given; give one of them: `outputs` names all "
            "results, and step2_output among them runs the second step."
        )
    if settings["label_vert"] and LABEL_VERT not in workflow.files:
        raise OptionError(f"{name} always runs both steps; leave `label_vert` out.")
    if settings["soft"] or settings["threshold"] is not None:
        raise OptionError(
            f"probabilities of {name} are results of their own; leave `soft` and `threshold` out "
            "and give `outputs=step1_cord,step1_canal`."
        )
    if settings["keep_largest"] or settings["fill_holes"] or settings["remove_small"]:
        raise OptionError(
            f"{name} has steps of its own that clean its labels; leave `keep_largest`, "
            "`fill_holes` and `remove_small` out."
        )


def chosen_files(workflow: Workflow, settings: Settings) -> tuple[WorkflowFile, ...]:
    """Return the files of a run; results that are asked for by name have it as their suffix."""
    if settings["outputs"]:
        return tuple(WorkflowFile(name, name) for name in settings["outputs"])
    return workflow.files[LABEL_VERT if settings["label_vert"] else DEFAULT]


def volumes_mm3(
    array: AnyArray, output: Output, names: Mapping[int, str], affine: Affine
) -> dict[str, float]:
    """Return the volume of every value that occurs, by its name; of probabilities, their sum."""
    voxel = voxel_volume(affine, voxel_sizes(affine))
    if output.kind == "soft":
        return {output.structure: round(float(array.sum(dtype=np.float64)) * voxel, 2)}
    counts = np.bincount(array.ravel(), minlength=256)
    return {
        name: round(float(counts[value]) * voxel, 2)
        for value, name in names.items()
        if counts[value]
    }


LEVEL_NAMES: Mapping[int, str] = {
    1: "top_of_C1",
    2: "C1_C2",
    **{number: NAMES[disc].removeprefix("disc_") for number, disc in enumerate(USUAL_DISCS, 3)},
}
"""Name of each numbered level, from the head down."""


@dataclass(frozen=True)
class Output:
    """Result of the workflow.

    Attributes
    ----------
    kind : {"classes", "labels", "points", "soft"}
        Classes that a network painted, labels of the spine, single voxels with a number, or
        probabilities.
    step : {1, 2}
        Step that gives it.
    names : mapping of int to str
        Name of each value of labels and points; empty for classes, whose names only the networks
        have.
    structure : str
        Structure that probabilities are of.
    channel : int
        Channel of that structure in the first network.
    around : tuple of ints
        Labels of the first step; probabilities far from them become 0.
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
