"""Image + heatmap → picture; the one place that draws overlays."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

_INK = (30, 30, 30)
_TEXT_SIZE = 17
_GAP = 8


@dataclass(frozen=True)
class Tile:
    """A picture and the line above it; RGB uint8 (height, width, 3)."""

    title: str
    picture: Pixels


def draw_overlay(image: Pixels, heatmap: Floats, alpha: float = 0.4) -> Pixels:
    """Lay a heatmap in the colours of `jet` over an image.

    Args:
        image: uint8 (height, width, 1 or 3), grey or RGB.
        heatmap: float32 (height, width) within 0..1, of the image's size.
        alpha: how much of the colour is seen, 0..1.

    Returns:
        uint8 (height, width, 3), RGB.
    """
    rgb = np.broadcast_to(image, (*image.shape[:2], 3))
    levels = np.round(np.nan_to_num(heatmap) * 255).astype(np.uint8)
    colours = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_JET), cv2.COLOR_BGR2RGB)
    return np.round(rgb * (1 - alpha) + colours * alpha).astype(np.uint8)


def draw_contour(picture: Pixels, mask: Pixels) -> Pixels:
    """Draw the outline of a mask (uint8 (height, width), lesion > 127) in white on a copy of a picture."""
    outlines, _ = cv2.findContours((mask > 127).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(picture.copy(), outlines, -1, (255, 255, 255), 2), np.uint8)


def draw_grid(rows: Sequence[Sequence[Tile]], width: int = 240) -> Pixels:
    """Set tiles side by side, each scaled to `width` pixels, on white; RGB uint8."""
    drawn = [np.hstack([_draw_tile(tile, width) for tile in row]) for row in rows]
    return np.pad(np.vstack(drawn), ((_GAP, _GAP), (_GAP, 0), (0, 0)), constant_values=255)


def write_png(path: str, picture: Pixels) -> None:
    """Write an RGB picture; raises OSError where that fails."""
    if not cv2.imwrite(path, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
        raise OSError(f"{path}: the picture cannot be written")


def _draw_tile(tile: Tile, width: int) -> Pixels:
    height = round(tile.picture.shape[0] * width / tile.picture.shape[1])
    small = cv2.resize(tile.picture, (width, height), interpolation=cv2.INTER_AREA)
    header = np.full((_TEXT_SIZE + 10, width, 3), 255, np.uint8)
    font = cv2.FontFace("sans")
    cv2.putText(header, tile.title, (1, _TEXT_SIZE + 2), _INK, font, _TEXT_SIZE, 400)
    tall = np.vstack([header, small])
    return np.pad(tall, ((0, _GAP), (0, _GAP), (0, 0)), constant_values=255)
