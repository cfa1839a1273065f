"""Small columns of boxes that stand for a spine, and bare lists of parts."""

from __future__ import annotations

import numpy as np

from deepseg_lite.workflows.spine.parts import Centerline, Parts, find_centerline

CANAL, CORD, DISC, C2_C3, C7_T1, T12_L1, L5_S1 = 8, 9, 1, 2, 3, 4, 5
HEIGHTS = (70, 60, 50, 40, 30, 20, 10)
ODD, EVEN, UNSURE, SACRUM = 7, 8, 6, 9


def column(*discs: int, canal: int = CANAL) -> np.ndarray:
    """Return a straight canal with a disc of 800 voxels every 10 mm, its class from the top."""
    classes = np.zeros((24, 36, 80), np.uint8)
    classes[9:15, 4:10] = canal
    for height, value in zip(HEIGHTS, discs, strict=False):
        classes[2:22, 12:22, height : height + 4] = value
    return classes


def line_at(x: int = 12, y: int = 7, length: int = 80) -> Centerline:
    """Return a straight centreline."""
    canal = np.zeros((24, 36, length), bool)
    canal[x, y] = True
    return find_centerline(canal)


def parts_of(*heights: int) -> Parts:
    """Return components 1, 2, ... of the heights given, the topmost first; they have no voxels."""
    order = tuple(range(1, len(heights) + 1))
    return Parts(np.zeros((1, 1, 1), np.int32), order, heights)
