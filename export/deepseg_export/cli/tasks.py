"""The commands of ``deepseg-export`` that know the catalogue: task, all, cord-detector."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from deepseg_export.cli.options import (
    CONTEXT,
    PATH,
    Command,
    download_options,
    model_options,
    network_options,
    path_options,
    progress_events,
    run_options,
)
from deepseg_lite.cli.console import progress_bar


def _progress(*, events: bool) -> Any:
    return progress_events if events else progress_bar


@click.command(cls=Command, context_settings=CONTEXT)
@click.argument("name", metavar="TASK")
@click.argument("more", nargs=-1, type=PATH, metavar="")
@click.option("--release", metavar="R", help="Version. [default: the newest that can run]")
@click.option(
    "--from",
    "sources",
    multiple=True,
    type=PATH,
    metavar="FILE_OR_FOLDER...",
    help="Archives or folders on this machine instead of a download; several are laid onto one "
    "another. A folder may also hold the official archives.",
)
@click.option(
    "-o", "--output", type=PATH, metavar="DIR", help="Bundle to write. [default: the local cache]"
)
@model_options
@path_options
@download_options
@run_options
def task(
    name: str,
    more: tuple[Path, ...],
    release: str | None,
    sources: tuple[Path, ...],
    output: Path | None,
    mirror: str | None,
    offline: bool,
    keep_downloads: bool,
    repin: bool,
    force: bool,
    events: bool,
    verbose: bool,
    **choices: Any,
) -> None:
    """Download and convert the official model of TASK, such that deepseg-lite run TASK finds it."""
    if more and not sources:
        raise click.UsageError(f"{more[0]} is one argument too many; archives go after --from.")
    from deepseg_export.tasks.export import Supply, export_task

    supply = Supply(
        (*sources, *more), mirror, offline, keep_downloads, repin, _progress(events=events)
    )
    click.echo(
        export_task(name, output, release=release, supply=supply, choices=choices, force=force)
    )


@click.command("all", cls=Command, context_settings=CONTEXT)
@click.option(
    "--from",
    "sources",
    multiple=True,
    type=PATH,
    metavar="DIR",
    help="Folder with the official archives, or with TASK/RELEASE/ folders of them, instead of "
    "downloads.",
)
@click.option(
    "-o", "--output", type=PATH, metavar="DIR", help="Folder of bundles. [default: the local cache]"
)
@path_options
@download_options
@run_options
def export_everything(
    sources: tuple[Path, ...],
    output: Path | None,
    mirror: str | None,
    offline: bool,
    keep_downloads: bool,
    repin: bool,
    force: bool,
    events: bool,
    verbose: bool,
    **choices: Any,
) -> None:
    """Convert every task of the catalogue; print a table of what came of each.

    PATH is direct where networks became ONNX without PyTorch, torch where it converted them, and -
    where nothing was converted.
    The exit code is 1 if one failed. Bundles that are there stay, without --force.
    """
    from deepseg_export.tasks.everything import export_all
    from deepseg_export.tasks.export import Supply

    supply = Supply(sources, mirror, offline, keep_downloads, repin, _progress(events=events))
    outcomes = export_all(output, supply=supply, choices=choices, force=force)
    rows = [("TASK", "RELEASE", "PATH", "RESULT")]
    rows += [(each.task, each.release, each.path or "-", each.result) for each in outcomes]
    widths = [*(max(len(row[i]) for row in rows) for i in range(3)), 0]
    for row in rows:
        click.echo("  ".join(map(str.ljust, row, widths)))
    if any(outcome.failed for outcome in outcomes):
        click.get_current_context().exit(1)


@click.command(cls=Command, context_settings=CONTEXT)
@click.option(
    "--from", "source", type=PATH, metavar="FOLDER", help="Folder with both files, no download."
)
@click.option(
    "-o", "--output", type=PATH, metavar="DIR", help="Bundle to write. [default: the local cache]"
)
@network_options
@run_options
def cord_detector(output: Path | None, events: bool, verbose: bool, **choices: Any) -> None:
    """Download and convert what finds the cord, for models of cropped volumes (sc-crop)."""
    from deepseg_export.tasks.cord_detector import install_cord_detector

    click.echo(install_cord_detector(output, progress=_progress(events=events), **choices))
