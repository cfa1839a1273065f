"""Pins: what the manifest of a bundle must be that comes from elsewhere.

A pin is the SHA-256 of the manifest. The caller, the lock of a study and the task file can each
give one. Without any, the manifest must be the one that was here before.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from deepseg_lite.bundles.files import MANIFEST_NAME, BundleFiles
from deepseg_lite.bundles.task_file import TASK_FILE, read_task
from deepseg_lite.errors import ChecksumError, OptionError
from deepseg_lite.store import cache
from deepseg_lite.store.lock import LOCK_NAME, find_lock, manifest_sha256

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Pin:
    """Hashes that a manifest may have, and who says so."""

    allowed: tuple[str, ...]
    by: str


def read_pin(sha256: str | None) -> str | None:
    """Return a hash that a caller gave, in small letters.

    Raises
    ------
    OptionError
        If it is not one.
    """
    if sha256 is not None and not _SHA256.fullmatch(sha256.lower()):
        raise OptionError(
            f"sha256 is {sha256[:70]!a}; the 64 hexadecimal digits of the manifest's SHA-256 are "
            "needed."
        )
    return sha256 and sha256.lower()


def pins_of(name: str, sha256: str | None = None) -> list[Pin]:
    """Return the pins of a bundle: the caller's, the lock's, and its task file's."""
    pins = [Pin((sha256,), "`sha256`")] if sha256 else []
    lock = find_lock()
    if lock is not None and (locked := lock.sha256(name)):
        pins.append(Pin((locked,), LOCK_NAME))
    if published := _published(name):
        pins.append(Pin(published, "the task file"))
    return pins


def _published(name: str) -> tuple[str, ...]:
    """Return the hashes that task files have for a bundle of that name, of any release."""
    word = re.match(r"[a-z0-9_]+", name)
    folder = cache.models_directory() / (word[0] if word else "")
    if not (folder / TASK_FILE).is_file():
        return ()
    task, found = read_task(folder), []
    for release in task.releases:
        for index, stage in enumerate(release.stages):
            after = "" if index == release.main else f".{stage.name}"
            names = [task.bundle_name(version) + after for version in (None, release.version)]
            if name in names and stage.manifest_sha256:
                found.append(stage.manifest_sha256)
    return tuple(found)


def check_here(bundle: BundleFiles, pins: Sequence[Pin]) -> None:
    """Refuse a bundle of this machine that is not the pinned one.

    Raises
    ------
    ChecksumError
        Which hash it has, and which it should have.
    """
    found = manifest_sha256(bundle.path)
    for pin in pins:
        if found not in pin.allowed:
            raise ChecksumError(
                f"the manifest of {bundle.name} here has SHA-256 {found}, {pin.by} says "
                f"{pin.allowed[0]}; give `force` to fetch that one in its place."
            )


def check_arrived(name: str, found: str, pins: Sequence[Pin], *, repin: bool) -> None:
    """Refuse a manifest from elsewhere that is not the pinned one, or not the one from before.

    Parameters
    ----------
    name : str
        Of the bundle.
    found : str
        SHA-256 of the manifest that came.
    pins : sequence of Pin
        What it must be. A pin that it has counts more than what was here.
    repin : bool
        Accept that it is not the one from before.

    Raises
    ------
    ChecksumError
        Which hash it has, and which it should have.
    """
    for pin in pins:
        if found not in pin.allowed:
            raise ChecksumError(
                f"the manifest of {name} there has SHA-256 {found}, {pin.by} says "
                f"{pin.allowed[0]}; nothing was installed. Ask whoever keeps it."
            )
    before = _before(name)
    if before not in (None, found) and not pins and not repin:
        raise ChecksumError(
            f"the manifest of {name} changed: SHA-256 {before} before, {found} now; nothing was "
            "installed. If that is meant to be, give `repin`."
        )


def _before(name: str) -> str | None:
    """Return the hash of the manifest that was fetched before, or else is here."""
    directory = cache.bundle_directory(name)
    known = cache.source_of(directory).get("manifest_sha256")
    if isinstance(known, str) and _SHA256.fullmatch(known):
        return known
    return manifest_sha256(directory) if (directory / MANIFEST_NAME).is_file() else None
