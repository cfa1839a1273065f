"""Table of families: a row for each kind of trained model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from deepseg_export.families import ivadomed, monai, nnunet
from deepseg_export.families.checkpoint import Checkpoint
from deepseg_export.families.options import Options


@dataclass(frozen=True)
class Family:
    """Row of the table.

    Attributes
    ----------
    load : callable
        Reads a model, or several files that belong together, with the user's options.
    options : type
        The options that it takes.
    packages : sequence of str
        Packages that reading needs in addition to those of every export.
    """

    load: Callable[[Any, Any], Checkpoint]
    options: type[Options]
    packages: Sequence[str] = ()


FAMILIES = {
    "nnunet": Family(nnunet.load, nnunet.Options, nnunet.PACKAGES),
    "ivadomed": Family(ivadomed.load, ivadomed.Options, ivadomed.PACKAGES),
    "monai": Family(monai.load_lightning, monai.Options, monai.PACKAGES),
    "monai-bundle": Family(monai.load_bundle, monai.Options, monai.PACKAGES),
}
""""monai" are the Lightning checkpoints of the Spinal Cord Toolbox, as in task files."""
