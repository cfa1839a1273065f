"""Patches of labelled slices, distorted in space and signal; everything on whole batches if it can.

Space: shift, turn, flip, size, bending, thicker slices, a cropped field of view. Signal: tissue
contrast, gamma, any curve, inversion, what ``artefacts`` has, resolution, noise. A patch ends up as
the runtime gives it to the network: z-scored, and 0 where there was no image.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from artefacts import (
    column,
    drop_signal,
    fade_fluid,
    field,
    ghost,
    move,
    pull_fluid,
    shade,
    sometimes,
)
from images import GRAY, LABEL_COUNT, OUTSIDE, Stack
from numpy.random import Generator
from torch import Tensor

ON_CORD, WITHIN_IMAGE = 0.8, 0.7  # shares of patches; the others are anywhere
OFF_CENTRE_MM = 6.0  # of patches around the cord, along each axis
FLIP_X, FLIP_Y = 0.5, 0.08
CURVE_POINTS = 8


class Batch(NamedTuple):
    """Patches: signal (N, 1, P, P), share of each label (N, L, P, P), where the image is."""

    image: Tensor
    shares: Tensor
    inside: Tensor


class Framing(NamedTuple):
    """How patches lie in slices.

    Attributes
    ----------
    pixel_mm : float
        Size of a pixel.
    magnified : tuple of 2 floats
        Limits of the logarithm of how much larger or smaller things are shown.
    around_cord : bool
        Whether the cord is in the middle of every patch, as in crops around it; otherwise most
        patches hold it somewhere, and the others lie anywhere.
    """

    pixel_mm: float
    magnified: tuple[float, float]
    around_cord: bool = False


def cut(
    stacks: list[Stack],
    size: int,
    rng: Generator,
    *,
    framing: Framing,
    faded: float,
    as_scanned: float,
) -> Batch:
    """Cut one randomly placed and bent patch out of each stack, and distort its signal.

    Parameters
    ----------
    stacks : list of Stack
        One per patch; a slice is picked by chance.
    size : int
        Pixels of a patch, each way.
    rng : Generator
        Source of every choice; PyTorch's own seed is not touched.
    framing : Framing
        How they lie.
    faded : float
        Share of patches whose fluid is pulled towards the cord's signal.
    as_scanned : float
        Share of patches whose signal is otherwise left alone.

    Returns
    -------
    batch : Batch
        float32.
    """
    parts = [_cut_one(stack, size, framing, rng) for stack in stacks]
    batch = Batch(*(torch.stack(part) for part in zip(*parts, strict=True)))
    image = _change_tissues(batch, rng)
    cord = 1 - batch.shares[:, OUTSIDE : OUTSIDE + 1]
    pull = pull_fluid(cord, framing.pixel_mm, faded, rng)
    image = fade_fluid(image, cord, pull)
    image = drop_signal(shade(_bend_signal(image, rng), rng), rng)
    image = _scan(move(image + ghost(image, rng), rng), rng)
    scanned = fade_fluid(batch.image, cord, pull)
    image = torch.lerp(image, scanned, sometimes(as_scanned, np.ones(len(image)), rng))
    return Batch(_normalize(image, batch.inside, rng), batch.shares, batch.inside)


def _cut_one(
    stack: Stack, size: int, framing: Framing, rng: Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Cut one patch."""
    index = int(rng.integers(len(stack.image)))
    plane = torch.from_numpy(_thicken(stack, index, rng))[None, None]
    labels = torch.from_numpy(stack.labels[index])
    points = _points(size, framing, rng)
    points = points + torch.from_numpy(_middle(stack, index, size * framing.pixel_mm, framing, rng))
    extent = torch.tensor([(n - 1) * mm for n, mm in zip(labels.shape, stack.spacing, strict=True)])
    grid = (2 * points / extent - 1).flip(-1)[None]  # x before y, from -1 to 1
    image = F.grid_sample(plane, grid, "bicubic", "border", align_corners=True)[0]
    one_hot = F.one_hot(labels.long(), LABEL_COUNT).permute(2, 0, 1)[None].float()
    shares = F.grid_sample(one_hot, grid, "bilinear", "zeros", align_corners=True)[0]
    inside = ((points >= 0) & (points <= extent)).all(-1)[None]
    inside = inside & _field_of_view(shares, rng)
    shares[OUTSIDE] += 1 - shares.sum(0)
    return image.clamp(0, 1.5), shares, inside.float()


