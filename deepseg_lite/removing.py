"""Removing bundles from the local cache, each with the steps that only it needs."""

from __future__ import annotations

from deepseg_lite import store
from deepseg_lite.bundle import MANIFEST_NAME, read_bundle
from deepseg_lite.errors import DeepsegError


def remove(name: str) -> dict[str, int]:
    """Remove a bundle from the cache, and its companions that no other bundle there needs.

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
    companions = _companions(name)
    freed = {name: store.remove(name)}
    for companion in companions:
        if store.locate(companion) and companion not in _needed():
            freed |= remove(companion)
    return freed


def _needed() -> set[str]:
    """Return the companions of all bundles in the cache."""
    manifests = (store.home() / "bundles").glob(f"*/{MANIFEST_NAME}")
    return {name for file in manifests for name in _companions(file.parent.name)}


def _companions(name: str) -> tuple[str, ...]:
    """Return the bundles that one in the cache needs; none where it cannot be understood."""
    directory = store.locate(name)
    try:
        return read_bundle(directory).companions if directory else ()
    except DeepsegError:  # it is a detector, which needs none, or broken
        return ()
