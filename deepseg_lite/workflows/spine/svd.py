"""Singular values of a 3 x 3 matrix and its inverse, rounded bit by bit as in ITK.

ITK inverts a grid's matrix by its singular values, with the LINPACK routine ``dsvdc``. Any other
inverse differs in the last bit, and half-way between two voxels that bit decides which one is
nearest: whole surfaces of labels would move. So the steps here are LINPACK's, in its order.
"""

from __future__ import annotations

import numpy as np
from numpy import copysign, sqrt

from deepseg_lite.volume import FloatArray

Vector = list[float]
Columns = list[Vector]


def invert(matrix: FloatArray) -> FloatArray:
    """Invert a matrix of shape (3, 3) that is not singular.

    Notes
    -----
    Source: ITK 5.4 (SimpleITK 2.5.7), ``itk::Matrix::GetInverse``, which is ``vnl_matrix_inverse``
    and LINPACK's ``dsvdc``; checked by ``tests/parity/test_spine_grids.py``.
    """
    left, values, right = _decompose(matrix)
    scaled = [[x * (1.0 / value) for x in v] for v, value in zip(right, values, strict=True)]
    inverse = [[_dot(row, other) for other in _transposed(left)] for row in _transposed(scaled)]
    return np.array(inverse)


def left_vectors(matrix: FloatArray) -> FloatArray:
    """Return the left singular vectors of a matrix (3, 3) as columns, in its own precision.

    Notes
    -----
    Source: ITK 5.4 (SimpleITK 2.5.7), ``vnl_svd`` and LINPACK's ``dsvdc`` or ``ssvdc``; checked by
    ``tests/parity/test_spine_grids.py``, through what `deepseg_lite.workflows.spine.headers` makes
    of them.
    """
    left, _, _ = _decompose(matrix)
    return np.array(left, matrix.dtype).T


def _decompose(matrix: FloatArray) -> tuple[Columns, Vector, Columns]:
    """Return left singular vectors, singular values and right singular vectors, as columns."""
    left, diagonal, right, above = _bidiagonal([list(column) for column in matrix.T])
    end = 3  # singular values from here on are found
    while end:
        start = _block_start(diagonal, above, end)
        if start < end - 1:
            _chase(left, diagonal, right, above, start, end)
            continue
        end -= 1
        _settle(left, diagonal, right, end)
    return left, diagonal, right


def _bidiagonal(columns: Columns) -> tuple[Columns, Vector, Columns, Vector]:
    """Reduce a matrix to a diagonal and the elements above it, by reflections from both sides."""
    first, left_0 = _reflection(columns[0])
    _reflect(left_0, columns[1:])
    row, right_0 = _reflection([column[0] for column in columns[1:]])
    rest = [column[1:] for column in columns[1:]]
    if row:
        mixed = [0.0 + right_0[0] * rest[0][i] + right_0[1] * rest[1][i] for i in range(2)]
        for weight, column in zip(right_0, rest, strict=True):
            _add(-weight / right_0[0], mixed, column)
    second, left_1 = _reflection(rest[0])
    _reflect(left_1, rest[1:])

    lower = [_unit(left_1, second), [0.0, 1.0]]
    _reflect(left_1, lower[1:])
    left = [_unit(left_0, first), *([0.0, *column] for column in lower)]
    _reflect(left_0, left[1:])
    right = [[1.0, 0.0], [0.0, 1.0]]
    if row:
        _reflect(right_0, right)
    diagonal, above = [-first, -second, rest[1][1]], [-row, rest[1][0], 0.0]
    return left, diagonal, [[1.0, 0.0, 0.0], *([0.0, *column] for column in right)], above


def _reflection(vector: Vector) -> tuple[float, Vector]:
    """Return the signed length of a vector, and the vector that reflects it onto its first axis."""
    length = _length(vector)
    if length == 0:
        return 0.0, list(vector)
    if vector[0] != 0:
        length = copysign(length, vector[0])
    scaled = [(1.0 / length) * x for x in vector]
    scaled[0] += 1.0
    return length, scaled


def _reflect(mirror: Vector, columns: Columns) -> None:
    """Reflect columns in place."""
    for column in columns:
        _add(-_dot(mirror, column) / mirror[0], mirror, column)


def _unit(mirror: Vector, length: float) -> Vector:
    """Return the first axis as a mirror reflects it; itself where there was nothing to reflect."""
    if length == 0:
        return [1.0] + [0.0] * (len(mirror) - 1)
    return [1.0 - mirror[0], *(-x for x in mirror[1:])]


