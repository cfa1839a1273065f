"""Bringing bundles into the local cache. The disk is looked at first, the network only after."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deepseg_lite.bundles.bundle import Bundle, read_bundle
from deepseg_lite.bundles.detector import parse_any, read_any
from deepseg_lite.bundles.files import MANIFEST_NAME, BundleFiles, read_network
from deepseg_lite.errors import (
    BundleError,
    BundleNotFoundError,
    ChecksumError,
    DeepsegError,
    NetworkError,
    OptionError,
    OutputError,
)
from deepseg_lite.store import cache
from deepseg_lite.store.download import network_forbidden
from deepseg_lite.store.sources import Source, hub_source, mirror_source

Progress = Callable[[int, int], None]

CARD_NAME = "README.md"
MAX_TEXT_BYTES = 4_000_000


@dataclass(frozen=True)
class Installed:
    """A bundle in the cache, where it came from, and whether it came just now."""

    bundle: BundleFiles
    source: Mapping[str, Any]
    fetched: bool


def fetch(
    name: str,
    *,
    repo: str | None = None,
    revision: str | None = None,
    mirror: str | None = None,
    force: bool = False,
    offline: bool = False,
    progress: Progress | None = None,
) -> Installed:
    """Have a bundle in the cache: the one that is there, else from a repository or a mirror.

    A model of several steps brings the bundles of the others along.

    Parameters
    ----------
    name : str
        Name of the bundle.
    repo : str, optional
        ``OWNER/NAME`` on the Hugging Face Hub, with one folder or one branch per bundle. Default
        when no mirror is given either: ``DEEPSEG_LITE_REPO``.
    revision : str, optional
        Branch, tag or commit of ``repo``.
    mirror : str, optional
        HTTP(S) address of a folder of bundles, tried after ``repo``. Default when no repository is
        given either: ``DEEPSEG_LITE_MIRROR``.
    force : bool
        Fetch it even if it is there.
    offline : bool
        Never use the network; ``HF_HUB_OFFLINE=1`` does the same.
    progress : callable, optional
        Called with the bytes received and the bytes of all networks; not for repositories, where
        huggingface_hub draws bars of its own.

    Raises
    ------
    BundleNotFoundError
        If it is nowhere, or no place is known.
    BundleError
        If the manifest is invalid; its files are not fetched then.
    ChecksumError
        If a file is not the one that the manifest describes.
    OptionError
        If it is here at another revision than asked for, or a place is not of the right form.
    NetworkError
        If a transfer failed after several attempts, or the network is not to be used.
    OutputError
        If the cache cannot be written, or the disk is too full.
    """
    given: dict[str, Any] = {
        "repo": repo,
        "revision": revision,
        "mirror": mirror,
        "force": force,
        "offline": offline,
        "progress": progress,
    }
    installed = _fetch_one(name, **given)
    if isinstance(installed.bundle, Bundle):
        for companion in installed.bundle.companions:
            fetch(companion, **given)
    return installed


def _fetch_one(
    name: str,
    *,
    repo: str | None,
    revision: str | None,
    mirror: str | None,
    force: bool,
    offline: bool,
    progress: Progress | None,
) -> Installed:
    if not cache.is_name(name):
        raise BundleNotFoundError(
            f"{name} is not the name of a bundle; a name has letters, digits, '.', '_' and '-'."
        )
    if not force and (there := _intact(name)):
        known = (there.source.get("revision"), there.source.get("asked_for"))
        if revision is not None and revision not in known:
            raise OptionError(
                f"{name} is here already, at revision {known[0] or 'unknown'}; give `force` to "
                f"have {revision} in its place."
            )
        return there
    if network_forbidden(offline=offline):
        raise NetworkError(
            f"fetching {name} needs the network, which `offline` or HF_HUB_OFFLINE forbids; copy "
            f"the bundle's folder to {cache.bundle_directory(name)} or allow the network."
        )
    if repo is None and mirror is None:
        repo = os.environ.get("DEEPSEG_LITE_REPO") or None
        mirror = os.environ.get("DEEPSEG_LITE_MIRROR") or None
    if revision is not None and repo is None:
        raise OptionError("`revision` is a branch, tag or commit of a `repo`; give that too.")
    places: list[Callable[[], Source]] = []
    if repo is not None:
        places.append(lambda: hub_source(repo, revision, name))
    if mirror is not None:
        places.append(lambda: mirror_source(mirror, name))
    if not places:
        raise BundleNotFoundError(
            f"{name} is not on this machine and no place to fetch it from is known; give "
            "`repo=OWNER/NAME` or `mirror=URL` (or set DEEPSEG_LITE_REPO, DEEPSEG_LITE_MIRROR)."
        )
    failures: list[DeepsegError] = []
    for place in places:
        try:
            return _install(name, place(), force=force, progress=progress)
        except (BundleNotFoundError, NetworkError) as error:
            failures.append(error)
    if len(failures) == 1:
        raise failures[0]
    raise type(failures[-1])(" ".join(map(str, failures)))


def _intact(name: str) -> Installed | None:
    """Return what the cache has if every file is the one its manifest describes."""
    directory = cache.locate(name)
    if directory is None:
        return None
    try:
        bundle = read_any(directory)
        for network in bundle.files:
            read_network(bundle, network)
    except BundleError:
        return None
    return Installed(bundle, cache.source_of(directory), fetched=False)


def _install(name: str, source: Source, *, force: bool, progress: Progress | None) -> Installed:
    """Bring a bundle into the cache: everything checked in a folder beside, then one rename."""
    target = cache.bundle_directory(name)
    with cache.workplace(target) as work:
        staged = work / name
        staged.mkdir()
        bundle = _get_manifest(name, source, staged)
        free = shutil.disk_usage(work).free
        if bundle.size > free:
            raise OutputError(
                f"{name} needs {bundle.size / 1e6:.1f} MB, {cache.home()} has {free / 1e6:.1f} MB "
                "free; make room or set DEEPSEG_LITE_HOME to a folder on another disk."
            )
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            if progress is not None:
                progress(done, bundle.size)

        for network in bundle.files:
            try:
                source.get(network.path, staged / network.path, network.size, advance)
            except FileNotFoundError as error:
                raise ChecksumError(
                    f"{error} is missing there, though the manifest of {name} lists it; nothing "
                    "was installed."
                ) from error
            read_network(bundle, network)
        with suppress(FileNotFoundError):
            source.get(CARD_NAME, staged / CARD_NAME, MAX_TEXT_BYTES, lambda _: None)
        digest = hashlib.sha256((staged / MANIFEST_NAME).read_bytes()).hexdigest()
        record = {**source.record, "manifest_sha256": digest}
        (staged / cache.SOURCE_NAME).write_text(
            json.dumps(record, indent=2) + "\n", encoding="utf-8"
        )
        cache.put(staged, target, keep=lambda: not force and _intact(name) is not None)
    return Installed(read_any(target), cache.source_of(target), fetched=True)


def _get_manifest(name: str, source: Source, folder: Path) -> BundleFiles:
    """Fetch and validate the manifest; only then are there names of files to fetch."""
    file = folder / MANIFEST_NAME
    try:
        source.get(MANIFEST_NAME, file, MAX_TEXT_BYTES, lambda _: None)
    except FileNotFoundError as error:
        raise BundleNotFoundError(f"{name} is not there: {error} does not exist.") from error
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise BundleError(
            f"the manifest of {name} there is not JSON ({error}); nothing was installed."
        ) from error
    bundle = replace(parse_any(manifest, Path(name)), path=folder)
    if bundle.name != name:
        raise BundleError(f"what is there for {name} calls itself {bundle.name}; not installed.")
    return bundle


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
    freed = {name: cache.remove(name)}
    for companion in companions:
        if cache.locate(companion) and companion not in _needed():
            freed |= remove(companion)
    return freed


def _needed() -> set[str]:
    """Return the companions of all bundles in the cache."""
    manifests = (cache.home() / "bundles").glob(f"*/{MANIFEST_NAME}")
    return {name for file in manifests for name in _companions(file.parent.name)}


def _companions(name: str) -> tuple[str, ...]:
    """Return the bundles that one in the cache needs; none where it cannot be understood."""
    directory = cache.locate(name)
    try:
        return read_bundle(directory).companions if directory else ()
    except DeepsegError:  # it is a detector, which needs none, or broken
        return ()
