"""Locking a study: writing down which bundles it uses."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from deepseg_lite.atomic import write_files
from deepseg_lite.bundles.bundle import Bundle
from deepseg_lite.bundles.detector import read_any
from deepseg_lite.bundles.files import MANIFEST_NAME, BundleFiles
from deepseg_lite.errors import OptionError
from deepseg_lite.store.cache import home, locate, source_of
from deepseg_lite.store.lock import LOCK_NAME, LOCK_VARIABLE, Lock, manifest_sha256, read_lock
from deepseg_lite.store.tasks import installed_path, list_tasks, look_for_beside, look_for_bundle


def write_lock(names: Sequence[str] = ()) -> Lock:
    """Write the lock of the working folder, or the one that ``DEEPSEG_LITE_LOCK`` names.

    Parameters
    ----------
    names : sequence of str
        Tasks or bundles, put beside what an existing lock lists; companions and the bundle that
        finds the cord follow. Without any, the lock lists all bundles of this machine and nothing
        else.

    Raises
    ------
    BundleError
        If one is not here or invalid, or the existing lock cannot be read.
    OptionError
        If one is a lone file.
    OutputError
        If it cannot be written.
    """
    chosen = os.environ.get(LOCK_VARIABLE)
    path = Path(os.path.expanduser(chosen)) if chosen and chosen != "off" else Path(LOCK_NAME)
    kept = dict(read_lock(path).bundles) if names and path.is_file() else {}
    bundles = map(_find, names) if names else _all_here()
    entries = {each.name: _entry(each) for bundle in bundles for each in _with_others(bundle)}
    document = {"schema": 1, "bundles": dict(sorted({**kept, **entries}.items()))}
    write_files({path: (json.dumps(document, indent=2) + "\n").encode()}, overwrite=True)
    return read_lock(path)


def _find(name: str) -> BundleFiles:
    directory = locate(name)
    return read_any(directory) if directory else look_for_bundle(name, retired=True)[0]


def _all_here() -> Iterator[BundleFiles]:
    shipped = [path for task in list_tasks() if (path := installed_path(task)) == task.bundle_path]
    cached = [file.parent for file in (home() / "bundles").glob(f"*/{MANIFEST_NAME}")]
    yield from (read_any(path) for path in [*shipped, *cached] if path is not None)


def _with_others(bundle: BundleFiles) -> Iterator[BundleFiles]:
    """Yield a bundle and those that its runs use."""
    if bundle.lone_file:
        raise OptionError(
            f"{bundle.path} is a lone file, which no lock lists; export its folder, without .onnx."
        )
    yield bundle
    if isinstance(bundle, Bundle):
        yield from (look_for_beside(name, bundle) for name in bundle.companions)
        if bundle.cord_crop and (finder := locate(bundle.cord_crop.detector)):
            yield read_any(finder)


def _entry(bundle: BundleFiles) -> Mapping[str, Any]:
    record = source_of(bundle.path)
    source = {key: record[key] for key in ("repo", "revision", "mirror") if key in record}
    sha256 = manifest_sha256(bundle.path)
    return {"version": bundle.version, "manifest_sha256": sha256, "source": source}
