"""What a caller may change about a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from deepseg_lite.bundles.bundle import Bundle
from deepseg_lite.errors import OptionError
from deepseg_lite.inference.channels import channel_order
from deepseg_lite.inference.cleaning import HARDENING, Cleaning


@dataclass(frozen=True)
class Settings:
    """What a caller may change about a run; the defaults are the bundle's own behaviour.

    Attributes
    ----------
    step : float or None
        Largest distance of neighbouring patches as a fraction of the patch; None takes the
        bundle's, 1 - overlap.
    mirror : bool
        Average over all flips of the axes the bundle allows (test-time augmentation).
    soft : bool
        Return probabilities instead of labels.
    ensemble : {"mean_logits", "majority"} or None
        How folds are combined; None takes the bundle's way.
    contrasts : tuple of str
        Contrast of each image, in the order they are given; empty where the model does not care.
    box : mapping
        Faces of the box around the cord that replace those found, for models of cropped images:
        voxel indices inside the box by the names ``xmin`` to ``zmax``.
    strict_crop : bool
        Fail where no cord is found to crop around.
    cleaning : Cleaning
        What is done to a result before it is written; by `segment` to maps alone.
    outputs : tuple of str
        Names of a workflow's results to give, in place of its own choice.
    label_vert : bool
        Run a workflow's second step, too.
    iso : bool
        Leave a workflow's results on its 1 mm grid.
    half_precision_sums : bool
        Add up logits in float16, as nnU-Net does: only for comparing with it.
    batch_size : int
        Patches per call of the network. On a CPU more than 1 takes memory and gains no time.
    skip_empty : bool
        Leave patches out that hold nothing but background, see
        `deepseg_lite.inference.background.find_background`. It may change voxels.
    overlap_cases : bool
        Open networks while the first case is prepared; prepare the next of several cases and write
        the last one while the networks are busy with one. That takes memory for these two beside
        it.
    in_rows : bool
        Decode scores row by row, as soon as no later patch changes them, and let them go. The same
        labels in less memory, for one network whose result
        `deepseg_lite.inference.restore.decodes_rows`; of others nothing changes.
    """

    step: float | None = None
    mirror: bool = False
    soft: bool = False
    ensemble: str | None = None
    contrasts: tuple[str, ...] = ()
    box: Mapping[str, int] = field(default_factory=dict)
    strict_crop: bool = False
    cleaning: Cleaning = Cleaning()  # noqa: RUF009 - a frozen value
    outputs: tuple[str, ...] = ()
    label_vert: bool = False
    iso: bool = False
    half_precision_sums: bool = False
    batch_size: int = 1
    skip_empty: bool = False
    overlap_cases: bool = True
    in_rows: bool = False


def check_settings(settings: Settings, bundle: Bundle) -> None:
    """Refuse settings that do not fit a model, before any work starts.

    Raises
    ------
    OptionError
        Saying which and why.
    """
    if settings.step is not None and not 0 < settings.step <= 1:
        raise OptionError(f"step is {settings.step}; a number above 0 and up to 1 is needed.")
    if settings.step is not None and bundle.sliding_window.stride:
        raise OptionError(f"{bundle.name} has patches at a fixed distance; leave --step out.")
    if settings.skip_empty and bundle.outputs.values is not None:
        raise OptionError(
            f"the result of {bundle.name} is maps, whose background is not known to be 0; leave "
            "--skip-empty out."
        )
    if settings.mirror and not bundle.mirror_axes:
        raise OptionError(
            f"{bundle.name} was trained without mirroring, so test-time augmentation has nothing "
            "to flip; leave it out."
        )
    if (settings.box or settings.strict_crop) and bundle.cord_crop is None:
        raise OptionError(
            f"{bundle.name} is not cropped around the cord, so there is no box; leave its faces "
            "and --strict-crop out."
        )
    asked = {"outputs": settings.outputs, "label-vert": settings.label_vert, "iso": settings.iso}
    if names := [f"--{name}" for name, value in asked.items() if value]:
        raise OptionError(
            f"{bundle.name} is one network with results of its own; leave {', '.join(names)} out."
        )
    if settings.ensemble == "majority" and bundle.outputs.values is not None:
        raise OptionError(
            f"the result of {bundle.name} is maps, and folds vote on labels alone; leave "
            "--ensemble out."
        )
    decided = any(step["step"] in HARDENING for step in bundle.outputs.before_undo)
    if settings.cleaning.threshold is not None and decided:
        raise OptionError(
            f"{bundle.name} decides before its result is on the image's grid, so a threshold comes "
            "too late; --soft gives the probabilities."
        )
    channel_order(bundle.inputs, settings.contrasts)


FAST_STEP = 0.75
"""Distance of patches as a fraction of the patch."""


def fast_settings(settings: Settings, bundle: Bundle) -> Settings:
    """Return settings with all that makes a model faster and that its kind allows.

    That is a larger step, unless one was chosen or the model's own is as large, and leaving out
    empty patches. The caller takes one fold alone.

    Raises
    ------
    OptionError
        If nothing can be left out.
    """
    window = bundle.sliding_window
    own_step = max((1 - share for share in window.overlap), default=1.0)
    step = settings.step or (FAST_STEP if own_step < FAST_STEP else None)
    fast = replace(settings, step=step, skip_empty=bundle.outputs.values is None)
    if fast == settings and len(bundle.networks) == 1:
        raise OptionError(
            f"{bundle.name} has one fold, patches that are far apart and maps as its result, so "
            "nothing can be left out of a run; leave --fast out."
        )
    return fast
