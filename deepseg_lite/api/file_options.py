"""Options of runs from files to files, each declared once for ``run`` and for ``batch``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypedDict

from deepseg_lite.errors import OptionError
from deepseg_lite.option import Option

if TYPE_CHECKING:
    from deepseg_lite.api.model import Model


class OutputOptions(TypedDict, total=False):
    """Options of what is written beside results."""

    cropbox: Annotated[bool, Option("Also write the box around the cord as a mask.", default=False)]


class MemoryOptions(TypedDict, total=False):
    """Options of what a process may take."""

    max_ram: Annotated[
        str | None,
        Option(
            "Memory the process may take: 4G, 800M (1G is 2**30 bytes). Settings are chosen to "
            "stay below, or the run is refused; networks never measured here are, first.",
            metavar="SIZE",
        ),
    ]


def check_cropbox(model: Model, *, wanted: bool) -> None:
    """Refuse to write the box around the cord of a model that has none.

    Raises
    ------
    OptionError
        If it is wanted all the same.
    """
    if wanted and model.bundle.cord_crop is None:
        raise OptionError(
            f"{model.bundle.name} is not cropped around the cord; leave `cropbox` out."
        )
