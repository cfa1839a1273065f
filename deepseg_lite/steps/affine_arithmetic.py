"""Affines inverted and multiplied in one fixed order of operations, alike on every computer.

BLAS rounds by the processor it finds: with AVX-512 the last bits of an inverse differ from those
with AVX2. Where a resampled mask is a half up to the last bit, that decides voxels.

Source: OpenBLAS 0.3.23 to 0.3.30, its kernels for Haswell and Zen, as ``numpy.linalg.inv`` and
``numpy.dot`` call them (``getf2``, ``getrs``, ``gemm``); checked by ``tests/parity/test_keras.py``.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from deepseg_lite.volume import Affine

Rows = list[list[float]]


def inverse(affine: Affine) -> Affine:
    """Return the inverse of an affine of shape (4, 4), each operation rounded by itself.

    Columns are eliminated from left to right with the largest pivot, sums of products are taken
    before they are subtracted, and divisions are products with the rounded reciprocal.
    """
    rows: Rows = np.asarray(affine, np.float64).tolist()
    size = len(rows)
    order = list(range(size))
    for j in range(size):
        for i in range(1, size):
            total = 0.0
            for k in range(min(i, j)):
                total += rows[i][k] * rows[k][j]
            rows[i][j] -= total
        pivot = max(range(j, size), key=lambda i: abs(rows[i][j]))
        rows[j], rows[pivot] = rows[pivot], rows[j]
        order[j], order[pivot] = order[pivot], order[j]
        reciprocal = 1 / rows[j][j]
        for i in range(j + 1, size):
            rows[i][j] *= reciprocal
    return np.array([_solved(rows, [float(i == c) for i in order]) for c in range(size)]).T


def _solved(rows: Rows, values: list[float]) -> list[float]:
    """Return what the factors of a matrix, in place of each other, make of a right-hand side."""
    size = len(rows)
    for k in range(size):
        for i in range(k + 1, size):
            values[i] -= rows[i][k] * values[k]
    for k in reversed(range(size)):
        values[k] *= 1 / rows[k][k]
        for i in range(k):
            values[i] -= rows[i][k] * values[k]
    return values


def product(a: Affine, b: Affine) -> Affine:
    """Return the product of two affines; each term is added with a single rounding."""
    size = len(a)
    result = np.zeros((size, size))
    for i in range(size):
        for j in range(size):
            total = 0.0
            for k in range(size):
                total = _fused(float(a[i, k]), float(b[k, j]), total)
            result[i, j] = total
    return result


def _fused(a: float, b: float, c: float) -> float:
    """Return ``a * b + c`` rounded once; Python has it from 3.13 on."""
    return float(Fraction(a) * Fraction(b) + Fraction(c))
