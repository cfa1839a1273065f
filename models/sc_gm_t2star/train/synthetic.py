"""Labelled axial slices of nobody: the PAM50 template in random contrasts, and the phantom.

Tissues of the template get random signals; around it there are random blobs in place of muscles,
fat and vessels. What a slice looks like is left to chance, so that the network learns the shape of
the cord in its canal and not the signal of one sequence.
"""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
from images import GRAY, OUTSIDE, WHITE, Stack, scale_signal
from numpy.random import Generator
from scipy import ndimage

from deepseg_lite.api.phantom import make_phantom

Plane = npt.NDArray[np.float32]

PAM50_MM = 0.5
CANVAS = 288  # pixels of a synthetic slice, each way
CERVICAL, WHOLE_CORD = (690, 960), (120, 970)  # slices of the template
CERVICAL_SHARE = 0.8
FIRST_PHANTOM_SEED = 1000  # the tests use small ones


def draw_template(data: Path, count: int, seed: int) -> Stack:
    """Draw slices of the template with random surroundings and contrasts.

    Parameters
    ----------
    data : Path
        Folder with ``PAM50/PAM50_{wm,gm,csf,spine}.nii.gz``.
    count, seed : int
        Number of slices; seed of everything random.

    Returns
    -------
    stack : Stack
        ``count`` unrelated slices of 288 x 288 pixels of 0.5 mm.
    """
    rng = np.random.default_rng(seed)
    names = ("spine", "csf", "wm", "gm")
    template = [np.asarray(nib.load(data / f"PAM50/PAM50_{n}.nii.gz").dataobj) for n in names]
    drawn = [_draw_slice(template, rng) for _ in range(count)]
    images, labels = (np.stack(planes) for planes in zip(*drawn, strict=True))
    return Stack(images.astype(np.float32), labels, (PAM50_MM, PAM50_MM), is_volume=False)


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


def _draw_slice(template: list[Plane], rng: Generator) -> tuple[Plane, npt.NDArray[np.uint8]]:
    """Draw one slice and its labels."""
    first, last = CERVICAL if rng.random() < CERVICAL_SHARE else WHOLE_CORD
    z = rng.integers(first, last)
    corner = (CANVAS - template[0].shape[0]) // 2 + rng.integers(-25, 26, 2)
    covers = [_place(np.asarray(part[:, :, z], np.float32).T, corner) for part in template]
    spine, csf, white, gray = covers
    cord = np.clip(white + gray, 0, 1)
    signal = _draw_neck(rng)
    tissues = _natural_signals(rng) if rng.random() < 0.5 else _random_signals(rng)
    if rng.random() < 0.9:
        signal = _blend(signal, spine, tissues[0])
    canal = np.maximum(csf, cord > 0.01)  # the template's fluid does not quite reach its cord
    dura = ndimage.gaussian_filter(canal, rng.uniform(1, 3)) > rng.uniform(0.1, 0.3)
    signal = _blend(signal, ndimage.gaussian_filter(dura.astype(np.float32), 0.7), tissues[0])
    fluid = ndimage.gaussian_filter(canal, rng.uniform(0.3, 0.9))
    signal = _blend(_blend(signal, fluid, tissues[1]), cord, tissues[2])
    signal = signal + gray * (tissues[3] - tissues[2])
    signal = signal * (1 + rng.uniform(0, 0.12) * _noise(rng, rng.uniform(0.6, 2)))
    labels = np.where(gray > 0.5, GRAY, np.where(cord > 0.5, WHITE, OUTSIDE))
    return np.clip(signal, 0, 1.5), labels.astype(np.uint8)


def _natural_signals(rng: Generator) -> tuple[float, ...]:
    """Signals of bone, fluid, white and gray matter as on T2*-weighted images."""
    white = rng.uniform(0.3, 0.55)
    return (
        rng.uniform(0.03, 0.25),
        rng.uniform(white * 1.15, 1.1),
        white,
        white * rng.uniform(1.06, 1.4),
    )


def _random_signals(rng: Generator) -> tuple[float, ...]:
    """Signals without a rule, but with an edge between the cord and what is around it."""
    bone, fluid, white = rng.uniform(0.03, 1, 3)
    if abs(fluid - white) < 0.15:
        fluid = white + 0.2 if white < 0.6 else white - 0.2
    return bone, fluid, white, white * (1 + rng.choice((-1, 1)) * rng.uniform(0.06, 0.4))


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
