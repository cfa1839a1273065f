"""Reference cases: images, and the labels that the original software gave for them.

They let any machine prove that it gives the original's result. Their labels never come from this
software.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deepseg_lite.bundles.files import BundleFile
from deepseg_lite.bundles.schemas import frozen


@dataclass(frozen=True, kw_only=True)
class PhantomRecipe:
    """A synthetic image as its arguments, see `deepseg_lite.make_phantom`.

    ``sha256`` is that of its voxels where the labels were made, see
    `deepseg_lite.verification.cases.voxels_sha256`.
    """

    seed: int
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    noise: float
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Reference:
    """One reference case.

    Attributes
    ----------
    name : str
        Name, unique in the bundle.
    labels : BundleFile
        NIfTI file with the original's result on the image's grid: a label map (X, Y, Z), or for
        models whose result is maps (X, Y, Z, L).
    software, versions : str, mapping of str to str
        The software that made the labels, and the versions of its packages.
    date : str
        Day on which they were made, year-month-day.
    bounds : mapping of str to int
        For each precision, how many voxels may differ.
    source, license : str, str or None
        Where the image comes from, and what allows passing it on.
    images : tuple of BundleFile
        One image per channel; empty for a phantom.
    phantom : PhantomRecipe or None
        The image, where it is drawn.
    """

    name: str
    labels: BundleFile
    software: str
    versions: Mapping[str, str]
    date: str
    bounds: Mapping[str, int]
    source: str
    license: str | None
    images: tuple[BundleFile, ...] = ()
    phantom: PhantomRecipe | None = None

    @property
    def files(self) -> tuple[BundleFile, ...]:
        """Every file of the case."""
        return (*self.images, self.labels)


def parse_references(manifest: Mapping[str, Any]) -> tuple[Reference, ...]:
    """Return the reference cases that a valid manifest lists."""
    return tuple(map(_parse, manifest.get("references", ())))


def _parse(document: Mapping[str, Any]) -> Reference:
    facts = {
        **document,
        "labels": BundleFile(**document["labels"]),
        "images": tuple(BundleFile(**image) for image in document.get("images", ())),
    }
    if "phantom" in document:
        facts["phantom"] = PhantomRecipe(**frozen(document["phantom"]))
    return Reference(**facts)
