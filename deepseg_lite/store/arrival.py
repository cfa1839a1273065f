"""Bundles on their way: manifests first, then the files that they list, all checked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from deepseg_lite.bundles.bundle import Bundle
from deepseg_lite.bundles.detector import parse_any
from deepseg_lite.bundles.files import MANIFEST_NAME, BundleFiles, check_listed
from deepseg_lite.bundles.schemas import parse_json
from deepseg_lite.errors import BundleError, BundleNotFoundError, ChecksumError, OutputError
from deepseg_lite.store import cache
from deepseg_lite.store.installed import intact, own_companions
from deepseg_lite.store.lock import manifest_sha256
from deepseg_lite.store.pins import Pin, check_arrived, pins_of
from deepseg_lite.store.sources import Source

Progress = Callable[[int, int], None]

CARD_NAME = "README.md"
MAX_TEXT_BYTES = 2_000_000


@dataclass(frozen=True)
class Arrival:
    """A bundle on its way: its manifest is here, in a folder that has its name."""

    bundle: BundleFiles
    source: Source


def arrive(
    name: str,
    companions: Sequence[str] | None,
    source: Callable[[str], Source],
    work: Path,
    pin: str | None,
    *,
    repin: bool,
    force: bool,
) -> list[Arrival]:
    """Fetch and check the manifests of all that is needed; nothing else is fetched yet.

    Without ``companions``, the bundle comes, and those that it names; else they alone. ``source``
    gives the place of each by its name.
    """
    arrivals = []
    if companions is None:
        owner = _get_manifest(name, source(name), work, pins_of(name, pin), repin=repin)
        arrivals.append(owner)
        companions = own_companions(owner.bundle)
    for companion in companions:
        found = _get_manifest(companion, source(companion), work, pins_of(companion), repin=repin)
        if isinstance(found.bundle, Bundle) and found.bundle.companions:
            raise BundleError(
                f"{companion} comes along with {name} and needs bundles of its own, which none "
                "may; nothing was installed. Ask whoever keeps it."
            )
        here = None if force else intact(companion)
        if here is None or here.bundle.manifest != found.bundle.manifest:
            arrivals.append(found)
    return arrivals


def _get_manifest(
    name: str, source: Source, work: Path, pins: Sequence[Pin], *, repin: bool
) -> Arrival:
    """Fetch and validate a manifest; only then are there names of files to fetch."""
    folder = work / name / "bundle"
    folder.mkdir(parents=True)
    try:
        source.get(MANIFEST_NAME, folder / MANIFEST_NAME, MAX_TEXT_BYTES)
    except FileNotFoundError as error:
        raise BundleNotFoundError(f"{name} is not there: {error} does not exist.") from error
    try:
        manifest = parse_json((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
    except ValueError as error:
        raise BundleError(
            f"the manifest of {name} there is not JSON ({error}); nothing was installed."
        ) from error
    bundle = replace(parse_any(manifest, Path(name)), path=folder)
    if bundle.name != name:
        raise BundleError(f"what is there for {name} calls itself {bundle.name}; not installed.")
    if len({file.path.casefold() for file in bundle.contents}) < len(bundle.contents):
        raise BundleError(
            f"the manifest of {name} there lists a file twice; nothing was installed. Ask whoever "
            "keeps it."
        )
    check_arrived(name, manifest_sha256(folder), pins, repin=repin)
    return Arrival(bundle, source)


def receive(arrivals: Sequence[Arrival], work: Path, progress: Progress | None) -> None:
    """Fetch and check all files that the manifests list, and the cards."""
    names = ", ".join(arrival.bundle.name for arrival in arrivals)
    size = sum(arrival.bundle.size for arrival in arrivals)
    needed = sum(arrival.bundle.size for arrival in arrivals if not arrival.source.is_here)
    free = shutil.disk_usage(work).free
    if needed > free:
        raise OutputError(
            f"{names} needs {needed / 1e6:.1f} MB, {cache.home()} has {free / 1e6:.1f} MB free; "
            "make room or set DEEPSEG_LITE_HOME to a folder on another disk."
        )
    before = 0

    def received(done: int, _: int) -> None:
        if progress is not None:
            progress(before + done, size)

    for bundle, source in ((arrival.bundle, arrival.source) for arrival in arrivals):
        for file in bundle.contents:
            path = bundle.path / file.path
            path.parent.mkdir(exist_ok=True)
            try:
                source.get_listed(file, path, received)
            except FileNotFoundError as error:
                raise ChecksumError(
                    f"{error} is missing there, though the manifest of {bundle.name} lists it; "
                    "nothing was installed."
                ) from error
            check_listed(bundle, file)
            before += file.size
        with suppress(FileNotFoundError):
            source.get(CARD_NAME, bundle.path / CARD_NAME, MAX_TEXT_BYTES)


def install(arrival: Arrival, *, force: bool) -> None:
    """Bring a complete bundle into the cache, with a record of where it came from."""
    staged, name = arrival.bundle.path, arrival.bundle.name
    record = {**arrival.source.record, "manifest_sha256": manifest_sha256(staged)}
    (staged / cache.SOURCE_NAME).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    target = cache.bundle_directory(name)
    cache.put(staged, target, keep=lambda: not force and intact(name) is not None)