def _thicken(stack: Stack, index: int, rng: Generator) -> np.ndarray:
    """Return a slice, sometimes mixed with its neighbours as a thicker one would be."""
    plane = stack.image[index]
    if stack.is_volume and rng.random() < 0.3:
        steps = (-1, 1) if rng.random() < 0.4 else (rng.choice((-1, 1)),)
        others = [stack.image[np.clip(index + step, 0, len(stack.image) - 1)] for step in steps]
        share = np.float32(rng.uniform(0, 0.5 if len(steps) == 1 else 0.66))
        plane = plane + share * (np.mean(others, axis=0) - plane)
    return plane


def _middle(
    stack: Stack, index: int, length: float, framing: Framing, rng: Generator
) -> np.ndarray:
    """Choose the middle of a patch of that length in mm; most stay within the image if they can."""
    labels, spacing = stack.labels[index], np.array(stack.spacing)
    marked, extent = np.argwhere(labels != OUTSIDE), (np.array(labels.shape) - 1) * spacing
    reach = OFF_CENTRE_MM if framing.around_cord else 0.4 * length
    if len(marked) and (framing.around_cord or rng.random() < ON_CORD):
        middle = marked.mean(0) * spacing + rng.uniform(-reach, reach, 2)
    else:
        middle = rng.random(2) * extent
    if not framing.around_cord and rng.random() < WITHIN_IMAGE:
        margin = np.minimum(length / 2, extent / 2)
        middle = np.clip(middle, margin, extent - margin)
    return middle.astype(np.float32)


def _points(size: int, framing: Framing, rng: Generator) -> Tensor:
    """Return the places of the pixels around the middle in mm, (P, P, 2)."""
    axis = (torch.arange(size) - (size - 1) / 2) * framing.pixel_mm
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    angle = math.radians(rng.normal(0, 12) if rng.random() < 0.9 else rng.uniform(-90, 90))
    size_factor = math.exp(rng.uniform(*framing.magnified))
    stretch = math.exp(rng.normal(0, 0.05))
    y = y / (size_factor * stretch) * (-1 if rng.random() < FLIP_Y else 1)
    x = x / (size_factor / stretch) * (-1 if rng.random() < FLIP_X else 1)
    cos, sin = math.cos(angle), math.sin(angle)
    points = torch.stack((cos * y - sin * x, sin * y + cos * x), -1)
    if rng.random() < 0.5:
        knots = max(3, round(size * framing.pixel_mm / rng.uniform(12, 40)))
        reach_mm = rng.uniform(0, 0.06) * size * framing.pixel_mm / knots
        bend = field((2, knots), size, rng) * reach_mm
        points = points + bend.permute(1, 2, 0)
    return points


def _field_of_view(shares: Tensor, rng: Generator) -> Tensor:
    """Return where the image is: mostly everywhere, sometimes in a box that holds the cord."""
    size = shares.shape[-1]
    rows, columns = torch.nonzero(shares[OUTSIDE] < 0.5 * shares.sum(0), as_tuple=True)
    seen = torch.ones((1, size, size), dtype=torch.bool)
    if rng.random() < 0.15 and len(rows):
        box = torch.zeros_like(seen)
        sides = []
        for marked in (rows, columns):
            before, after = rng.integers(4, 60, 2)
            sides.append(slice(max(int(marked.min() - before), 0), int(marked.max() + after)))
        box[:, sides[0], sides[1]] = True
        seen &= box
    return seen


