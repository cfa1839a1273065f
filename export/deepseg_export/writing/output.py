"""Outputs that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from deepseg_lite.atomic import install
from deepseg_lite.bundles.files import MANIFEST_NAME
from deepseg_lite.errors import DeepsegError, OutputError
from deepseg_lite.leftovers import working_folder


@contextmanager
def staged_output(path: Path, *, force: bool) -> Iterator[Path]:
    """Give a path to write to that becomes ``path`` when the block ends without an error.

    Parameters
    ----------
    path : Path
        A bundle directory or an ``.onnx`` file; missing parent folders are made.
    force : bool
        Replace a bundle that is there, once the new one is complete.

    Yields
    ------
    staged : Path
        A path of the same name beside ``path``, not there yet.

    Raises
    ------
    OutputError
        If something is in the way, or writing fails. Nothing is left behind, but by a kill; that
        goes with the next output beside it.
    """
    check_free(path, force=force)
    made = _make_parents(path)
    try:
        try:
            with working_folder(path.parent) as work:
                yield work / path.name
                check_free(path, force=force)
                install(work / path.name, path)
        except OSError as error:
            if isinstance(error, DeepsegError):
                raise
            raise OutputError(f"{path} was not written: {error.strerror or error}.") from error
    except BaseException:
        with suppress(OSError):  # others may have put something there meanwhile
            for parent in reversed(made):
                parent.rmdir()
        raise


def check_free(path: Path, *, force: bool) -> None:
    """Refuse to overwrite, and with ``force`` to replace anything that is not a bundle.

    Raises
    ------
    OutputError
        If something is in the way.
    """
    if not os.path.lexists(path):
        return
    if not force:
        raise OutputError(f"{path} exists; give another -o, or --force to replace it.")
    is_bundle = (
        path.is_file()
        if path.suffix == ".onnx"
        else path.is_dir() and ((path / MANIFEST_NAME).is_file() or not any(path.iterdir()))
    )
    if not is_bundle:
        raise OutputError(
            f"{path} exists and is not a bundle, so --force does not replace it; give another -o."
        )


def _make_parents(path: Path) -> list[Path]:
    """Make missing parent folders; return those made, outermost first."""
    missing = [parent for parent in path.absolute().parents if not parent.exists()][::-1]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path.parent} cannot be made: {error.strerror}.") from error
    return missing
