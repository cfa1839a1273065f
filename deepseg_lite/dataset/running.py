"""Running of jobs in this process: models stay in memory, and a case that fails ends alone."""

from __future__ import annotations

import json
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from threading import Lock
from time import perf_counter
from typing import cast

from deepseg_lite import leftovers
from deepseg_lite.api import loader
from deepseg_lite.api.case import Case
from deepseg_lite.api.case_errors import errors_of
from deepseg_lite.api.cases import FileRun, check_outputs
from deepseg_lite.api.load_options import LoadOptions
from deepseg_lite.api.model import Model
from deepseg_lite.dataset.images import Images
from deepseg_lite.dataset.job import DONE, FAILED, Job, Outcome, add_to_log
from deepseg_lite.dataset.keys import case_key, model_key
from deepseg_lite.dataset.state import MANUAL, look, manual_hashes
from deepseg_lite.errors import Cancelled, DeepsegError, OptionError
from deepseg_lite.inference.fitting import fit_settings
from deepseg_lite.inference.overlap import in_turn, overlapped
from deepseg_lite.inference.settings import Settings, make_settings
from deepseg_lite.notice import ignore
from deepseg_lite.qc.options import QualityOptions
from deepseg_lite.qc.reviewing import make_reviewer
from deepseg_lite.watch import Watch

PREPARE, PREDICT, FINISH, WAIT = "prepare", "predict", "finish", "wait"
"""Steps of a job, and that it waits between two of them."""


def _never() -> bool:
    return False


def _nobody(*_: str) -> None:
    pass


@dataclass(frozen=True)
class Hooks:
    """What a run of jobs asks and tells.

    Attributes
    ----------
    stop : callable
        Asked before each job and before its networks; True ends the run after those under way.
    alive : callable
        Told at every step and every batch of patches, from any thread.
    step : callable
        Told the id of a job and the step that it begins, or that it waits, from any thread.
    """

    stop: Callable[[], bool] = _never
    alive: Callable[[], None] = _nobody
    step: Callable[[str, str], None] = _nobody


