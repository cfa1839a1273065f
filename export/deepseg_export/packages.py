"""Packages of the ``export`` extra: which are there, and in which version."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

from deepseg_export.errors import MissingPackageError

GRAPH_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
"""Packages that every export needs; a family names others."""


def require_packages(names: Iterable[str]) -> None:
    """Fail early, and helpfully, when a package cannot be imported.

    Raises
    ------
    MissingPackageError
        Naming what is missing and how to install it.
    """
    missing = [name for name in names if not _is_importable(name)]
    if missing:
        raise MissingPackageError(
            f"Exporting needs {', '.join(missing)}, which cannot be imported: "
            'pip install "deepseg-lite[export]"'
        )


def package_versions(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of what made a bundle: this software, and the packages named."""
    return {"deepseg_lite": _version("deepseg-lite")} | {name: _version(name) for name in names}


def _is_importable(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:  # a checkout on the path, not an installation
        return "unknown"
