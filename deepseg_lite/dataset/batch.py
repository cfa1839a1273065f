"""Batches: a task or several on all images of a data set."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from deepseg_lite.atomic import check_folder
from deepseg_lite.dataset.citation import citation_files, write_citations
from deepseg_lite.dataset.description import write_description
from deepseg_lite.dataset.inputs import Source, read_input
from deepseg_lite.dataset.job import DONE, FAILED, Job, Outcome
from deepseg_lite.dataset.keys import Hashes, case_key
from deepseg_lite.dataset.options import AUTO, HERE, BatchOptions
from deepseg_lite.dataset.parts import parse_part
from deepseg_lite.dataset.planning import LOGS, PlannedTask, plan_jobs, plan_tasks
from deepseg_lite.dataset.running import Hooks, run_jobs
from deepseg_lite.dataset.state import failure_of, forget_failure, keep_failure, look, record_of
from deepseg_lite.dataset.tables import write_tables
from deepseg_lite.errors import DeepsegError, OptionError
from deepseg_lite.notice import Warn, log
from deepseg_lite.option import complete, takes
from deepseg_lite.text import shown

if TYPE_CHECKING:
    from typing_extensions import Unpack

Report = dict[str, Any]
"""Of one job: ``status``, ``case``, ``task``, ``images``, ``outputs``, and all of its record."""


@dataclass
class Batch:
    """Jobs of a batch, planned and not begun; made by `plan_batch`.

    Attributes
    ----------
    source : Source
        Where the images are.
    out : Path
        Folder of the results.
    tasks : mapping of str to PlannedTask
        By their names.
    jobs : list of Job
        All jobs, or those of the share that is to be run.
    options : BatchOptions
        Complete.
    """

    source: Source
    out: Path
    tasks: Mapping[str, PlannedTask]
    jobs: list[Job]
    options: BatchOptions
    _hashes: Hashes = field(default_factory=Hashes)

    def run(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Report]:
        """Run what is not done, and yield a report of every job.

        Parameters
        ----------
        stop : callable
            Asked now and then; True ends the run after the cases under way.

        Yields
        ------
        report : dict
            In the order in which jobs end.

        Raises
        ------
        OutputError
            If the folder of results cannot be written to.
        """
        check_folder(self.out)
        if any(job.for_bids for job in self.jobs):
            write_description(self.source.root, self.out, names_source=self.source.bids)
        write_citations(
            self.out / LOGS,
            {n: citation_files(n, task.model, task.fitted) for n, task in self.tasks.items()},
        )
        waiting: dict[str, Job] = {}
        for job in self.jobs:
            failure = self._failure(job)
            if failure is None or self.options["retry_failed"] or self.options["overwrite"]:
                waiting[job.id] = job
            else:
                yield _report(job, FAILED, failure, was_done=True)
        try:
            for outcome in self._outcomes(list(waiting.values()), stop):
                yield self._reported(waiting[outcome.id], outcome)
        finally:
            with suppress(DeepsegError):
                write_tables(self.out)

    def status(self) -> Counter[str]:
        """Return how many jobs are done, failed and open; nothing is run or written."""
        counts = Counter({"done": 0, "failed": 0, "open": 0})
        for job in self.jobs:
            key = self._key(job)
            try:
                is_done = key is not None and look(job, key) == "done"
                has_failed = not is_done and self._failure(job, key) is not None
            except OptionError:  # somebody changed its results
                is_done, has_failed = False, True
            counts["done" if is_done else "failed" if has_failed else "open"] += 1
        return counts

    def _outcomes(self, jobs: Sequence[Job], stop: Callable[[], bool]) -> Iterator[Outcome]:
        """Run jobs where the options say."""
        options, threads = self.options, self.options["threads"]
        overlap = options["overlap_cases"]
        if not jobs:
            return iter(())
        if options["scheduler"] is not None:
            # An extra that few installations have.
            from deepseg_lite.dataset.dask_cluster import run_on_cluster

            return run_on_cluster(jobs, options["scheduler"], threads=threads, stop=stop)
        workers = _workers(options["jobs"], jobs)
        if workers == 0:
            return run_jobs(jobs, overlap=overlap, hooks=Hooks(stop))
        from deepseg_lite.dataset.crew import Crew
        from deepseg_lite.dataset.sizing import cores
        from deepseg_lite.dataset.supervisor import supervise

        share = threads or max(1, cores() // workers)
        return supervise(jobs, Crew(workers, share, overlap, options["time_limit"]), stop)

    def _key(self, job: Job) -> str | None:
        """Return the key of a job; None where its images cannot be read."""
        try:
            hashes = self._hashes.of([Path(image) for image in job.images])
        except DeepsegError:
            return None
        return case_key(self.tasks[job.fields["Task"]].key, hashes)

    def _failure(self, job: Job, key: str | None = None) -> dict[str, Any] | None:
        """Return the record of a failure with the same images and model, if there is one."""
        failure = failure_of(job)
        if failure is None or failure["Key"] is None:
            return None
        return failure if failure["Key"] == (key or self._key(job)) else None

    def _reported(self, job: Job, outcome: Outcome) -> Report:
        """Keep what came of a job, and return its report."""
        if outcome.status == DONE:
            forget_failure(job)
            return _report(job, DONE, record_of(job) or {}, was_done=outcome.was_done)
        key = self._key(job)
        with suppress(OptionError):
            if key is not None and look(job, key) == "done":  # by another run, meanwhile
                return _report(job, DONE, record_of(job) or {}, was_done=True)
        return _report(job, FAILED, keep_failure(job, outcome, key), was_done=False)


def _report(job: Job, status: str, record: Mapping[str, Any], *, was_done: bool) -> Report:
    return {
        "status": status,
        "case": job.fields["Case"],
        "task": job.fields["Task"],
        "was_done": was_done,
        "images": list(job.images),
        "outputs": list(job.images_written) if status == DONE else [],
        **record,
    }


def _workers(given: str | int, jobs: Sequence[Job]) -> int:
    """Return how many processes are to run jobs; none where this one does.

    Raises
    ------
    OptionError
        If that is no number of processes.
    """
    given = str(given)
    if given == AUTO:
        from deepseg_lite.dataset.sizing import choose_workers

        return choose_workers(jobs)
    if given == HERE:
        return 0
    if not given.isdecimal() or int(given) < 1:
        raise OptionError(
            f"jobs is {given!r}; a number of processes from 1 on, {AUTO} or {HERE}, is needed."
        )
    return int(given)


def plan_batch(
    source: str | Path,
    out: str | Path,
    task: str | Path | Sequence[str | Path],
    *,
    command: Sequence[str] = (),
    warn: Warn = log,
    **options: Unpack[BatchOptions],
) -> Batch:
    """Return a batch, everything checked before any work; see `batch`."""
    given = cast("BatchOptions", complete(BatchOptions, options))
    words = [task] if isinstance(task, str | Path) else list(task)
    if os.path.realpath(source) == os.path.realpath(out):
        raise OptionError(
            f"{shown(out)} is the folder of the images; give another one for results, such as "
            f"{shown(Path(out) / 'derivatives' / 'deepseg-lite')}."
        )
    if given["time_limit"] is not None and (given["scheduler"] or given["jobs"] == HERE):
        raise OptionError(
            "`time_limit` ends processes of this command, and none was asked for; leave it out, or "
            f"give `jobs` a number and no `scheduler` (jobs is {given['jobs']!r})."
        )
    tasks = plan_tasks([str(word) for word in words], given)
    found = read_input(str(source), Path(out), warn)
    jobs = plan_jobs(found, tasks, Path(out), given, command, warn)
    if given["part"] is not None:
        jobs = parse_part(given["part"]).of(jobs)
    if given["jobs"] != AUTO:
        _workers(given["jobs"], jobs)
    by_name = {task.name: task for task in tasks}
    if given["max_ram"] is not None:
        by_name, jobs = _below(given["max_ram"], by_name, jobs)
    return Batch(found, Path(out), by_name, jobs, given)


def _below(
    size: str, tasks: Mapping[str, PlannedTask], jobs: Sequence[Job]
) -> tuple[dict[str, PlannedTask], list[Job]]:
    """Return tasks and jobs with settings that stay below an amount of memory."""
    from deepseg_lite.performance.plan.limit import stay_below

    changed = {}
    for name, task in tasks.items():
        cases = [[Path(i) for i in job.images] for job in jobs if job.fields["Task"] == name]
        settings = stay_below(task.model, cases, task.fitted, size)
        changed[name] = replace(task, settings=settings)
    return changed, [replace(job, settings=changed[job.fields["Task"]].settings) for job in jobs]


@takes(BatchOptions)
def batch(
    source: str | Path,
    out: str | Path,
    task: str | Path | Sequence[str | Path],
    *,
    warn: Warn = log,
    **options: Unpack[BatchOptions],
) -> Iterator[Report]:
    """Segment all images of a data set; what is done is not done again.

    Parameters
    ----------
    source : str or path
        A BIDS data set, a folder, a pattern, or a list of images (``.txt``, ``.tsv``).
    out : str or path
        Folder of the results.
    task : str, path, or sequence of them
        Tasks by name (``deepseg-lite list``), or bundles.
    warn : callable
        Told of what is doubtful about the input, as a `Notice`.

    Returns
    -------
    reports : iterator of dict
        One for each case and task, in the order in which they end: ``status`` (done or failed),
        ``case``, ``task``, ``was_done``, ``images``, ``outputs``, and all of the record. Jobs run
        as it is asked for them.

    Raises
    ------
    DeepsegError
        If something is wrong before any work: the input, a task, an option, the folder. A case that
        fails has a report, with ``Error``.
    """
    return plan_batch(source, out, task, warn=warn, **options).run()