def _change_tissues(batch: Batch, rng: Generator) -> Tensor:
    """Change the signal of the whole cord and of the gray matter in it."""
    count = len(batch.image)
    cord = 1 - batch.shares[:, OUTSIDE : OUTSIDE + 1]
    gray = batch.shares[:, GRAY : GRAY + 1]
    level = sometimes(0.3, rng.normal(0, 0.08, count), rng)
    contrast = sometimes(0.4, rng.uniform(-0.06, 0.14, count), rng)
    return (batch.image * (1 + cord * level + gray * contrast)).clamp(0, 1.5)


def _bend_signal(image: Tensor, rng: Generator) -> Tensor:
    """Send the signal through a curve: gamma, at times wiggles, at times upside down."""
    count = len(image)
    steps = np.linspace(0, 1.5, CURVE_POINTS * 4, dtype=np.float32)[None]
    gamma = np.exp(np.where(rng.random(count) < 0.6, rng.uniform(-0.7, 0.7, count), 0))[:, None]
    curve = np.power(steps, gamma)
    knots = rng.normal(0, 0.15, (count, CURVE_POINTS)) * (rng.random((count, 1)) < 0.25)
    where = np.linspace(0, 1.5, CURVE_POINTS)
    curve = curve + np.stack([np.interp(steps[0], where, row) for row in knots])
    curve = np.where(rng.random((count, 1)) < 0.12, 1.1 - curve, curve).astype(np.float32)
    table = torch.from_numpy(curve)
    place = image.flatten(1) * ((table.shape[1] - 1) / 1.5)
    low = place.floor().clamp(0, table.shape[1] - 2)
    below, above = table.gather(1, low.long()), table.gather(1, low.long() + 1)
    return (below + (place - low) * (above - below)).view_as(image)


def _scan(image: Tensor, rng: Generator) -> Tensor:
    """Lower the resolution and add noise before or after, one patch at a time."""
    return torch.stack([_scan_one(plane[None], rng)[0] for plane in image])


def _scan_one(plane: Tensor, rng: Generator) -> Tensor:
    """Scan one patch."""
    size = plane.shape[-1]
    sigma = abs(rng.normal(0, 0.05)) if rng.random() < 0.7 else 0.0
    chance = rng.random()
    if chance < 0.4:  # coarser than the network's pixels
        factor = rng.uniform(1, 2) if chance < 0.3 else rng.uniform(2, 2.6)
        coarse = max(16, round(size / factor))
        plane = F.interpolate(plane, (coarse, coarse), mode="bilinear", antialias=True)
        plane = _add_noise(plane, sigma, rng)
        return F.interpolate(plane, (size, size), mode="bicubic")
    if chance < 0.65:
        width = rng.uniform(0.3, 1.2)
        offsets = torch.arange(-3, 4)
        kernel = torch.exp(-0.5 * (offsets / width) ** 2)
        kernel = kernel / kernel.sum()
        padded = F.pad(plane, (3, 3, 3, 3), mode="reflect")
        blurred = F.conv2d(F.conv2d(padded, kernel.view(1, 1, 7, 1)), kernel.view(1, 1, 1, 7))
        plane = blurred if rng.random() < 0.6 else (2 * plane - blurred)  # or sharpened
    return _add_noise(plane, sigma, rng)


def _add_noise(plane: Tensor, sigma: float, rng: Generator) -> Tensor:
    """Return the magnitude of the signal with noise in both channels."""
    if not sigma:
        return plane
    noise = torch.from_numpy(rng.standard_normal((2, *plane.shape), np.float32) * np.float32(sigma))
    return torch.hypot(plane + noise[0], noise[1])


def _normalize(image: Tensor, inside: Tensor, rng: Generator) -> Tensor:
    """Apply the z-score of the visible part, not exactly: the runtime's is that of the volume."""
    count = len(image)
    pixels = inside.sum((1, 2, 3), keepdim=True).clamp(min=1)
    mean = (image * inside).sum((1, 2, 3), keepdim=True) / pixels
    variance = ((image - mean).square() * inside).sum((1, 2, 3), keepdim=True) / pixels
    scale = column(np.exp(rng.normal(0, 0.2, count)))
    shift = column(rng.normal(0, 0.3, count))
    return ((image - mean) / (variance.sqrt() + 1e-4) * scale + shift) * inside
