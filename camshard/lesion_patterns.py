"""What dermatologists name in a lesion (network, globules, veil, …), drawn as maps of pigment."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SIZE = 448  # side of the square on which a lesion is drawn, in pixels of the photograph

Generator = np.random.Generator
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class LesionShape:
    """Where a lesion lies on its square.

    `depth` is 0 on the border, grows inwards to about 1 and is negative outside; `coverage` is how
    much of the skin the lesion covers, 0..1; `angle` is in radians around the centre. All are
    float32 (SIZE, SIZE).
    """

    depth: Floats
    angle: Floats
    coverage: Floats


def pigments(
    melanin: NDArray[np.floating[Any]] | float = 0,
    blood: NDArray[np.floating[Any]] | float = 0,
    blue: NDArray[np.floating[Any]] | float = 0,
    white: NDArray[np.floating[Any]] | float = 0,
) -> Floats:
    """Stack maps to float32 (SIZE, SIZE, 4): two optical densities, two opacities."""
    maps = np.zeros((SIZE, SIZE, 4), np.float32)
    for channel, value in enumerate((melanin, blood, blue, white)):
        maps[..., channel] = value
    return maps


def smooth_noise(rng: Generator, height: int, width: int, cell: float, octaves: int = 1) -> Floats:
    """Draw noise of about zero mean and unit deviation.

    Its blobs are `cell` pixels wide; every further octave adds blobs of half the width.
    """
    shrink = min(max(1, int(cell / 2**octaves / 1.3)), 4)  # wide blobs need no fine grid
    size = (-(-width // shrink), -(-height // shrink))
    total = np.zeros(size[::-1], np.float32)
    for octave in range(octaves):
        step = cell / shrink / 2**octave
        grid_size = (int(size[1] / step) + 4, int(size[0] / step) + 4)
        grid = rng.standard_normal(grid_size, np.float32) * np.float32(1.3 * 0.55**octave)
        to_grid = np.array([[1 / step, 0, rng.uniform(1, 2)], [0, 1 / step, rng.uniform(1, 2)]])
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        total += cv2.warpAffine(grid, to_grid, size, flags=flags)
    return total if shrink == 1 else np.asarray(cv2.resize(total, (width, height)), np.float32)


def fractal_noise(rng: Generator, height: int, width: int, cell: float) -> Floats:
    """Draw `smooth_noise` of three octaves."""
    return smooth_noise(rng, height, width, cell, octaves=3)


def ramp(values: Floats, low: float, high: float) -> Floats:
    """Rise smoothly from 0 at `low` to 1 at `high` (falls where `high` is the smaller)."""
    part = np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.asarray(part * part * (3 - 2 * part), np.float32)


def soften(values: Floats, sigma: float) -> Floats:
    """Blur with a Gaussian of `sigma` pixels."""
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma), np.float32)


def cells(rng: Generator, height: int, width: int, spacing: float) -> tuple[Floats, NDArray[np.int32]]:
    """Scatter points about `spacing` pixels apart on a jittered honeycomb.

    Returns:
        float32 distance to the nearest point in units of `spacing`, and int32 which point it is.
    """
    rows, columns = int(height / spacing / 0.87) + 2, int(width / spacing) + 2
    row, column = np.mgrid[:rows, :columns]
    jitter = rng.uniform(-0.42, 0.42, (2, rows, columns))
    y = ((row + jitter[0]) * 0.87 * spacing).astype(int).clip(0, height - 1)
    x = ((column + row % 2 / 2 + jitter[1]) * spacing).astype(int).clip(0, width - 1)
    free = np.ones((height, width), np.uint8)
    free[y, x] = 0
    distance, labels = cv2.distanceTransformWithLabels(free, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    return np.asarray(distance / spacing, np.float32), np.asarray(labels, np.int32)


def mesh(labels: NDArray[np.int32], line_width: float) -> Floats:
    """Draw the lines between the cells of `labels`, about 1 on a line and 0 inside a cell."""
    edges = np.zeros(labels.shape, np.float32)
    edges[:, 1:] = labels[:, 1:] != labels[:, :-1]
    edges[1:] = np.maximum(edges[1:], labels[1:] != labels[:-1])
    return np.asarray(np.minimum(soften(edges, line_width) * 2.2 * line_width, 1), np.float32)


def spots(rng: Generator, spacing: float, share: float, radius: float) -> Floats:
    """Draw round spots on a `share` of scattered points, radii around `radius` spacings."""
    distance, labels = cells(rng, SIZE, SIZE, spacing)
    radii = radius * rng.uniform(0.45, 1.5, labels.max() + 1)
    radii[rng.random(radii.size) > share] = -1
    size = np.asarray(radii, np.float32)[labels]
    return ramp(size - distance, 0, 1.6 / spacing)


def pigment_network(rng: Generator, shape: LesionShape) -> Floats:
    """Brown honeycomb that fades towards the border."""
    _, labels = cells(rng, SIZE, SIZE, rng.uniform(11, 16))
    strength = ramp(shape.depth, 0, 0.35) * ramp(smooth_noise(rng, SIZE, SIZE, 70), -1.3, 0.5)
    return pigments(melanin=(mesh(labels, 1.5) - 0.35) * strength * 0.75)


def atypical_network(rng: Generator, shape: LesionShape) -> Floats:
    """Thick, dark, broken honeycomb on one part of the lesion."""
    _, labels = cells(rng, SIZE, SIZE, rng.uniform(13, 20))
    strength = ramp(smooth_noise(rng, SIZE, SIZE, 90), -0.6, 0.7) * ramp(shape.depth, -0.05, 0.15)
    return pigments(melanin=(mesh(labels, 2.4) - 0.3) * strength * 0.8)


def globules(rng: Generator, shape: LesionShape) -> Floats:
    """Round brown clods, evenly spread."""
    clods = spots(rng, rng.uniform(14, 19), 0.85, 0.33)
    return pigments(melanin=soften(clods, 1.2) * 0.75 * ramp(shape.depth, -0.02, 0.1) - 0.1)


def dark_dots(rng: Generator, shape: LesionShape) -> Floats:
    """Small black dots and clods on one part of the lesion."""
    patch = ramp(smooth_noise(rng, SIZE, SIZE, 110), -0.2, 0.5)
    return pigments(melanin=spots(rng, 15, 0.6, 0.24) * 1.5 * patch)


def streaks(rng: Generator, shape: LesionShape) -> Floats:
    """Dark rays that run out over a part of the border."""
    count = int(rng.integers(34, 52))
    wobble = smooth_noise(rng, SIZE, SIZE, 50) * 1.2
    rays = np.cos(shape.angle * count + wobble)
    sector = ramp(np.cos(shape.angle - np.float32(rng.uniform(0, 6.28))), -0.2, 0.6)
    rim = ramp(shape.depth, -0.1, 0.02) * ramp(shape.depth, 0.32, 0.1)
    return pigments(melanin=ramp(rays, 0.1, 0.9) * rim * sector * 1.3)


def blotches(rng: Generator, shape: LesionShape) -> Floats:
    """Structureless parts, off-centre: nearly black ones, and reddish or pale ones."""
    field = fractal_noise(rng, SIZE, SIZE, 120) + np.cos(shape.angle - rng.uniform(0, 6.28)) * 0.6
    dark, light = ramp(field, 0.3, 0.75), ramp(field, -0.3, -1.1)
    return pigments(melanin=dark * 1.5 - light * 0.55, blood=light * 0.3)


def blue_white_veil(rng: Generator, shape: LesionShape) -> Floats:
    """A blue-grey cloud under a whitish haze, off-centre."""
    cloud = fractal_noise(rng, SIZE, SIZE, 150) * 0.8 + shape.depth * 1.4
    grain = 1 + 0.12 * fractal_noise(rng, SIZE, SIZE, 14)
    veil = ramp(cloud, 0.2, 1.8) * ramp(shape.depth, 0.03, 0.35) * grain
    haze = ramp(fractal_noise(rng, SIZE, SIZE, 90), -1.0, 2.4)
    return pigments(melanin=veil * 0.1, blue=veil * 0.55, white=veil * haze * 0.3)


def regression(rng: Generator, shape: LesionShape) -> Floats:
    """Whitish, scar-like parts peppered with grey."""
    patch = ramp(fractal_noise(rng, SIZE, SIZE, 100), 0.5, 1.1) * ramp(shape.depth, 0.05, 0.2)
    pepper = spots(rng, 7, 0.5, 0.22)
    return pigments(melanin=-0.5 * patch, blue=patch * pepper * 0.5, white=patch * 0.4)


def vessel_tree(rng: Generator, start: NDArray[np.float64], angle: float, width: float) -> Floats:
    """Draw a vessel that winds and branches, thinner with every branch."""
    canvas = np.zeros((SIZE, SIZE), np.uint8)
    pending = [(start, angle, width)]
    while pending:
        origin, angle, width = pending.pop()
        turns = angle + np.cumsum(rng.normal(0, 0.22, int(rng.integers(9, 17))))
        steps = np.stack([np.cos(turns), np.sin(turns)], 1) * (2.5 + width * 1.1)
        points = np.vstack([origin, origin + np.cumsum(steps, 0)])
        fixed = np.round(points * 8).astype(np.int32)[:, None]
        cv2.polylines(canvas, [fixed], False, 255, max(1, round(width)), cv2.LINE_AA, shift=3)
        if width > 1.2:
            for at in rng.integers(3, len(turns), 2):
                side = turns[at] + rng.choice([-1, 1]) * rng.uniform(0.5, 1.0)
                pending.append((points[at], float(side), width * 0.66))
    return soften(np.asarray(canvas / 255, np.float32), 0.9)


def arborising_vessels(rng: Generator, shape: LesionShape) -> Floats:
    """Bright red, sharp, branching vessels that come in over the border."""
    red = np.zeros((SIZE, SIZE), np.float32)
    rows, columns = np.nonzero((shape.depth > 0.02) & (shape.depth < 0.2))
    for pick in rng.integers(0, rows.size, int(rng.integers(4, 8))):
        start = np.array([columns[pick], rows[pick]], np.float64)
        inwards = SIZE / 2 - start
        angle = float(np.arctan2(inwards[1], inwards[0]) + rng.normal(0, 0.6))
        red = np.maximum(red, vessel_tree(rng, start, angle, rng.uniform(2.6, 4.4)))
    return pigments(blood=red * 1.0 * ramp(shape.depth, -0.06, 0.06))


def dotted_vessels(rng: Generator, shape: LesionShape) -> Floats:
    """Red points, in groups."""
    patch = ramp(smooth_noise(rng, SIZE, SIZE, 80), -0.4, 0.5)
    return pigments(blood=soften(spots(rng, 13, 0.7, 0.17), 0.8) * patch * 1.3)


def blue_nests(rng: Generator, shape: LesionShape) -> Floats:
    """Large blue-grey ovoid nests, few of them."""
    nests = soften(spots(rng, rng.uniform(38, 60), 0.4, 0.3), 4)
    inside = ramp(shape.depth, 0.0, 0.15)
    return pigments(melanin=nests * inside * 0.35, blue=nests * inside * 0.6)


def shiny_white(rng: Generator, shape: LesionShape) -> Floats:
    """Structureless glossy white parts."""
    gloss = ramp(fractal_noise(rng, SIZE, SIZE, 55), 0.4, 1.4)
    return pigments(white=gloss * 0.45 * ramp(shape.depth, 0.05, 0.3))


def ulcer(rng: Generator, shape: LesionShape) -> Floats:
    """A small crust of dried blood."""
    crust = ramp(fractal_noise(rng, SIZE, SIZE, 60) + shape.depth * 1.4, 1.7, 2.0)
    crust *= 1 + 0.3 * fractal_noise(rng, SIZE, SIZE, 18)
    return pigments(melanin=crust * 1.1, blood=crust * 1.0)


def milia_cysts(rng: Generator, shape: LesionShape) -> Floats:
    """White to yellowish round cysts, like stars."""
    cysts = soften(spots(rng, rng.uniform(28, 40), 0.6, 0.18), 1.8)
    return pigments(melanin=-0.3 * cysts, white=cysts * 0.6 * ramp(shape.depth, 0, 0.1))


def comedo_openings(rng: Generator, shape: LesionShape) -> Floats:
    """Dark brown plugs with sharp borders."""
    plugs = spots(rng, rng.uniform(28, 40), 0.45, 0.17)
    return pigments(melanin=plugs * 1.3 * ramp(shape.depth, 0.02, 0.12))


def fissures(rng: Generator, shape: LesionShape) -> Floats:
    """Ridges and clefts that wind like a brain's."""
    winding = np.sin(fractal_noise(rng, SIZE, SIZE, 75) * np.float32(rng.uniform(5, 8)))
    cleft = ramp(np.abs(winding), 0.45, 0)
    return pigments(melanin=(cleft * 0.65 - 0.15) * ramp(shape.depth, 0, 0.12))


