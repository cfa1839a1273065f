"""Options of batches, each declared once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, TypedDict

from deepseg_lite.api.file_options import MemoryOptions, OutputOptions
from deepseg_lite.api.load_options import LoadOptions
from deepseg_lite.inference.settings import Settings
from deepseg_lite.option import Option, texts
from deepseg_lite.qc.options import QualityOptions

AUTO, HERE = "auto", "here"
"""Values of ``jobs`` that are no numbers."""


class ChoiceOptions(TypedDict, total=False):
    """Options of which images are taken, and where results go."""

    layout: Annotated[
        Literal["bids", "neuropoly", "sct"] | None,
        Option(
            "Names of results: those of BIDS derivatives, of neuropoly's data sets (derivatives/"
            "labels), or of the Spinal Cord Toolbox. Default: bids for BIDS data sets, else sct."
        ),
    ]
    filter: Annotated[
        Sequence[str],
        Option(
            "What names of images must have: suffix=T2w, datatype=anat, acq=ax,sag, ce= for none. "
            "Default: the contrasts of the task.",
            default=(),
            metavar="ENTITY=VALUE",
            read=texts,
        ),
    ]
    participant_label: Annotated[
        Sequence[str],
        Option("Subjects, with or without sub-.", default=(), metavar="LABEL", read=texts),
    ]
    session_label: Annotated[
        Sequence[str],
        Option("Sessions, with or without ses-.", default=(), metavar="LABEL", read=texts),
    ]
    bids_filter_file: Annotated[
        str | None,
        Option(
            "Filters as JSON, as BIDS Apps take them; by the names of channels for tasks of "
            "several images.",
            metavar="FILE",
        ),
    ]
    include_yml: Annotated[
        str | None,
        Option("List in YAML of subjects, sessions or images to take alone.", metavar="FILE"),
    ]
    exclude_yml: Annotated[
        str | None,
        Option(
            "List in YAML of subjects, sessions or images to leave out, such as qc_fail.yml.",
            metavar="FILE",
        ),
    ]
    retry_failed: Annotated[
        bool, Option("Try cases again that failed with the same image and model.", default=False)
    ]
    overwrite: Annotated[
        bool,
        Option("Run all cases, done or not, and replace what is there.", default=False),
    ]


class ExecutionOptions(TypedDict, total=False):
    """Options of where a batch runs."""

    jobs: Annotated[
        str | int,
        Option(
            "Processes that run networks at the same time, or auto: what cores and memory allow. "
            "The threads are shared out; one that dies is replaced, and its case tried again. "
            "here: none, but this process.",
            default="1",
            metavar="N",
            show_default=True,
            read=str,
        ),
    ]
    time_limit: Annotated[
        float | None,
        Option(
            "Seconds without a sign of life, such as a batch of patches, after which a process "
            "counts as hung, and its case is tried again. A case may take longer.",
            metavar="S",
            above=0,
        ),
    ]
    part: Annotated[
        str | None,
        Option(
            "Run one share of the cases: 3/8, or auto in a job array of SLURM, SGE, LSF or PBS.",
            metavar="I/N",
        ),
    ]
    scheduler: Annotated[
        str | None,
        Option(
            "Run on a Dask cluster: tcp://HOST:PORT, a scheduler's file, or local:N.",
            metavar="ADDRESS",
        ),
    ]


class BatchOptions(
    ChoiceOptions,
    ExecutionOptions,
    MemoryOptions,
    OutputOptions,
    LoadOptions,
    Settings,
    QualityOptions,
    total=False,
):
    """All options of a batch; each is a keyword of ``batch(...)``."""
