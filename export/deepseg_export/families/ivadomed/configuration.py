"""ivadomed's JSON: what it says once defaults are filled in and old names replaced."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepseg_export.reading.documents import read_json

# The part of ivadomed's default configuration that inference looks at.
DEFAULTS: Mapping[str, Any] = {
    "object_detection_params": {"object_detection_path": None, "safety_factor": [1.0, 1.0, 1.0]},
    "loader_parameters": {
        "target_suffix": [],
        "roi_params": {"suffix": None},
        "contrast_params": {"training_validation": []},
        "slice_filter_params": {"filter_empty_mask": False, "filter_empty_input": True},
        "slice_axis": "axial",
        "multichannel": False,
    },
    "training_parameters": {"batch_size": 18},
    "default_model": {"name": "Unet", "depth": 3, "is_2d": True},
    "postprocessing": {},
    "transformation": {},
}
_RENAMED = {"UNet3D": "Modified3DUNet"}
_DROPPED = ("NumpyToTensor",)


def read_configuration(path: Path) -> dict[str, Any]:
    """Read the JSON of a model.

    Raises
    ------
    CheckpointError
        If it cannot be read or holds no object, or is beyond a limit.

    Notes
    -----
    Source: ivadomed 2.9.10, ``config_manager.py`` and ``config/config_default.json``.
    """
    return _merged(DEFAULTS, _renamed(read_json(path)))


def _renamed(content: Any) -> Any:
    if not isinstance(content, dict):
        return content
    kept = ((key, value) for key, value in content.items() if key not in _DROPPED)
    return {_RENAMED.get(key, key): _renamed(value) for key, value in kept}


def _merged(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Lay what is given over the defaults; what is no object never replaces one."""
    result = dict(defaults)
    for key, value in given.items():
        default = defaults.get(key)
        if isinstance(value, Mapping):
            result[key] = _merged(default if isinstance(default, Mapping) else {}, value)
        elif not isinstance(default, Mapping):
            result[key] = value
    return result
