"""``ivadomed.inference.segment_volume`` on a model, as the Spinal Cord Toolbox calls it.

Unlike the export, this lets ivadomed open the files of the model, pickles among them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deepseg_export.errors import UnsupportedError
from deepseg_export.families.ivadomed.folder import find_model, is_wanted
from deepseg_export.families.original import Cases, Original
from deepseg_export.reading.archive import opened_model
from deepseg_lite.volume import AnyArray

logger = logging.getLogger(__name__)


def segment(
    model: Path | Sequence[Path], options: Any, manifest: Mapping[str, Any], cases: Cases
) -> Iterator[AnyArray]:
    """Yield what ivadomed makes of each case: maps (X, Y, Z, L).

    Raises
    ------
    UnsupportedError
        For models that need another one's result first, and for several that are averaged.
    """
    if "prior" in manifest or options.is_ensemble:
        raise UnsupportedError(
            "one ivadomed model can be run here, alone; give the results of several with "
            "--reference-labels."
        )
    from ivadomed import inference

    sources = (model,) if isinstance(model, Path) else tuple(model)
    with opened_model(sources, is_wanted) as root:
        files = find_model(root, ", ".join(map(str, sources)))
        logger.warning("ivadomed opens pickles of %s, if any; trust it for that", files.name)
        folder = str(files.settings.parent)
        for paths in cases:
            names = [str(path) for path in paths]
            found, _ = inference.segment_volume(folder, names, gpu_id=None, options={})
            yield np.stack([np.asarray(image.dataobj) for image in found], axis=-1)


ORIGINAL = Original("segment_volume", ("ivadomed", "torch"), segment)
