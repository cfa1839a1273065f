"""Bringing bundles into the local cache. The disk is looked at first, the network only after."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from deepseg_lite.bundles.bundle import Bundle, read_bundle
from deepseg_lite.errors import BundleNotFoundError, DeepsegError, NetworkError, OptionError
from deepseg_lite.option import complete, takes
from deepseg_lite.store import cache, partial
from deepseg_lite.store.addresses import masked
from deepseg_lite.store.arrival import Arrival, Progress, arrive, install, receive
from deepseg_lite.store.conversion import check_convertible, convert
from deepseg_lite.store.download import OFFLINE_VARIABLES, network_forbidden
from deepseg_lite.store.fetch_options import FetchOptions
from deepseg_lite.store.installed import Installed, installed, intact, own_companions
from deepseg_lite.store.lock import find_lock
from deepseg_lite.store.official import SC_CROP, find_official, show_licenses
from deepseg_lite.store.pins import check_here, pins_of, read_pin
from deepseg_lite.store.sources import Place, Source
from deepseg_lite.store.tasks import bundle_of
from deepseg_lite.text import one_line

if TYPE_CHECKING:
    from typing_extensions import Unpack

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Hooks:
    """What a caller wants to be told, and asked."""

    progress: Progress | None
    listed: Callable[[Sequence[Arrival]], None] | None
    begins: Callable[[str], None]
    confirm: Callable[[str], bool] | None


@takes(FetchOptions)
def fetch(
    name: str,
    *,
    progress: Progress | None = None,
    listed: Callable[[Sequence[Arrival]], None] | None = None,
    begins: Callable[[str], None] = logger.info,
    confirm: Callable[[str], bool] | None = None,
    **options: Unpack[FetchOptions],
) -> Installed:
    """Have a model in the cache: what is there, else from a repository, a mirror or its owner.

    Where no repository and no mirror is known, a task's official release is downloaded and
    converted, in a process of its own; what finds the cord for it comes along. A model of several
    steps brings its companions along, the bundles called ``NAME.STEP``.

    Parameters
    ----------
    name : str
        Name or alias of a task, or name of a bundle.
    progress : callable, optional
        Called with the bytes received and the bytes of all networks, or of one file of an official
        release; not for repositories, where huggingface_hub draws bars of its own.
    listed : callable, optional
        Called with all bundles that will be fetched, when their manifests are here.
    begins : callable, optional
        Told in words what begins, of an official release: its licence, downloads, conversions.
    confirm : callable, optional
        Asks the user a question, and returns whether the answer is yes. Without it, a licence that
        the user must agree to is refused, but for the option ``yes``.

    Returns
    -------
    installed : Installed
        The bundle, ``installed.bundle``, and where it came from.

    Raises
    ------
    BundleNotFoundError
        If it is nowhere, or no place is known.
    BundleError
        If the manifest is invalid; its files are not fetched then.
    ChecksumError
        If a file is not the one that the manifest describes, or the manifest not the one that it
        must be.
    ConversionError
        If the official release cannot be converted, as where packages are missing.
    OptionError
        If it is here at another revision than asked for, a place is not of the right form, there is
        no such release, or its licence was not agreed to.
    NetworkError
        If a transfer failed after several attempts, or the network is not to be used.
    OutputError
        If the cache cannot be written, or the disk is too full.
    """
    given = cast("FetchOptions", complete(FetchOptions, options))
    hooks = _Hooks(progress, listed, begins, confirm)
    try:
        bundle, shipped = bundle_of(name, given["release"])
        if shipped is not None:
            found = read_bundle(shipped)
            check_here(found, pins_of(bundle, read_pin(given["sha256"])))
            return Installed(found, {"shipped": True}, fetched=False)
        there = _fetch(bundle, given, hooks)
        _fetch_finder(there, given, hooks)
        return there
    except DeepsegError as error:  # with words of a server or a manifest in it
        message = one_line(masked(error))
        if message == str(error):
            raise
        raise type(error)(message) from error


def _fetch(name: str, given: FetchOptions, hooks: _Hooks) -> Installed:
    if not cache.is_name(name):
        raise BundleNotFoundError(
            f"{name} is not the name of a bundle; a name has up to 100 letters, digits, '.', '_' "
            "and '-'."
        )
    pin = read_pin(given["sha256"])
    there, companions = _look_here(name, given)
    if there is not None:
        _check_revision(there, given["revision"])
        check_here(there.bundle, pins_of(name, pin))
        if not companions:
            return there
    if network_forbidden(offline=given["offline"]):
        needed = companions[0] if companions else name
        forbids = f"`offline`, {' or '.join(OFFLINE_VARIABLES)} forbids"
        raise NetworkError(
            f"fetching {needed} needs the network, which {forbids}; copy the bundle's folder to "
            f"{cache.bundle_directory(needed)} or allow the network."
        )
    partial.sweep()
    places = _places(name, given)
    if not places:
        return _convert(name, given, hooks)
    failures: list[DeepsegError] = []
    for place in places:
        try:
            with cache.workplace(cache.bundle_directory(name)) as work:
                _bring(name, companions, place.source, work, given, hooks)
        except (BundleNotFoundError, NetworkError) as error:
            failures.append(error)
        else:
            return there or installed(name)
    if len(failures) == 1:
        raise failures[0]
    raise type(failures[-1])(" ".join(map(str, failures)))


def _look_here(name: str, given: FetchOptions) -> tuple[Installed | None, list[str] | None]:
    """Return what is here already, if it may stay, and which of its companions are not."""
    there = None if given["force"] else intact(name)
    if there is None:
        return None, None
    return there, [each for each in own_companions(there.bundle) if intact(each) is None]


def _convert(name: str, given: FetchOptions, hooks: _Hooks) -> Installed:
    """Have a bundle made of the official release, if it has one."""
    official = find_official(name)
    if official is None:
        raise BundleNotFoundError(
            f"{name} is not on this machine and no place to fetch it from is known; give "
            "`repo=OWNER/NAME` or `mirror=URL` (or set DEEPSEG_LITE_REPO, DEEPSEG_LITE_MIRROR)."
        )
    check_convertible(official)
    needs_finder = official.is_cropped and cache.locate(SC_CROP.bundle) is None
    show_licenses(
        [official, SC_CROP] if needs_finder else [official],
        yes=given["yes"],
        show=hooks.begins,
        confirm=hooks.confirm,
    )
    turn = f"{official.name}-{official.version}"
    waits = f"Waiting for another process, which fetches {official.title}"
    with partial.in_turn(turn, lambda: hooks.begins(waits)):
        there, companions = _look_here(name, given)
        if there is not None and not companions:  # another process was faster
            return there
        with cache.workplace(cache.bundle_directory(name)) as work:
            source = convert(
                official,
                work,
                repin=given["repin"],
                begins=hooks.begins,
                progress=hooks.progress or (lambda *_: None),
            )
            _bring(name, companions, source, work, given, hooks)
    return there or installed(name)


def _fetch_finder(there: Installed, given: FetchOptions, hooks: _Hooks) -> None:
    """Have what finds the cord for a model that was converted here, whose user agreed to both."""
    crop = there.bundle.cord_crop if isinstance(there.bundle, Bundle) else None
    is_needed = crop is not None and cache.locate(crop.detector) is None
    if crop is None or not is_needed or "release" not in there.source:
        return
    official = find_official(there.bundle.name)
    agreed = given["yes"] or (there.fetched and official is not None and official.is_cropped)
    choices = {**complete(FetchOptions, {}), "offline": given["offline"], "yes": agreed}
    _fetch(crop.detector, cast("FetchOptions", choices), hooks)


def _bring(
    name: str,
    companions: Sequence[str] | None,
    source: Callable[[str], Source],
    work: Path,
    given: FetchOptions,
    hooks: _Hooks,
) -> None:
    """Bring bundles from a place into the cache: all of them, or none."""
    pin, force = read_pin(given["sha256"]), given["force"]
    arrivals = arrive(name, companions, source, work, pin, repin=given["repin"], force=force)
    if hooks.listed is not None:
        hooks.listed(arrivals)
    receive(arrivals, work, hooks.progress)
    for arrival in reversed(arrivals):  # companions first
        install(arrival, force=force)


def _check_revision(there: Installed, revision: str | None) -> None:
    known = (there.source.get("revision"), there.source.get("asked_for"))
    if revision is not None and revision not in known:
        raise OptionError(
            f"{there.bundle.name} is here already, at revision {known[0] or 'unknown'}; give "
            f"`force` to have {revision} in its place."
        )


def _places(name: str, given: FetchOptions) -> list[Place]:
    """Return where to look: what was given, else what the lock says and then the environment.

    There may be none.
    """
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
    return places
