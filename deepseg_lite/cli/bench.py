"""The command that measures models on this machine. Heavy imports stay inside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from deepseg_lite.cli.console import progress_bar, report_error, say, set_logging
from deepseg_lite.cli.files import FilePath, ModelName
from deepseg_lite.errors import DeepsegError


def _words(ctx: click.Context, parameter: click.Parameter, values: Sequence[str]) -> list[str]:
    """Return the different values of a repeated option, each a list separated by commas."""
    words = [word.strip() for value in values for word in value.split(",")]
    if not all(words):
        raise click.BadParameter(f"{', '.join(values)!r} has an empty value.")
    return list(dict.fromkeys(words))


def _counts(ctx: click.Context, parameter: click.Parameter, values: Sequence[str]) -> list[int]:
    """Return the same as whole numbers above 0."""
    words = _words(ctx, parameter, values)
    if wrong := [word for word in words if not word.isdecimal() or int(word) < 1]:
        raise click.BadParameter(f"{', '.join(wrong)} is not a whole number above 0.")
    return [int(word) for word in words]


@click.command(short_help="Measure models here: time per stage, throughput and memory.")
@click.argument("models", nargs=-1, type=ModelName(), metavar="[TASK_OR_BUNDLE]...")
@click.option(
    "-i",
    "--image",
    "images",
    multiple=True,
    type=FilePath(),
    metavar="IMAGE",
    help="NIfTI image; repeat for the channels of the case. Default: a synthetic one, see phantom.",
)
@click.option(
    "--device",
    "devices",
    metavar="A,B",
    callback=_words,
    multiple=True,
    default=["auto"],
    show_default=True,
    help="What runs the networks, one or several; see run.",
)
@click.option(
    "--precision",
    "precisions",
    metavar="A,B",
    callback=_words,
    multiple=True,
    default=["fp32"],
    show_default=True,
    help="What is computed in, one or several; see run. Devices are left out of what they lack.",
)
@click.option(
    "--threads",
    callback=_counts,
    multiple=True,
    metavar="N,M",
    help="CPU threads, one or several numbers. Default: what affinity mask and cgroup allow.",
)
@click.option(
    "--repeat",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Warm passes after the cold one.",
)
@click.option(
    "-o",
    "--output",
    type=FilePath(),
    metavar="FOLDER",
    help="Also write bench.json, stages.svg (a plot) and row.md (for SCT's wiki) to this folder.",
)
@click.option("--overwrite", is_flag=True, help="Replace existing files.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("-v", "--verbose", count=True, help="Say more; -vv more still.")
@click.option("-q", "--quiet", is_flag=True, help="Say only errors; no progress bar.")
@click.pass_context
def bench(
    ctx: click.Context,
    /,
    models: Sequence[str],
    images: Sequence[Path],
    devices: Sequence[str],
    precisions: Sequence[str],
    threads: Sequence[int],
    repeat: int,
    output: Path | None,
    overwrite: bool,
    as_json: bool,
    verbose: int,
    quiet: bool,
) -> None:
    """Measure models on this machine: time per stage, throughput and memory.

    Every model runs in every combination of device, precision and threads, each in a new process:
    once cold and then warm. Without a name, all models that are here run.
    """
    set_logging(verbose, quiet=quiet)
    from deepseg_lite.machine import available_threads
    from deepseg_lite.performance.bench import running as benchmark
    from deepseg_lite.performance.bench.tables import report_in_words
    from deepseg_lite.store.tasks import find_bundle

    ways = benchmark.combine(devices, precisions, threads or [available_threads()])
    if output is not None:
        benchmark.check_folder(output, overwrite=overwrite)
    results, errors = [], []
    for model in models or benchmark.models_here():
        try:
            find_bundle(model)
        except DeepsegError as error:
            errors.append({"model": model, "error": report_error(error)})
            continue
        for way in ways:
            configuration = benchmark.Configuration(model, *way)
            try:
                with progress_bar(str(configuration), hidden=quiet, show_pos=True) as progress:
                    found = benchmark.measure(configuration, images, repeat, progress=progress)
            except DeepsegError as error:
                errors.append({**asdict(configuration), "error": report_error(error)})
            else:
                results.append(found)
    document = benchmark.describe_benchmark(results, errors, images, repeat)
    if as_json:
        say(json.dumps(document, indent=2))
    elif results:
        say(report_in_words(document))
    if output is not None and results:
        benchmark.write_results(output, document)
    if errors:
        ctx.exit(1)
