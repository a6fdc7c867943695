"""Made-up dermoscopy photographs: skin, a lesion on it, hairs over it, taken by a camera."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from camshard.lesion_patterns import (
    SIZE,
    Floats,
    Generator,
    LesionShape,
    Pattern,
    cells,
    fractal_noise,
    mesh,
    pigments,
    ramp,
    smooth_noise,
    soften,
)

WIDTH, HEIGHT = 600, 450
Bytes = NDArray[np.uint8]
Range = tuple[float, float]

# How much red, green and blue (rows) one unit of each pigment map (columns) absorbs.
_ABSORPTION = np.array([[0.48, 0.12, 0, 0], [0.92, 1.00, 0, 0], [1.30, 0.75, 0, 0]], np.float32)
_BARE_SKIN = np.array([0.96, 0.85, 0.80], np.float32)
_BLUE = np.array([0.39, 0.43, 0.53], np.float32)
_WHITE = np.array([0.95, 0.91, 0.90], np.float32)
_HAIR = np.array([0.16, 0.10, 0.07], np.float32)


@dataclass(frozen=True)
class LesionLook:
    """How the lesions of one class look; ranges are drawn from evenly, one lesion at a time."""

    area: Range  # of the lesion, as a part of the photograph
    elongation: Range
    irregularity: Range  # of the border: 0 is an ellipse
    softness: Range  # of the border, as a part of the radius
    melanin: Range
    blood: Range
    mottling: float
    patterns: tuple[tuple[Pattern, float], ...]  # each with how often it is seen


@dataclass(frozen=True)
class Lesion:
    """A lesion: pigment maps float32 (SIZE, SIZE, 4), its mask uint8 0/255, its bearer's skin."""

    pigments: Floats
    mask: Bytes
    skin_melanin: float
    skin_blood: float


def draw_lesion(rng: Generator, look: LesionLook) -> Lesion:
    """Draw one lesion in the middle of its square."""
    shape = draw_shape(rng, look)
    mottle = fractal_noise(rng, SIZE, SIZE, rng.uniform(30, 90)) * look.mottling
    grain = smooth_noise(rng, SIZE, SIZE, 4) * 0.05
    maps = pigments(
        melanin=np.float32(rng.uniform(*look.melanin)) * (1 + mottle + grain + 0.2 * shape.depth),
        blood=rng.uniform(*look.blood) * (1 + 0.6 * smooth_noise(rng, SIZE, SIZE, 60) * 0.5),
    )
    for pattern, frequency in look.patterns:
        if rng.random() < frequency:
            maps += pattern(rng, shape) * np.float32(rng.uniform(0.7, 1.1))
    maps = np.maximum(maps, 0) * shape.coverage[..., None]
    mask = np.asarray(shape.depth > 0, np.uint8) * np.uint8(255)
    return Lesion(maps, mask, rng.beta(1.2, 3.0) * 0.8, rng.uniform(0.02, 0.24))


def draw_shape(rng: Generator, look: LesionLook) -> LesionShape:
    """Draw an outline: an ellipse, waves along it, noise across it, cut to the wanted area."""
    area_px = rng.uniform(*look.area) * WIDTH * HEIGHT
    radius, stretch = math.sqrt(area_px / math.pi), math.sqrt(rng.uniform(*look.elongation))
    irregularity = rng.uniform(*look.irregularity)
    y, x = (np.mgrid[:SIZE, :SIZE].astype(np.float32) - SIZE / 2) / np.float32(radius)
    x, y = x / np.float32(stretch), y * np.float32(stretch)
    angle = np.asarray(cv2.phase(x, y), np.float32)
    turn, waves = np.mgrid[0 : 2 * np.pi : 721j, 2:8]
    swings = rng.normal(0, irregularity, 6) / waves
    outline = 1 + (swings * np.cos(waves * turn + rng.uniform(0, 2 * np.pi, 6))).sum(1)
    rim = outline.clip(0.5).astype(np.float32)[(angle * np.float32(720 / 2 / np.pi)).astype(int)]
    depth = 1 - cv2.magnitude(x, y) / rim
    depth += irregularity * 0.4 * smooth_noise(rng, SIZE, SIZE, radius * 0.6)
    depth += (0.02 + irregularity * 0.12) * fractal_noise(rng, SIZE, SIZE, radius * 0.2)
    depth -= np.float32(np.quantile(depth[::4, ::4], 1 - area_px / SIZE**2))
    softness = rng.uniform(*look.softness)
    fading = 0.7 + 0.3 * ramp(depth, 0, softness + 0.3)
    return LesionShape(depth, angle, ramp(depth, -softness / 2, softness / 2) * fading)


