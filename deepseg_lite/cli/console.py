"""Console: progress on stderr, errors in one line, logging, for every command."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from deepseg_lite.errors import BundleNotFoundError, DeepsegError
from deepseg_lite.option import in_flags

_logger = logging.getLogger("deepseg_lite")


def set_logging(verbose: int, *, quiet: bool) -> None:
    """Log on stderr: warnings, more with ``verbose``, only errors with ``quiet``."""
    levels = [logging.WARNING, logging.INFO, logging.DEBUG]
    level = logging.ERROR if quiet else levels[min(verbose, 2)]
    # Remarks on headers; what makes an image unusable is an error anyway.
    logging.getLogger("nibabel.global").setLevel(logging.INFO if verbose else logging.CRITICAL)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(message)s"))
    logging.basicConfig(level=level, handlers=[handler], force=True)


class _Formatter(logging.Formatter):
    """Formatter of log records in the words of the command line."""

    def format(self, record: logging.LogRecord) -> str:
        return in_flags(super().format(record))


@contextmanager
def progress_bar(
    label: str, *, hidden: bool = False, show_pos: bool = False
) -> Iterator[Callable[[int, int], None] | None]:
    """Give a hook ``(done, total)`` that draws a bar on stderr; None without a terminal."""
    if hidden or not sys.stderr.isatty():
        yield None
        return
    bars: list[Any] = []

    def progress(done: int, total: int) -> None:
        if not bars:  # drawn when there is something to show
            bar = click.progressbar(length=total, label=label, file=sys.stderr, show_pos=show_pos)
            bars.append(bar)
            bar.render_progress()
        bars[0].update(done - bars[0].pos)

    try:
        yield progress
    finally:
        for bar in bars:
            bar.render_finish()


def report_error(error: DeepsegError) -> str:
    """Print an error on stderr, with its traceback at -vv; return its text in one line."""
    lines = [str(error)]
    if isinstance(error, BundleNotFoundError):
        lines = [str(error.args[0]), *error.advice]
    lines = [
        in_flags(" ".join(line.splitlines())) for line in lines
    ]  # names of files may hold line breaks
    if _logger.isEnabledFor(logging.DEBUG):
        _logger.debug("", exc_info=error)
    click.echo("error: " + "\n  ".join(lines), err=True)
    return " ".join(lines)
