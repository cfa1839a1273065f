"""Bundles in the local cache, with the companions that come and go with them.

A model of several steps is several bundles: ``NAME``, and its companions ``NAME.STEP``. A companion
has none itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deepseg_lite.bundles.bundle import Bundle, read_bundle
from deepseg_lite.bundles.detector import read_any
from deepseg_lite.bundles.files import BundleFiles, check_listed
from deepseg_lite.errors import BundleError, DeepsegError
from deepseg_lite.store import cache


@dataclass(frozen=True)
class Installed:
    """A bundle in the cache, where it came from, and whether it came just now."""

    bundle: BundleFiles
    source: Mapping[str, Any]
    fetched: bool


def intact(name: str) -> Installed | None:
    """Return what the cache has if every file is the one its manifest describes."""
    directory = cache.locate(name)
    if directory is None:
        return None
    try:
        bundle = read_any(directory)
        for file in bundle.contents:
            check_listed(bundle, file)
    except BundleError:
        return None
    return Installed(bundle, cache.source_of(directory), fetched=False)


def installed(name: str) -> Installed:
    """Return what the cache has since a moment ago."""
    target = cache.bundle_directory(name)
    return Installed(read_any(target), cache.source_of(target), fetched=True)


def is_own(companion: str, owner: str) -> bool:
    """Return whether a companion is part of its owner, as its name says."""
    before, _, step = companion.rpartition(".")
    return before == owner and bool(step) and cache.is_name(companion)


def own_companions(bundle: BundleFiles) -> list[str]:
    """Return the companions of a bundle, which may bring no others along.

    Raises
    ------
    BundleError
        If it needs a bundle that is not part of it, and not here either.
    """
    companions = bundle.companions if isinstance(bundle, Bundle) else ()
    own = [name for name in companions if is_own(name, bundle.name)]
    for name in companions:
        if name not in own and cache.locate(name) is None:
            raise BundleError(
                f"{bundle.name} needs {name}, which is not part of it: companions are called "
                f"{bundle.name}.STEP. If you trust it, fetch {name} first."
            )
    return own


def remove(name: str) -> dict[str, int]:
    """Remove a bundle from the cache, and companions of its own that no other bundle there needs.

    Returns
    -------
    freed : dict of str to int
        Bytes of the files of every bundle that was removed, by its name, the given one first.

    Raises
    ------
    BundleNotFoundError
        If the cache has no bundle of that name. Nothing outside the cache is ever removed.
    OutputError
        If one cannot be removed.
    """
    companions = [each for each in _companions(name) if is_own(each, name)]
    freed = {name: cache.remove(name)}
    for companion in companions:
        if cache.locate(companion) and companion not in _needed():
            freed[companion] = cache.remove(companion)
    return freed


def _needed() -> set[str]:
    """Return the companions of all bundles in the cache."""
    return {name for owner in cache.bundle_names() for name in _companions(owner)}


def _companions(name: str) -> tuple[str, ...]:
    """Return the bundles that one in the cache needs; none where it cannot be understood."""
    directory = cache.locate(name)
    try:
        return read_bundle(directory).companions if directory else ()
    except DeepsegError:  # it is a detector, which needs none, or broken
        return ()
