"""Options of quality control, each declared once."""

from __future__ import annotations

from typing import Annotated, Literal, TypedDict

from deepseg_lite.option import Option


class QualityOptions(TypedDict, total=False):
    """Options of the pictures and verdicts of runs."""

    qc: Annotated[
        str | None,
        Option(
            "Add pictures of every result to a folder; deepseg-lite qc FOLDER makes a page of it.",
            metavar="FOLDER",
        ),
    ]
    qc_dataset: Annotated[
        str | None,
        Option("Data set that results are sorted by. Default: a folder's name.", metavar="NAME"),
    ]
    qc_subject: Annotated[
        str | None,
        Option("Subject that results are sorted by. Default: a folder's name.", metavar="NAME"),
    ]
    qc_plane: Annotated[
        Literal["axial", "sagittal"] | None,
        Option("Picture that is shown first. Default: the task's."),
    ]
    qc_seg: Annotated[
        str | None,
        Option("Mask that pictures are centred on in place of the result.", metavar="MASK"),
    ]
    strict: Annotated[
        bool,
        Option("Judge results, and exit with 3 where a verdict is fail.", default=False),
    ]
