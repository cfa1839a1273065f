"""Command that segments whole data sets. Heavy imports stay inside it, so help is instant."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from deepseg_lite.cli import suggestions
from deepseg_lite.cli.console import report_error, say, set_logging
from deepseg_lite.cli.files import FilePath
from deepseg_lite.cli.options import given_of, options_of
from deepseg_lite.cli.progress import Progress
from deepseg_lite.dataset.options import BatchOptions
from deepseg_lite.errors import DeepsegError
from deepseg_lite.text import printable

_logger = logging.getLogger("deepseg_lite")
EXIT_REFUSED, EXIT_DOUBTFUL = 2, 3
LISTS = {"--filter": "=", "--participant-label": "", "--session-label": ""}
"""Options that may be followed by several values, and the sign that each of these has."""
IGNORED = {"--skip-bids-validation": 0, "--skip_bids_validation": 0, "-w": 1, "--work-dir": 1}
"""Options of BIDS Apps that change nothing here, and how many values they have."""


def _underscored(word: str) -> str:
    """Return an option of BIDS Apps in our spelling: they write participant_label, too."""
    name, equals, value = word.partition("=")
    return f"{name.replace('_', '-')}{equals}{value}" if name.startswith("--") else word


def one_by_one(words: Sequence[str]) -> list[str]:
    """Return a command line with one value behind each option.

    >>> one_by_one(["--participant_label", "01", "02", "--jobs", "2"])
    ['--participant-label', '01', '--participant-label', '02', '--jobs', '2']
    """
    left, found = list(words), []
    while left:
        word = _underscored(left.pop(0))
        if word in IGNORED or word.replace("-", "_") in IGNORED:
            del left[: IGNORED.get(word, 0)]
        elif word in LISTS:
            values: list[str] = []
            while left and not left[0].startswith("-") and (LISTS[word] in left[0] or not values):
                values.append(left.pop(0))
            found += [part for value in values for part in (word, value)] or [word]
        else:
            found.append(word)
    return found


class BatchCommand(click.Command):
    """Command that takes lists of values, and the words of BIDS Apps."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line."""
        return super().parse_args(ctx, one_by_one(args))


INPUTS = [
    click.Argument(["source"], metavar="INPUT", shell_complete=suggestions.files),
    click.Argument(["out"], type=FilePath(), metavar="OUT"),
    click.Argument(["level"], required=False, metavar="[participant]"),
    click.Option(
        ["tasks", "--task"],
        multiple=True,
        metavar="TASK",
        shell_complete=suggestions.models,
        help="Task or bundle; all but --finish need it. Repeat it for several, which share the "
        "reading of images.",
    ),
]
ACTIONS = [
    click.Option(["--status"], is_flag=True, help="Count what is done, failed and open, and end."),
    click.Option(
        ["--finish"], is_flag=True, help="Make cases.tsv and cases.json of the records, and end."
    ),
    click.Option(
        ["--sbatch"],
        type=click.IntRange(min=1),
        metavar="N",
        help="Print the script of a SLURM job array of N jobs, and end.",
    ),
]
REPORTS = [
    click.Option(["as_json", "--json"], is_flag=True, help="Print a JSON report on stdout."),
    click.Option(["-v", "--verbose"], count=True, help="Say more; -vv more still."),
    click.Option(["-q", "--quiet"], is_flag=True, help="Say only errors; no progress."),
]


def _batch(**given: Any) -> None:
    """Segment all images of a data set; what is done is not done again.

    INPUT is a BIDS data set, a folder, a quoted pattern or a list (.txt, .tsv); OUT is a folder
    for results. The order of BIDS Apps works, too: INPUT OUT participant. Exit code 0: all done;
    1: some failed or were left; 2: nothing was begun; 3: with --strict, a verdict is fail.
    """
    ctx = click.get_current_context()
    set_logging(given["verbose"], quiet=given["quiet"])
    if given["level"] == "group":
        given["finish"] = True
    elif given["level"] not in (None, "participant"):
        raise click.UsageError(
            f"{given['level']} follows INPUT and OUT; participant or group can, or nothing.", ctx
        )
    if not given["tasks"] and not given["finish"]:
        raise click.MissingParameter(ctx=ctx, param_hint="'--task'", param_type="option")
    # As in run: threads of numpy wait for each other. Read at numpy's import.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    from deepseg_lite.machine import share_one_heap

    share_one_heap()
    if given["finish"]:
        from deepseg_lite.dataset.tables import write_tables

        rows = write_tables(given["out"])
        say(printable(given["out"] / "cases.tsv") + f": {len(rows)} cases")
        return
    from deepseg_lite.dataset.batch import plan_batch

    command = [Path(word).name if os.sep in word else word for word in sys.argv[1:]]
    try:
        batch = plan_batch(
            given["source"],
            given["out"],
            given["tasks"],
            command=command,
            **given_of(BatchOptions, given),
        )
    except (DeepsegError, OSError) as error:
        _refuse(given, error)
        ctx.exit(EXIT_REFUSED)
    if given["sbatch"] is not None:
        say(_script(batch, given["sbatch"]))
    elif given["status"]:
        counts = batch.status()
        words = ", ".join(f"{name} {count}" for name, count in counts.items())
        say(json.dumps(counts) if given["as_json"] else words)
    else:
        ctx.exit(_run(batch, given))


def _refuse(given: dict[str, Any], error: Exception) -> None:
    text = report_error(error)
    if given["as_json"]:
        say(json.dumps({"results": [], "errors": [{"images": [], "error": text}]}, indent=2))


def _run(batch: Any, given: dict[str, Any]) -> int:
    """Run a batch, tell its progress, and return the exit code."""
    from deepseg_lite.dataset.interrupts import stopped_by_interrupt

    progress = Progress(len(batch.jobs), hidden=given["quiet"])
    results: list[Any] = []
    doubtful = 0
    with stopped_by_interrupt(progress.stopping) as stop, closing(batch.run(stop)) as reports:
        for report in reports:
            progress.tell(report)
            doubtful += (report.get("Verdict") or {}).get("level") == "fail"
            if given["as_json"]:
                results.append(report)
    progress.end()
    if given["as_json"]:
        done = [report for report in results if report["status"] == "done"]
        failed = [report for report in results if report["status"] != "done"]
        say(json.dumps({"results": done, "errors": failed}, indent=2))
    else:
        say(printable(batch.out / "cases.tsv"))
    if progress.done < progress.total:
        return 1
    return EXIT_DOUBTFUL if given["strict"] and doubtful else 0


def _script(batch: Any, count: int) -> str:
    """Return the script of a job array that runs this command line in parts."""
    from deepseg_lite.dataset.parts import sbatch_script
    from deepseg_lite.dataset.sizing import cores, memory_to_ask_for

    words, left = ["deepseg-lite"], sys.argv[1:]
    while left:
        word = left.pop(0)
        if word == "--sbatch":
            left.pop(0)
        elif not word.startswith("--sbatch="):
            words.append(word)
    jobs = batch.options["jobs"]
    workers = int(jobs) if jobs.isdecimal() else 1
    cpus = workers * batch.options["threads"] if batch.options["threads"] else cores()
    memory = memory_to_ask_for(batch.jobs, workers, max(1, cpus // workers))
    return sbatch_script(words, count, memory=memory, cpus=cpus)


batch = BatchCommand(
    "batch",
    callback=_batch,
    help=_batch.__doc__,
    params=[*INPUTS, *options_of(BatchOptions), *ACTIONS, *REPORTS],
)
