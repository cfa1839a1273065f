"""Settings: the options of a run, each declared once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict, cast

from deepseg_lite.option import Option, complete, declared, texts, words
from deepseg_lite.steps.faces import FACES

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from deepseg_lite.bundles.bundle import Bundle


def _fixed_distance(_: float, bundle: Bundle) -> str | None:
    if not bundle.sliding_window.stride:
        return None
    return f"{bundle.name} has patches at a fixed distance; leave `step` out."


def _unknown_background(_: bool, bundle: Bundle) -> str | None:
    if bundle.outputs.values is None:
        return None
    return (
        f"the result of {bundle.name} is maps, whose background is not known to be 0; leave "
        "`skip_empty` out."
    )


def _no_mirroring(_: bool, bundle: Bundle) -> str | None:
    if bundle.mirror_axes:
        return None
    return (
        f"{bundle.name} was trained without mirroring, so test-time augmentation has nothing to "
        "flip; leave it out."
    )


def _no_crop(_: object, bundle: Bundle) -> str | None:
    if bundle.cord_crop is not None:
        return None
    return (
        f"{bundle.name} is not cropped around the cord, so there is no box; leave its faces and "
        "`strict_crop` out."
    )


def _no_vote(value: str, bundle: Bundle) -> str | None:
    if value != "majority" or bundle.outputs.values is None:
        return None
    return (
        f"the result of {bundle.name} is maps, and folds vote on labels alone; leave `ensemble` "
        "out."
    )


def _decided_before(_: float, bundle: Bundle) -> str | None:
    from deepseg_lite.steps.table import decides

    if not decides(bundle.outputs.before_undo):
        return None
    return (
        f"{bundle.name} decides before its result is on the image's grid, so a threshold comes "
        "too late; `soft` gives the probabilities."
    )


def _of_workflows(name: str) -> Any:
    def unfit(_: object, bundle: Bundle) -> str | None:
        if bundle.workflow is not None:
            return None
        return f"{bundle.name} is one network with results of its own; leave `{name}` out."

    return unfit


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
    tta: Annotated[
        bool,
        Option(
            "Average over mirrored images (2 to 8 times the work).",
            default=False,
            unfit=_no_mirroring,
        ),
    ]
    step: Annotated[
        float | None,
        Option(
            "Distance of patches as a fraction of the patch. Default: the model's.",
            metavar="F",
            above=0,
            maximum=1,
            unfit=_fixed_distance,
        ),
    ]
    skip_empty: Annotated[
        bool,
        Option(
            "Leave out patches of nothing but background: not a voxel above the image's mean.",
            default=False,
            unfit=_unknown_background,
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
        Option("How folds are combined. Default: the model's way.", unfit=_no_vote),
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
            unfit=_decided_before,
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
            unfit=_of_workflows("label_vert"),
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
            unfit=_of_workflows("outputs"),
        ),
    ]
    iso: Annotated[
        bool,
        Option(
            "Leave results on the 1 mm grid (totalspineseg).",
            default=False,
            unfit=_of_workflows("iso"),
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
            unfit=_no_crop,
        ),
    ]
    strict_crop: Annotated[
        bool,
        Option("Fail where no cord is found to crop around.", default=False, unfit=_no_crop),
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
