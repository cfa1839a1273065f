"""Options of MONAI models."""

from __future__ import annotations

from dataclasses import dataclass

from deepseg_export.families import options as shared


@dataclass(frozen=True, kw_only=True)
class Options(shared.Options):
    """Choices of the user about a MONAI model.

    Attributes
    ----------
    sct : str or None
        Version of the Spinal Cord Toolbox whose treatment a Lightning checkpoint gets; None for
        that of its network.
    soft : bool
        Whether its result stays a soft map.
    """

    sct: str | None = None
    soft: bool = False
