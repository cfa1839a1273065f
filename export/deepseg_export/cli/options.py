"""Options and errors of every command of ``deepseg-export``."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from deepseg_lite.engines.names import PRECISIONS
from deepseg_lite.errors import DeepsegError
from deepseg_lite.option import in_flags
from deepseg_lite.processes import end_with_parent
from deepseg_lite.store import events
from deepseg_lite.text import one_line, printable

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
PATH = click.Path(path_type=Path)


class EventHandler(logging.Handler):
    """Handler that tells log records to the process that started this one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Tell what begins, and warnings."""
        if record.levelno >= logging.INFO:
            kind = "warning" if record.levelno >= logging.WARNING else "begins"
            events.tell(kind, text=self.format(record))


@contextmanager
def progress_events(_name: str) -> Iterator[Callable[[int, int], None]]:
    """Give a hook that tells how far a download is, in steps of a hundredth."""
    last = -1

    def progress(done: int, total: int) -> None:
        nonlocal last
        if (step := 100 * done // max(total, 1)) > last:
            last = step
            events.tell("progress", done=done, total=total)

    yield progress


class _Formatter(logging.Formatter):
    """Formatter of log records, each in a line."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


class Command(click.Command):
    """A command that turns our errors into one message and exit code 1.

    Options whose value is called ``IMAGE...`` or so take several, until the next option.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat such an option before each further value."""
        several = {
            flag
            for each in self.params
            if isinstance(each, click.Option) and (each.metavar or "").endswith("...")
            for flag in each.opts
        }
        repeated: list[str] = []
        for word in args:
            last_two = repeated[-2:-1]
            if not word.startswith("-") and last_two and last_two[0] in several:
                repeated.append(last_two[0])
            repeated.append(word)
        return super().parse_args(ctx, repeated)

    def invoke(self, ctx: click.Context) -> Any:
        """Run it with our log on stderr."""
        to_caller = ctx.params.get("events", False)
        handler = EventHandler() if to_caller else logging.StreamHandler(sys.stderr)
        logger = logging.getLogger("deepseg_export")
        handler.setFormatter(_Formatter())
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG if ctx.params.get("verbose") else logging.INFO)
        if to_caller:
            end_with_parent()
        try:
            return super().invoke(ctx)
        except (DeepsegError, OSError, MemoryError) as error:
            if ctx.params.get("verbose"):
                traceback.print_exc()
            reason = in_flags(str(error)) or type(error).__name__
            if to_caller:
                events.tell("error", kind=type(error).__name__, text=one_line(reason))
            else:
                click.echo(one_line(f"error: {reason}"), err=True)
            ctx.exit(1)
        finally:
            logger.removeHandler(handler)


def _folds(
    _context: click.Context, _option: click.Parameter, value: str | None
) -> list[str] | None:
    return None if value is None else [fold.strip() for fold in value.split(",") if fold.strip()]


def _is_torch(_context: click.Context, _option: click.Parameter, value: str | None) -> bool:
    return value is not None


_OUTPUT_OPTIONS = (
    click.option(
        "-o",
        "--output",
        required=True,
        metavar="BUNDLE",
        type=PATH,
        help="Bundle directory to write; a name ending in .onnx gives one self-contained file.",
    ),
    click.option("--name", help="Name of the bundle. [default: what the model is called]"),
    click.option("--release", default="1", show_default=True, help="Version of the model."),
    click.option("--license", metavar="TEXT", help="Licence of the weights."),
    click.option("--citation", metavar="TEXT", help="What to cite."),
    click.option("--url", "urls", multiple=True, help="Where the checkpoint comes from."),
)
_MODEL_OPTIONS = (
    click.option(
        "--folds",
        metavar="LIST",
        callback=_folds,
        help="Folds, such as 0,1. 'all' is the fold of that name where there is one, else every "
        "fold. [default: the numbered folds, else fold 'all']",
    ),
    click.option(
        "--checkpoint",
        metavar="FILE",
        help="Checkpoint of each fold. [default: checkpoint_final.pth, else checkpoint_best.pth]",
    ),
    click.option(
        "--orientation",
        metavar="CODES",
        help="Axis codes of the training images (nibabel's convention, such as RAS), or 'file' to "
        "keep each image's own. [default: image_orientation of dataset.json, else as the Spinal "
        "Cord Toolbox]",
    ),
)
prior_option = click.option(
    "--prior",
    metavar="NAME",
    help="Bundle of a model that runs first, on the first channel, for a model that looks where "
    "that one found something. It is looked for beside this one and in the local cache.",
)
_PATH_OPTIONS = (
    click.option(
        "--check",
        "check_torch",
        type=click.Choice(["torch"]),
        callback=_is_torch,
        help="Compare the network with PyTorch's as well, on the patch; needs the extra export.",
    ),
    click.option(
        "--with",
        "with_torch",
        type=click.Choice(["torch"]),
        callback=_is_torch,
        help="Let PyTorch build and convert the network; needs the extra export. [default: write "
        "it without PyTorch]",
    ),
)


