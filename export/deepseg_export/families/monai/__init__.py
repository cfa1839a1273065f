"""MONAI: bundles of the model zoo's form, and Lightning checkpoints of the Spinal Cord Toolbox."""

from __future__ import annotations

from deepseg_export.families.monai.bundle import load_bundle as load_bundle
from deepseg_export.families.monai.lightning import load_lightning as load_lightning
from deepseg_export.families.monai.options import Options as Options
