"""What scanners and bodies do to the signal of a batch of patches: fluid, fields, ghosts, dropouts.

Every function takes signals (N, 1, P, P) from 0 to about 1 and draws for each patch by itself.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from numpy.random import Generator
from torch import Tensor

FLUID_MM = 3.5  # how far around the cord there is fluid, about
DROPPED_SHARE, MOVED_SHARE, GHOST_SHARE, SHADED_SHARE = 0.15, 0.12, 0.15, 0.6


def column(values: np.ndarray) -> Tensor:
    """Return one number per patch so that it multiplies images."""
    return torch.from_numpy(values.astype(np.float32))[:, None, None, None]


def sometimes(share: float, values: np.ndarray, rng: Generator, otherwise: float = 0.0) -> Tensor:
    """Keep some patches' numbers and replace the others'."""
    return column(np.where(rng.random(len(values)) < share, values, otherwise))


def field(shape: tuple[int, int], size: int, rng: Generator) -> Tensor:
    """Return smooth random fields (N, P, P) from (count, knots) normal numbers."""
    count, knots = shape
    numbers = torch.from_numpy(rng.standard_normal((1, count, knots, knots), np.float32))
    return F.interpolate(numbers, (size, size), mode="bicubic", align_corners=True)[0]


def pull_fluid(cord: Tensor, pixel_mm: float, share: float, rng: Generator) -> Tensor:
    """Draw how far what is around the cord is pulled towards the cord's signal.

    Parameters
    ----------
    cord : Tensor
        Share of the cord in each pixel, shape (N, 1, P, P).
    pixel_mm : float
        Size of a pixel.
    share : float
        Share of the patches that it happens to.
    rng : Generator
        Source of every choice.

    Returns
    -------
    pull : Tensor
        For `fade_fluid`: 0 where nothing changes, 1 where all of the contrast goes, at times more.
    """
    strength = sometimes(share, rng.uniform(0.4, 1.15, len(cord)), rng)
    reach = 2 * round(rng.uniform(0.6, 1.4) * FLUID_MM / pixel_mm) + 1
    near = F.max_pool2d(cord, reach, 1, reach // 2)
    near = F.avg_pool2d(near, 5, 1, 2, count_include_pad=False)
    return strength * near * (1 - cord)


def fade_fluid(image: Tensor, cord: Tensor, pull: Tensor) -> Tensor:
    """Pull what is around the cord towards the cord's signal, at times beyond it.

    Where fluid is brighter than the cord, as on T2*-weighted images, or darker, as on T1-weighted
    ones, it becomes hardly different, equal, or the opposite.
    """
    within = (image * cord).sum((2, 3), keepdim=True) / cord.sum((2, 3), keepdim=True).clamp(min=1)
    return image + pull * (within - image)


def drop_signal(image: Tensor, rng: Generator) -> Tensor:
    """Lose signal in a band, as where the shoulders are, and shade what is beside it."""
    count, size = len(image), image.shape[-1]
    depth = sometimes(DROPPED_SHARE, rng.uniform(0.2, 0.85, count), rng)
    axis = torch.linspace(-1, 1, size)
    angle = column(rng.uniform(0, math.pi, count))
    along = axis[:, None] * torch.cos(angle) + axis * torch.sin(angle)
    place, width = column(rng.uniform(-0.5, 0.5, count)), column(rng.uniform(0.05, 0.4, count))
    band = torch.exp(
        -(((along - place) / width + 0.3 * field((count, 5), size, rng)[:, None]) ** 2)
    )
    return image * (1 - depth * band)


def shade(image: Tensor, rng: Generator) -> Tensor:
    """Multiply by a smooth receive field."""
    count, size = len(image), image.shape[-1]
    strength = sometimes(SHADED_SHARE, rng.uniform(0, 0.5, count), rng)
    return image * torch.exp(strength * field((count, 4), size, rng)[:, None])


def ghost(image: Tensor, rng: Generator) -> Tensor:
    """Return a faint shifted copy to add, as motion and pulsation make it."""
    strength = sometimes(GHOST_SHARE, rng.uniform(0.03, 0.2, len(image)), rng)
    shift = int(rng.integers(image.shape[-1] // 6, image.shape[-1] // 2))
    return strength * image.roll(shift, dims=2 if rng.random() < 0.7 else 3)


def move(image: Tensor, rng: Generator) -> Tensor:
    """Mix with copies a few pixels aside, as a body that moves during the scan."""
    share = sometimes(MOVED_SHARE, rng.uniform(0.2, 0.6, len(image)), rng)
    shift, axis = int(rng.integers(1, 5)), 2 if rng.random() < 0.7 else 3
    return image + share * ((image.roll(shift, axis) + image.roll(-shift, axis)) / 2 - image)