class Models:
    """Models in memory, each loaded when a job first asks for it.

    Parameters
    ----------
    threads : int, optional
        CPU threads of models whose jobs do not say; by default what this process may use.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads
        self._loaded: dict[str, Model] = {}
        self._lock = Lock()

    def of(self, job: Job) -> Model:
        """Return the model of a job; its networks are opened when they first run."""
        # Threads that spin would take the core from the next case, and from other programs.
        defaults = {"threads": self._threads, "spinning": False}
        options = {**defaults, **job.load, "open_networks": False}
        key = json.dumps([job.task, options], sort_keys=True)
        with self._lock:
            if key not in self._loaded:
                self._loaded[key] = loader.load(job.task, **cast("LoadOptions", options))
            return self._loaded[key]


class JobRun:
    """Run of one job in three steps, so that jobs can overlap; see `FileRun`."""

    def __init__(
        self,
        job: Job,
        models: Models,
        images: Images,
        hooks: Hooks,
    ) -> None:
        self.job, self._models, self._images, self._hooks = job, models, images, hooks
        self._was_done = False
        self.watch = Watch(notify=ignore)  # told with the outcome
        self.watch.progress = lambda _, __: hooks.alive()
        self.seconds = 0.0
        self._run: FileRun | None = None
        self._begun = datetime.now(timezone.utc)

    def prepare(self) -> None:
        """Load the model if it is the first of its jobs, and do all that comes before networks."""
        self._timed(PREPARE, self._prepare)

    def predict(self) -> None:
        """Run the networks, unless the run is to stop before."""
        if self._hooks.stop():
            raise Cancelled("stopped before its networks ran; nothing was written.")
        if self._run is not None:
            self._timed(PREDICT, self._run.predict)

    def finish(self) -> Outcome:
        """Write the files."""
        if self._run is not None:
            self._timed(FINISH, self._run.finish)
        self._run = None
        return self._outcome()

    def failed(self, error: Exception) -> Outcome:
        """Return the outcome of a run that failed."""
        self._run = None
        return self._outcome(error)

    def _timed(self, name: str, step: Callable[[], object]) -> None:
        started = perf_counter()
        self._hooks.alive()
        self._hooks.step(self.job.id, name)
        try:
            step()
        finally:
            self._hooks.step(self.job.id, WAIT)
            self.seconds += perf_counter() - started

    def _prepare(self) -> None:
        job = self.job
        with errors_of(Path(job.images[0])):
            model = self._models.of(job)
            settings = fit_settings(make_settings(**cast("Settings", job.settings)), model.bundle)
            hashes = self._images.hashes.of([Path(image) for image in job.images])
            key = case_key(model_key(model, settings), hashes)
            for folder in {Path(output).parent for output in job.outputs}:
                leftovers.sweep(folder)  # of a process that died when all was in its place
            standing = "outdated" if job.overwrite else look(job, key)
            if standing == "done":
                self._was_done = True
                return
            fields = {"Case": job.id, **job.fields, "Key": key, "SourcesSHA256": hashes}
            if job.manual:
                fields[MANUAL] = manual_hashes(job)
            overwrite = standing == "outdated"
            case = case_of(replace(job, fields=fields, overwrite=overwrite), model, settings)
        run = FileRun(
            model,
            case,
            settings,
            command=job.command,
            watch=self.watch,
            open_image=self._images.opener(job),
            reviewer=make_reviewer(model, cast("QualityOptions", job.quality), [case]),
        )
        run.prepare()
        self._run = run

    def _outcome(self, error: Exception | None = None) -> Outcome:
        text, kind = (None, None) if error is None else (str(error), type(error).__name__)
        warnings = tuple(notice.record() for notice in self.watch.notices)
        status = DONE if error is None else FAILED
        with suppress(OSError):  # a log that cannot be written does not take a result away
            self._log(error)
        seconds = round(self.seconds, 4)
        return Outcome(self.job.id, status, text, kind, warnings, seconds, was_done=self._was_done)

    def _log(self, error: Exception | None) -> None:
        job = self.job
        if self._was_done:
            return
        lines = [f"{self._begun:%Y-%m-%dT%H:%M:%SZ} {job.task}: {', '.join(job.images)}"]
        lines += [f"warning: {notice}" for notice in self.watch.notices]
        stages = ", ".join(f"{stage} {s:.3f} s" for stage, s in self.watch.seconds.items())
        lines += [stages] if stages else []
        if error is None:
            lines.append(f"done in {self.seconds:.3f} s")
        else:
            lines.append(f"failed after {self.seconds:.3f} s: {error}")
            lines += "".join(traceback.format_exception(error)).splitlines()
        add_to_log(job, *lines)


def case_of(job: Job, model: Model, settings: Settings) -> Case:
    """Return the case of a job, checked.

    Raises
    ------
    OptionError
        If the outputs are not those that the model gives, a file is in the way, or an option does
        not fit the model.
    ImageError
        If there are not as many images as the model has channels.
    OutputError
        If the outputs cannot be written.
    """
    model.check_channel_count(len(job.images))
    model.check_settings(settings)
    files = model.files(settings)
    if len(files) != len(job.outputs):
        raise OptionError(
            f"{len(job.outputs)} outputs were given; {model.bundle.name} writes {len(files)} with "
            "these settings, one name for each is needed."
        )
    case = Case(
        images=tuple(map(Path, job.images)),
        files=files,
        paths=tuple(map(Path, job.outputs)),
        cropbox=None if job.cropbox is None else Path(job.cropbox),
        overwrite=job.overwrite,
        fields=job.fields,
        manual={Path(name): Path(mask) for name, mask in job.manual.items()},
        for_bids=job.for_bids,
    )
    check_outputs([case], overwrite=job.overwrite)
    return case


def run_jobs(
    jobs: Iterable[Job],
    *,
    threads: int | None = None,
    overlap: bool = True,
    hooks: Hooks | None = None,
    models: Models | None = None,
) -> Iterator[Outcome]:
    """Run jobs one after another in this process.

    Parameters
    ----------
    jobs : iterable of Job
        Those of the same images share their reading in the order of `in_order`. Each is asked for
        when the one before is prepared.
    threads : int, optional
        CPU threads where a job does not say.
    overlap : bool
        Whether the next job is prepared, and the last one written, while networks run.
    hooks : Hooks, optional
        What is asked and told.
    models : Models, optional
        Models in memory, for ``threads`` of theirs; by default those of these jobs alone.

    Yields
    ------
    outcome : Outcome
        Of each job, in their order; those that were to stop have none. A job that fails does not
        stop others; an interrupt does.
    """
    models, images, hooks = models or Models(threads), Images(), hooks or Hooks()
    pending: deque[JobRun] = deque()

    def runs() -> Iterator[JobRun]:
        for job in jobs:
            if hooks.stop():
                return
            pending.append(JobRun(job, models, images, hooks))
            yield pending[-1]

    order = overlapped(runs()) if overlap else in_turn(runs())
    with closing(order) as outcomes:
        for outcome in outcomes:
            run = pending.popleft()
            try:
                found = outcome()
            except Cancelled:
                continue
            except DeepsegError as error:
                found = run.failed(error)
            yield found
