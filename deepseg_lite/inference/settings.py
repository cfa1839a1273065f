"""Settings: the options of a run, each declared once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict, cast

from deepseg_lite.inference.unfit import (
    decided_before,
    fixed_distance,
    no_crop,
    no_mirroring,
    no_prior,
    no_vote,
    of_workflows,
    sees_all,
    turned_anyway,
    unknown_background,
)
from deepseg_lite.option import Option, complete, declared, texts, words
from deepseg_lite.steps.faces import FACES

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from deepseg_lite.bundles.bundle import Bundle


class Settings(TypedDict, total=False):
    """Options of a run. Each is a keyword of ``segment(...)`` and, with flags, of ``run``.

    `make_settings` checks them and adds defaults. `in_rows` and `overlap_cases` are chosen by
    ``--max-ram``.
    """

    contrasts: Annotated[
        Sequence[str],
        Option(
            "Contrast of each image of a case, for models that tell them apart.",
            flags=("-c", "--contrast"),
            default=(),
            metavar="NAME",
            read=texts,
        ),
    ]
    reorient: Annotated[
        bool,
        Option(
            "Bring the image to the orientation of the training images, for models that take it as "
            "it is stored otherwise.",
            default=False,
            unfit=turned_anyway,
        ),
    ]
    center: Annotated[
        str | None,
        Option(
            "Mask of the cord to look around, for models that look around the image's middle "
            "otherwise. Any grid in the same space.",
            metavar="MASK",
            read=lambda path: None if path is None else str(path),
            unfit=sees_all,
        ),
    ]
    center_task: Annotated[
        str | None,
        Option(
            "Task or bundle that finds the cord to look around, on the same image.",
            metavar="NAME",
            unfit=sees_all,
        ),
    ]
    center_prior: Annotated[
        bool,
        Option(
            "Look for the cord as the model's manifest says: around what a task finds on the same "
            "image, or where the cord usually is.",
            default=False,
            unfit=no_prior,
        ),
    ]
    tta: Annotated[
        bool,
        Option(
            "Average over mirrored images (2 to 8 times the work).",
            default=False,
            unfit=no_mirroring,
        ),
    ]
    step: Annotated[
        float | None,
        Option(
            "Distance of patches as a fraction of the patch. Default: the model's.",
            metavar="F",
            above=0,
            maximum=1,
            unfit=fixed_distance,
        ),
    ]
    skip_empty: Annotated[
        bool,
        Option(
            "Leave out patches of nothing but background: not a voxel above the image's mean.",
            default=False,
            unfit=unknown_background,
        ),
    ]
    fast: Annotated[
        bool,
        Option(
            "A step of 0.75, one fold and `skip_empty`, as far as the model has them; it changes "
            "voxels, see docs/users/speed-and-precision.md.",
            default=False,
        ),
    ]
    ensemble: Annotated[
        Literal["mean-logits", "majority"] | None,
        Option("How folds are combined. Default: the model's way.", unfit=no_vote),
    ]
    soft: Annotated[bool, Option("Write float32 probability maps.", default=False)]
    threshold: Annotated[
        float | None,
        Option(
            "Write a mask of the probabilities above T, with `soft` and for models that give "
            "probabilities. 0 leaves them.",
            metavar="T",
            minimum=0,
            maximum=1,
            unfit=decided_before,
        ),
    ]
    keep_largest: Annotated[
        bool | None,
        Option(
            "Keep the largest object of every file; or leave the model's own such step out.",
        ),
    ]
    fill_holes: Annotated[
        bool | None,
        Option("Fill holes in every mask; or leave the model's own such step out."),
    ]
    remove_small: Annotated[
        Sequence[str],
        Option(
            "Remove objects below SIZE: voxels (10) or mm3 (5mm3). Repeat for one size per file.",
            default=(),
            metavar="SIZE",
            read=texts,
        ),
    ]
    label_vert: Annotated[
        bool,
        Option(
            "Tell all vertebrae apart, in a second step (totalspineseg).",
            has_opposite=True,
            default=False,
            unfit=of_workflows("label_vert"),
        ),
    ]
    outputs: Annotated[
        Sequence[str],
        Option(
            "Results to write, by the names of the original software (totalspineseg).",
            default=(),
            metavar="A,B",
            is_list=True,
            read=words,
            unfit=of_workflows("outputs"),
        ),
    ]
    iso: Annotated[
        bool,
        Option(
            "Leave results on the 1 mm grid (totalspineseg).",
            default=False,
            unfit=of_workflows("iso"),
        ),
    ]
    box: Annotated[
        Mapping[str, int],
        Option(
            "Face of the box around the cord, a voxel index, in place of the one found",
            default=(),
            metavar="N",
            minimum=0,
            keys=FACES,
            read=lambda faces: dict(faces or ()),
            unfit=no_crop,
        ),
    ]
    strict_crop: Annotated[
        bool,
        Option("Fail where no cord is found to crop around.", default=False, unfit=no_crop),
    ]
    accumulator: Annotated[
        Literal["float32", "float16"],
        Option(
            "Type of the sums of logits; float16 is nnU-Net's, for comparing with it.",
            default="float32",
        ),
    ]
    in_rows: Annotated[
        bool,
        Option(
            "Decode scores row by row: the same labels in less memory, for one network whose "
            "labels need no other grid.",
            default=False,
            for_python=True,
        ),
    ]
    overlap_cases: Annotated[
        bool,
        Option(
            "Prepare the next of several cases, and write the last, while networks run.",
            default=True,
            for_python=True,
        ),
    ]


def make_settings(**options: Unpack[Settings]) -> Settings:
    """Return all settings: those given, checked, and defaults.

    Raises
    ------
    OptionError
        If a value is not allowed.
    TypeError
        If there is no option of a name.
    """
    return cast("Settings", complete(Settings, options))


def changed(settings: Settings, **options: Unpack[Settings]) -> Settings:
    """Return settings with some changes."""
    return {**settings, **options}


def why_unfit(settings: Settings, bundle: Bundle) -> str | None:
    """Return why settings do not fit a model, the first reason there is."""
    for name, each in declared(Settings).items():
        value = cast("Mapping[str, Any]", settings)[name]
        unfit = each.option.unfit
        if unfit is not None and value != each.check(each.option.default):
            reason = unfit(value, bundle)
            if reason is not None:
                return reason
    return None


def ensemble_of(settings: Settings, bundle: Bundle) -> str:
    """Return how folds are combined, in the manifest's words."""
    return (settings["ensemble"] or bundle.ensemble).replace("-", "_")
