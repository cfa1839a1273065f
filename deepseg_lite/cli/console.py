"""Console: results on stdout, all else on stderr, errors in one line, for every command.

Nothing here fails because of where the streams lead, or of what they can encode.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TextIO

import click

from deepseg_lite.errors import DeepsegError
from deepseg_lite.failures import is_out_of_memory, why_not_loaded
from deepseg_lite.option import in_flags
from deepseg_lite.text import one_line, printable, shown

_PREFIX = "error: "
_MANY_BYTES = 10_000_000
_logger = logging.getLogger("deepseg_lite")


def set_logging(verbose: int, *, quiet: bool) -> None:
    """Log on stderr: warnings, more with ``verbose``, only errors with ``quiet``."""
    levels = [logging.WARNING, logging.INFO, logging.DEBUG]
    level = logging.ERROR if quiet else levels[min(verbose, 2)]
    # Remarks of libraries; what makes an image unusable is an error anyway.
    warnings.showwarning = _log_warning
    logging.getLogger("nibabel.global").setLevel(logging.INFO if verbose else logging.CRITICAL)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(message)s"))
    logging.basicConfig(level=level, handlers=[handler], force=True)


def _log_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Take the place of `warnings.showwarning`, which writes to stderr at once."""
    _logger.info("%s", message)


@dataclass
class _Session:
    """State of one command line: how errors are shown, and why stdout took nothing."""

    tracebacks: bool = False
    failure: OSError | None = None


_session = _Session()


def show_tracebacks() -> None:
    """Show where errors come from, from now on."""
    _session.tracebacks = True


class _Formatter(logging.Formatter):
    """Formatter of log records in the words of the command line."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(in_flags(super().format(record)).strip())


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
            bar = click.progressbar(
                length=total, label=shown(label), file=sys.stderr, show_pos=show_pos
            )
            bars.append(bar)
        with suppress(OSError):  # a terminal that was closed
            bars[0].update(done - bars[0].pos)

    try:
        yield progress
    finally:
        for bar in bars:
            with suppress(OSError):
                bar.render_finish()


@contextmanager
def bars(label: str) -> Iterator[tuple[Callable[[str], None], Callable[[int, int], None]]]:
    """Give hooks for things that begin, one after the other, and for how far the last one is.

    What begins is a line on stderr. How far it is, in bytes, is a bar on a terminal, and else a
    line for each quarter of what has many.
    """
    with ExitStack() as stack:
        advance, quarters = stack.enter_context(progress_bar(label)), 0

        def begins(text: str) -> None:
            nonlocal advance, quarters
            stack.close()
            _tell(text)
            advance, quarters = stack.enter_context(progress_bar(label)), 0

        def progress(done: int, total: int) -> None:
            nonlocal quarters
            if advance is not None:
                advance(done, total)
            elif total >= _MANY_BYTES and 4 * done // total > quarters:
                quarters = 4 * done // total
                _tell(f"{label}: {done / 1e6:.0f} of {total / 1e6:.0f} MB")

        yield begins, progress


def is_answered() -> bool:
    """Return whether somebody is there to answer questions."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def say(text: object) -> None:
    """Print lines of results, with what no terminal shows escaped.

    Names of files are to be `printable` before: they may hold line breaks of their own. Where
    stdout takes nothing, work goes on; `run_to_end` reports it.
    """
    try:
        _print(str(text), sys.stdout)
    except OSError as error:
        _session.failure = error
        _lead_nowhere(sys.stdout)


def _print(text: str, stream: TextIO) -> None:
    # click.echo writes UTF-8 where it does not believe the encoding of a stream.
    print("\n".join(map(printable, text.split("\n"))), file=stream, flush=True)


def report_error(error: Exception) -> str:
    """Print an error on stderr, with its traceback if asked to; return its text in one line."""
    line = one_line(f"{_PREFIX}{in_flags(_in_words(error))}")
    if _session.tracebacks:
        _tell("".join(traceback.format_exception(error)))
    _tell(line)
    return line.removeprefix(_PREFIX)


def _tell(text: str) -> None:
    """Print lines on stderr, if it takes any."""
    try:
        _print(text.rstrip(), sys.stderr)
    except OSError:
        _lead_nowhere(sys.stderr)


def _in_words(error: Exception) -> str:
    """Return the message of an error."""
    if isinstance(error, DeepsegError):
        return str(error)
    if isinstance(error, ImportError) and (reason := why_not_loaded(error)):
        return f"{error.name or 'a library'} cannot be loaded: {reason}."
    if is_out_of_memory(error):
        return "out of memory; give `max_ram`, fewer `threads` or a smaller image."
    if "can't start new thread" in str(error):
        return "the system gives no more threads; raise the limits of this session (ulimit -u, -v)."
    if isinstance(error, OSError) and error.strerror:
        name = "" if error.filename is None else f" ({shown(error.filename)})"
        return (
            f"the system says: {error.strerror}{name}. Check that folder, its permissions and the "
            "limits of this session; --debug shows where it was."
        )
    return (
        f"a fault of deepseg-lite: {type(error).__name__}: {shown(error)}. Please report it, "
        "with what deepseg-lite doctor says, and the same command with --debug."
    )


def run_to_end(command: Callable[[], Any]) -> int:
    """Run a command line, and return its exit code; every error is one line on stderr."""
    _open_streams()
    _session.tracebacks, _session.failure = False, None
    code: Any = 0
    try:
        code = command()
    except SystemExit as end:
        code = end.code
    except click.ClickException as error:
        code = error.exit_code
        usage, message = io.StringIO(), error.format_message()
        error.show(usage)
        _tell(usage.getvalue().replace(f"Error: {message}", one_line(f"Error: {message}")))
    except click.Abort:
        code = 1
        report_error(DeepsegError("interrupted; what was at work was not written."))
    except Exception as error:
        code = 1
        if isinstance(error, OSError) and _is_of_echo(error):
            _session.failure = error
            _lead_nowhere(sys.stdout)
        else:
            report_error(error)
    for stream in (sys.stdout, sys.stderr):
        _flush(stream)
    if (failure := _session.failure) is not None:
        code = code or 1
        if not isinstance(failure, BrokenPipeError):  # a reader such as head went away
            report_error(
                DeepsegError(
                    f"standard output cannot be written ({failure.strerror}); lead it elsewhere. "
                    "Files that were written are complete."
                )
            )
    return code if isinstance(code, int) else int(code is not None)


def _is_of_echo(error: OSError) -> bool:
    """Return whether an error arose where click itself prints, such as its help."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_code is click.echo.__code__ for frame, _ in frames)


def _flush(stream: TextIO) -> None:
    """Empty a stream; what it does not take goes nowhere, so that Python can end in peace."""
    try:
        stream.flush()
    except OSError as error:
        if stream is sys.stdout:
            _session.failure = error
        _lead_nowhere(stream)


def _lead_nowhere(stream: TextIO) -> None:
    """Have all that is still written to a stream disappear."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        stream.flush()


def _open_streams() -> None:
    """Open the streams that the caller closed, and let them take any text.

    A number that is free would go to the next file that is opened, and libraries write their
    messages to 2 whatever it is.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
