"""Affines as the NIfTI files between TotalSpineSeg's steps round them.

The original passes images from step to step as files, and its network's labels are written by ITK,
which keeps an oblique affine to about the seventh digit only. That is 0.00001 voxels; but on the
way back to the image's grid many voxels are half-way between two others, and then it decides.
"""

from __future__ import annotations

import numpy as np
from nibabel import Nifti1Header
from nibabel.affines import apply_affine

from deepseg_lite.volume import Affine, AnyArray, FloatArray
from deepseg_lite.workflows.spine.svd import left_vectors

SIMILAR = 1e-4
"""Singular vectors of the two affines of a file that differ by no more are the same to ITK."""

_CONVERGED, _MOST_STEPS = 3e-6, 101  # of niftilib's polar decomposition


def stored(affine: Affine) -> Affine:
    """Return an affine as a NIfTI header holds it, in single precision."""
    return np.asarray(affine, np.float32).astype(np.float64)


def cropped_affine(affine: Affine, start: tuple[int, ...]) -> Affine:
    """Return the affine of a box that starts at a voxel, as a file of it holds it."""
    moved = affine.copy()
    moved[:3, 3] = apply_affine(affine, start)
    return stored(moved)


def affine_of_labels(affine: Affine, grid_affine: Affine) -> Affine:
    """Return the affine of a network's labels once they are on the workflow's grid.

    Parameters
    ----------
    affine : array of shape (4, 4)
        Of the image that the network saw, as `stored`.
    grid_affine : array of shape (4, 4)
        Of the grid that its labels are brought to, as `stored`.

    Returns
    -------
    affine : array of shape (4, 4)
        The one that ITK wrote, where nibabel takes it for that of the grid; else the grid's.

    Notes
    -----
    Source: ITK 5.4 (SimpleITK 2.5.7), ``NiftiImageIO`` with niftilib, as nnunetv2 2.8.1 uses it in
    ``imageio/simpleitk_reader_writer.py``; nibabel, ``SpatialImage.update_header``. Checked by
    ``tests/parity/test_spine_grids.py``. The file is one that totalspineseg made, with both affines
    and the codes 2 and 2: that of every image that was reoriented or resampled.
    """
    spacing, direction = _read_by_itk(affine)
    written = affine.copy()
    written[:3, :3] = spacing * _nearest_rotation(direction.astype(np.float32).T).T
    return written if np.allclose(grid_affine, written) else grid_affine


def _read_by_itk(affine: Affine) -> tuple[FloatArray, FloatArray]:
    """Return spacing (single precision) and unit vectors that ITK reads from a file.

    Of the two affines ITK prefers the sform if both have the same left singular vectors. At 1 mm
    all singular values are the same and the vectors arbitrary, so this is chance, but repeatable.
    """
    header = Nifti1Header()
    header.set_qform(affine, 2)
    sform = affine[:3, :3].astype(np.float32)
    qform = header.get_qform()[:3, :3].astype(np.float32)
    turn = left_vectors(sform) @ left_vectors(qform).T
    preferred = sform if np.abs(turn - np.eye(3)).max() <= SIMILAR else qform
    columns = preferred.astype(np.float64)
    squares = columns * columns
    spacing: FloatArray = np.array(header["pixdim"][1:4], np.float32)
    return spacing, columns / np.sqrt((squares[0] + squares[1]) + squares[2])


def _nearest_rotation(rows: AnyArray) -> FloatArray:
    """Return the orthogonal matrix nearest to one in single precision, by Newton's method."""
    squares = rows * rows
    lengths = ((squares[:, 0] + squares[:, 1]) + squares[:, 2]).astype(np.float64)
    new = rows * (1 / np.sqrt(lengths)).astype(np.float32)[:, None]
    change = np.float32(1)
    for _ in range(_MOST_STEPS):
        old, inverse = new, _inverse(new)
        gain = np.float32(1)
        if change > 0.3:
            gain = np.sqrt(np.sqrt(_norms(inverse)) / np.sqrt(_norms(old)))
        new = np.float32(0.5) * (gain * old + (np.float32(1) / gain) * inverse.T)
        change = np.float32(np.abs(new - old).sum(dtype=np.float64))
        if change < _CONVERGED:
            break
    rotation: FloatArray = new
    return rotation


def _inverse(matrix: AnyArray) -> AnyArray:
    """Return the inverse in single precision, by cofactors in double precision."""
    a, b, c = matrix.T.astype(np.float64)
    terms = [
        a[0] * b[1] * c[2],
        -a[0] * b[2] * c[1],
        -a[1] * b[0] * c[2],
        a[1] * b[2] * c[0],
        a[2] * b[0] * c[1],
        -a[2] * b[1] * c[0],
    ]
    determinant = np.cumsum(terms)[-1]  # added up in order
    cofactors = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)])
    inverse: AnyArray = ((1 / determinant) * cofactors).astype(np.float32)
    return inverse


def _norms(matrix: AnyArray) -> np.float32:
    """Return the product of the largest row sum and the largest column sum of magnitudes."""
    magnitudes = np.abs(matrix.astype(np.float64))
    row, column = (np.float32(magnitudes.sum(axis=axis).max()) for axis in (1, 0))
    return row * column
