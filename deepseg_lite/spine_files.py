"""Which files a run of the workflow around two networks writes, and how much is in them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from nibabel.affines import voxel_sizes

from deepseg_lite.bundle import Workflow, WorkflowFile
from deepseg_lite.errors import OptionError
from deepseg_lite.settings import Settings
from deepseg_lite.spine.outputs import OUTPUTS, Output
from deepseg_lite.volume import Affine, AnyArray

DEFAULT, LABEL_VERT = "default", "label-vert"


def check_choices(name: str, workflow: Workflow, settings: Settings) -> None:
    """Refuse what this workflow does not do; ``name`` is its bundle's.

    Raises
    ------
    OptionError
        Saying which and why.
    """
    if unknown := [output for output in settings.outputs if output not in OUTPUTS]:
        raise OptionError(
            f"{name} has no output {', '.join(unknown)}; it has {', '.join(OUTPUTS)}."
        )
    if len(set(settings.outputs)) < len(settings.outputs):
        raise OptionError("an output was asked for twice; name each one once.")
    if settings.outputs and settings.label_vert:
        raise OptionError(
            "--outputs and --label-vert were given; give one of them: --outputs names all "
            "results, and step2_output among them runs the second step."
        )
    if settings.label_vert and LABEL_VERT not in workflow.files:
        raise OptionError(f"{name} always runs both steps; leave --label-vert out.")
    cleaning = settings.cleaning
    if settings.soft or cleaning.threshold is not None:
        raise OptionError(
            f"probabilities of {name} are results of their own; leave --soft and --threshold out "
            "and give --outputs step1_cord,step1_canal."
        )
    if cleaning.keep_largest or cleaning.fill_holes or cleaning.remove_small:
        raise OptionError(
            f"{name} has steps of its own that clean its labels; leave --keep-largest, "
            "--fill-holes and --remove-small out."
        )


def chosen_files(workflow: Workflow, settings: Settings) -> tuple[WorkflowFile, ...]:
    """Return the files of a run; results that are asked for by name have it as their suffix."""
    if settings.outputs:
        return tuple(WorkflowFile(name, name) for name in settings.outputs)
    return workflow.files[LABEL_VERT if settings.label_vert else DEFAULT]


def volumes_mm3(
    array: AnyArray, output: Output, names: Mapping[int, str], affine: Affine
) -> dict[str, float]:
    """Return the volume of every value that occurs, by its name; of probabilities, their sum."""
    voxel = float(np.prod(voxel_sizes(affine)))
    if output.kind == "soft":
        return {output.structure: round(float(array.sum(dtype=np.float64)) * voxel, 2)}
    counts = np.bincount(array.ravel(), minlength=256)
    return {
        name: round(float(counts[value]) * voxel, 2)
        for value, name in names.items()
        if counts[value]
    }
