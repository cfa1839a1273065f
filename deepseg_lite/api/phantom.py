"""A synthetic axial T2*-weighted neck, for a first run with no MRI at hand.

Everything is drawn from formulas: a structure is a field of distances to its edge in mm, negative
inside, and a voxel on the edge takes the share that the structure covers. No image was copied.

A point of a slice is the complex number ``left + 1j * anterior`` in mm from the middle: shifting
adds, turning multiplies, and a length is an absolute value.
"""

from __future__ import annotations

import cmath
import math
from dataclasses import dataclass
from numbers import Integral
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy
from numpy.random import Generator

from deepseg_lite.errors import OptionError
from deepseg_lite.volume import Affine, FloatArray, LabelArray, Spacing

Points = npt.NDArray[np.complexfloating]

WHITE_MATTER, GRAY_MATTER = 1, 2  # label values
SHAPE = (256, 256, 12)
MIN_PLANE_MM = 60.0  # the cord and what surrounds it
MAX_SPACING_MM = (1.0, 1.0, 10.0)
PITCH_DEGREES = 6.0  # axial slices are tilted to cross the cord at a right angle
EDGE_MM = 0.7  # width over which one tissue gives way to the next
BLUR_MM, GRAIN_MM = (0.25, 0.25, 0.0), (0.8, 0.8, 2.0)  # scanner's blur, muscle texture: sigma
CORD_MM, SAC_MM, NECK_MM = (6.5, 4.3), (10.5, 7.0), (58.0, 50.0)  # half-widths, half-heights
VERTEBRA_MM = 16.0  # from one disc to the next
SATURATION_MM = 33.0  # from here forward the signal of the throat is suppressed

WHITE_MATTER_COUNTS = 600.0  # the signals below are multiples of it
GRAY_MATTER_SIGNAL, CSF_SIGNAL, BONE_SIGNAL, DISC_SIGNAL = 1.16, 1.75, 0.13, 0.45
SKIN_SIGNAL, FAT_SIGNAL, FASCIA_SIGNAL = 0.9, 0.45, 0.3


class Ellipse(NamedTuple):
    """A structure of the left side, mirrored to the right; lengths in mm."""

    centre: complex
    half_width: float
    half_height: float
    degrees: float
    signal: float


MUSCLES = (
    Ellipse(46 + 4j, 7.0, 17.0, 8.0, 0.90),  # sternocleidomastoid
    Ellipse(28 + 3j, 6.0, 12.0, -12.0, 0.72),  # scalenes
    Ellipse(38 - 15j, 7.0, 15.0, -25.0, 0.85),  # levator scapulae
    Ellipse(13 - 18j, 8.0, 7.0, 20.0, 0.55),  # multifidus
    Ellipse(10 - 32j, 7.0, 9.0, -15.0, 0.75),  # semispinalis
    Ellipse(25 - 24j, 17.0, 5.0, 48.0, 0.80),  # splenius
    Ellipse(24 - 36j, 24.0, 6.0, 30.0, 0.95),  # trapezius
)
VESSELS = (
    Ellipse(25 + 25j, 3.2, 3.2, 0.0, 1.40),  # carotid artery
    Ellipse(33 + 20j, 5.0, 3.6, 30.0, 1.80),  # jugular vein
    Ellipse(20 - 20j, 1.8, 2.8, 20.0, 1.50),  # deep cervical vein
)
BESIDE_SPINE = (
    Ellipse(16 + 1j, 7.5, 6.5, 0.0, BONE_SIGNAL),  # lateral mass
    Ellipse(8.5 - 8.5j, 11.0, 3.0, 38.0, BONE_SIGNAL),  # lamina
    Ellipse(14.5 + 11j, 2.4, 2.4, 0.0, 1.60),  # vertebral artery
)


@dataclass(frozen=True)
class Phantom:
    """A synthetic volume and the structures it was drawn from.

    Attributes
    ----------
    image : ndarray
        Whole non-negative numbers as a scanner stores them, shape (X, Y, Z), float32.
    labels : ndarray
        0 background, 1 white matter, 2 gray matter, shape (X, Y, Z), uint8.
    affine : ndarray
        Voxel indices to mm, shape (4, 4), float64; nibabel codes LAS.
    """

    image: FloatArray
    labels: LabelArray
    affine: Affine


