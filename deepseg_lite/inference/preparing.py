"""From a volume to what patches are cut from: the network's frame, and the steps of a manifest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deepseg_lite.bundles.bundle import Bundle
from deepseg_lite.inference.unusual import check_intensity, check_orientation, check_spacing
from deepseg_lite.notice import Notice, Warn, log
from deepseg_lite.steps.frame import reoriented_spacing, to_frame
from deepseg_lite.steps.table import PREPROCESSING, Record, apply_step
from deepseg_lite.volume import AnyArray, Volume

_NO_PRIOR = (
    "The model that runs first found nothing to look around. Check the image's contrast and field "
    "of view."
)


def prepare(
    volume: Volume,
    bundle: Bundle,
    prior: AnyArray | None = None,
    warn: Warn = log,
    *,
    reorient: bool = False,
    center: Sequence[float] | None = None,
) -> tuple[Volume, list[Record]]:
    """Bring a volume to the network's frame and apply the bundle's steps in order.

    Parameters
    ----------
    volume : Volume
        Data of shape (C, X, Y, Z).
    bundle : Bundle
        Says how.
    prior : array of shape (X, Y, Z), optional
        What an earlier model found on the same grid.
    warn : callable
        Told of voxels of another size, orientation or intensity than the model knows.
    reorient : bool
        Whether the volume is brought to the orientation of the training images first.
    center : sequence of 3 floats, optional
        Point in mm around which is cropped, in place of the middle.

    Returns
    -------
    prepared : Volume
        What patches are cut from.
    trail : list of Record
        What undoes each step, the frame first.
    """
    inputs, window = bundle.inputs, bundle.sliding_window
    if inputs.spacing == "reoriented" and inputs.orientation is not None:
        volume = reoriented_spacing(volume, inputs.orientation)
    check_orientation(volume.orientation, inputs, warn, reorient=reorient)
    orientation = inputs.frame(reorient=reorient)
    framed, frame = to_frame(volume, orientation, inputs.axes)
    context: dict[str, Any] = {
        "axes": inputs.axes,
        "center": center,
        "patch_size": window.patch_size,
        "stride": window.stride,
    }
    if prior is not None:
        if not prior.any():
            warn(Notice("no-prior", _NO_PRIOR))
        mask = Volume(prior[None], volume.affine, volume.spacing)
        context["prior"] = to_frame(mask, orientation, inputs.axes)[0]
    trail: list[Record] = [frame]
    sizes = (step["spacing"] for step in bundle.preprocessing if step.get("spacing"))
    check_spacing(framed.spacing, next(sizes, None), inputs.training_spacing, warn)
    for step in bundle.preprocessing:
        check_intensity(framed.data, step, warn)
        framed, record = apply_step(PREPROCESSING, step, framed, **context)
        if record is not None:
            trail.append(record)
    return framed, trail
