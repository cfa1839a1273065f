"""MONAI itself on a bundle of its model zoo: its parser, transforms, inferer and network.

Unlike the export, this calls what the bundle's configuration names, as MONAI does. Weights are read
by this package.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deepseg_export.errors import CheckpointError
from deepseg_export.families.monai.bundle import CONFIG, find_bundle, is_wanted
from deepseg_export.families.monai.config import read_config
from deepseg_export.families.monai.weights import read_weights
from deepseg_export.families.original import Cases, Original
from deepseg_export.reading.archive import opened_model
from deepseg_export.reading.weights import load_into
from deepseg_lite.volume import AnyArray

logger = logging.getLogger(__name__)

WEIGHTS = "model.pt"


def segment(
    model: Path, options: Any, manifest: Mapping[str, Any], cases: Cases
) -> Iterator[AnyArray]:
    """Yield what MONAI makes of each case: a label map (X, Y, Z), or maps (X, Y, Z, L).

    Post-transforms are applied as the configuration has them, but for those that save.

    Raises
    ------
    CheckpointError
        If the bundle has no models/model.pt, or that is damaged.
    """
    import torch
    from monai.bundle import ConfigParser

    with opened_model((model,), is_wanted) as root, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.warning("MONAI calls what the configuration of %s names; trust it for that", model)
        folder = find_bundle(root, model)
        weights = folder / "models" / WEIGHTS
        if not weights.is_file():
            raise CheckpointError(f"{model} has no models/{WEIGHTS}, which MONAI is run with here.")
        parser = ConfigParser()
        parser.read_config(read_config(folder, CONFIG)[0])
        parser["bundle_root"] = str(folder)
        before = parser.get_parsed_content("preprocessing")
        network = parser.get_parsed_content("network_def")
        network = load_into(network, read_weights(weights), str(weights))
        inferer = parser.get_parsed_content("inferer")
        after = [
            transform
            for transform in parser.get_parsed_content("postprocessing").transforms
            if not type(transform).__name__.startswith("SaveImage")
        ]
        for paths in cases:
            with torch.inference_mode():
                case = before({"image": [str(path) for path in paths]})
                case["pred"] = inferer(case["image"][None], network)[0]
                for transform in after:
                    case = transform(case)
            yield np.moveaxis(case["pred"].numpy(), 0, -1)


ORIGINAL = Original("its own run of the bundle", ("monai", "torch"), segment)