def make_phantom(
    seed: int = 0,
    *,
    shape: tuple[int, int, int] = SHAPE,
    spacing: Spacing = (0.6, 0.6, 3.0),
    noise: float = 0.04,
) -> Phantom:
    """Draw an axial T2*-weighted neck with its spinal cord and gray matter.

    Parameters
    ----------
    seed : int
        Seed of anatomy and noise; the same arguments give the same voxels.
    shape : tuple of 3 ints
        Voxels along x, y and z.
    spacing : tuple of 3 floats
        Voxel size in mm: at most 1 in plane, 10 between slices; the plane spans at least 60 mm.
    noise : float
        Standard deviation of the receiver's noise as a fraction of white matter's signal.

    Returns
    -------
    phantom : Phantom
        Image, labels and affine.

    Raises
    ------
    OptionError
        If an argument is out of its range.
    """
    _check_arguments(seed, shape, spacing, noise)
    rng = np.random.default_rng(seed)
    axes = [(np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(shape, spacing, strict=True)]
    x, y, z = axes
    points: Points = x[:, None, None] + 1j * y[:, None]
    around_cord = _follow_cord(points, z, rng)
    size = rng.normal(1, 0.03) + _wander(z, rng, 0.02)
    cord = _ellipse(around_cord / size, *CORD_MM) * size
    gray = np.maximum(_butterfly(around_cord / size) * size, cord + 0.5)
    signal = _draw_neck(points * (1 + _wander(z, rng, 0.01)), spacing, rng)
    signal = _draw_spine(signal, around_cord, z, rng)
    signal = _blend(_blend(signal, cord, 1.0), gray, GRAY_MATTER_SIGNAL)
    coil = complex(rng.normal(0, 0.002), rng.normal(0.004, 0.002))  # stronger behind the neck
    image = _scan(signal * np.exp((points * coil).real), spacing, noise, rng)
    labels = np.where(gray < 0, GRAY_MATTER, np.where(cord < 0, WHITE_MATTER, 0))
    return Phantom(image, labels.astype(np.uint8), _affine(shape, spacing))


def _check_arguments(seed: int, shape: tuple[int, ...], spacing: Spacing, noise: float) -> None:
    """Raise OptionError for the first argument that cannot be drawn."""
    if not isinstance(seed, Integral) or seed < 0:
        raise OptionError(f"seed is {seed!r}; a whole number of at least 0 is needed.")
    if len(shape) != 3 or not all(isinstance(n, Integral) and n > 0 for n in shape):
        raise OptionError(f"shape is {shape}; three whole numbers above 0 are needed.")
    lengths_mm = np.asarray(spacing, np.float64)
    if lengths_mm.shape != (3,) or not np.all((lengths_mm > 0) & (lengths_mm <= MAX_SPACING_MM)):
        raise OptionError(f"spacing is {spacing} mm; above 0, at most {MAX_SPACING_MM} is needed.")
    plane_mm = lengths_mm[:2] * shape[:2]
    if plane_mm.min() < MIN_PLANE_MM:
        given = f"shape {shape} at spacing {spacing} mm spans {plane_mm[0]:g} x {plane_mm[1]:g} mm"
        raise OptionError(f"{given}; {MIN_PLANE_MM:g} mm each way are needed: ask for more voxels.")
    if not 0 <= noise <= 1:
        raise OptionError(f"noise is {noise}; a fraction from 0 to 1 is needed.")


def _wander(z: FloatArray, rng: Generator, amplitude: float) -> FloatArray:
    """Vary smoothly from slice to slice: two slow waves of random phase."""
    waves = [np.cos(2 * np.pi * (z / wavelength + rng.random())) for wavelength in (60, 130)]
    return np.asarray(amplitude * (waves[0] + waves[1]))


def _follow_cord(points: Points, z: FloatArray, rng: Generator) -> Points:
    """Shift and turn the points of each slice into the cord's own frame."""
    centre = _wander(z, rng, 0.7) + 1j * _wander(z, rng, 1.4)
    roll = rng.normal(0, 0.03) + _wander(z, rng, 0.015)
    return np.asarray((points - centre) / np.exp(1j * roll))


def _ellipse(points: Points, half_width: float, half_height: float) -> FloatArray:
    """Distance to an ellipse around 0, exact near its edge."""
    a, b = points.real / half_width, points.imag / half_height
    radius, slope = np.hypot(a, b), np.hypot(a / half_width, b / half_height)
    return np.asarray(radius * (radius - 1) / np.maximum(slope, 1e-6))


def _pair(points: Points, shape: Ellipse) -> FloatArray:
    """Distance to the nearer of a structure and its mirror image."""
    left = np.abs(points.real) + 1j * points.imag
    turned = (left - shape.centre) * cmath.rect(1, -math.radians(shape.degrees))
    return _ellipse(turned, shape.half_width, shape.half_height)


def _limb(points: Points, start: complex, end: complex, radii: tuple[float, float]) -> FloatArray:
    """Distance to a rounded bar whose radius goes from one value to another."""
    along = np.clip(((points - start) / (end - start)).real, 0, 1)
    radius = radii[0] + along * (radii[1] - radii[0])
    return np.asarray(np.abs(points - start - along * (end - start)) - radius)


def _butterfly(points: Points) -> FloatArray:
    """Distance to the gray matter: two horns on each side, joined by the commissure."""
    left = np.abs(points.real) + 1j * points.imag
    anterior = _limb(left, 1.3 + 0.4j, 2.1 + 1.8j, (0.7, 1.0))
    posterior = _limb(left, 1.4 + 0.5j, 3.1 - 2.5j, (0.75, 0.45))
    commissure = _limb(left, 0.3j, 1.4 + 0.4j, (0.45, 0.5))
    return np.minimum(np.minimum(anterior, posterior), commissure)


def _blend(signal: FloatArray, distance: FloatArray, tissue: float | FloatArray) -> FloatArray:
    """Put a tissue where its distance is negative, in part where its edge crosses the voxel."""
    cover = np.clip(0.5 - distance / EDGE_MM, 0, 1)
    return np.asarray(signal + cover * (tissue - signal))


def _draw_neck(points: Points, spacing: Spacing, rng: Generator) -> FloatArray:
    """Draw skin, fat, muscles in their fasciae and vessels, the throat suppressed."""
    points = points / rng.normal(1, 0.03)
    outline = _ellipse(points, *NECK_MM)
    signal: FloatArray = np.zeros(points.shape)
    for depth_mm, tissue in ((0.0, SKIN_SIGNAL), (1.5, FAT_SIGNAL), (4.5, FASCIA_SIGNAL)):
        signal = _blend(signal, outline + depth_mm, tissue)
    for muscle in MUSCLES:
        distance = np.maximum(_pair(points, muscle), outline + 5.0)
        signal = _blend(signal, distance - 1.0, FASCIA_SIGNAL)
        signal = _blend(signal, distance, muscle.signal * rng.uniform(0.9, 1.1))
    sigma = np.divide(GRAIN_MM, spacing)
    grain = scipy.ndimage.gaussian_filter(rng.standard_normal(points.shape), sigma)
    signal = signal * (1 + 0.09 * grain / grain.std())
    for vessel in VESSELS:
        signal = _blend(signal, _pair(points, vessel), vessel.signal)
    passed = 0.53 - 0.47 * np.tanh((points.imag - SATURATION_MM) / 4)
    return np.asarray(signal * passed)


def _draw_spine(signal: FloatArray, points: Points, z: FloatArray, rng: Generator) -> FloatArray:
    """Draw vertebral arch, arteries, body or disc, and the dural sac in its dark sheath."""
    disc = (0.5 + 0.5 * np.cos(2 * np.pi * (z / VERTEBRA_MM + rng.random()))) ** 3
    for part in BESIDE_SPINE:
        signal = _blend(signal, _pair(points, part), part.signal)
    signal = _blend(signal, _limb(points, -10j, -26j, (3.5, 2.0)), BONE_SIGNAL)
    body = _ellipse(points - 15.5j, 12.5, 9.0)
    signal = _blend(signal, body, BONE_SIGNAL + disc * (DISC_SIGNAL - BONE_SIGNAL))
    narrowing = 1 + 0.03 * np.maximum(points.imag, -20)
    sac = _ellipse(points.real / narrowing + 1j * (points.imag - 0.6), *SAC_MM)
    return _blend(_blend(signal, sac - 1.5, BONE_SIGNAL), sac, CSF_SIGNAL)


def _scan(signal: FloatArray, spacing: Spacing, noise: float, rng: Generator) -> FloatArray:
    """Blur, take the magnitude of signal and complex noise (Rician), round to whole counts."""
    blurred = scipy.ndimage.gaussian_filter(signal, np.divide(BLUR_MM, spacing))
    real, imaginary = noise * rng.standard_normal((2, *signal.shape))
    counts = np.rint(WHITE_MATTER_COUNTS * np.hypot(blurred + real, imaginary))
    return np.asarray(counts, np.float32)


def _affine(shape: tuple[int, int, int], spacing: Spacing) -> Affine:
    """Place the volume's middle at 0, x to the left, slices pitched."""
    cos, sin = math.cos(math.radians(PITCH_DEGREES)), math.sin(math.radians(PITCH_DEGREES))
    affine = np.eye(4)
    affine[:3, :3] = np.array([[-1, 0, 0], [0, cos, sin], [0, -sin, cos]]) * spacing
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine
