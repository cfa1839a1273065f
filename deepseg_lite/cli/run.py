"""The command that segments. Heavy imports stay inside it, so help is instant."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deepseg_lite.cli.console import progress_bar, report_error, set_logging
from deepseg_lite.cli.options import FACES, RunCommand, cases_of, load_model, settings_of
from deepseg_lite.errors import DeepsegError
from deepseg_lite.machine import share_one_heap

if TYPE_CHECKING:
    from deepseg_lite.api.cases import Case
    from deepseg_lite.api.model import Model
    from deepseg_lite.inference.overlap import Stages
    from deepseg_lite.inference.settings import Settings


_logger = logging.getLogger("deepseg_lite")
DEVICES = ("auto", "cpu", "cuda", "openvino", "tensorrt", "directml", "coreml", "rocm")
PRECISIONS = ("fp32", "bf16", "int8", "fp16", "fp16-weights")


def _box_options(command: Callable[..., None]) -> Callable[..., None]:
    for face in reversed(FACES):
        command = click.option(
            f"--box-{face}",
            type=click.IntRange(min=0),
            metavar="N",
            hidden=face != FACES[0],
            help="Face of the box around the cord, a voxel index, in place of the one found; so "
            f"also {', '.join(f'--box-{other}' for other in FACES[1:])}.",
        )(command)
    return command


@click.command(cls=RunCommand)
@click.argument("task_or_bundle")
@click.option(
    "-i",
    "--image",
    "images",
    multiple=True,
    required=True,
    metavar="IMAGE",
    help="NIfTI image. Repeat for several cases, or for several channels of one case.",
)
@click.option(
    "--case", "cases", count=True, help="Start the next case (only for models of several channels)."
)
@click.option(
    "-c",
    "--contrast",
    "contrasts",
    multiple=True,
    metavar="NAME",
    help="Contrast of each image of a case, for models that tell them apart.",
)
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    help="A .nii or .nii.gz file, or a folder. Default: beside each image.",
)
@click.option("--release", metavar="R", help="Release of the task's model. Default: the one here.")
@click.option("--retired", is_flag=True, help="Run a task that was retired all the same.")
@click.option(
    "--device",
    type=click.Choice(DEVICES),
    default="auto",
    show_default=True,
    help="What runs the networks; it fails when that is not usable. auto: cuda where it works, "
    "else openvino where it is installed, else cpu.",
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="fp32",
    show_default=True,
    help="All but fp32 change a few voxels. bf16: faster, openvino alone. int8 (cpu, openvino), "
    "fp16 (GPUs) and fp16-weights are for bundles that have them; see deepseg-export quantize.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    metavar="N",
    help="CPU threads. Default: what affinity mask and cgroup allow.",
)
@click.option("--tta", is_flag=True, help="Average over mirrored images (2 to 8 times the work).")
@click.option(
    "--step",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="F",
    help="Distance of patches as a fraction of the patch. Default: the model's.",
)
@click.option(
    "--skip-empty",
    is_flag=True,
    help="Leave out patches of nothing but background: not a voxel above the image's mean.",
)
@click.option(
    "--fast",
    is_flag=True,
    help="A step of 0.75, one fold and --skip-empty, as far as the model has them; it changes "
    "voxels, see docs/speed-modes.md.",
)
@click.option("--folds", metavar="A,B", help="Folds to combine. Default: all.")
@click.option("--single-fold", is_flag=True, help="Fold 1 alone, or the first without a fold 1.")
@click.option(
    "--ensemble",
    type=click.Choice(["mean-logits", "majority"]),
    help="How folds are combined. Default: the model's way.",
)
@click.option("--soft", is_flag=True, help="Write float32 probability maps.")
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    metavar="T",
    help="Write a mask of the probabilities above T, with --soft and for models that give "
    "probabilities. 0 leaves them.",
)
@click.option(
    "--keep-largest/--no-keep-largest",
    default=None,
    help="Keep the largest object of every file; or leave the model's own such step out.",
)
@click.option(
    "--fill-holes/--no-fill-holes",
    default=None,
    help="Fill holes in every mask; or leave the model's own such step out.",
)
@click.option(
    "--remove-small",
    multiple=True,
    metavar="SIZE",
    help="Remove objects below SIZE: voxels (10) or mm3 (5mm3). Repeat for one size per file.",
)
@click.option(
    "--label-vert/--no-label-vert",
    default=False,
    help="Tell all vertebrae apart, in a second step (totalspineseg).",
)
@click.option(
    "--outputs",
    metavar="A,B",
    help="Results to write, by the names of the original software (totalspineseg).",
)
@click.option("--iso", is_flag=True, help="Leave results on the 1 mm grid (totalspineseg).")
@_box_options
@click.option("--strict-crop", is_flag=True, help="Fail where no cord is found to crop around.")
@click.option("--cropbox", is_flag=True, help="Also write the box around the cord as a mask.")
@click.option(
    "--accumulator",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    help="Type of the sums of logits; float16 is nnU-Net's, for comparing with it.",
)
@click.option(
    "--max-ram",
    metavar="SIZE",
    help="Memory the process may take: 4G, 800M (1G is 2**30 bytes). Settings are chosen to stay "
    "below, or the run is refused; networks never measured here are, first.",
)
@click.option(
    "--overwrite",
    is_flag=True,
    envvar="DEEPSEG_LITE_OVERWRITE",
    help="Replace existing outputs (also DEEPSEG_LITE_OVERWRITE=1).",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON report on stdout.")
@click.option("-v", "--verbose", count=True, help="Say more; -vv shows tracebacks.")
@click.option("-q", "--quiet", is_flag=True, help="Say only errors; no progress bar.")
@click.pass_context
def run(ctx: click.Context, /, **given: Any) -> None:
    """Segment images with a task's model or a bundle.

    TASK_OR_BUNDLE is a name from "deepseg-lite list", a bundle folder or a lone .onnx file.
    Results are written beside each image, as IMAGE_seg.nii.gz or under the names the Spinal Cord
    Toolbox gives them, each with a JSON record of the run. Command lines of sct_deepseg work, too.
    """
    quiet = given["quiet"]
    set_logging(given["verbose"], quiet=quiet)
    for remark in ctx.meta["remarks"]:
        _logger.warning("%s", remark)
    # numpy's matrix products are small here: several threads gain a few milliseconds on an idle
    # machine and wait for each other, up to a second, on a busy one. Read at numpy's import.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    share_one_heap()
    from deepseg_lite.api.cases import plan_cases
    from deepseg_lite.inference.overlap import in_turn, overlapped

    segmenter = load_model(given)
    settings = settings_of(given, segmenter.bundle)
    if advice := segmenter.bundle.inputs.advice:
        _logger.warning("%s: %s", segmenter.bundle.name, advice)
    planned = plan_cases(
        segmenter,
        cases_of(given, ctx.meta["case_sizes"], segmenter.bundle),
        Path(given["output"]) if given["output"] else None,
        settings,
        cropbox=given["cropbox"],
        overwrite=given["overwrite"],
    )
    if given["max_ram"] is not None:
        from deepseg_lite.performance.plan.limit import stay_below

        settings = stay_below(
            segmenter, [case.images for case in planned], settings, given["max_ram"]
        )
    decides = segmenter.bundle.outputs.are_maps or settings.soft
    if settings.cleaning.threshold is not None and not decides:
        _logger.warning("The threshold has no effect: labels are decided without one.")
    command = [Path(word).name if os.sep in word else word for word in sys.argv[1:]]
    runs = [_with_bar(segmenter, case, settings, command, hidden=quiet) for case in planned]
    reports, errors = [], []
    if settings.overlap_cases:
        order = overlapped(runs, segmenter.open)
    else:
        segmenter.open()
        order = in_turn(runs)
    with closing(order) as outcomes:
        for case, outcome in zip(planned, outcomes, strict=True):
            try:
                report = outcome()
            except DeepsegError as error:
                images_given = [str(path) for path in case.images]
                errors.append({"images": images_given, "error": report_error(error)})
                continue
            reports.append(report)
            # Imported when the most memory has been taken: it adds nothing to that.
            from deepseg_lite.performance.plan.past_runs import keep_run

            keep_run(segmenter, case.images, settings, report["Seconds"])
            _logger.info(
                "%s", ", ".join(f"{stage} {s:.2f} s" for stage, s in report["Seconds"].items())
            )
            if not given["as_json"]:
                click.echo("\n".join(report["outputs"]))
    if given["as_json"]:
        click.echo(json.dumps({"results": reports, "errors": errors}, indent=2))
    if errors:
        ctx.exit(1)


def _with_bar(
    model: Model, case: Case, settings: Settings, command: Sequence[str], *, hidden: bool
) -> Stages[dict[str, Any]]:
    """Run one case in stages, with a progress bar until its networks are through."""
    from deepseg_lite.api.cases import run_case_in_stages
    from deepseg_lite.inference.overlap import run_through

    with progress_bar(case.images[0].name, hidden=hidden, show_pos=True) as progress:
        stages = run_case_in_stages(model, case, settings, command=command, progress=progress)
        next(stages)
        yield
        next(stages)
    yield
    return run_through(stages)
