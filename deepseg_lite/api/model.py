"""Model protocol: the members that every model has for those who run it on files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from nibabel.spatialimages import SpatialImage

from deepseg_lite.bundles.bundle import Bundle
from deepseg_lite.bundles.networks import Network
from deepseg_lite.bundles.task_file import Task
from deepseg_lite.engines.engine import Engine
from deepseg_lite.inference.overlap import Case
from deepseg_lite.inference.settings import Settings
from deepseg_lite.steps.box import Box
from deepseg_lite.watch import Watch

FileKind = Literal["mask", "labels", "points", "soft"]


@dataclass(frozen=True)
class ResultFile:
    """File that a model writes.

    Attributes
    ----------
    suffix : str
        Text between the image's name, an underscore and the extension.
    kind : {"mask", "labels", "points", "soft"}
        Mask of one structure, map of labels, single voxels with a number, or probabilities.
    structures : tuple of str
        Names of what it shows, where that is not told by values.
    names : mapping of int to str
        Name of each value of labels and points.
    has_tables : bool
        Whether tables of the values are written beside the file.
    values : mapping of str to sequence of int
        Values of each structure of labels, where some lie within others.
    """

    suffix: str
    kind: FileKind = "mask"
    structures: tuple[str, ...] = ()
    names: Mapping[int, str] = field(default_factory=dict)
    has_tables: bool = False
    values: Mapping[str, Sequence[int]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Result:
    """Result of one case.

    Attributes
    ----------
    images : tuple of nibabel images
        One for each of the model's files.
    volumes_mm3 : mapping
        Volume of each structure; for models whose files differ in that, such a mapping for each
        suffix.
    labels : mapping
        Values of each structure; likewise.
    box, crop : Box, dict, or None
        The box around the cord and the record of it, for models of cropped images.
    center : tuple of 3 floats or None
        Point in mm that was looked around, where it is not the middle of the image.
    """

    images: tuple[SpatialImage, ...]
    volumes_mm3: Mapping[str, Any]
    labels: Mapping[str, Any]
    box: Box | None = None
    crop: Mapping[str, Any] | None = None
    center: Sequence[float] | None = None


@dataclass(frozen=True)
class Part:
    """Bundle, and those of its networks that a run uses."""

    bundle: Bundle
    networks: tuple[Network, ...]


class Model(Protocol):
    """Model that is run on files; made by `deepseg_lite.load`."""

    @property
    def bundle(self) -> Bundle:
        """The bundle it was opened from."""
        ...

    @property
    def task(self) -> Task | None:
        """The task it was found under, if any."""
        ...

    @property
    def engine(self) -> Engine:
        """The engine of its networks."""
        ...

    @property
    def threads(self) -> int:
        """CPU threads."""
        ...

    def open(self) -> None:
        """Open networks that stay in memory between cases now, not in the first case."""
        ...

    def parts(self, settings: Settings) -> tuple[Part, ...]:
        """Return the bundles a run uses, its own first."""
        ...

    def check_channel_count(self, count: int) -> None:
        """Raise `ImageError` unless ``count`` images make one case of this model."""
        ...

    def check_settings(self, settings: Settings) -> None:
        """Refuse settings that do not fit, and find what else the model needs, before any work.

        Raises
        ------
        OptionError
            Saying which and why.
        BundleNotFoundError
            If the model needs another bundle, which is not here.
        """
        ...

    def files(self, settings: Settings) -> tuple[ResultFile, ...]:
        """Return the files of a run."""
        ...

    def case(
        self,
        images: Sequence[SpatialImage],
        names: Sequence[str],
        settings: Settings,
        watch: Watch,
    ) -> Case[Result]:
        """Return the run of one case, not begun; the names of its images are for errors."""
        ...
