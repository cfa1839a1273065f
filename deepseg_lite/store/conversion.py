"""Conversion of official releases by the exporter, in a process of its own.

The runtime imports nothing of the exporter: it starts ``python -m deepseg_export`` and hears its
`events`. All that the process writes is in the caller's working folder, but for the download, which
a later conversion goes on with.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from deepseg_lite.errors import ConversionError, DeepsegError, reason
from deepseg_lite.failures import says_no_memory
from deepseg_lite.processes import Ended, run_module
from deepseg_lite.store.addresses import below, masked, mirror_address
from deepseg_lite.store.events import Listener
from deepseg_lite.store.official import Official
from deepseg_lite.store.sources import Source, folder_source
from deepseg_lite.text import shortened

EXPORTER = "deepseg_export"
RELEASES_VARIABLE = "DEEPSEG_LITE_RELEASES"
"""Address of a folder with official files, in NAME/VERSION/, tried before their own addresses."""
logger = logging.getLogger(__name__)


def check_convertible(official: Official) -> None:
    """Refuse a release that cannot be converted here.

    Raises
    ------
    ConversionError
        If something keeps it from being converted anywhere, or packages are missing here.
    """
    if official.obstacle:
        raise ConversionError(
            f"{official.title} cannot be converted: {official.obstacle}; choose another `release`, "
            "or give a `repo` or `mirror` that has its bundle."
        )
    missing = [name for name in (EXPORTER, *official.packages) if find_spec(name) is None]
    if missing:
        raise ConversionError(
            f"converting {official.title} needs {', '.join(missing)}: pip install "
            '"deepseg-lite[convert]". Or give a `repo` or `mirror` that has its bundle.'
        )


def convert(
    official: Official,
    work: Path,
    *,
    repin: bool,
    begins: Callable[[str], None],
    progress: Callable[[int, int], None],
) -> Callable[[str], Source]:
    """Download and convert a release.

    Parameters
    ----------
    official : Official
        The release.
    work : Path
        Working folder, which takes the bundles.
    repin : bool
        Accept other files than those of the first conversion on this machine.
    begins : callable
        Told in words of what begins.
    progress : callable
        Called with the bytes of a download that came, and those in all.

    Returns
    -------
    source : callable
        Gives a bundle that was made as a source, by its name.

    Raises
    ------
    DeepsegError
        Which of its classes, says the process.
    ConversionError
        If the process ends without a word, or its error is none of the runtime's.
    """
    made, temporary = work / "made", work / "temporary"
    temporary.mkdir()
    words = [*official.words, "-o", str(made / official.bundle), "--events"]
    if base := os.environ.get(RELEASES_VARIABLE):
        words += ["--mirror", below(mirror_address(base), official.name, official.version)]
    if repin and official.packages:  # what needs no conversion has hashes of its own
        words.append("--repin")
    listener = Listener(begins, logger.warning, progress)
    folders = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary))
    try:
        ended = run_module(EXPORTER, *words, environment=folders, on_line=listener.hear)
    except OSError as error:
        if isinstance(error, DeepsegError):
            raise
        raise ConversionError(
            f"the conversion of {official.title} cannot be run ({reason(error)}); nothing was "
            "installed. Free some memory, or raise the limits of this session."
        ) from error
    if ended.code:
        raise listener.error or _problem(official, ended) from _SaidError(ended.errors.strip())
    record = {"release": official.version, "url": masked(official.urls[0])}
    return lambda name: folder_source(made / name, record)


class _SaidError(Exception):
    """What a process said on stderr before it ended, for ``--debug``."""


def _problem(official: Official, ended: Ended) -> ConversionError:
    """Say in one line how a process ended that did not say it itself."""
    number = -ended.code if ended.code < 0 else ended.code - 128
    last = (ended.errors.strip().splitlines() or ["it said nothing"])[-1].removeprefix("error: ")
    how, advice = f"ended with exit code {ended.code} ({shortened(last, 120)})", "Please report it."
    with suppress(ValueError):
        how = f"was ended by {signal.Signals(number).name}"
        advice = "Fetch it again; if that was for lack of memory, free some before."
    if says_no_memory(last):
        advice = "Free some memory, and fetch it again."
    return ConversionError(
        f"the conversion of {official.title} {how}; nothing was installed. {advice}"
    )
