"""Image + heatmap → picture; the one place that draws overlays."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from camshard.output import replacing
from shared.errors import RequestError

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

COLORMAPS = ("jet", "viridis", "turbo")
_LEVELS = 256  # of a colour map; a value x within 0..1 has the level int(x * 256), at most 255
# matplotlib's jet: level in 0..1 and height of each channel there, linear between; OpenCV's is another one
_JET = (
    ((0, 0.35, 0.66, 0.89, 1), (0, 0, 1, 1, 0.5)),
    ((0, 0.125, 0.375, 0.64, 0.91, 1), (0, 0, 1, 1, 0, 0)),
    ((0, 0.11, 0.34, 0.65, 1), (0.5, 1, 1, 0, 0)),
)
_INK = (30, 30, 30)
_TEXT_SIZE = 17
_GAP = 8


@dataclass(frozen=True)
class Tile:
    """A picture and the line above it; RGB uint8 (height, width, 3)."""

    title: str
    picture: Pixels


def check_style(alpha: float, colormap: str) -> None:
    """Raise RequestError unless overlays can be drawn like that."""
    if not 0 <= alpha <= 1:
        raise RequestError(f"alpha: {alpha!r} is not within 0..1, from the bare image to colours alone.")
    if colormap not in COLORMAPS:
        raise RequestError(f"colormap: {colormap!r} is not known. There are: {', '.join(COLORMAPS)}.")


def draw_overlay(image: Pixels, heatmap: Floats, alpha: float = 0.4, colormap: str = "jet") -> Pixels:
    """Lay a heatmap in colours over an image, as matplotlib's imshow(heatmap, alpha=…) over imshow(image).

    Args:
        image: uint8 (height, width, 1 or 3), grey or RGB.
        heatmap: float32 (height, width) within 0..1, of the image's size; NaN leaves the image as it is.
        alpha: how much of the colour is seen, 0..1.
        colormap: jet, viridis or turbo, matplotlib's.

    Returns:
        uint8 (height, width, 3), RGB.

    Raises:
        RequestError: alpha or colormap is not among these.
    """
    check_style(alpha, colormap)
    rgb = to_rgb(image)
    missing = np.isnan(heatmap)
    known = np.where(missing, 0, heatmap) if missing.any() else heatmap
    levels = np.clip(known * np.float32(_LEVELS), 0, _LEVELS - 1).astype(np.uint8)
    colours = cv2.applyColorMap(levels, _colour_table(colormap))
    blended = np.asarray(cv2.addWeighted(rgb, 1 - alpha, colours, alpha, 0), np.uint8)
    blended[missing] = rgb[missing]
    return blended


def to_rgb(image: Pixels) -> Pixels:
    """Return uint8 (height, width, 3) of a grey or RGB image with its channel axis."""
    return np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))


def draw_contour(picture: Pixels, mask: Pixels) -> Pixels:
    """Draw the outline of a mask (uint8 (height, width), lesion > 127) in white on a copy of a picture."""
    outlines, _ = cv2.findContours((mask > 127).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(picture.copy(), outlines, -1, (255, 255, 255), 2), np.uint8)


def draw_grid(rows: Sequence[Sequence[Tile]], width: int = 240) -> Pixels:
    """Set tiles side by side, each scaled to `width` pixels, on white; RGB uint8."""
    drawn = [np.hstack([_draw_tile(tile, width) for tile in row]) for row in rows]
    return np.pad(np.vstack(drawn), ((_GAP, _GAP), (_GAP, 0), (0, 0)), constant_values=255)


def draw_strip(pictures: Sequence[Pixels]) -> Pixels:
    """Set pictures of one height side by side at their own size, white between them; RGB uint8."""
    first, *others = pictures
    gap = np.full((first.shape[0], _GAP, 3), 255, np.uint8)
    return np.hstack([first, *(part for picture in others for part in (gap, picture))])


def write_png(path: str | Path, picture: Pixels) -> None:
    """Write an RGB or grey picture, whole or not at all; raises OSError where that fails."""
    pixels = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    with replacing(Path(path), durably=False) as new_path:
        new_path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())


@cache
def _colour_table(colormap: str) -> Pixels:
    """Return the colours of all levels: uint8 (256, 1, 3), RGB."""
    if colormap == "jet":
        levels = np.linspace(0, 1, _LEVELS)
        channels = [np.interp(levels, at, heights) for at, heights in _JET]
        return np.asarray(np.stack(channels, axis=1)[:, None] * 255).astype(np.uint8)
    every = np.arange(_LEVELS, dtype=np.uint8)[:, None]
    theirs = {"viridis": cv2.COLORMAP_VIRIDIS, "turbo": cv2.COLORMAP_TURBO}[colormap]
    return np.asarray(cv2.cvtColor(cv2.applyColorMap(every, theirs), cv2.COLOR_BGR2RGB), np.uint8)


def _draw_tile(tile: Tile, width: int) -> Pixels:
    height = round(tile.picture.shape[0] * width / tile.picture.shape[1])
    small = cv2.resize(tile.picture, (width, height), interpolation=cv2.INTER_AREA)
    header = np.full((_TEXT_SIZE + 10, width, 3), 255, np.uint8)
    font = cv2.FontFace("sans")
    cv2.putText(header, tile.title, (1, _TEXT_SIZE + 2), _INK, font, _TEXT_SIZE, 400)
    tall = np.vstack([header, small])
    return np.pad(tall, ((0, _GAP), (0, _GAP), (0, 0)), constant_values=255)
