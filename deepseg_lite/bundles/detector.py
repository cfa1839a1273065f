"""Detector bundles: the networks that find the cord for models of cropped images.

Such a bundle is a directory like any other. It is fetched and kept like one that segments, but it
cannot be run by itself. The form of its manifest is ``detector.schema.json`` beside this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepseg_lite.bundles.bundle import CORD_DETECTOR, parse_manifest
from deepseg_lite.bundles.files import BundleFiles, NetworkFile, check_files, read_manifest
from deepseg_lite.bundles.manifest import form_problems
from deepseg_lite.bundles.schemas import frozen, in_words
from deepseg_lite.errors import BundleError

ROLES = ("detector", "classifier")


@dataclass(frozen=True, kw_only=True)
class DetectorSettings:
    """Settings of a detector: pictures of slices, and the use of detections.

    ``letterbox`` is how pictures are padded: ``minimum_rectangle`` for a detector that takes any
    size, ``square`` for one that takes ``image_size`` alone. ``padding_mm`` is what is added on
    each face of the box where the model that uses it says nothing.
    """

    slice_spacing_mm: float
    in_plane_spacing_mm: float
    percentiles: tuple[float, float]
    image_size: int
    letterbox: str
    confidence: float
    regularization: str
    classifier_threshold: float
    padding_mm: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Detector(BundleFiles):
    """A validated manifest; ``networks`` are the detector and the classifier."""

    settings: DetectorSettings


def detector_problems(manifest: Any) -> list[str]:
    """Return every reason why a document is not the manifest of a detector; empty if it is one."""
    problems = form_problems("detector", manifest)
    if not problems:
        names = {manifest["networks"][role]["path"] for role in ROLES}
        if len(names) < len(ROLES):
            problems.append("networks: every path must be there once")
        low, high = manifest["settings"]["percentiles"]
        if low >= high:
            problems.append("settings.percentiles: the lower one comes first")
    return problems


def parse_detector(manifest: Any, path: Path, *, lone_file: bool = False) -> Detector:
    """Turn a manifest document into a `Detector`.

    Raises
    ------
    BundleError
        Listing every problem at once, or if it is the manifest of a model that segments.
    """
    if _kind(manifest) != CORD_DETECTOR or lone_file:
        raise BundleError(
            f"{path} does not find the cord; a folder made by deepseg-export from the networks of "
            "sc-crop is needed."
        )
    if problems := detector_problems(manifest):
        raise BundleError(
            f"{path} has an invalid manifest: {in_words(problems)}. Export the model again."
        )
    return Detector(
        name=manifest["name"],
        version=manifest["version"],
        networks=tuple(NetworkFile(**manifest["networks"][role]) for role in ROLES),
        settings=DetectorSettings(**frozen(manifest["settings"])),
        manifest=manifest,
        path=path,
    )


def read_detector(path: Path | str) -> Detector:
    """Read and validate a detector bundle; the networks themselves are not opened.

    Raises
    ------
    BundleNotFoundError
        If there is nothing at ``path``, or nothing that is a bundle.
    BundleError
        If the manifest is invalid or that of a model that segments.
    ChecksumError
        If a network is missing or has another size than recorded.
    """
    path = Path(path)
    manifest, lone_file = read_manifest(path)
    detector = parse_detector(manifest, path, lone_file=lone_file)
    check_files(detector)
    return detector


def parse_any(manifest: Any, path: Path, *, lone_file: bool = False) -> BundleFiles:
    """Turn the manifest document of a bundle of either kind into what it describes."""
    parse = parse_detector if _kind(manifest) == CORD_DETECTOR else parse_manifest
    return parse(manifest, path, lone_file=lone_file)


def read_any(path: Path) -> BundleFiles:
    """Read and validate a bundle of either kind."""
    manifest, lone_file = read_manifest(path)
    bundle = parse_any(manifest, path, lone_file=lone_file)
    check_files(bundle)
    return bundle


def _kind(manifest: Any) -> Any:
    return manifest.get("kind") if isinstance(manifest, dict) else None
