"""Command that segments. Heavy imports stay inside it, so help is instant."""

from __future__ import annotations

import json
import logging
import os
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from deepseg_lite.api.file_options import MemoryOptions, OutputOptions
from deepseg_lite.api.load_options import LoadOptions
from deepseg_lite.cli import suggestions
from deepseg_lite.cli.console import progress_bar, report_error, say, set_logging
from deepseg_lite.cli.files import FilePath, ModelName
from deepseg_lite.cli.options import (
    RunCommand,
    cases_of,
    given_of,
    load_model,
    options_of,
    settings_of,
)
from deepseg_lite.inference.settings import Settings
from deepseg_lite.notice import EMPTY, ignore, log
from deepseg_lite.qc.options import QualityOptions
from deepseg_lite.text import printable

if TYPE_CHECKING:
    from deepseg_lite.api.cases import FileRun

_logger = logging.getLogger("deepseg_lite")
EXIT_DOUBTFUL = 3

INPUTS = [
    click.Argument(["task_or_bundle"], type=ModelName()),
    click.Option(
        ["images", "-i", "--image"],
        multiple=True,
        required=True,
        metavar="IMAGE",
        shell_complete=suggestions.files,
        help="NIfTI image, a folder of them, or a quoted pattern. Repeat for several cases, or for "
        "several channels of one case.",
    ),
    click.Option(
        ["cases", "--case"],
        count=True,
        help="Start the next case (only for models of several channels).",
    ),
]
OUTPUTS = [
    click.Option(
        ["-o", "--output"],
        type=FilePath(),
        metavar="OUT",
        help="A .nii or .nii.gz file, or a folder. Default: beside each image.",
    ),
    *options_of(OutputOptions),
    click.Option(
        ["--overwrite"],
        is_flag=True,
        envvar="DEEPSEG_LITE_OVERWRITE",
        help="Replace existing outputs (also DEEPSEG_LITE_OVERWRITE=1).",
    ),
]
HOW = [
    *options_of(LoadOptions),
    *options_of(Settings),
    *options_of(MemoryOptions),
]
REPORTS = [
    click.Option(["as_json", "--json"], is_flag=True, help="Print a JSON report on stdout."),
    click.Option(
        ["--fail-empty"],
        is_flag=True,
        help=f"Exit with {EXIT_DOUBTFUL} where nothing at all was found in an image.",
    ),
    click.Option(["-v", "--verbose"], count=True, help="Say more; -vv more still."),
    click.Option(["-q", "--quiet"], is_flag=True, help="Say only errors; no progress bar."),
]


