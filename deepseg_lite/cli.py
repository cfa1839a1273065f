"""The command line. Heavy imports stay inside the commands, so help is instant."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deepseg_lite import cli_store
from deepseg_lite.console import progress_bar, report_error, set_logging
from deepseg_lite.errors import DeepsegError

if TYPE_CHECKING:
    from deepseg_lite.bundle import Bundle

_logger = logging.getLogger("deepseg_lite")


class CaseCommand(click.Command):
    """A command whose ``--case`` options divide its ``-i`` options into cases."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Note how many images precede each ``--case`` before the options are processed."""
        _, _, order = self.make_parser(ctx).parse_args(list(args))
        sizes = [0]
        for parameter in order:
            if parameter.name == "cases":
                sizes.append(0)
            elif parameter.name == "images":
                sizes[-1] += 1
        ctx.meta["case_sizes"] = sizes
        return super().parse_args(ctx, args)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    "show_version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda ctx, _, value: _print_version(ctx) if value else None,
    help="Show the versions of the package and of ONNX Runtime.",
)
def cli() -> None:
    """Segment spinal-cord MRI with nnU-Net models on ONNX Runtime, without PyTorch.

    For research, not a medical device.
    """


def _print_version(ctx: click.Context) -> None:
    from importlib.metadata import version

    from deepseg_lite.session import installed_packages

    runtime = ", ".join(installed_packages()) or "no onnxruntime"
    click.echo(f"deepseg-lite {version('deepseg-lite')} ({runtime})")
    ctx.exit()


@cli.command(cls=CaseCommand)
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
    "-o",
    "--output",
    metavar="OUT",
    help="A .nii or .nii.gz file, or a folder. Default: beside each image.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="cuda fails when CUDA is not usable.",
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
@click.option("--soft", is_flag=True, help="Write float32 probability maps, one per label.")
@click.option("--folds", metavar="A,B", help="Folds to average. Default: all.")
@click.option(
    "--accumulator",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    help="Type of the sums of logits; float16 is nnU-Net's, for comparing with it.",
)
@click.option("--retired", is_flag=True, help="Run a task that was retired all the same.")
@click.option("--overwrite", is_flag=True, help="Replace existing outputs.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON report on stdout.")
@click.option("-v", "--verbose", count=True, help="Say more; -vv shows tracebacks.")
@click.option("-q", "--quiet", is_flag=True, help="Say only errors; no progress bar.")
@click.pass_context
def run(
    ctx: click.Context,
    task_or_bundle: str,
    images: tuple[str, ...],
    cases: int,
    output: str | None,
    device: str,
    threads: int | None,
    tta: bool,
    step: float | None,
    soft: bool,
    folds: str | None,
    accumulator: str,
    retired: bool,
    overwrite: bool,
    as_json: bool,
    verbose: int,
    quiet: bool,
) -> None:
    """Segment images with a task's model or a bundle.

    TASK_OR_BUNDLE is a name from "deepseg-lite list", a bundle folder or a lone .onnx file.
    Labels are written beside each image as IMAGE_seg.nii.gz with a JSON record of the run.
    """
    set_logging(verbose, quiet=quiet)
    # numpy's matrix products are small here: several threads gain a few milliseconds on an idle
    # machine and wait for each other, up to a second, on a busy one. Read at numpy's import.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    from deepseg_lite import api
    from deepseg_lite.cases import plan_cases, run_case
    from deepseg_lite.pipeline import Settings

    segmenter = api.load(
        task_or_bundle,
        device=device,
        threads=threads,
        folds=None if folds is None else [fold.strip() for fold in folds.split(",")],
        retired=retired,
    )
    grouped = _group(list(map(Path, images)), ctx.meta["case_sizes"], segmenter.bundle, cases)
    planned = plan_cases(
        segmenter, grouped, Path(output) if output else None, soft=soft, overwrite=overwrite
    )
    settings = Settings(
        step=step,
        mirror=tta,
        soft=soft,
        half_precision_sums=accumulator == "float16",
    )
    command = [Path(word).name if os.sep in word else word for word in sys.argv[1:]]
    reports, errors = [], []
    for case in planned:
        try:
            with progress_bar(case.images[0].name, hidden=quiet, show_pos=True) as progress:
                report = run_case(segmenter, case, settings, command=command, progress=progress)
        except DeepsegError as error:
            images_given = [str(path) for path in case.images]
            errors.append({"images": images_given, "error": report_error(error)})
            continue
        reports.append(report)
        _logger.info(
            "%s", ", ".join(f"{stage} {s:.2f} s" for stage, s in report["Seconds"].items())
        )
        if not as_json:
            click.echo("\n".join(report["outputs"]))
    if as_json:
        click.echo(json.dumps({"results": reports, "errors": errors}, indent=2))
    if errors:
        ctx.exit(1)


def _group(images: list[Path], sizes: list[int], bundle: Bundle, cases: int) -> list[list[Path]]:
    """Divide images into cases: at each ``--case``, else as many as the model has channels."""
    channels = len(bundle.inputs.channel_names)
    if not cases:
        sizes = [channels] * (len(images) // channels)
        if rest := len(images) % channels:
            sizes.append(rest)
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return [images[start : start + size] for start, size in zip(starts, sizes, strict=True)]


@cli.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_command(as_json: bool) -> None:
    """List the tasks, and where each stands on this machine."""
    from deepseg_lite import catalogue
    from deepseg_lite.tasks import list_tasks

    tasks = list_tasks()
    if as_json:
        click.echo(json.dumps([catalogue.row(task) for task in tasks], indent=2))
    else:
        click.echo(catalogue.listing(tasks))


@cli.command()
@click.argument("task_or_bundle")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(task_or_bundle: str, as_json: bool) -> None:
    """Show what a task or a bundle needs, gives, weighs and may be used for."""
    from deepseg_lite import catalogue

    bundle, task = catalogue.look_up(task_or_bundle)
    facts = catalogue.describe(bundle, task)
    if as_json:
        whole = {
            "task": catalogue.document(task) if task else None,
            "manifest": bundle.manifest if bundle else None,
        }
        click.echo(json.dumps({**facts, **whole}, indent=2))
    else:
        click.echo(catalogue.facts_in_words(facts))


@cli.command()
@click.argument("out")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Another seed gives another phantom.",
)
@click.option(
    "--labels", metavar="FILE", help="Also write the true labels: 1 white, 2 gray matter."
)
@click.option("--overwrite", is_flag=True, help="Replace existing files.")
def phantom(out: str, seed: int, labels: str | None, overwrite: bool) -> None:
    """Write a synthetic axial T2*-weighted volume, to try a model without any MRI."""
    from deepseg_lite.cases import write_phantom

    for path in write_phantom(
        Path(out), seed, Path(labels) if labels else None, overwrite=overwrite
    ):
        click.echo(path)


for _command in (cli_store.fetch, cli_store.remove):
    cli.add_command(_command)


def main() -> None:
    """Run the command line; errors end in one line and exit code 1."""
    try:
        cli.main(prog_name="deepseg-lite")
    except DeepsegError as error:
        report_error(error)
        sys.exit(1)
    except MemoryError:
        click.echo("error: out of memory; give fewer threads or a smaller image.", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
