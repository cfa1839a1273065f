"""Case: its images, the files its results go to, and who looks at them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from nibabel.spatialimages import SpatialImage

from deepseg_lite.api.model import Result, ResultFile
from deepseg_lite.api.record import label_tables
from deepseg_lite.nifti.names import stem
from deepseg_lite.watch import Watch


@dataclass(frozen=True)
class Case:
    """The images of one case, one per channel, and the files its results go to.

    ``paths`` are where ``files`` go, one for one; ``cropbox`` is for the box around the cord.
    ``overwrite`` is whether files that are there may be replaced, ``fields`` are more fields of the
    record, and ``for_bids`` is whether tables of labels are called as BIDS has it. ``manual`` are
    masks by hand that are looked at in place of results, by the path of the result.
    """

    images: tuple[Path, ...]
    files: tuple[ResultFile, ...]
    paths: tuple[Path, ...]
    cropbox: Path | None = None
    overwrite: bool = False
    fields: Mapping[str, Any] = field(default_factory=dict)
    for_bids: bool = False
    manual: Mapping[Path, Path] = field(default_factory=dict)

    @property
    def tables(self) -> dict[Path, bytes]:
        """Return the tables of label maps, beside each."""
        return {
            path.with_name(stem(path) + ending): text
            for path, file in zip(self.paths, self.files, strict=True)
            for ending, text in label_tables(file, for_bids=self.for_bids).items()
        }

    @property
    def sidecars(self) -> tuple[Path, ...]:
        """Return where the record of the run goes: beside every file."""
        return tuple(path.with_name(f"{stem(path)}.json") for path in self.paths)

    @property
    def written(self) -> tuple[Path, ...]:
        """Return everything the case writes."""
        box = [self.cropbox] if self.cropbox else []
        return (*self.paths, *box, *self.tables, *self.sidecars)


class Review(Protocol):
    """Review of one result."""

    def record(self) -> Mapping[str, Any]:
        """Return the verdict, and what it rests on, as fields of the record of the run."""
        ...

    def keep(self, command: str) -> None:
        """Keep what is to be looked at, when the result is written; the command line made it."""
        ...


class Reviewer(Protocol):
    """Reviewer of results, such as `deepseg_lite.qc.reviewing.Reviewer`."""

    def review(
        self, case: Case, images: Sequence[SpatialImage], result: Result, watch: Watch
    ) -> Review | None:
        """Look at a result before it is written; None where that failed, which was told."""
        ...
