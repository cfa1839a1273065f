"""Packages of the exporter's extras: which are there, and in which version."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

from deepseg_export.errors import MissingPackageError

GRAPH_PACKAGES = ("onnx", "onnxruntime")
"""Packages that every export needs; files of Keras need h5py as well."""
TORCH_PACKAGES = ("torch", "onnxscript")
"""Packages that convert a network of torch."""
_EXTRAS = {"onnx": "convert", "h5py": "convert", "onnxruntime": "cpu"}


def require_packages(names: Iterable[str]) -> None:
    """Fail early, and helpfully, when a package cannot be imported.

    Raises
    ------
    MissingPackageError
        Naming what is missing and how to install it.
    """
    missing = [name for name in names if not is_importable(name)]
    if missing:
        extras = sorted({_EXTRAS.get(name, "export") for name in missing})
        if "export" in extras:  # it has all the others
            extras = ["export"]
        raise MissingPackageError(
            f"Exporting needs {', '.join(missing)}, which cannot be imported: "
            f'pip install "deepseg-lite[{",".join(extras)}]"'
        )


def package_versions(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of what made a bundle: this software, and the packages named."""
    return {"deepseg_lite": _version("deepseg-lite")} | {name: _version(name) for name in names}


def is_importable(name: str) -> bool:
    """Return whether a package can be imported; it is, then."""
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
