"""Lock files: the bundles of a study, each by the SHA-256 of its manifest.

``deepseg-lite.lock`` is looked for in the working folder and those above it. The manifest has the
hashes of the networks, so a bundle that the lock lists is the same in every file that counts. The
form is ``lock.schema.json`` beside the other schemas.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepseg_lite.bundles.files import MANIFEST_NAME, BundleFiles
from deepseg_lite.bundles.schemas import in_words, parse_json, schema_problems
from deepseg_lite.errors import BundleError, ChecksumError
from deepseg_lite.text import one_line, shortened

LOCK_NAME = "deepseg-lite.lock"
LOCK_VARIABLE = "DEEPSEG_LITE_LOCK"
MAX_LOCK_BYTES = 1_000_000


@dataclass(frozen=True)
class Lock:
    """A lock file: each bundle's ``version``, ``manifest_sha256`` and ``source``, by its name."""

    path: Path
    bundles: Mapping[str, Mapping[str, Any]]

    def sha256(self, name: str) -> str | None:
        """Return the hash of a bundle's manifest; None where it is not listed."""
        return self.bundles[name]["manifest_sha256"] if name in self.bundles else None


def find_lock() -> Lock | None:
    """Return the lock that is in force.

    It is the file that ``DEEPSEG_LITE_LOCK`` names, or the nearest in the working folder and those
    above it. There is none where the variable is ``off``.

    Raises
    ------
    BundleError
        If it cannot be read or is not a lock.
    """
    if chosen := os.environ.get(LOCK_VARIABLE):
        return None if chosen == "off" else read_lock(Path(os.path.expanduser(chosen)))
    try:
        here = Path.cwd()
    except OSError:  # it was deleted
        return None
    for folder in (here, *here.parents):
        if os.path.isfile(folder / LOCK_NAME):  # unlike Path.is_file, never raises
            return read_lock(folder / LOCK_NAME)
    return None


def read_lock(path: Path) -> Lock:
    """Read a lock file.

    Raises
    ------
    BundleError
        If it cannot be read or is not a lock.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_LOCK_BYTES + 1)
        if len(data) > MAX_LOCK_BYTES:
            raise ValueError(f"more than {MAX_LOCK_BYTES} bytes")
        document = parse_json(data.decode())
        if problems := schema_problems("lock", document):
            raise ValueError(in_words(problems))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BundleError(
            one_line(
                f"{path} is not a usable lock: {shortened(str(reason), 120)}. Write it anew with "
                f"deepseg-lite lock, or set {LOCK_VARIABLE}=off to go without."
            )
        ) from error
    return Lock(path, document["bundles"])


def manifest_sha256(folder: Path) -> str:
    """Return the SHA-256 of a bundle's manifest, byte for byte.

    Raises
    ------
    BundleError
        If it cannot be read.
    """
    try:
        return hashlib.sha256((folder / MANIFEST_NAME).read_bytes()).hexdigest()
    except OSError as error:
        raise BundleError(
            f"{folder / MANIFEST_NAME} cannot be read: {error.strerror}. Get the bundle again."
        ) from error


def check_lock(bundle: BundleFiles) -> None:
    """Refuse a bundle that is not the one of the lock in force, if there is one.

    Raises
    ------
    ChecksumError
        If its manifest differs from the locked one, or the lock does not list it.
    BundleError
        If the lock cannot be read.
    """
    lock = find_lock()
    if lock is None:
        return
    locked, name = lock.sha256(bundle.name), bundle.name
    if locked is None or bundle.lone_file:
        what = "is a lone file, which no lock lists" if bundle.lone_file else "is not listed"
        raise ChecksumError(
            f"{name} {what} in {lock.path}; add its bundle with deepseg-lite lock {name}, or set "
            f"{LOCK_VARIABLE}=off to go without the lock."
        )
    found = manifest_sha256(bundle.path)
    if found != locked:
        raise ChecksumError(
            f"{name} is not the bundle of {LOCK_NAME}: SHA-256 of its manifest {found}, locked "
            f"{locked}; get that one, or lock this one with deepseg-lite lock {name}."
        )
