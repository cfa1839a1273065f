"""Commands that pack and unpack kits. Heavy imports stay inside them."""

from __future__ import annotations

from pathlib import Path

import click

from deepseg_lite.cli import suggestions
from deepseg_lite.cli.console import say, set_logging
from deepseg_lite.cli.files import FilePath
from deepseg_lite.text import printable


@click.command()
@click.argument("out", type=FilePath())
@click.option(
    "tasks",
    "--task",
    multiple=True,
    metavar="TASK",
    shell_complete=suggestions.models,
    help="Task or bundle whose model comes along. Repeat it for several.",
)
@click.option(
    "platforms",
    "--platform",
    multiple=True,
    metavar="TAG",
    help="System that it is for: manylinux_2_28_x86_64, win_amd64, macosx_14_0_arm64. Default: "
    "this one.",
)
@click.option("--python", metavar="3.N", help="Python that it is for. Default: this one.")
@click.option(
    "extras",
    "--extra",
    multiple=True,
    metavar="NAME",
    help="Extra of the package, such as gpu. Default: the engines that are here.",
)
@click.option("--wheel", type=FilePath(), metavar="FILE", help="Wheel of deepseg-lite to take.")
@click.option(
    "--yes", is_flag=True, help="Take models that are not known to be allowed to be passed on, too."
)
def pack(
    out: Path,
    tasks: tuple[str, ...],
    platforms: tuple[str, ...],
    python: str | None,
    extras: tuple[str, ...],
    wheel: Path | None,
    yes: bool,
) -> None:
    """Pack this program and models for a computer without a network.

    OUT is a new folder, with the packages in the versions that are installed here, the models,
    hashes of all files and install.py, which needs nothing but Python there.
    """
    from deepseg_lite.kit.packing import Target, pack

    set_logging(0, quiet=False)
    target = Target(platforms=platforms, python=python, extras=extras or None)
    pack(out, tasks, target, wheel=wheel, yes=yes, begins=lambda what: click.echo(what, err=True))
    say(printable(out))


@click.command(short_help="Install the models of a kit, after checking every file.")
@click.argument("kit", type=FilePath())
@click.option("--repin", is_flag=True, help="Accept models that are not those from before.")
def unpack(kit: Path, repin: bool) -> None:
    """Install the models of a kit in the local cache, after checking every file of it.

    KIT is a folder that deepseg-lite pack made.
    """
    from deepseg_lite.kit.unpacking import unpack

    set_logging(0, quiet=False)
    folders = unpack(kit, repin=repin)
    for folder in folders:
        say(printable(folder))
    if not folders:
        click.echo("The kit is whole; its only model is the one in the package.", err=True)
