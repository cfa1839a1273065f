"""What the user may choose about a MONAI model, and facts to record."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deepseg_lite.errors import OptionError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Options:
    """What the user may choose; None leaves it to the model.

    ``sct`` is the version of the Spinal Cord Toolbox whose treatment a Lightning checkpoint gets,
    None for that of its network. ``soft`` leaves its result a soft map.
    """

    name: str | None = None
    release: str = "1"
    license: str | None = None
    citation: str | None = None
    urls: Sequence[str] = ()
    sct: str | None = None
    soft: bool = False
    trust_checkpoint: bool = False


def bundle_name(options: Options, otherwise: str) -> str:
    """Return the name the user chose, or one made of any text.

    Raises
    ------
    OptionError
        If the chosen one is no name.
    """
    if options.name is None:
        return re.sub(r"[^A-Za-z0-9._-]+", "-", otherwise).strip("-._") or "model"
    if not _NAME.fullmatch(options.name):
        raise OptionError(
            f"--name {options.name!r} is not a name; letters, digits, dot, dash and underscore."
        )
    return options.name


def source_record(
    options: Options, details: Mapping[str, str | float | None], files: Mapping[str, str]
) -> dict[str, Any]:
    """Return the manifest's ``source``; ``files`` are the SHA-256 of what was read."""
    return {
        "family": "monai",
        "release": options.release,
        **({"urls": list(options.urls)} if options.urls else {}),
        "license": options.license,
        "citation": options.citation,
        "details": dict(details),
        "files": dict(files),
    }
