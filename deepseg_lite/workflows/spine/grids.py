"""Grids of the workflow: the input's, the one of 1 mm that the networks see, and the way back."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
import scipy
from nibabel.affines import voxel_sizes

from deepseg_lite.errors import ImageError
from deepseg_lite.steps.frame import to_frame
from deepseg_lite.volume import Affine, AnyArray, FloatArray, LabelArray, Shape, Spacing, Volume
from deepseg_lite.workflows.spine.frames import Frame, pull
from deepseg_lite.workflows.spine.headers import stored


@dataclass(frozen=True, eq=False)
class Grid:
    """Grid of voxels.

    Attributes
    ----------
    shape : tuple of 3 ints
        Number of voxels, X, Y, Z.
    affine : array of shape (4, 4)
        Voxel indices to mm.
    spacing : tuple of 3 floats, optional
        Voxel size in mm as the file's header has it, if that is not exactly the affine's.
    """

    shape: Shape
    affine: Affine
    spacing: Spacing | None = None

    @property
    def zooms(self) -> FloatArray:
        """Voxel size in mm, in single precision as in a header."""
        return np.asarray(
            voxel_sizes(self.affine) if self.spacing is None else self.spacing, np.float32
        )


def mean_over_time(data: AnyArray) -> AnyArray:
    """Average the volumes of a series.

    Parameters
    ----------
    data : array of shape (X, Y, Z) or (X, Y, Z, T)
        Intensities as the file's scaling gives them.

    Returns
    -------
    mean : array of shape (X, Y, Z)
        The same type: integers lose the mean's fraction.

    Raises
    ------
    ImageError
        If the image has another number of axes.

    Notes
    -----
    Source: totalspineseg 20260807, ``utils/average4d.py``; checked by
    ``tests/parity/test_spine_grids.py``.
    """
    native = data.dtype.newbyteorder("=")
    if data.ndim == 3:
        return data.astype(native, copy=False)
    if data.ndim != 4 or data.shape[3] == 0:
        raise ImageError(
            f"The image has the shape {data.shape}; one 3-D volume, or a series of them along a "
            "fourth axis, is needed. Extract what is to be segmented first."
        )
    total = np.zeros(data.shape[:3])
    for volume in np.moveaxis(data, 3, 0):
        total += volume
    total /= data.shape[3]
    return total.astype(native)


def to_canonical(data: AnyArray, affine: Affine) -> tuple[AnyArray, Affine]:
    """Order and turn the axes so that they point right, forward and up (RAS+).

    Parameters
    ----------
    data : array of shape (X, Y, Z)
        The image; a view of it is returned.
    affine : array of shape (4, 4)
        Voxel indices to mm.

    Returns
    -------
    data : array of shape (X', Y', Z')
        No voxel is interpolated.
    affine : array of shape (4, 4)
        Rounded to single precision, as the original's intermediate NIfTI files hold it.

    Notes
    -----
    Source: totalspineseg 20260807, ``utils/reorient_canonical.py``, that is nibabel's
    ``as_closest_canonical``; checked by ``tests/parity/test_spine_grids.py``.
    """
    rounded = stored(affine)
    x, y, z = (float(size) for size in voxel_sizes(rounded))
    turned, _ = to_frame(Volume(data[None], rounded, (x, y, z)), "RAS", "xyz")
    return turned.data[0], stored(turned.affine)


def to_isotropic(
    data: AnyArray, affine: Affine, spacing_mm: float = 1.0
) -> tuple[AnyArray, Affine]:
    """Resample an image to cubic voxels, linearly, around the same centre.

    Parameters
    ----------
    data : array of shape (X, Y, Z)
        The image.
    affine : array of shape (4, 4)
        Of `to_canonical`.
    spacing_mm : float
        Edge of a new voxel.

    Returns
    -------
    data : array of shape (X', Y', Z')
        The same type: integers lose what interpolation put behind the point, which can be a grey
        level even where nothing moves.
    affine : array of shape (4, 4)
        Rounded to single precision, as the original's intermediate NIfTI files hold it.

    Raises
    ------
    ImageError
        If the image is thinner than one new voxel along an axis of several voxels.

    Notes
    -----
    Source: totalspineseg 20260807, ``utils/resample.py``, with ``Resample`` of torchio 1.2.1;
    checked by ``tests/parity/test_spine_grids.py``. A new length is rounded down: an oblique image
    of 1 mm, whose spacing comes out a little smaller, loses a voxel per axis.
    """
    old = Frame.from_affine(affine)
    size = np.array(data.shape)
    new_size = np.where(size == 1, 1, np.floor(size * old.spacing / spacing_mm).astype(int))
    if not new_size.all():
        raise ImageError(
            f"The image has {data.shape} voxels of {tuple(old.spacing.round(3).tolist())} mm; at "
            f"least {spacing_mm:g} mm along each axis are needed. Give an image of the whole spine."
        )
    centre = (np.array(old.place(*(size - 1))) + old.origin) / 2
    half = (new_size - 1) / 2 * spacing_mm
    new = Frame(old.direction, np.full(3, spacing_mm), centre - old.direction @ half)
    x, y, z = new_size.tolist()
    native = data.astype(data.dtype.newbyteorder("="), copy=False)
    resampled = pull(native, old, new, (x, y, z), linear=True)
    # nibabel leaves a header as it is whose affine is as good as the new one
    return resampled, affine if np.allclose(new.affine, affine) else stored(new.affine)


def labels_to_grid(labels: LabelArray, affine: Affine, grid: Grid) -> LabelArray:
    """Bring labels to another grid: each voxel takes the nearest one's, or 0 outside.

    Parameters
    ----------
    labels : array of shape (X, Y, Z)
        uint8.
    affine : array of shape (4, 4)
        Of the labels: after a network that of
        `deepseg_lite.workflows.spine.headers.affine_of_labels`.
    grid : Grid
        Where to bring them.

    Returns
    -------
    labels : array of shape ``grid.shape``
        uint8.

    Notes
    -----
    Source: totalspineseg 20260807, ``utils/transform_seg2image.py``, ``nearest``; checked by
    ``tests/parity/test_spine_grids.py``.
    """
    return _to_grid(labels, affine, grid, linear=False)


def map_to_grid(map_: FloatArray, affine: Affine, grid: Grid) -> FloatArray:
    """Bring a map (X, Y, Z) to another grid by linear interpolation, 0 outside; float32.

    Notes
    -----
    Source: totalspineseg 20260807, ``utils/transform_seg2image.py``, ``linear``; checked by
    ``tests/parity/test_spine_grids.py``.
    """
    return _to_grid(map_.astype(np.float32, copy=False), affine, grid, linear=True)


def points_to_grid(
    points: LabelArray, affine: Affine, grid: Grid, spacing: Spacing | None = None
) -> LabelArray:
    """Bring labels of one voxel each to another grid, where each has one voxel again.

    Every point grows to a cube that no voxel of the new grid can miss; the cube is brought over,
    and the voxel nearest to its centre, not outside the grid, is the new point. Of labels that
    meet in a voxel the highest stays.

    Parameters
    ----------
    points : array of shape (X, Y, Z)
        uint8.
    affine : array of shape (4, 4)
        Of the points, as in `labels_to_grid`.
    grid : Grid
        Where to bring them.
    spacing : tuple of 3 floats, optional
        Voxel size of the points in mm, if that is not exactly the affine's: in the original's file
        it is that of the grid on which the network's labels were put.

    Returns
    -------
    points : array of shape ``grid.shape``
        uint8.

    Notes
    -----
    Source: totalspineseg 20260807, ``utils/transform_seg2image.py``, ``label``; checked by
    ``tests/parity/test_spine_grids.py``.
    """
    # as headers hold them: the last bit of the ratio decides which integer is next
    old, new = Grid(grid.shape, affine, spacing).zooms, grid.zooms
    reach = ceil((new / old).max())
    margin = reach * ceil((old / new).max())

    cubes = scipy.ndimage.grey_dilation(np.pad(points, margin), size=[2 * reach + 1] * 3)
    x, y, z = (size + 2 * margin for size in grid.shape)
    padded = Grid((x, y, z), _widened(grid.affine, margin))
    brought = labels_to_grid(cubes, _widened(affine, margin), padded)
    places = np.argwhere(brought)
    values = brought[tuple(places.T)]
    moved = np.zeros(grid.shape, np.uint8)
    for value in np.unique(values):
        cube: AnyArray = places[values == value]
        centre = np.round(cube.sum(axis=0) / len(cube)).astype(int) - margin
        moved[tuple(np.clip(centre, 0, np.array(grid.shape) - 1))] = value
    return moved


def _to_grid(array: AnyArray, affine: Affine, grid: Grid, *, linear: bool) -> AnyArray:
    frames = Frame.from_affine(affine), Frame.from_affine(grid.affine)
    return pull(array, *frames, grid.shape, linear=linear)


def _widened(affine: Affine, margin: int) -> Affine:
    """Return the affine of a grid that has more voxels on every side."""
    wider = np.array(affine, np.float64)
    wider[:3, 3] -= wider[:3, :3] @ ([margin] * 3)
    return wider
