"""Jobs and outcomes: what is to be done with one case, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

DONE: Literal["done"] = "done"
FAILED: Literal["failed"] = "failed"


@dataclass(frozen=True)
class Job:
    """One task on the images of one case; all of it can be JSON, so that it goes anywhere.

    Attributes
    ----------
    id : str
        Name of the job, no two alike.
    task : str
        Task, or path of a bundle.
    images : tuple of str
        Files, one for each channel.
    outputs : tuple of str
        Files to write, one for each that the model gives with these settings.
    load : mapping
        Options of loading, see `deepseg_lite.api.load_options.LoadOptions`.
    settings : mapping
        Options of the run, see `deepseg_lite.inference.settings.Settings`.
    quality : mapping
        Options of quality control, see `deepseg_lite.qc.options.QualityOptions`.
    manual : mapping of str to str
        Masks by hand that go before outputs in quality control, by the output.
    fields : mapping
        More fields of the record.
    cropbox : str or None
        Where the box around the cord goes, if it is wanted.
    overwrite : bool
        Whether files that are there may be replaced.
    for_bids : bool
        Whether tables of labels are called as BIDS has it.
    log : str or None
        Text file for what is said of this case.
    command : tuple of str
        The command line, for the record.
    keeps_images : bool
        Whether the next job has the same images, so that they stay in memory; see `in_order`.
    """

    id: str
    task: str
    images: tuple[str, ...]
    outputs: tuple[str, ...]
    load: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    quality: Mapping[str, Any] = field(default_factory=dict)
    manual: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)
    cropbox: str | None = None
    overwrite: bool = False
    for_bids: bool = False
    log: str | None = None
    command: tuple[str, ...] = ()
    keeps_images: bool = False

    @property
    def images_written(self) -> tuple[str, ...]:
        """Return all images that are written: outputs, and the box around the cord."""
        return self.outputs if self.cropbox is None else (*self.outputs, self.cropbox)

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Job:
        """Return the job that `dataclasses.asdict` made a dictionary of, through JSON or not."""
        lists = ("images", "outputs", "command")
        return cls(**{**given, **{name: tuple(given[name]) for name in lists}})


@dataclass(frozen=True)
class Outcome:
    """What came of a job.

    Attributes
    ----------
    id : str
        The job's.
    status : {"done", "failed"}
        Whether its results are there.
    error : str or None
        What is wrong, what is needed and what to do, in one line.
    kind : str or None
        Class of the error.
    warnings : tuple of mappings
        Notices as records hold them.
    seconds : float
        Time that its steps took.
    attempts : int
        Times it was under way: this time, and those at which its process died.
    signal : int or None
        Signal that ended the process it failed in.
    was_done : bool
        Whether its results were there before.
    """

    id: str
    status: Literal["done", "failed"]
    error: str | None = None
    kind: str | None = None
    warnings: tuple[Mapping[str, Any], ...] = ()
    seconds: float = 0.0
    attempts: int = 1
    signal: int | None = None
    was_done: bool = False

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Outcome:
        """Return the outcome of a dictionary, as `Job.from_dict` does."""
        return cls(**{**given, "warnings": tuple(given["warnings"])})


def in_order(jobs: Iterable[Job]) -> list[Job]:
    """Return jobs with those of the same images one after another, to share their reading."""
    together: dict[tuple[str, ...], list[Job]] = {}
    for job in jobs:
        together.setdefault(job.images, []).append(job)
    return [
        replace(job, keeps_images=job is not same[-1]) for same in together.values() for job in same
    ]


def grouped(jobs: Iterable[Job]) -> Iterator[list[Job]]:
    """Yield jobs that share the reading of their images, as `in_order` leaves them."""
    group: list[Job] = []
    for job in jobs:
        group.append(job)
        if not job.keeps_images:
            yield group
            group = []
    if group:
        yield group


def add_to_log(job: Job, *lines: str) -> None:
    """Add lines to the log of a job, if it has one.

    Raises
    ------
    OSError
        If that cannot be written.
    """
    if job.log is None:
        return
    path = Path(job.log)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
        file.write("".join(f"{line}\n" for line in lines))
