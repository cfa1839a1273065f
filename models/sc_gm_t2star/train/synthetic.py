"""Labelled axial slices of nobody: known shapes in random contrasts, and the phantom.

Tissues of the shapes in ``anatomy`` get random signals, fluid as dark as the cord among them;
around the spine there are random blobs in place of muscles, fat and vessels. What a slice looks
like is left to chance, so that the network learns the shape of the cord in its canal and not the
signal of one sequence.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from anatomy import SHAPE_MM, Plane, draw_slab, read_mask_shapes, read_template
from images import GRAY, OUTSIDE, WHITE, Stack, scale_signal
from numpy.random import Generator
from scipy import ndimage

from deepseg_lite.api.phantom import make_phantom

CANVAS = 288  # pixels of a synthetic slice, each way
OTHERS_SHARE = 0.4  # of the slices, from masks without images
FIRST_PHANTOM_SEED = 1000  # the tests use small ones


class Tissues(NamedTuple):
    """Signals of a slice, from 0 to about 1."""

    bone: float
    fluid: float
    white: float
    gray: float


def draw_shapes(data: Path, count: int, seed: int, others_share: float = OTHERS_SHARE) -> Stack:
    """Draw slices of the template and of other people's masks in random contrasts.

    Parameters
    ----------
    data : Path
        Folder with ``PAM50`` and ``gm_challenge/more``.
    count, seed : int
        Number of slices; seed of everything random.
    others_share : float
        Share of the slices from masks without images; the others are of the template.

    Returns
    -------
    stack : Stack
        ``count`` unrelated slices of 288 x 288 pixels of 0.5 mm.
    """
    rng = np.random.default_rng(seed)
    template, others = read_template(data), read_mask_shapes(data)
    drawn = []
    for _ in range(count):
        is_other = rng.random() < others_share
        shape = others[rng.integers(len(others))] if is_other else template
        drawn.append(_draw_slice(draw_slab(shape, rng), rng))
    images, labels = (np.stack(planes) for planes in zip(*drawn, strict=True))
    return Stack(images.astype(np.float32), labels, (SHAPE_MM, SHAPE_MM), is_volume=False)


def draw_phantoms(count: int) -> list[Stack]:
    """Draw the package's phantom with other seeds, pixel sizes and little noise of its own."""
    stacks = []
    for seed in range(FIRST_PHANTOM_SEED, FIRST_PHANTOM_SEED + count):
        rng = np.random.default_rng(seed)
        spacing = (float(rng.uniform(0.4, 0.7)),) * 2 + (float(rng.uniform(2, 5)),)
        phantom = make_phantom(seed, shape=(224, 224, 6), spacing=spacing, noise=0.01)
        planes = scale_signal(phantom.image.transpose(2, 1, 0))
        stacks.append(Stack(planes, phantom.labels.transpose(2, 1, 0), spacing[:2]))
    return stacks


def _draw_slice(
    shares: npt.NDArray[np.float32], rng: Generator
) -> tuple[Plane, npt.NDArray[np.uint8]]:
    """Draw one slice and its labels from the shares of its parts."""
    corner = (CANVAS - shares.shape[-1]) // 2 + rng.integers(-25, 26, 2)
    spine, csf, white, gray = (_place(part, corner) for part in shares)
    cord = np.clip(white + gray, 0, 1)
    signal = _draw_neck(rng)
    tissues = TISSUES[rng.choice(len(TISSUES), p=TISSUE_SHARES)](rng)
    if rng.random() < 0.9:
        signal = _blend(signal, spine, tissues.bone)
    canal = np.maximum(csf, cord > 0.01)  # the template's fluid does not quite reach its cord
    dura = ndimage.gaussian_filter(canal, rng.uniform(1, 3)) > rng.uniform(0.1, 0.3)
    signal = _blend(signal, ndimage.gaussian_filter(dura.astype(np.float32), 0.7), tissues.bone)
    if rng.random() < 0.4:  # a wide canal or a narrow one
        wide = ndimage.gaussian_filter(canal, rng.uniform(1, 4)) > rng.uniform(0.2, 0.8)
        canal = np.maximum(wide, cord > 0.01).astype(np.float32)
    signal = _blend(signal, ndimage.gaussian_filter(canal, rng.uniform(0.3, 0.9)), tissues.fluid)
    if rng.random() < 0.5:
        signal = _draw_roots(signal, canal * (cord < 0.5), tissues.white, rng)
    signal = _blend(signal, cord, tissues.white) + gray * (tissues.gray - tissues.white)
    signal = signal * (1 + rng.uniform(0, 0.12) * _noise(rng, rng.uniform(0.6, 2)))
    labels = np.where(gray > 0.5, GRAY, np.where(cord > 0.5, WHITE, OUTSIDE))
    return np.clip(signal, 0, 1.5), labels.astype(np.uint8)


