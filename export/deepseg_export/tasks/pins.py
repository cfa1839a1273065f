"""Pins: the files of a release at its first export, and ever after.

``<home>/pins/<task>/<release>.json`` holds the SHA-256 of each file that an export read, and when.
The archives' own hashes are there for people alone: some addresses are packed anew for everybody.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from deepseg_export.errors import CheckpointError
from deepseg_lite.errors import DeepsegError
from deepseg_lite.store.cache import home, workplace

logger = logging.getLogger(__name__)


def pin_file(task: str, release: str) -> Path:
    """Return where the pins of a release are kept."""
    return home() / "pins" / task / f"{release}.json"


def check_pins(task: str, release: str, files: Mapping[str, str]) -> None:
    """Compare the files of a model with those of the first export; new names are fine.

    Parameters
    ----------
    task, release : str
        Whose model it is.
    files : dict
        File to SHA-256.

    Raises
    ------
    CheckpointError
        If one differs, or the pins cannot be read.
    """
    pinned = _read(pin_file(task, release))["files"]
    for name, digest in files.items():
        known = pinned.get(name)
        if known is not None and known["sha256"] != digest:
            raise CheckpointError(
                f"{name} of {task} {release} has SHA-256 {digest[:12]}..., but had "
                f"{known['sha256'][:12]}... when it was first exported here on {known['pinned']}. "
                "Ask whoever publishes it; if the change is meant to be, give --repin."
            )


def record_pins(
    task: str,
    release: str,
    files: Mapping[str, str],
    archives: Mapping[str, str],
    *,
    repin: bool = False,
) -> None:
    """Pin the files of a successful export.

    Parameters
    ----------
    task, release, files
        As `check_pins`.
    archives : dict
        Archive to SHA-256.
    repin : bool
        Forget what was pinned before.
    """
    file = pin_file(task, release)
    today = date.today().isoformat()
    new = {name: {"sha256": digest, "pinned": today} for name, digest in files.items()}
    try:
        old = {"files": {}, "archives": {}} if repin else _read(file)
        content = {
            "files": {**new, **old["files"]},
            "archives": {**old["archives"], **archives},
        }
        if content == old:
            return
        with workplace(file) as work:
            staged = work / file.name
            staged.write_text(
                json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8"
            )
            staged.replace(file)
    except DeepsegError as error:  # the bundle is there and good
        logger.warning("%s %s could not be pinned: %s", task, release, error)


def _read(file: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        for known in content["files"].values():
            known["sha256"], known["pinned"]
        dict(content["archives"])
    except FileNotFoundError:
        return {"files": {}, "archives": {}}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{file}, what earlier exports were made of, cannot be read; give --repin to write it "
            "anew."
        ) from error
    return content
