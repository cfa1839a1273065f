"""Reasons why options do not fit a model; None where they do. Settings name them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepseg_lite.bundles.bundle import Bundle


def fixed_distance(_: float, bundle: Bundle) -> str | None:
    """Say why `step` does not fit: patches are at a fixed distance."""
    if not bundle.sliding_window.stride:
        return None
    return f"{bundle.name} has patches at a fixed distance; leave `step` out."


def unknown_background(_: bool, bundle: Bundle) -> str | None:
    """Say why `skip_empty` does not fit: the background is not known to be 0."""
    if bundle.outputs.values is None:
        return None
    return (
        f"the result of {bundle.name} is maps, whose background is not known to be 0; leave "
        "`skip_empty` out."
    )


def no_mirroring(_: bool, bundle: Bundle) -> str | None:
    """Say why `tta` does not fit: there was no mirroring in the training."""
    if bundle.mirror_axes:
        return None
    return (
        f"{bundle.name} was trained without mirroring, so test-time augmentation has nothing to "
        "flip; leave it out."
    )


def no_crop(_: object, bundle: Bundle) -> str | None:
    """Say why faces of a box do not fit: nothing is cropped around the cord."""
    if bundle.cord_crop is not None:
        return None
    return (
        f"{bundle.name} is not cropped around the cord, so there is no box; leave its faces and "
        "`strict_crop` out."
    )


def no_vote(value: str, bundle: Bundle) -> str | None:
    """Say why `ensemble` does not fit: folds give maps."""
    if value != "majority" or bundle.outputs.values is None:
        return None
    return (
        f"the result of {bundle.name} is maps, and folds vote on labels alone; leave `ensemble` "
        "out."
    )


def decided_before(_: float, bundle: Bundle) -> str | None:
    """Say why `threshold` does not fit: the model decides before its result is on the grid."""
    from deepseg_lite.steps.table import decides

    if bundle.outputs.threshold_at or not decides(bundle.outputs.before_undo):
        return None
    return (
        f"{bundle.name} decides before its result is on the image's grid, so a threshold comes "
        "too late; `soft` gives the probabilities."
    )


def turned_anyway(_: bool, bundle: Bundle) -> str | None:
    """Say why `reorient` does not fit: no orientation of the training is known."""
    if bundle.inputs.training_orientation:
        return None
    return (
        f"{bundle.name} says no orientation of training images that others could be brought to; "
        "leave `reorient` out."
    )


def sees_all(_: object, bundle: Bundle) -> str | None:
    """Say why a center does not fit: the model does not look around the middle alone."""
    from deepseg_lite.steps.table import looks_around_middle

    if looks_around_middle(bundle.preprocessing):
        return None
    return (
        f"{bundle.name} does not look around the middle of an image alone, so there is nothing to "
        "center; leave `center`, `center_task` and `center_prior` out."
    )


def no_prior(_: bool, bundle: Bundle) -> str | None:
    """Say why `center_prior` does not fit: the manifest does not say where the cord is."""
    if reason := sees_all(_, bundle):
        return reason
    if bundle.center is not None:
        return None
    return (
        f"the manifest of {bundle.name} does not say where the cord is to be looked for; give a "
        "mask, `center`, or what finds it, `center_task`."
    )


def of_workflows(name: str) -> Any:
    """Return what says why an option of workflows does not fit a single network."""

    def unfit(_: object, bundle: Bundle) -> str | None:
        if bundle.workflow is not None:
            return None
        return f"{bundle.name} is one network with results of its own; leave `{name}` out."

    return unfit
