"""Bundles of a kit: those that tasks need, copied into it and out of it again."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from deepseg_lite.bundles.bundle import Bundle
from deepseg_lite.bundles.files import MANIFEST_NAME, BundleFiles
from deepseg_lite.errors import BundleNotFoundError, ChecksumError, OptionError, OutputError
from deepseg_lite.store import cache, licenses
from deepseg_lite.store.arrival import CARD_NAME, arrive, install, receive
from deepseg_lite.store.installed import intact
from deepseg_lite.store.lock import manifest_sha256
from deepseg_lite.store.sources import Source
from deepseg_lite.store.tasks import bundle_of


def bundles_for(names: Iterable[str]) -> list[BundleFiles]:
    """Return the bundles that tasks need, each once: theirs, their other steps, and detectors.

    Those that ship with the package come with its wheel, and are left out.

    Parameters
    ----------
    names : iterable of str
        Tasks, or bundles in the cache.

    Raises
    ------
    BundleNotFoundError
        If one is not here whole; the message has the command that gets it.
    """
    found: dict[str, BundleFiles] = {}
    for asked in names:
        name, shipped = bundle_of(asked)
        left = [] if shipped else [name]
        while left:
            bundle = _here(left.pop(0), asked)
            found[bundle.name] = bundle
            if isinstance(bundle, Bundle):
                needed = [*bundle.companions, *_detector(bundle)]
                left += [each for each in needed if each not in found]
    return list(found.values())


def _here(name: str, asked: str) -> BundleFiles:
    there = intact(name)
    if there is None:
        raise BundleNotFoundError(
            f"{name} is not on this machine, or not whole; to get it: deepseg-lite fetch {asked}"
        )
    return there.bundle


def _detector(bundle: Bundle) -> list[str]:
    return [bundle.cord_crop.detector] if bundle.cord_crop else []


def check_licenses(bundles: Sequence[BundleFiles], *, yes: bool) -> None:
    """Refuse to put models into a kit whose licence is not known to let others pass them on.

    Raises
    ------
    OptionError
        If there is one, unless ``yes``.
    """
    for bundle in bundles if not yes else ():
        license = bundle.manifest["source"].get("license")
        if not licenses.may_be_passed_on(license):
            raise OptionError(
                f"the licence of {bundle.name} is {licenses.in_words(license)}, so it is not known "
                "whether it may be passed on; give `yes` if the kit stays with whoever may use it."
            )


def copy_in(bundle: BundleFiles, folder: Path) -> dict[str, str]:
    """Copy a bundle into a folder that has its name; return its entry in ``kit.json``.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    target = folder / bundle.name
    extras = [name for name in (CARD_NAME, cache.SOURCE_NAME) if (bundle.path / name).is_file()]
    try:
        target.mkdir(parents=True)
        for name in (MANIFEST_NAME, *(file.path for file in bundle.files), *extras):
            shutil.copyfile(bundle.path / name, target / name)
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror or error}.") from error
    sha256 = manifest_sha256(target)
    return {"name": bundle.name, "version": bundle.version, "manifest_sha256": sha256}


def copy_out(kit: Path, entry: Mapping[str, Any], *, repin: bool) -> Path:
    """Install a bundle of a kit in the cache, checked as one of a mirror.

    Parameters
    ----------
    kit : Path
        Folder of the kit, whose hashes are right.
    entry : mapping
        Entry of the bundle in ``kit.json``.
    repin : bool
        Accept a manifest that is not the one that was here before.

    Returns
    -------
    folder : Path
        Its place in the cache.

    Raises
    ------
    BundleError, ChecksumError
        If it is invalid, or not the one that it must be.
    OutputError
        If the cache cannot be written.
    """
    name, sha256 = entry["name"], entry["manifest_sha256"]
    if not cache.is_name(name):
        raise ChecksumError(f"{kit} names a bundle {name}, which is no name of one.")
    place, there = cache.bundle_directory(name), intact(name)
    if there is not None and manifest_sha256(place) == sha256:
        return place
    with cache.workplace(place) as work:
        arrivals = arrive(name, None, partial(_copied, kit), work, None, repin=repin, force=True)
        if manifest_sha256(arrivals[0].bundle.path) != sha256:
            raise ChecksumError(f"{name} is not the bundle that the kit lists; copy it again.")
        receive(arrivals, work, None)
        for arrival in reversed(arrivals):  # companions first
            install(arrival, force=True)
    return place


def _copied(kit: Path, name: str) -> Source:
    """Return a bundle of a kit, whose files stay there."""
    folder = kit / "bundles" / name

    def get(file: str, path: Path, limit: int) -> None:
        came = folder / file
        if not came.is_file():
            raise FileNotFoundError(f"{folder.name}/{file}")
        if came.stat().st_size > limit:
            raise ChecksumError(f"{folder.name}/{file} is larger than it should be.")
        try:
            shutil.copyfile(came, path)
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from error

    record = {key: value for key, value in cache.source_of(folder).items() if key != "kit"}
    return Source(
        {**record, "kit": True}, get, lambda file, path, _: get(file.path, path, file.size)
    )
