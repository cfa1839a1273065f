"""Options of loading a model, each declared once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypedDict

from deepseg_lite.engines.names import DEVICES, FORMS, PRECISIONS
from deepseg_lite.option import Option, words


class ModelOptions(TypedDict, total=False):
    """Options of a model as its maker means it: which one, and what runs it."""

    release: Annotated[
        str | None,
        Option("Release of the task's model. Default: the one here.", metavar="R"),
    ]
    retired: Annotated[bool, Option("Run a task that was retired all the same.", default=False)]
    device: Annotated[
        str,
        Option(
            "What runs the networks; it fails when that is not usable. auto: cuda where it works, "
            "else the faster one of openvino and cpu for the model; see deepseg-lite bench.",
            choices=DEVICES,
            default="auto",
            show_default=True,
        ),
    ]
    precision: Annotated[
        str,
        Option(
            "All but fp32 change a few voxels. bf16: faster, openvino alone. int8 (cpu, openvino), "
            "fp16 (GPUs) and fp16-weights are for bundles that have them; see deepseg-export "
            "quantize.",
            choices=PRECISIONS,
            default="fp32",
            show_default=True,
        ),
    ]
    form: Annotated[
        str,
        Option(
            "Form of the networks. auto: the one for the device, where a bundle has one; see "
            "deepseg-export optimize. canonical: the one that all devices take.",
            choices=FORMS,
            default="auto",
            show_default=True,
        ),
    ]
    threads: Annotated[
        int | None,
        Option(
            "CPU threads. Default: what affinity mask and cgroup allow.", metavar="N", minimum=1
        ),
    ]


class LoadOptions(ModelOptions, total=False):
    """Options of loading. Each is a keyword of ``load(...)`` and, with flags, of ``run``."""

    folds: Annotated[
        Sequence[str] | None,
        Option("Folds to combine. Default: all.", metavar="A,B", is_list=True, read=words),
    ]
    single_fold: Annotated[
        bool, Option("Fold 1 alone, or the first without a fold 1.", default=False)
    ]
    keep_folds_loaded: Annotated[
        bool,
        Option(
            "Keep the networks of all folds in memory. Otherwise a model of several folds opens "
            "them one after another in every call.",
            default=False,
            for_python=True,
        ),
    ]
    spinning: Annotated[
        bool | None,
        Option(
            "Whether threads of ONNX Runtime keep their core while they wait for each other: some "
            "percent faster where nobody else wants it, much slower where somebody does. Default: "
            "yes, but not in batches.",
            for_python=True,
        ),
    ]
    open_networks: Annotated[
        bool,
        Option(
            "Open networks that stay in memory now. Otherwise the first call opens them.",
            default=True,
            for_python=True,
        ),
    ]
