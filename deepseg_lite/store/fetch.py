"""Bringing bundles into the local cache. The disk is looked at first, the network only after."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

from deepseg_lite.errors import BundleNotFoundError, DeepsegError, NetworkError, OptionError
from deepseg_lite.option import complete, takes
from deepseg_lite.store import cache, partial
from deepseg_lite.store.addresses import masked
from deepseg_lite.store.arrival import Arrival, Progress, arrive, receive
from deepseg_lite.store.download import network_forbidden
from deepseg_lite.store.fetch_options import FetchOptions
from deepseg_lite.store.installed import Installed, installed, intact, own_companions
from deepseg_lite.store.lock import find_lock, manifest_sha256
from deepseg_lite.store.pins import check_here, pins_of, read_pin
from deepseg_lite.store.sources import Place
from deepseg_lite.text import one_line

if TYPE_CHECKING:
    from typing_extensions import Unpack


@takes(FetchOptions)
def fetch(
    name: str,
    *,
    progress: Progress | None = None,
    listed: Callable[[Sequence[Arrival]], None] | None = None,
    **options: Unpack[FetchOptions],
) -> Installed:
    """Have a bundle in the cache: the one that is there, else from a repository or a mirror.

    A model of several steps brings its companions along, the bundles called ``NAME.STEP``.

    Parameters
    ----------
    name : str
        Name of the bundle.
    progress : callable, optional
        Called with the bytes received and the bytes of all networks; not for repositories, where
        huggingface_hub draws bars of its own.
    listed : callable, optional
        Called with all bundles that will be fetched, when their manifests are here.

    Raises
    ------
    BundleNotFoundError
        If it is nowhere, or no place is known.
    BundleError
        If the manifest is invalid; its files are not fetched then.
    ChecksumError
        If a file is not the one that the manifest describes, or the manifest not the one that it
        must be.
    OptionError
        If it is here at another revision than asked for, or a place is not of the right form.
    NetworkError
        If a transfer failed after several attempts, or the network is not to be used.
    OutputError
        If the cache cannot be written, or the disk is too full.
    """
    given = cast("FetchOptions", complete(FetchOptions, options))
    try:
        return _fetch(name, given, progress, listed)
    except DeepsegError as error:  # with words of a server or a manifest in it
        message = one_line(masked(error))
        if message == str(error):
            raise
        raise type(error)(message) from error


def _fetch(
    name: str,
    given: FetchOptions,
    progress: Progress | None,
    listed: Callable[[Sequence[Arrival]], None] | None,
) -> Installed:
    if not cache.is_name(name):
        raise BundleNotFoundError(
            f"{name} is not the name of a bundle; a name has up to 100 letters, digits, '.', '_' "
            "and '-'."
        )
    pin, force, repin = read_pin(given["sha256"]), given["force"], given["repin"]
    there = None if force else intact(name)
    companions: Sequence[str] | None = None
    if there is not None:
        _check_revision(there, given["revision"])
        check_here(there.bundle, pins_of(name, pin))
        companions = [each for each in own_companions(there.bundle) if intact(each) is None]
        if not companions:
            return there
    if network_forbidden(offline=given["offline"]):
        needed = companions[0] if companions else name
        raise NetworkError(
            f"fetching {needed} needs the network, which `offline` or HF_HUB_OFFLINE forbids; copy "
            f"the bundle's folder to {cache.bundle_directory(needed)} or allow the network."
        )
    partial.sweep()
    failures: list[DeepsegError] = []
    for place in _places(name, given):
        try:
            with cache.workplace(cache.bundle_directory(name)) as work:
                arrivals = arrive(name, companions, place, work, pin, repin=repin, force=force)
                if listed is not None:
                    listed(arrivals)
                receive(arrivals, work, progress)
                for arrival in reversed(arrivals):  # companions first
                    _install(arrival, force=force)
        except (BundleNotFoundError, NetworkError) as error:
            failures.append(error)
        else:
            return there or installed(name)
    if len(failures) == 1:
        raise failures[0]
    raise type(failures[-1])(" ".join(map(str, failures)))


def _check_revision(there: Installed, revision: str | None) -> None:
    known = (there.source.get("revision"), there.source.get("asked_for"))
    if revision is not None and revision not in known:
        raise OptionError(
            f"{there.bundle.name} is here already, at revision {known[0] or 'unknown'}; give "
            f"`force` to have {revision} in its place."
        )


def _places(name: str, given: FetchOptions) -> list[Place]:
    """Return where to look: what was given, else what the lock says and then the environment."""
    repo, revision, mirror = given["repo"], given["revision"], given["mirror"]
    places = []
    if repo is None and mirror is None:
        lock = find_lock()
        if revision is None and lock is not None and name in lock.bundles:
            source = lock.bundles[name]["source"]
            if source and "****" not in source.get("mirror", ""):
                places.append(Place(**source))
        repo = os.environ.get("DEEPSEG_LITE_REPO") or None
        mirror = os.environ.get("DEEPSEG_LITE_MIRROR") or None
    if revision is not None and repo is None:
        raise OptionError("`revision` is a branch, tag or commit of a `repo`; give that too.")
    if repo is not None:
        places.append(Place(repo, revision))
    if mirror is not None:
        places.append(Place(mirror=mirror))
    if not places:
        raise BundleNotFoundError(
            f"{name} is not on this machine and no place to fetch it from is known; give "
            "`repo=OWNER/NAME` or `mirror=URL` (or set DEEPSEG_LITE_REPO, DEEPSEG_LITE_MIRROR)."
        )
    return places


def _install(arrival: Arrival, *, force: bool) -> None:
    """Bring a complete bundle into the cache, with a record of where it came from."""
    staged, name = arrival.bundle.path, arrival.bundle.name
    record = {**arrival.source.record, "manifest_sha256": manifest_sha256(staged)}
    (staged / cache.SOURCE_NAME).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    target = cache.bundle_directory(name)
    cache.put(staged, target, keep=lambda: not force and intact(name) is not None)
