"""Grid in front of a network, from an image's header alone.

Steps that move voxels are run on a volume without channels, so that it is the pipeline's own code
that says where they lead. Where a step looks at voxels the answer is the largest grid it can give.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepseg_lite.bundles.bundle import Bundle
from deepseg_lite.steps.frame import reoriented_spacing, to_frame
from deepseg_lite.steps.table import PREPROCESSING, apply_step, keywords_of
from deepseg_lite.volume import Shape, Volume


@dataclass(frozen=True, eq=False)
class Grids:
    """Grids on the way to a network.

    Attributes
    ----------
    shapes : tuple of shapes (X, Y, Z)
        Before the first step and after each that may change it; patches are cut from the last.
    unknown : tuple of str
        The steps that look at voxels, in order; with any, the real grids may be smaller.
    direct : tuple of bool
        Whether each of these steps needs no arrays beside what it is given and what it makes.
    """

    shapes: tuple[Shape, ...]
    unknown: tuple[str, ...]
    direct: tuple[bool, ...] = ()


def plan_grid(volume: Volume, bundle: Bundle, *, reorient: bool = False) -> Grids:
    """Return the grids that a volume is brought to, in the network's frame.

    Parameters
    ----------
    volume : Volume
        Data of shape (0, X, Y, Z), as `deepseg_lite.nifti.reading.read_grid` gives it.
    bundle : Bundle
        What is done to it.
    reorient : bool
        Whether it is brought to the orientation of the training images.

    Notes
    -----
    `deepseg_lite.inference.preparing.prepare` is what it foresees.
    """
    inputs, window = bundle.inputs, bundle.sliding_window
    if inputs.spacing == "reoriented" and inputs.orientation is not None:
        volume = reoriented_spacing(volume, inputs.orientation)
    volume, _ = to_frame(volume, inputs.frame(reorient=reorient), inputs.axes)
    shapes, unknown, direct = [volume.shape], [], []
    for step in bundle.preprocessing:
        row = PREPROCESSING[step["step"]]
        if row.changes == "values":
            continue
        if row.at_most is not None:
            unknown.append(row.unknown)
            context = {"patch_size": window.patch_size, "stride": window.stride}
            volume = row.at_most(volume, **context, **keywords_of(step))
        else:
            volume, _ = apply_step(PREPROCESSING, step, volume, axes=inputs.axes, center=None)
        shapes.append(volume.shape)
        direct.append(row.is_direct)
    return Grids(tuple(shapes), tuple(unknown), tuple(direct))


def isotropic_grid(shape: Sequence[int], affine: Any) -> Volume:
    """Return the grid of 1 mm on which the spine is labelled, without channels.

    Parameters
    ----------
    shape : sequence of 3 ints
        Of the image.
    affine : array of shape (4, 4)
        Its voxel indices to mm.

    Notes
    -----
    `deepseg_lite.workflows.spine.grids` has the way there; it is imported here because few models
    need it.
    """
    from deepseg_lite.workflows.spine.frames import Frame
    from deepseg_lite.workflows.spine.grids import to_canonical

    voxels, canonical = to_canonical(np.broadcast_to(np.uint8(0), tuple(shape[:3])), affine)
    spacing = Frame.from_affine(canonical).spacing
    size = np.maximum(1, np.floor(voxels.shape * spacing).astype(int))
    turned = np.eye(4)
    turned[:3, :3] = canonical[:3, :3] / spacing
    return Volume.from_array(np.empty((0, *size.tolist())), turned)