def _bounds(
    _context: click.Context, _option: click.Parameter, values: Sequence[str]
) -> dict[str, int]:
    bounds = {}
    for value in values:
        precision, _, count = value.rpartition("=")
        if precision not in ("", *PRECISIONS) or not count.isdecimal():
            raise click.BadParameter(
                f"{value!r} is not a number of voxels, or PRECISION=VOXELS with one of "
                f"{', '.join(PRECISIONS)}."
            )
        bounds[precision or "fp32"] = int(count)
    return bounds


def _versions(_: click.Context, __: click.Parameter, values: Sequence[str]) -> dict[str, str]:
    """Return the versions of packages by their names."""
    versions = {}
    for value in values:
        package, _equals, number = value.partition("=")
        if not (package and number):
            raise click.BadParameter(f"{value!r} is not PACKAGE=VERSION, such as numpy=1.26.4.")
        versions[package] = number
    return versions


def _reference_options(prefix: str) -> tuple[Any, ...]:
    """Return the options of reference cases; those of a family's command have a prefix."""
    name = prefix.replace("-", "_")
    return (
        click.option(
            f"--{prefix}labels",
            f"{name}labels",
            multiple=True,
            type=PATH,
            metavar="LABELS...",
            help="Results of the original software, one file for each case, in place of running "
            "it now.",
        ),
        click.option(
            f"--{prefix}software",
            f"{name}software",
            metavar="TEXT",
            help="What made these labels: the software and its version.",
        ),
        click.option(
            f"--{prefix}versions",
            f"{name}versions",
            multiple=True,
            callback=_versions,
            metavar="PACKAGE=VERSION...",
            help="Versions of the packages that it uses.",
        ),
        click.option(
            f"--{prefix}bound",
            f"{name}bounds",
            multiple=True,
            callback=_bounds,
            metavar="[PRECISION=]VOXELS...",
            help="How many voxels may differ. [default: in fp32 1 in 10,000, and at most 1 in 100 "
            "of those with a label]",
        ),
        click.option(
            f"--{prefix}source", f"{name}source", metavar="TEXT", help="Where the images are from."
        ),
        click.option(
            f"--{prefix}license", f"{name}license", metavar="TEXT", help="Licence of the images."
        ),
    )


_FAMILY_REFERENCE_OPTIONS = (
    click.option(
        "--reference",
        "reference_images",
        multiple=True,
        metavar="IMAGE...",
        help="Add reference cases: images, or phantom, or phantom:SEED, with what the original "
        "software makes of them now. deepseg-lite verify runs them.",
    ),
    *_reference_options("reference-"),
)
_RUN_OPTIONS = (
    click.option("--force", is_flag=True, help="Replace the bundle that is there."),
    click.option("-v", "--verbose", is_flag=True, help="Show a traceback with errors."),
)
_NETWORK_OPTIONS = (
    click.option(
        "--mirror", metavar="URL", help="Folder with files of the official names, tried first."
    ),
    click.option("--offline", is_flag=True, help="Use what was downloaded before, no network."),
    click.option("--events", is_flag=True, hidden=True, help="Speak to the process above."),
)
_DOWNLOAD_OPTIONS = (
    *_NETWORK_OPTIONS,
    click.option("--keep-downloads", is_flag=True, help="Keep the archives after the export."),
    click.option(
        "--repin",
        is_flag=True,
        help="Accept files that differ from those of the first export, and remember them.",
    ),
)


def _added(options: tuple[Any, ...]) -> Callable[[Any], Any]:
    def add(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return add


output_options = _added((*_OUTPUT_OPTIONS, *_PATH_OPTIONS))
path_options = _added(_PATH_OPTIONS)
model_options = _added(_MODEL_OPTIONS)
reference_options = _added(_FAMILY_REFERENCE_OPTIONS)
added_reference_options = _added(_reference_options(""))
run_options = _added(_RUN_OPTIONS)
network_options = _added(_NETWORK_OPTIONS)
download_options = _added(_DOWNLOAD_OPTIONS)
