"""Table of families: a row for each kind of trained model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from deepseg_export.families import ivadomed, keras, monai, nnunet
from deepseg_export.families.checkpoint import Checkpoint
from deepseg_export.families.ivadomed.original import ORIGINAL as IVADOMED
from deepseg_export.families.monai.original import ORIGINAL as MONAI
from deepseg_export.families.nnunet.original import ORIGINAL as NNUNET
from deepseg_export.families.options import Options
from deepseg_export.families.original import Original
from deepseg_export.packages import GRAPH_PACKAGES, TORCH_PACKAGES
from deepseg_lite.errors import OptionError


@dataclass(frozen=True)
class Family:
    """Row of the table.

    Attributes
    ----------
    load : callable
        Reads a model, or several files that belong together, with the user's options.
    options : type
        The options that it takes.
    torch_packages : sequence of str, optional
        Packages that torch's networks of this family need beside torch; None where it has none.
    is_direct : bool
        Whether its networks are written directly, or are ONNX already; others need torch.
    reading_packages : sequence of str
        Packages that reading its files needs.
    original : Original or None
        The software that the models come from, where it can be run here.
    """

    load: Callable[[Any, Any], Checkpoint]
    options: type[Options]
    torch_packages: Sequence[str] | None = None
    is_direct: bool = True
    reading_packages: Sequence[str] = ()
    original: Original | None = None

    def packages(self, options: Options) -> tuple[str, ...]:
        """Return the packages that an export needs, by the path that the user chose.

        Raises
        ------
        OptionError
            If torch does not come into it.
        """
        if not (options.with_torch or options.check_torch or not self.is_direct):
            return (*GRAPH_PACKAGES, *self.reading_packages)
        if self.torch_packages is None:
            raise OptionError(
                "PyTorch never converts models of this family; leave --with torch and "
                "--check torch out."
            )
        return (*GRAPH_PACKAGES, *TORCH_PACKAGES, *self.torch_packages)


_NNUNET = ("dynamic_network_architectures",)
FAMILIES = {
    "nnunet": Family(nnunet.load, nnunet.Options, _NNUNET, original=NNUNET),
    "ivadomed": Family(ivadomed.load, ivadomed.Options, original=IVADOMED),
    "keras": Family(keras.load, keras.Options, reading_packages=keras.PACKAGES),
    "monai": Family(monai.load_lightning, monai.Options, _NNUNET),
    "monai-bundle": Family(
        monai.load_bundle, monai.Options, ("monai",), is_direct=False, original=MONAI
    ),
}
""""monai" are the Lightning checkpoints of the Spinal Cord Toolbox, as in task files."""
