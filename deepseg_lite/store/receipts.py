"""Receipts of ``deepseg-lite verify`` that are kept on this machine, one file each.

They are ``<home>/receipts/<hash>.json``: one for each bundle, engine, precision, form and
processor, so nothing is read to be written anew. Several machines may share the folder. A receipt
holds while the bundle, this package and the engine's are those it was made with.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from deepseg_lite.atomic import make_folder, write_files
from deepseg_lite.bundles.files import CANONICAL
from deepseg_lite.bundles.schemas import parse_json, schema_problems
from deepseg_lite.errors import BundleError
from deepseg_lite.machine import processor_name
from deepseg_lite.store.cache import home
from deepseg_lite.store.lock import manifest_sha256
from deepseg_lite.text import one_line, shortened

Receipt = Mapping[str, Any]
"""A document of the form of ``receipt.schema.json``."""
MAX_BYTES = 1 << 20


def keep(receipt: Receipt) -> Path:
    """Keep a receipt in the user's cache, in place of an earlier one of the same.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    engine, bundle = receipt["engine"], receipt["bundle"]
    words = [bundle["manifest_sha256"], engine["provider"], engine["precision"]]
    if (form := engine.get("form", CANONICAL)) != CANONICAL:
        words.append(form)
    key = hashlib.sha256("|".join((*words, receipt["machine"]["cpu"])).encode()).hexdigest()
    path = _folder() / f"{key[:32]}.json"
    make_folder(path.parent)
    write_files({path: as_bytes(receipt)}, overwrite=True, synced=False)
    return path


def as_bytes(receipt: Receipt) -> bytes:
    """Return a receipt as the content of a file."""
    return (json.dumps(receipt, indent=2, ensure_ascii=False) + "\n").encode()


def read_receipt(path: Path) -> Receipt:
    """Read a receipt.

    Raises
    ------
    BundleError
        If it cannot be read or is none.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES} bytes")
        document = parse_json(data.decode())
        if problems := schema_problems("receipt", document):
            raise ValueError(problems[0])
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BundleError(
            one_line(
                f"{path} is no receipt: {shortened(str(reason), 120)}. A file that deepseg-lite "
                "verify -o wrote is needed."
            )
        ) from error
    found: Receipt = document
    return found


def holding(bundle_folder: Path) -> list[Receipt]:
    """Return the receipts that say that a bundle gives the original's result here, newest first.

    Those of other processors, of other versions, and of results above a bound are left out.
    """
    sha256, cpu, found = manifest_sha256(bundle_folder), processor_name(), []
    for path in _folder().glob("*.json"):
        with suppress(BundleError):  # damaged, or of another version of this package
            receipt = read_receipt(path)
            made_here = (receipt["bundle"]["manifest_sha256"], receipt["machine"]["cpu"])
            if made_here == (sha256, cpu) and receipt["within"] and _is_current(receipt):
                found.append(receipt)
    return sorted(found, key=lambda receipt: str(receipt["date"]), reverse=True)


def verified(bundle_folder: Path) -> list[dict[str, str]]:
    """Return when, and on which engine in which precision, a bundle was verified here."""
    return [
        {"date": receipt["date"], **{k: receipt["engine"][k] for k in ("device", "precision")}}
        for receipt in holding(bundle_folder)
    ]


def _is_current(receipt: Receipt) -> bool:
    packages = {
        **receipt["engine"]["packages"],
        "deepseg-lite": receipt["versions"]["deepseg-lite"],
    }
    return all(version_of(package) == number for package, number in packages.items())


def version_of(package: str) -> str:
    """Return the version of an installed package, ``unknown`` where it is not."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _folder() -> Path:
    return home() / "receipts"