def photograph(rng: Generator, lesion: Lesion) -> tuple[Bytes, Bytes]:
    """Take one picture of a lesion: its own place, angle, distance, light and hairs.

    Returns:
        uint8 (HEIGHT, WIDTH, 3) RGB, and the lesion's mask uint8 (HEIGHT, WIDTH), 0 or 255.
    """
    view = _choose_view(rng, lesion.mask)
    maps = np.asarray(cv2.warpAffine(lesion.pigments, view, (WIDTH, HEIGHT)), np.float32)
    mask = cv2.warpAffine(lesion.mask, view, (WIDTH, HEIGHT), flags=cv2.INTER_NEAREST)
    passed = np.asarray(cv2.transform(maps, -_ABSORPTION), np.float32)
    passed += np.asarray(cv2.transform(_skin_densities(rng, lesion), -_ABSORPTION[:, :2]), np.float32)
    colour = _BARE_SKIN * np.asarray(cv2.exp(passed), np.float32)
    for channel, paint in ((2, _BLUE), (3, _WHITE)):
        colour += np.minimum(maps[..., channel, None], np.float32(0.85)) * (paint - colour)
    return _expose(rng, _cover_with_hair(rng, colour)), np.asarray(mask, np.uint8)


def _choose_view(rng: Generator, mask: Bytes) -> NDArray[np.float64]:
    """Turn, zoom and shift the lesion's square so that the lesion lies within the frame."""
    turn, zoom = rng.uniform(0, 360), rng.uniform(0.93, 1.07)
    view = np.asarray(cv2.getRotationMatrix2D((SIZE / 2, SIZE / 2), turn, zoom), np.float64)
    rows, columns = np.nonzero(mask[::4, ::4])
    corners = view @ np.stack([columns * 4, rows * 4, np.ones_like(rows)])
    for axis, side in enumerate((WIDTH, HEIGHT)):
        low, high = corners[axis].min(), corners[axis].max()
        free = sorted((10 - low, side - 10 - high))
        view[axis, 2] += rng.uniform(*free)
    return view


def _skin_densities(rng: Generator, lesion: Lesion) -> Floats:
    """Return melanin and blood of the skin, float32 (HEIGHT, WIDTH, 2): mottled and furrowed."""
    _, labels = cells(rng, HEIGHT, WIDTH, rng.uniform(13, 20))
    furrows = mesh(labels, 1.8) * np.float32(rng.uniform(-0.025, 0.04))
    wide, fine = (fractal_noise(rng, HEIGHT, WIDTH, cell) for cell in (140, 22))
    pores = smooth_noise(rng, HEIGHT, WIDTH, 4)
    melanin = lesion.skin_melanin * (1 + 0.08 * wide + 0.07 * fine) + furrows + 0.014 * pores
    redness = fractal_noise(rng, HEIGHT, WIDTH, 90)
    blood = lesion.skin_blood * (1 + 0.18 * redness + 0.08 * fine) + 0.015 * redness
    return np.asarray(cv2.merge([melanin, blood]), np.float32)


def _cover_with_hair(rng: Generator, colour: Floats) -> Floats:
    """Draw hairs over skin and lesion alike: none, few or many."""
    count = int(rng.choice([0, 0, 3, 8, 18]) * rng.uniform(0.6, 1.4))
    if count == 0:
        return colour
    opacity = np.zeros((HEIGHT, WIDTH), np.uint8)
    along = np.linspace(0, 1, 24)[:, None]
    main_angle = rng.uniform(0, np.pi)
    for _ in range(count):
        start = rng.uniform((-50, -50), (WIDTH + 50, HEIGHT + 50))
        angle = main_angle + rng.normal(0, 0.5)
        reach = rng.uniform(140, 520) * np.array([np.cos(angle), np.sin(angle)])
        bend = reach[::-1] * (1, -1) * rng.normal(0, 0.15)
        curve = start + along * reach + 4 * along * (1 - along) * bend
        fixed = np.round(curve * 8).astype(np.int32)[:, None]
        thick = int(rng.choice([1, 2, 2, 3]))
        cv2.polylines(opacity, [fixed], False, 255, thick, cv2.LINE_AA, shift=3)
    hair = _HAIR * np.float32(rng.uniform(0.6, 2.4))
    cover = soften(np.asarray(opacity / 255, np.float32), 0.7)[..., None] * np.float32(0.85)
    return colour + cover * (hair - colour)


def _expose(rng: Generator, colour: Floats) -> Bytes:
    """Light the scene unevenly, blur it a little, add noise; at times the tube darkens corners."""
    y, x = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j].astype(np.float32)
    tilt = rng.normal(0, 0.05, 2).tolist()
    light = 1 + tilt[0] * x + tilt[1] * y - rng.uniform(0, 0.14) * (x * x + y * y)
    if rng.random() < 0.12:
        distance = np.hypot(x * WIDTH / 2, y * HEIGHT / 2)
        radius = rng.uniform(290, 350)
        light = light * (0.06 + 0.94 * ramp(distance, radius + 14, radius - 14))
    cast = (rng.normal(1, 0.035, 3) * rng.uniform(0.86, 1.06)).astype(np.float32)
    lit = colour * (light[..., None] * np.float32(255))
    lit *= cast
    picture = soften(lit, rng.uniform(0.5, 1.2))
    picture += rng.standard_normal((HEIGHT, WIDTH, 1), np.float32) * np.float32(2.5)
    return np.asarray(picture.clip(0, 255, out=picture), np.uint8)
