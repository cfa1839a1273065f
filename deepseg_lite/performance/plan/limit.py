"""Memory limit: the settings with which a run stays below it."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from deepseg_lite.api.model import Model
from deepseg_lite.errors import ImageError, OptionError
from deepseg_lite.inference.fitting import fit_settings
from deepseg_lite.inference.settings import Settings, changed, make_settings
from deepseg_lite.option import takes
from deepseg_lite.performance.plan.case import memory_of, plan_case
from deepseg_lite.performance.plan.costs import Costs

if TYPE_CHECKING:
    from typing_extensions import Unpack

_logger = logging.getLogger("deepseg_lite")

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def parse_size(text: str) -> int:
    """Return the bytes of a size such as 4G, 800M or 1.5G; 1G is 2**30 bytes.

    Raises
    ------
    OptionError
        If it is none.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", text, re.IGNORECASE)
    size = int(float(match[1]) * UNITS[match[2].upper()]) if match else 0
    if size < 1:
        raise OptionError(f"{text!r} is no amount of memory; give one such as 4G or 800M.")
    return size


def stay_below(
    model: Model,
    cases: Sequence[Sequence[Path]],
    settings: Settings,
    size: str,
    costs: Costs | None = None,
) -> Settings:
    """Return settings with which every case stays below an amount of memory.

    Parameters
    ----------
    model : Model
        Its networks need not be open.
    cases : sequence of sequences of paths
        Images of each case. One that cannot be read says so when its turn comes.
    settings : Settings
        Those of the user; as few of them change as will do, and the log says which.
    size : str
        As for `parse_size`.
    costs : Costs
        Costs of networks; by default those are measured that never were.

    Raises
    ------
    OptionError
        If nothing stays below: what is needed at least.
    """
    costs = costs or Costs(model.engine, model.threads)

    def memory(chosen: Settings) -> int:
        plans = []
        for images in cases:
            with suppress(ImageError):
                plans.append(plan_case(model, images, chosen, costs))
        return memory_of(plans, chosen)

    given_up, chosen = fit(settings, parse_size(size), memory)
    if given_up:
        _logger.warning("To stay below %s of memory: %s.", size, given_up)
    return chosen


@takes(Settings)
def limit_memory(
    segment: Model, images: Sequence[str | Path], max_ram: str, **options: Unpack[Settings]
) -> Settings:
    """Return options with which a call stays below an amount of memory, as ``--max-ram`` does.

    Parameters
    ----------
    segment : Segmenter or SpineSegmenter
        From `deepseg_lite.load`.
    images : sequence of paths
        Images of the case, one per channel.
    max_ram : str
        Amount such as ``4G`` or ``800M``; 1G is 2**30 bytes.

    Returns
    -------
    options : dict
        For ``segment(*images, **options)``.

    Raises
    ------
    OptionError
        If nothing stays below: what is needed at least.
    """
    settings = fit_settings(make_settings(**options), segment.bundle)
    return stay_below(segment, [[Path(image) for image in images]], settings, max_ram)


def choices(settings: Settings) -> Iterator[tuple[str, Settings]]:
    """Yield settings that take less and less memory, and what was given up; the best first."""
    yield "", settings
    if settings["overlap_cases"]:
        settings = changed(settings, overlap_cases=False)
        yield "one case after another", settings
    if not settings["in_rows"]:
        settings = changed(settings, in_rows=True)
        yield "scores decoded row by row", settings
    if settings["accumulator"] != "float16":
        settings = changed(settings, accumulator="float16")
        yield "sums in float16, as nnU-Net's own", settings


def fit(settings: Settings, limit: int, memory: Callable[[Settings], int]) -> tuple[str, Settings]:
    """Return the settings that change least and stay below a limit, and what that gave up.

    Parameters
    ----------
    settings : Settings
        Those of the user.
    limit : int
        Bytes the process may take.
    memory : callable
        Gives the bytes that a run takes at most.

    Raises
    ------
    OptionError
        If nothing stays below.
    """
    given_up: list[str] = []
    taken: list[int] = []
    for name, chosen in choices(settings):
        taken.append(memory(chosen))
        if taken[-1] < min(taken[:-1], default=0):
            given_up.append(name)
        if taken[-1] <= limit:
            return " and ".join(given_up), chosen
    raise OptionError(
        f"this run takes {in_words(min(taken))} of memory at least, and `max_ram` allows "
        f"{in_words(limit)}; allow more, or crop the image."
    )


def in_words(size: int) -> str:
    """Return bytes in whole M, rounded up."""
    return f"{-(-size // UNITS['M'])}M"