def _draw_roots(signal: Plane, fluid: Plane, white: float, rng: Generator) -> Plane:
    """Draw nerve roots in the fluid, as bright as the cord or nearly so."""
    places = np.argwhere(fluid > 0.5)
    cover = np.zeros_like(signal)
    if len(places):
        for y, x in places[rng.integers(len(places), size=rng.integers(2, 9))]:
            cover[y, x] = rng.uniform(0.5, 1)
        width = rng.uniform(0.7, 1.6)
        cover = ndimage.gaussian_filter(cover, width) * np.float32(2 * np.pi * width**2)
    return _blend(signal, np.clip(cover, 0, 1), white * rng.uniform(0.7, 1.2))


def _natural_signals(rng: Generator) -> Tissues:
    """Signals as on T2*-weighted images."""
    white = rng.uniform(0.3, 0.55)
    fluid, gray = rng.uniform(white * 1.15, 1.1), white * rng.uniform(1.06, 1.4)
    return Tissues(rng.uniform(0.03, 0.25), fluid, white, gray)


def _faint_signals(rng: Generator) -> Tissues:
    """Signals with fluid hardly brighter than the cord, equal to it or a little darker."""
    white = rng.uniform(0.25, 0.6)
    fluid, gray = white * rng.uniform(0.85, 1.25), white * rng.uniform(1.05, 1.3)
    return Tissues(rng.uniform(0.03, 0.8 * white), fluid, white, gray)


def _random_signals(rng: Generator) -> Tissues:
    """Signals without a rule, but with an edge between the cord and what is around it."""
    bone, fluid, white = rng.uniform(0.03, 1, 3)
    if abs(fluid - white) < 0.1:
        fluid = white + 0.15 if white < 0.6 else white - 0.15
    gray = white * (1 + rng.choice((-1, 1)) * rng.uniform(0.06, 0.4))
    return Tissues(bone, fluid, white, gray)


TISSUES = (_natural_signals, _faint_signals, _random_signals)
TISSUE_SHARES = (0.4, 0.25, 0.35)


def _draw_neck(rng: Generator) -> Plane:
    """Draw blobs of random signal with sheaths and vessels inside an ellipse of skin and fat."""
    fields = np.stack([_noise(rng, rng.uniform(5, 14)) for _ in range(rng.integers(3, 9))])
    order = np.sort(fields, axis=0)
    signals = rng.uniform(0.1, 0.8) + rng.uniform(0.02, 0.4) * rng.standard_normal(len(fields))
    signal = np.clip(signals, 0.02, 1.1).astype(np.float32)[np.argmax(fields, axis=0)]
    sheath = (order[-1] - order[-2] < rng.uniform(0, 0.25)).astype(np.float32)
    signal = _blend(signal, ndimage.gaussian_filter(sheath, 0.6), rng.uniform(0, 0.9))
    y, x = np.mgrid[:CANVAS, :CANVAS].astype(np.float32) - CANVAS / 2
    for _ in range(rng.integers(0, 12)):
        middle, radii = rng.uniform(-110, 110, 2), rng.uniform(3, 14, 2)
        vessel = np.hypot((y - middle[0]) / radii[0], (x - middle[1]) / radii[1]) < 1
        cover = ndimage.gaussian_filter(vessel.astype(np.float32), 0.7)
        signal = _blend(signal, cover, rng.uniform(0, 1.1))
    radii = rng.uniform(75, 190, 2)
    outline = np.hypot(y / radii[0], x / radii[1]) + 0.03 * _noise(rng, 12)
    fat = np.clip((outline - rng.uniform(0.8, 1)) * 30, 0, 1)
    signal = _blend(signal, fat, rng.uniform(0, 1))
    return _blend(signal, np.clip((outline - 1) * 30, 0, 1), rng.uniform(0, 0.03))


def _noise(rng: Generator, sigma: float) -> Plane:
    """Return a smooth random field of unit variance."""
    field = ndimage.gaussian_filter(rng.standard_normal((CANVAS, CANVAS), np.float32), sigma)
    return field / field.std()


def _place(part: Plane, corner: npt.NDArray[np.int_]) -> Plane:
    """Put a slice of the template on an empty canvas."""
    canvas = np.zeros((CANVAS, CANVAS), np.float32)
    y, x = corner
    canvas[y : y + part.shape[0], x : x + part.shape[1]] = part
    return canvas


def _blend(signal: Plane, cover: Plane, tissue: float) -> Plane:
    """Give a tissue its share of each pixel."""
    return signal + cover * (np.float32(tissue) - signal)
