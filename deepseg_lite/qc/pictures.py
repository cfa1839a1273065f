"""Pictures of a view: axial slices around the structure, and a sagittal slice that follows it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy

from deepseg_lite.qc import font
from deepseg_lite.qc.png import Color, colored_png, gray_png
from deepseg_lite.qc.sampling import centre_line, sampled, to_gray
from deepseg_lite.qc.view import View
from deepseg_lite.volume import AnyArray

COLORS: tuple[Color, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (204, 121, 167),
    (213, 94, 0),
    (0, 114, 178),
    (240, 228, 66),
)
"""Colours in turn. Source: Okabe and Ito, Color Universal Design (2008)."""
TEXT: Color = (255, 255, 0)
TEXT_NUMBER = len(COLORS) + 1
AXIAL_SIDES, SAGITTAL_SIDES = "APLR", "SIPA"
"""Directions at the top, bottom, left and right."""
POINT_VOXELS = 3
"""Structures of so many voxels are points."""
Name = tuple[str, int, int]
"""Text, column and row."""
Named = tuple[str, ...]
MAX_TILES, MAX_PIXELS = 60, 150_000
SMALLEST_FIELD_MM, LARGEST_FIELD_MM = 26.0, 160.0
SMALLEST_TILE, LARGEST_TILE = 40, 96
COLUMNS, WIDER = 10, 1.6  # at most, and how much wider than high a page has room for
SAGITTAL_PIXELS, SAGITTAL_WIDTH_MM, FINEST_MM = 320, 90.0, 0.4


@dataclass(frozen=True, eq=False)
class Picture:
    """Picture of a view.

    Attributes
    ----------
    backgrounds : tuple of bytes
        PNG file of each channel.
    filled, outline, lettered : bytes
        PNG files of the structures, to be laid over the background; the last is filled, with the
        numbers and letters in it that other viewers do not draw.
    facts : dict
        What a viewer needs: pixels, mm of a pixel, names and their places, and for tiles their
        grid and slices.
    """

    backgrounds: tuple[bytes, ...]
    filled: bytes
    outline: bytes
    lettered: bytes
    facts: dict[str, Any] = field(default_factory=dict)


def color_of(number: int) -> Color:
    """Return the colour of a structure."""
    return COLORS[(number - 1) % len(COLORS)]


def short_name(name: str, value: int) -> str:
    """Return what is written at a structure: its levels, as in ``vertebrae_C3``, or its value."""
    return "-".join(re.findall(r"(?<![A-Za-z])[CTLS]\d+", name)) or str(value)


def axial_picture(view: View, *, named: Named = ()) -> Picture:
    """Return axial slices side by side, each centred on the structure, numbered.

    Parameters
    ----------
    view : View
        Of any size; at most `MAX_TILES` slices are shown, evenly spaced over the structure.
    named : tuple of str
        Beginnings of the names of structures that have their level written beside them.
    """
    chosen = _shown_slices(view.focus)
    centres = centre_line(view.focus)[chosen]
    field_mm = _field(view, chosen)
    size = int(np.clip(np.sqrt(MAX_PIXELS / len(chosen)), SMALLEST_TILE, LARGEST_TILE))
    finest = min(view.spacing[1:])
    size = min(size, max(SMALLEST_TILE, round(field_mm / finest)))
    pixel = field_mm / size
    steps = (np.arange(size) - (size - 1) / 2) * pixel
    rows = centres[:, :1] + steps / view.spacing[1]
    columns = centres[:, 1:] + steps / view.spacing[2]
    grid = (chosen[:, None, None], rows[:, :, None], columns[:, None, :])
    tiles = [to_gray(sampled(channel, grid, 1)) for channel in view.channels]
    labels = sampled(view.labels, grid, 0)
    across = _columns(len(chosen))
    corners = [(place // across * size, place % across * size) for place in range(len(chosen))]
    filled = _mosaic(_painted(labels), across)
    outline = _mosaic(_painted(_outlines(labels, view)), across)
    names = [
        name
        for tile, corner in zip(labels, corners, strict=True)
        for name in _names(tile, view, corner, named)
    ]
    lettered = filled.copy()
    for (top, left), index in zip(corners, chosen, strict=True):
        font.draw(lettered, str(view.slices[index]), top + 1, left + 1, TEXT_NUMBER)
    _letter(lettered[:size, :size], AXIAL_SIDES)
    _write_names(lettered, names)
    facts = {
        "tile": size,
        "columns": across,
        "mm": round(pixel, 4),
        "slices": [int(view.slices[index]) for index in chosen],
        "size": [filled.shape[1], filled.shape[0]],
        "sides": AXIAL_SIDES,
        "names": names,
    }
    backgrounds = tuple(gray_png(_mosaic(tile, across)) for tile in tiles)
    return Picture(backgrounds, _overlay(filled), _overlay(outline), _overlay(lettered), facts)


def sagittal_picture(view: View, *, named: Named = ()) -> Picture:
    """Return the sagittal slice that follows the structure from end to end of the image.

    Structures that it misses, such as rootlets, are shown as they are seen from the side.
    Its columns go to posterior on the left, as the Spinal Cord Toolbox shows it.
    """
    s_mm, a_mm, _ = view.spacing
    count, depth, _ = view.labels.shape
    line = centre_line(view.focus)
    height_mm = count * s_mm
    pixel = max(height_mm / SAGITTAL_PIXELS, FINEST_MM)
    middle = float(np.median(line[:, 0]))
    spread = float(np.ptp(line[:, 0])) * a_mm
    width_mm = min(depth * a_mm, SAGITTAL_WIDTH_MM + spread)
    slices = np.arange(round(height_mm / pixel)) * pixel / s_mm
    steps = (np.arange(round(width_mm / pixel)) - (round(width_mm / pixel) - 1) / 2) * pixel / a_mm
    middle = float(np.clip(middle, steps[-1], max(depth - 1 - steps[-1], steps[-1])))
    rows = middle - steps
    columns = np.interp(slices, np.arange(count), line[:, 1])
    grid = (slices[:, None], rows[None, :], columns[:, None])
    grays = [to_gray(sampled(channel, grid, 1)) for channel in view.channels]
    labels = sampled(view.labels, grid, 0)
    labels = _with_missed(labels, view, slices, rows)
    filled, outline = _painted(labels), _painted(_outlines(labels[None], view)[0])
    names = _names(labels, view, (0, 0), named)
    lettered = filled.copy()
    _letter(lettered, SAGITTAL_SIDES)
    _write_names(lettered, names)
    facts = {
        "mm": round(pixel, 4),
        "size": [labels.shape[1], labels.shape[0]],
        "sides": SAGITTAL_SIDES,
        "names": names,
    }
    backgrounds = tuple(map(gray_png, grays))
    return Picture(backgrounds, _overlay(filled), _overlay(outline), _overlay(lettered), facts)


def _columns(count: int) -> int:
    """Return how many tiles are side by side, so that few are large and rows are full."""
    most = min(COLUMNS, math.ceil(math.sqrt(WIDER * count)))
    return math.ceil(count / math.ceil(count / most))


def _shown_slices(labels: AnyArray) -> AnyArray:
    """Return which slices are shown: those with a structure and one beyond, or all."""
    there = np.flatnonzero(labels.any(axis=(1, 2)))
    first, last = (there[0] - 1, there[-1] + 1) if len(there) else (0, len(labels) - 1)
    first, last = max(int(first), 0), min(int(last), len(labels) - 1)
    count = min(last - first + 1, MAX_TILES)
    return np.unique(np.round(np.linspace(first, last, count)).astype(int))


def _field(view: View, chosen: AnyArray) -> float:
    """Return the side of a tile in mm: what the widest slice needs, and some of what is around."""
    inside = view.focus[chosen] != 0
    rows = np.ptp(np.nonzero(inside.any(axis=(0, 2)))[0]) if inside.any() else 0
    columns = inside.any(axis=1).sum(axis=1).max()
    depth = inside.any(axis=2).sum(axis=1).max()
    widest = max(columns * view.spacing[2], min(rows, depth) * view.spacing[1])
    return float(np.clip(1.6 * widest + 8, SMALLEST_FIELD_MM, LARGEST_FIELD_MM))


def _outlines(labels: AnyArray, view: View) -> AnyArray:
    """Return labels without what they have inside, in pictures (count, rows, columns).

    Of two structures that touch, the one that lies over the other has the line.
    """
    order = np.zeros(len(view.structures) + 1, int)
    for place, each in enumerate(sorted(view.structures, key=lambda each: -each.mm3), 1):
        order[each.number] = place
    height = order[labels]
    inside = np.ones(labels.shape, bool)
    for axis in (1, 2):
        for step in (1, -1):
            inside &= np.roll(height, step, axis) >= height
    return np.where(inside, 0, labels)


def _with_missed(labels: AnyArray, view: View, slices: AnyArray, rows: AnyArray) -> AnyArray:
    """Return a sagittal picture with structures that its slice misses, as seen from the side.

    Points are dots of 3 pixels.
    """
    there = np.unique(labels)
    down, back = (np.round(axis).astype(int) for axis in (slices, rows))
    inside = np.ix_(down < len(view.labels), (back >= 0) & (back < view.labels.shape[1]))
    for each in view.structures:
        part = each.part
        if each.mm3 <= POINT_VOXELS * view.voxel_mm3:
            place, depth, _ = (np.argwhere(part.mask).mean(axis=0) + part.corner).tolist()
            row, column = int(np.abs(slices - place).argmin()), int(np.abs(rows - depth).argmin())
            labels[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2] = each.number
        elif each.number not in there:
            shadow = np.zeros(view.labels.shape[:2], bool)
            shadow[part.box[:2]] = part.mask.any(axis=2)
            seen = shadow[np.ix_(down[inside[0].ravel()], back[inside[1].ravel()])]
            shown = labels[inside]
            labels[inside] = np.where(seen & (shown == 0), each.number, shown)
    return labels


def _mosaic(tiles: AnyArray, across: int) -> AnyArray:
    """Return tiles (count, rows, columns) in rows of so many."""
    count, height, width = tiles.shape
    down = -(-count // across)
    full = np.zeros((down * across, height, width), np.uint8)
    full[:count] = tiles
    rows = full.reshape(down, across, height, width).transpose(0, 2, 1, 3)
    return rows.reshape(down * height, across * width)


def _painted(labels: AnyArray) -> AnyArray:
    """Return the number of the colour of each structure."""
    return np.where(labels == 0, 0, (labels.astype(int) - 1) % len(COLORS) + 1).astype(np.uint8)


def _overlay(picture: AnyArray) -> bytes:
    return colored_png(picture, [*COLORS, TEXT], [255] * (len(COLORS) + 1))


def _letter(picture: AnyArray, sides: str) -> None:
    """Write directions at the top, bottom, left and right of a picture."""
    height, width = picture.shape
    row, column = (height - font.HEIGHT) // 2, (width - font.WIDTH) // 2
    below, beyond = height - font.HEIGHT - 1, width - font.WIDTH - 1
    places = ((1, column), (below, column), (row, 1), (row, beyond))
    for letter, (y, x) in zip(sides, places, strict=True):
        font.draw(picture, letter, y, x, TEXT_NUMBER)


def _names(labels: AnyArray, view: View, corner: tuple[int, int], named: Named) -> list[Name]:
    """Return the short names of structures of a picture, to the right of each."""
    short = {
        each.number: short_name(each.name, each.value)
        for each in view.structures
        if each.name.startswith(named)
    }
    found = []
    for number, place in enumerate(scipy.ndimage.find_objects(labels) if short else (), 1):
        if place is not None and number in short:
            row = (place[0].start + place[0].stop) // 2
            found.append((short[number], corner[1] + place[1].stop + 2, corner[0] + row))
    return found


def _write_names(picture: AnyArray, names: Sequence[Name]) -> None:
    for text, column, row in names:
        font.draw(picture, text, row - font.HEIGHT // 2, column, TEXT_NUMBER)
