"""Views of quality control, made of arrays on their own axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from deepseg_lite.qc.view import Shown, View, make_view


def view_of(
    labels: np.ndarray,
    structures: Mapping[str, Sequence[int]],
    spacing: tuple[float, float, float] = (3.0, 1.0, 1.0),
    image: np.ndarray | None = None,
) -> View:
    """Return the view of labels (slices, rows, columns) whose axes are those of a view."""
    affine = np.zeros((4, 4))
    affine[[2, 1, 0], [0, 1, 2]] = np.array([-1, -1, 1]) * spacing
    affine[3, 3] = 1
    image = labels.astype(np.float32) if image is None else image
    return make_view([image], [Shown(labels, structures)], affine, float(np.prod(spacing)))


def cord(shape: tuple[int, int, int] = (20, 40, 40), radius: float = 6.0) -> np.ndarray:
    """Return a straight cord in the middle of an image."""
    y, x = (np.arange(n) - (n - 1) / 2 for n in shape[1:])
    disc = y[:, None] ** 2 + x[None, :] ** 2 <= radius**2
    return np.repeat(disc[None].astype(np.uint8), shape[0], axis=0)
