"""Cache: whether models can be kept here, and whether those that are here are whole."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from deepseg_lite.doctor.finding import Finding, note, ok, problem, size
from deepseg_lite.errors import BundleError, reason
from deepseg_lite.store import cache

_ELSEWHERE = "Set DEEPSEG_LITE_HOME to a folder that you may write to."
LITTLE_BYTES, SOME_BYTES = 100 * 2**20, 2 * 2**30
"""Less than a model of one network; less than the largest model with its download."""


def check_folder() -> Iterator[Finding]:
    """Check that the cache can be written to, by this user and nobody else."""
    home = cache.home()
    nearest = _nearest(home)
    if not nearest.is_dir():
        yield problem("cache", f"{home}: {nearest} is a file, and a folder is needed", _ELSEWHERE)
        return
    if (trouble := _why_not_writable(nearest)) is not None:
        yield problem("cache", f"{home} cannot be written to: {nearest}: {trouble}", _ELSEWHERE)
    else:
        yield ok("cache", home if nearest == home else f"{home} (not made yet)")
    yield from _space("free space", nearest, _ELSEWHERE)
    if nearest == home and os.name != "nt":
        yield from _permissions(home)


def check_temporary() -> Iterator[Finding]:
    """Check that there is a folder for temporary files."""
    try:
        folder = Path(tempfile.gettempdir())
    except OSError as error:
        yield problem(
            "temporary files", reason(error), "Set TMPDIR to a folder that you may write to."
        )
        return
    yield from _space("temporary files", folder, "Set TMPDIR to a folder on another disk.")


def _nearest(folder: Path) -> Path:
    """Return a folder, or the nearest above it that is there."""
    nearest = folder.absolute()
    while not os.path.exists(nearest):  # unlike Path.exists, never raises
        nearest = nearest.parent
    return nearest


def _why_not_writable(folder: Path) -> str | None:
    """Return why a file cannot be made in a folder; None if it can, and it is gone again."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"deepseg-lite")
            file.flush()
    except OSError as error:
        return reason(error)
    return None


def _space(name: str, folder: Path, cure: str) -> Iterator[Finding]:
    free = shutil.disk_usage(folder).free
    text = f"{size(free)} of {folder}'s disk"
    if free < LITTLE_BYTES:
        yield problem(name, f"{text}; a model may need {size(SOME_BYTES)}", cure)
    elif free < SOME_BYTES:
        yield note(name, f"{text}; large models may need {size(SOME_BYTES)}", cure)
    else:
        yield ok(name, text)


def _permissions(home: Path) -> Iterator[Finding]:
    """Yield whether others may change what runs."""
    found = home.stat()
    if found.st_mode & stat.S_IWOTH:
        yield note(
            "permissions",
            f"everybody may write to {home}, and so decide what runs",
            f"Run chmod o-w {home}.",
        )
    if found.st_uid not in (os.geteuid(), 0):
        yield note(
            "permissions",
            f"{home} belongs to another user, who decides what runs",
            "Set DEEPSEG_LITE_HOME to a folder of your own, unless you trust them.",
        )


def check_bundles(*, full: bool = False) -> Iterator[Finding]:
    """Check every model that is here: its manifest and its files' sizes, or with ``full`` hashes.

    Parameters
    ----------
    full : bool
        Whether all files are read.
    """
    from deepseg_lite.bundles.detector import read_any
    from deepseg_lite.bundles.files import check_files, check_network
    from deepseg_lite.store.tasks import shipped_bundles

    here = [cache.bundle_directory(name) for name in cache.bundle_names()]
    shipped = shipped_bundles()
    whole = []
    for path in (*shipped, *here):
        try:
            bundle = read_any(path)
            check_files(bundle)
            for network in bundle.files if full else ():
                check_network(bundle, network)
        except BundleError as error:
            again = "Install deepseg-lite again."
            if path not in shipped:
                again = f"Run deepseg-lite fetch {path.name} --force."
            yield problem(path.parent.name if path in shipped else path.name, error, again)
        else:
            whole.append(f"{bundle.name} {bundle.version}")
    checked = "all hashes are right" if full else "sizes are right; --full compares hashes"
    if whole:
        yield ok("models", f"{', '.join(whole)}: {checked}")
    for name in _strangers({path.name for path in here}):
        yield note(
            name,
            f"{cache.bundle_directory(name)} has no manifest, so it is no model",
            f"Remove the folder, or run deepseg-lite fetch {name}.",
        )


def _strangers(known: set[str]) -> list[str]:
    """Return the names of folders among the bundles that are none."""
    with suppress(OSError):
        folders = [path for path in (cache.home() / "bundles").iterdir() if path.is_dir()]
        return sorted({p.name for p in folders if not p.name.startswith(".")} - known)
    return []


def check_lock() -> Iterator[Finding]:
    """Check the lock of the study that the working folder belongs to, if there is one."""
    from deepseg_lite.store.lock import find_lock, manifest_sha256

    lock = find_lock()
    if lock is None:
        return
    yield ok("lock", f"{lock.path} lists {', '.join(lock.bundles) or 'nothing'}")
    for name in lock.bundles:
        path = cache.locate(name)
        if path is not None and manifest_sha256(path) != lock.sha256(name):
            yield problem(
                name,
                "is not the one of the lock, so runs here refuse it",
                f"Run deepseg-lite fetch {name} --force, or deepseg-lite lock {name}.",
            )
