"""Overlays of a run as PNG files: each image beside its heatmaps."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from camshard.display import count_up
from camshard.export.outcome import Outcome, Skipped, attempt, check_some
from camshard.export.panels import Panel, read_image_of
from camshard.export.rows import Row, Rows
from camshard.export.table import defuse, write_csv
from camshard.output import file_stems
from camshard.overlay import Pixels, draw_strip, to_rgb, write_png
from camshard.parallel import map_in_threads
from shared.errors import StorageError

if TYPE_CHECKING:
    from camshard.results import Results

_INDEX = "index.csv"


@dataclass(frozen=True)
class Drawer:
    """Draws one image and its panels.

    Attributes:
        style: alpha and colormap.
    """

    results: "Results"
    panels: list[Panel]
    style: tuple[float, str]

    def draw(self, row: Row) -> list[Pixels]:
        """Return the image and then its overlays, all of the image's size, RGB.

        Raises:
            Undrawable, ImageError, RequestError: this image has none.
        """
        classes = [panel.class_name(row) for panel in self.panels]
        image = read_image_of(row, self.results.run)
        overlays = [
            panel.overlay(self.results, image, row.image_id, name, self.style)
            for panel, name in zip(self.panels, classes, strict=True)
        ]
        return [to_rgb(image), *overlays]


def export_pictures(drawer: Drawer, rows: Rows, out_dir: Path) -> Outcome:
    """Write a PNG for each row, the image and its overlays side by side at the image's own size.

    `index.csv`, beside them, says which file is of which image and what is in it. It keeps its lines of
    earlier pictures that are still there and were not drawn again.

    Raises:
        RequestError: no row has anything to draw.
        StorageError: there is an index.csv that is no index of pictures.
        OSError: as the file system says.
    """
    stems = file_stems(rows.table["image_id"].tolist())
    earlier = _read_index(out_dir / _INDEX)

    def write(one: tuple[Row, str]) -> dict[str, str] | Skipped:
        return attempt(one[0], lambda row: _write(drawer, row, out_dir / f"{one[1]}.png"))

    index: list[dict[str, str]] = []
    skipped: list[Skipped] = []
    for done in count_up(map_in_threads(write, zip(rows, stems, strict=True)), len(rows), "pictures"):
        if isinstance(done, Skipped):
            skipped.append(done)
        else:
            index.append(done)
    check_some(skipped, len(rows))
    write_csv(_merge(earlier, pd.DataFrame(index), out_dir), out_dir / _INDEX)
    strip = " | ".join(["image", *(f"{panel.title}, {panel.target}" for panel in drawer.panels)])
    return Outcome(
        out_dir, len(index), "pictures", tuple(skipped), f"each: {strip}; index.csv names the files"
    )


def _read_index(path: Path) -> pd.DataFrame:
    """Read the index of earlier pictures, texts as they stand there; without any, one of no lines."""
    try:
        index = pd.read_csv(path, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        return pd.DataFrame(columns=["image_id", "file"], dtype=str)
    except ValueError as error:  # pandas' and Unicode's errors
        raise StorageError(_no_index(path)) from error
    if not {"image_id", "file"} <= set(index.columns):
        raise StorageError(_no_index(path))
    return index


def _no_index(path: Path) -> str:
    return f"{path}: this is no index of pictures, and would be replaced. Name another folder with --out."


def _merge(earlier: pd.DataFrame, new: pd.DataFrame, out_dir: Path) -> pd.DataFrame:
    """Return the lines of earlier pictures that still are what they were, and then the new ones."""
    replaced = earlier["image_id"].isin(defuse(new["image_id"])) | earlier["file"].isin(new["file"])
    there = earlier["file"].map(lambda name: (out_dir / name).is_file()).astype(bool)
    return pd.concat([earlier[~replaced & there], new], ignore_index=True).fillna("")


def _write(drawer: Drawer, row: Row, path: Path) -> dict[str, str]:
    """Write one strip and return its line of the index."""
    write_png(path, draw_strip(drawer.draw(row)))
    line = {
        "image_id": row.image_id,
        "file": path.name,
        "label": row.label or "",
        "prediction": row.prediction or "",
    }
    for number, panel in enumerate(drawer.panels, start=1):
        line[f"heatmap_{number}"] = f"{panel.method} at {panel.layer} for {panel.class_name(row)}"
    return line