def central_scar(rng: Generator, shape: LesionShape) -> Floats:
    """A white patch in the middle, crossed by white lines."""
    core = ramp(shape.depth + fractal_noise(rng, SIZE, SIZE, 50) * 0.09, 0.3, 0.8)
    _, labels = cells(rng, SIZE, SIZE, 22)
    lines = mesh(labels, 2.0) * ramp(shape.depth, 0.2, 0.5)
    return pigments(melanin=-0.55 * core, blood=core * 0.1, white=core * 0.45 + lines * 0.12)


def peripheral_network(rng: Generator, shape: LesionShape) -> Floats:
    """A delicate brown net around a free centre."""
    _, labels = cells(rng, SIZE, SIZE, rng.uniform(11, 15))
    ring = ramp(shape.depth, -0.1, 0.12) * ramp(shape.depth, 0.55, 0.3)
    return pigments(melanin=(mesh(labels, 1.4) - 0.2) * ring * 0.5)


def lacunae(rng: Generator, shape: LesionShape) -> Floats:
    """Red to purple lakes of blood, parted by paler septa."""
    _, labels = cells(rng, SIZE, SIZE, rng.uniform(26, 42))
    hue = rng.random(labels.max() + 1, np.float32)[labels]
    septa = soften(mesh(labels, 3.0), 2.5) * ramp(fractal_noise(rng, SIZE, SIZE, 60), -1.0, 0.6)
    lake = 1 - septa
    return pigments(melanin=lake * hue * 0.5, blood=lake * 0.9, blue=lake * hue * 0.5, white=septa * 0.15)


def scales(rng: Generator, shape: LesionShape) -> Floats:
    """White flakes with sharp edges."""
    flakes = ramp(fractal_noise(rng, SIZE, SIZE, 30), 0.6, 1.5)
    patch = ramp(smooth_noise(rng, SIZE, SIZE, 90), -0.7, 0.4) * ramp(shape.depth, 0, 0.15)
    return pigments(melanin=flakes * patch * 0.1, white=flakes * patch * 0.6)


def strawberry(rng: Generator, shape: LesionShape) -> Floats:
    """A red net around pale follicles."""
    distance, labels = cells(rng, SIZE, SIZE, rng.uniform(20, 28))
    part = ramp(smooth_noise(rng, SIZE, SIZE, 90), -1, 0.5)
    follicles = soften(ramp(distance, 0.28, 0.12), 1.2) * part
    net = soften(mesh(labels, 3.5), 2) * part
    return pigments(melanin=follicles * 0.15, blood=net * 0.5, white=follicles * 0.35)


Pattern = Callable[[Generator, LesionShape], Floats]
