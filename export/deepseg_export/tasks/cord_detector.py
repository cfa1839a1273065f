"""The networks that find the cord, for models of cropped volumes: official files to a bundle."""

from __future__ import annotations

import shutil
from pathlib import Path

from deepseg_export.errors import CheckpointError
from deepseg_export.families.sc_crop import (
    NAME,
    OFFICIAL_SHA256,
    RELEASE,
    URL,
    export_cord_detector,
)
from deepseg_export.reading.checkpoint import file_sha256
from deepseg_export.tasks.downloads import Progress, obtain, silent
from deepseg_export.writing.output import check_free
from deepseg_lite.store import cache


def install_cord_detector(
    output: Path | None = None,
    *,
    source: Path | None = None,
    mirror: str | None = None,
    offline: bool = False,
    force: bool = False,
    progress: Progress = silent,
) -> Path:
    """Make the bundle that finds the cord, of sc-crop's official networks.

    Parameters
    ----------
    output : Path, optional
        Bundle directory; by default that of the local cache, where models look for it.
    source : Path, optional
        Folder that has the two files; without it they are downloaded.
    mirror : str, optional
        Address of a folder that is tried first.
    offline : bool
        Never use the network.
    force : bool
        Replace the bundle that is there.
    progress : callable, optional
        Shows how far a download is.

    Returns
    -------
    output : Path
        The bundle.

    Raises
    ------
    CheckpointError
        If a file is missing or not the official one.
    NetworkError
        If a download failed.
    OutputError
        If something cannot be written, or is in the way.
    """
    output = output or cache.bundle_directory(NAME)
    check_free(output, force=force)
    folder = source or cache.home() / "downloads" / NAME / RELEASE
    if source is None:
        for name in OFFICIAL_SHA256:
            obtain(
                folder, [f"{URL}/{name}"], _check, mirror=mirror, offline=offline, progress=progress
            )
    detector, classifier = (folder / name for name in OFFICIAL_SHA256)
    export_cord_detector(detector, classifier, output, force=force)
    if source is None:
        shutil.rmtree(folder, ignore_errors=True)
    return output


def _check(file: Path) -> None:
    if file_sha256(file) != OFFICIAL_SHA256[file.name]:
        raise CheckpointError(f"what came is not {file.name} of sc-crop {RELEASE}.")
