"""Where bundles are: an explicit path, or the models that ship with the package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def models_directory() -> Path:
    """Return the folder of task directories: inside the wheel, or the checkout's ``models/``."""
    package = Path(str(files("deepseg_lite")))
    shipped = package / "_models"
    return shipped if shipped.is_dir() else package.parent / "models"