def _block_start(diagonal: Vector, above: Vector, end: int) -> int:
    """Return where the block ends upwards that no negligible element above the diagonal splits."""
    for start in range(end - 1, 0, -1):
        size = abs(diagonal[start - 1]) + abs(diagonal[start])
        if size + abs(above[start - 1]) == size:
            above[start - 1] = 0.0
            return start
    return 0


def _chase(
    left: Columns, diagonal: Vector, right: Columns, above: Vector, start: int, end: int
) -> None:
    """Make the elements above a block's diagonal smaller by one shifted QR step."""
    last = end - 1
    block = (diagonal[last], diagonal[last - 1], above[last - 1], diagonal[start], above[start])
    scale = max(abs(x) for x in block)
    low, before, beside, top, over = (x / scale for x in block)
    b = ((before + low) * (before - low) + beside * beside) / 2.0
    c = (low * beside) * (low * beside)
    shift = 0.0
    if b != 0 or c != 0:
        shift = c / (b + copysign(sqrt(b * b + c), b))
    f, g = (top + low) * (top - low) + shift, top * over
    for k in range(start, last):
        f, cosine, sine = _rotation(f, g)
        if k != start:
            above[k - 1] = f
        f = cosine * diagonal[k] + sine * above[k]
        above[k] = cosine * above[k] - sine * diagonal[k]
        g = sine * diagonal[k + 1]
        diagonal[k + 1] *= cosine
        _rotate(right, k, cosine, sine)
        diagonal[k], cosine, sine = _rotation(f, g)
        f = cosine * above[k] + sine * diagonal[k + 1]
        diagonal[k + 1] = -sine * above[k] + cosine * diagonal[k + 1]
        g = sine * above[k + 1]
        above[k + 1] *= cosine
        _rotate(left, k, cosine, sine)
    above[last - 1] = f


def _settle(left: Columns, diagonal: Vector, right: Columns, k: int) -> None:
    """Make a singular value that was found positive, and put it in descending order."""
    if diagonal[k] < 0:
        diagonal[k] = -diagonal[k]
        right[k] = [-x for x in right[k]]
    while k < 2 and diagonal[k] < diagonal[k + 1]:
        diagonal[k], diagonal[k + 1] = diagonal[k + 1], diagonal[k]
        for columns in (left, right):
            columns[k], columns[k + 1] = columns[k + 1], columns[k]
        k += 1


def _rotation(a: float, b: float) -> tuple[float, float, float]:
    """Return r, cosine and sine of the rotation that turns (a, b) into (r, 0)."""
    scale = abs(a) + abs(b)
    if scale == 0:
        return 0.0, 1.0, 0.0
    u, v = a / scale, b / scale
    r = copysign(_times_root(scale, u * u + v * v), a if abs(a) > abs(b) else b)
    return r, a / r, b / r


def _rotate(columns: Columns, k: int, cosine: float, sine: float) -> None:
    """Rotate columns k and k + 1 in place."""
    pairs = list(zip(columns[k], columns[k + 1], strict=True))
    columns[k] = [cosine * x + sine * y for x, y in pairs]
    columns[k + 1] = [cosine * y - sine * x for x, y in pairs]


def _length(vector: Vector) -> float:
    """Return the Euclidean length, by the largest element so far as BLAS does."""
    scale, total = 0.0, 1.0
    for x in map(abs, vector):
        if x > scale:
            total = 1.0 + total * ((scale / x) * (scale / x))
            scale = x
        elif x:
            total += (x / scale) * (x / scale)
    return _times_root(scale, total)


def _times_root(factor: float, square: float) -> float:
    """Multiply by a square root, in double precision also where the numbers are single."""
    return type(factor)(float(factor) * sqrt(float(square)))


def _dot(a: Vector, b: Vector) -> float:
    """Return the scalar product, added up in order; ``sum`` compensates rounding, LINPACK not."""
    total = 0.0
    for x, y in zip(a, b, strict=True):
        total += x * y
    return total


def _add(weight: float, vector: Vector, to: Vector) -> None:
    """Add a multiple of one vector to another in place."""
    for i, x in enumerate(vector):
        to[i] += weight * x


def _transposed(columns: Columns) -> Columns:
    """Return rows as columns, or columns as rows."""
    return [list(row) for row in zip(*columns, strict=True)]
