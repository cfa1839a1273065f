"""Reference cases of an export, with the original software at hand or its results as files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from deepseg_export.errors import MissingPackageError
from deepseg_export.families.original import Original
from deepseg_export.packages import is_importable, package_versions
from deepseg_export.references.making import make_references
from deepseg_export.references.request import Request
from deepseg_lite.bundles.bundle import Bundle
from deepseg_lite.errors import OptionError

References = Callable[[Bundle, Path], list[dict[str, Any]]]
"""Writes reference cases into a bundle, with a folder for what does not stay."""


def references_of(
    original: Original | None, model: Any, options: Any, request: Request
) -> References:
    """Return what makes the reference cases of an export, after a look at what it needs.

    Parameters
    ----------
    original : Original or None
        The original software of the model's family; None where this package cannot run it.
    model, options
        As the family reads them.
    request : Request
        What is wanted.

    Raises
    ------
    OptionError
        If labels must be given, or what made those that were given.
    MissingPackageError
        If the original software is not installed.
    """
    if request.labels:
        check_software(request, "--reference-software")
        return lambda bundle, work: make_references(request, bundle, work)
    if original is None:
        raise OptionError(
            "the original software of this family is not run here; give its results with "
            "--reference-labels, and its name and version with --reference-software."
        )
    if missing := [name for name in original.packages if not is_importable(name)]:
        raise MissingPackageError(
            f"Reference cases need the original software, and {', '.join(missing)} cannot be "
            f"imported: pip install {' '.join(missing)}, or give --reference-labels"
        )
    versions = package_versions(original.packages)
    software = f"{original.packages[0]} {versions[original.packages[0]]}, {original.software}"
    filled = replace(request, software=software, versions=versions)
    return lambda bundle, work: make_references(
        filled,
        bundle,
        work,
        lambda cases: original.segment(model, options, bundle.manifest, cases),
    )


def check_software(request: Request, option: str) -> None:
    """Refuse labels that nobody says the maker of.

    Raises
    ------
    OptionError
        Naming the option.
    """
    if not (request.software or "").strip():
        raise OptionError(
            f"labels were given, and not what made them; name the software and its version with "
            f"{option}."
        )
