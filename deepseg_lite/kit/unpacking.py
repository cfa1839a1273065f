"""Unpacking: the models of a kit into the local cache, after every file of it was checked."""

from __future__ import annotations

from pathlib import Path

from deepseg_lite.errors import ChecksumError
from deepseg_lite.kit.bundles import copy_out
from deepseg_lite.kit.install import Refused, check_kit


def unpack(folder: Path, *, repin: bool = False) -> list[Path]:
    """Install the models of a kit; nothing is installed where any file of it is not right.

    Parameters
    ----------
    folder : Path
        Folder of the kit.
    repin : bool
        Accept manifests that are not those that were here before.

    Returns
    -------
    folders : list of Path
        Their places in the cache.

    Raises
    ------
    ChecksumError
        If a file of the kit is missing, was changed or is not listed.
    BundleError
        If a bundle is invalid.
    OutputError
        If the cache cannot be written.
    """
    try:
        kit = check_kit(folder)
    except (Refused, OSError, ValueError) as error:
        raise ChecksumError(f"{folder}: {error}") from error
    return [copy_out(folder, entry, repin=repin) for entry in kit["bundles"]]