def _run(**given: Any) -> None:
    """Segment images with a task's model or a bundle.

    TASK_OR_BUNDLE is a name from "deepseg-lite list", a bundle folder or a lone .onnx file.
    Results are written beside each image, as IMAGE_seg.nii.gz or under the names the Spinal Cord
    Toolbox gives them, each with a JSON record of the run. Command lines of sct_deepseg work, too.
    """
    ctx = click.get_current_context()
    quiet = given["quiet"]
    set_logging(given["verbose"], quiet=quiet)
    for remark in ctx.meta["remarks"]:
        _logger.warning("%s", remark)
    # numpy's matrix products are small here: several threads gain a few milliseconds on an idle
    # machine and wait for each other, up to a second, on a busy one. Read at numpy's import.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    from deepseg_lite.machine import share_one_heap

    share_one_heap()
    from deepseg_lite.api.cases import FileRun, name_outputs
    from deepseg_lite.inference.overlap import in_turn, overlapped
    from deepseg_lite.watch import Watch

    segmenter = load_model(given)
    settings = settings_of(given, segmenter.bundle)
    if advice := segmenter.bundle.inputs.advice:
        _logger.warning("%s: %s", segmenter.bundle.name, advice)
    planned = name_outputs(
        segmenter,
        cases_of(given, ctx.meta["case_sizes"], segmenter.bundle),
        given["output"],
        settings,
        cropbox=given["cropbox"],
        overwrite=given["overwrite"],
    )
    if given["max_ram"] is not None:
        from deepseg_lite.performance.plan.limit import stay_below

        settings = stay_below(
            segmenter, [case.images for case in planned], settings, given["max_ram"]
        )
    decides = segmenter.bundle.outputs.are_maps or settings["soft"]
    if settings["threshold"] is not None and not decides:
        _logger.warning("The threshold has no effect: labels are decided without one.")
    quality = cast("QualityOptions", given_of(QualityOptions, given))
    reviewer = None
    if any(quality.values()):
        from deepseg_lite.qc.reviewing import make_reviewer

        reviewer = make_reviewer(segmenter, quality, planned)
    command = [Path(word).name if os.sep in word else word for word in sys.argv[1:]]
    runs = [
        _WithBar(
            # Told with the result: cases overlap, and bars are drawn.
            FileRun(
                segmenter,
                case,
                settings,
                command=command,
                watch=Watch(notify=ignore),
                reviewer=reviewer,
            ),
            hidden=quiet,
        )
        for case in planned
    ]
    reports, errors = [], []
    if settings["overlap_cases"]:
        order = overlapped(runs, segmenter.open)
    else:
        segmenter.open()
        order = in_turn(runs)
    with closing(order) as outcomes:
        for case, run, outcome in zip(planned, runs, outcomes, strict=True):
            try:
                report = outcome()
            except Exception as error:  # whatever it is, it ends one case and not the others
                images_given = [str(path) for path in case.images]
                warnings = [notice.record() for notice in run.watch.notices]
                errors.append(
                    {"images": images_given, "error": report_error(error), "warnings": warnings}
                )
                continue
            reports.append(report)
            for notice in run.watch.notices:
                log(notice)
            # Imported when the most memory has been taken: it adds nothing to that.
            from deepseg_lite.performance.plan.past_runs import keep_run

            keep_run(segmenter, case.images, settings, report["Seconds"])
            _logger.info(
                "%s", ", ".join(f"{stage} {s:.2f} s" for stage, s in report["Seconds"].items())
            )
            if not given["as_json"]:
                say("\n".join(map(printable, report["outputs"])))
            _tell(case.images[0], report.get("Verdict"))
    if given["as_json"]:
        say(json.dumps({"results": reports, "errors": errors}, indent=2))
    if errors:
        ctx.exit(1)
    if given["strict"] and any(_fails(report) for report in reports):
        ctx.exit(EXIT_DOUBTFUL)
    if given["fail_empty"] and any(_is_empty(report) for report in reports):
        ctx.exit(EXIT_DOUBTFUL)


def _is_empty(report: dict[str, Any]) -> bool:
    return any(warning["code"] == EMPTY for warning in report["Warnings"])


def _fails(report: dict[str, Any]) -> bool:
    return bool(report.get("Verdict", {}).get("level") == "fail")


def _tell(image: Path, verdict: dict[str, Any] | None) -> None:
    """Say what the rules found doubtful about a result; the run's own warnings were said."""
    for finding in verdict["findings"] if verdict else ():
        if finding["is_own"]:
            _logger.warning("%s: %s: %s", image, finding["level"], finding["text"])


class _WithBar:
    """Run of a case with a progress bar while its networks run."""

    def __init__(self, run: FileRun, *, hidden: bool) -> None:
        self._run, self._hidden, self.watch = run, hidden, run.watch
        self.prepare, self.finish = run.prepare, run.finish

    def predict(self) -> None:
        name = self._run.case.images[0].name
        with progress_bar(name, hidden=self._hidden, show_pos=True) as progress:
            self.watch.progress = progress
            self._run.predict()


run = RunCommand(
    "run",
    report={"results": []},
    callback=_run,
    help=_run.__doc__,
    params=[*INPUTS, *OUTPUTS, *HOW, *options_of(QualityOptions), *REPORTS],
)
