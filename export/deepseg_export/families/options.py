"""Options of an export that every family has, and the facts that they become."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deepseg_lite.errors import OptionError
from deepseg_lite.store.cache import is_name


@dataclass(frozen=True, kw_only=True)
class Options:
    """Choices of the user; None leaves one to the model.

    Attributes
    ----------
    name : str or None
        Name of the bundle.
    release : str
        Version of the model.
    license, citation : str or None
        Licence of the weights, and what to cite.
    urls : sequence of str
        Where the checkpoint comes from.
    with_torch : bool
        Whether torch builds and converts the network, instead of being written directly.
    check_torch : bool
        Whether a network that is written directly is compared with what torch computes.
    """

    name: str | None = None
    release: str = "1"
    license: str | None = None
    citation: str | None = None
    urls: Sequence[str] = ()
    with_torch: bool = False
    check_torch: bool = False


def bundle_name(options: Options, otherwise: str) -> str:
    """Return the name the user chose, or one made of any text.

    Raises
    ------
    OptionError
        If the chosen one is no name.
    """
    if options.name is None:
        return re.sub(r"[^A-Za-z0-9._-]+", "-", otherwise).strip("-._") or "model"
    if not is_name(options.name):
        raise OptionError(
            f"--name {options.name!r} is not a name; letters, digits, dot, dash and underscore."
        )
    return options.name


def set_prior(manifest: dict[str, Any], bundle: str) -> None:
    """Name the bundle of the model that runs first, on the first channel."""
    first_channel = manifest["inputs"]["channel_names"][0]
    manifest["prior"] = {"bundle": bundle, "channels": [first_channel]}


def source_record(
    family: str,
    options: Options,
    details: Mapping[str, str | float | None],
    files: Mapping[str, str],
) -> dict[str, Any]:
    """Return the manifest's ``source``; ``files`` are the SHA-256 of the files that were read."""
    return {
        "family": family,
        "release": options.release,
        **({"urls": list(options.urls)} if options.urls else {}),
        "license": options.license,
        "citation": options.citation,
        "details": dict(details),
        "files": dict(files),
    }
