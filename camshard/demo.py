"""Everything on made-up data: dermoscopy images with known lesions, a small trained model, a whole run."""

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from camshard import display, job
from camshard.lesions import make_lesion_set, split_lesions
from camshard.overlay import Tile, draw_contour, draw_grid, draw_overlay, write_png
from camshard.results import Results, open_run
from producer.plan import plan_run
from producer.run_directory import write_run_dir
from shared.errors import CamshardError
from shared.images import Pixels, read_image
from shared.settings import Settings
from worker.process import require_tensorflow

_HELD_OUT = 0.4
_SEED = 7


@dataclass(frozen=True)
class Figures:
    """What the demo says of its run.

    Attributes:
        in_lesion: share of rightly classified images whose Grad-CAM peak lies in the lesion.
    """

    images: int
    accuracy: float
    in_lesion: float
    images_per_s: float


def make_demo(folder: Path, images: int = 700, epochs: int = 32) -> Figures:
    """Make images, train, run and draw; what is there already is not made again.

    Args:
        folder: where everything goes: data/, model.keras, run/, overlays.png.
        images, epochs: fewer of them make a quicker and worse demo.

    Raises:
        CamshardError: a step failed; the text says which.
    """
    require_tensorflow()
    began = time.monotonic()
    data_dir, model_path = folder / "data", folder / "model.keras"
    train_csv, test_csv = _make_images(data_dir, images)
    if not model_path.exists():
        _say("training a small convolutional net with a pooled head")
        _train(train_csv, data_dir / "images", model_path, epochs)
    _say("explaining the held-out images: camshard run")
    results, rate = _run(_settings(test_csv, data_dir / "images", model_path, folder / "run"))
    figures = Figures(len(results), _accuracy(results), pointing_rate(results, data_dir / "masks"), rate)
    picture_path = folder / "overlays.png"
    write_png(str(picture_path), _draw(results, data_dir / "masks"))
    _print_figures(figures, results, picture_path, time.monotonic() - began)
    return figures


def pointing_rate(results: Results, mask_dir: Path) -> float:
    """Return the share of rightly classified images whose Grad-CAM peak lies in the lesion.

    The peak is that of the heatmap of the predicted class, at the last layer, resized to the image.
    """
    table = results.table
    right = table[table["label"] == table["prediction"]]
    hits = [_peak_in_lesion(results, image_id, mask_dir) for image_id in right["image_id"]]
    return float(np.mean(hits)) if hits else float("nan")


def _peak_in_lesion(results: Results, image_id: str, mask_dir: Path) -> bool:
    mask = _read_mask(mask_dir, image_id)
    heatmap = results.heatmap(image_id, method="gradcam", layer=results.run.inspection.last, size=mask.shape)
    return bool(mask[np.unravel_index(heatmap.argmax(), heatmap.shape)] > 127)


def _read_mask(mask_dir: Path, image_id: str) -> Pixels:
    return read_image(mask_dir / f"{image_id}_segmentation.png", channels=1)[:, :, 0]


def _make_images(data_dir: Path, count: int) -> tuple[Path, Path]:
    """Make the images unless they are there; return the CSVs to train and to test with."""
    metadata = data_dir / "metadata.csv"
    try:
        if not metadata.exists():
            _say(f"making {count} dermoscopy-like images in {data_dir}")
            make_lesion_set(data_dir, count, _SEED)
        return _write_splits(metadata)
    except OSError as error:
        raise CamshardError(
            f"{data_dir.parent}: the demo cannot be written there: {error.strerror or error}. "
            "Name another folder with --out."
        ) from error


def _write_splits(metadata: Path) -> tuple[Path, Path]:
    """Write train.csv and test.csv beside the metadata; a lesion is in one of them alone."""
    paths = metadata.with_name("train.csv"), metadata.with_name("test.csv")
    for path, part in zip(paths, split_lesions(metadata, _HELD_OUT, _SEED), strict=True):
        part.to_csv(path, index=False)
    return paths


def _train(train_csv: Path, image_dir: Path, model_path: Path, epochs: int) -> None:
    command = [sys.executable, "-P", "-m", "worker.training", "--metadata", str(train_csv)]
    command += ["--images", str(image_dir), "--model", str(model_path), "--seed", str(_SEED)]
    command += ["--epochs", str(epochs)]
    if subprocess.run(command, check=False).returncode:
        raise CamshardError(f"training failed; try it alone: {' '.join(command)}")


def _settings(test_csv: Path, image_dir: Path, model_path: Path, run_dir: Path) -> Settings:
    """Return the settings of the demo alone: environment and camshard.toml are meant for other runs."""
    return Settings.model_construct(
        metadata=test_csv,
        images=(image_dir,),
        model=model_path,
        out=run_dir,
        methods=("cam", "gradcam"),
        layers=("stages",),
        targets="all",
    )


def _run(settings: Settings) -> tuple[Results, float]:
    plan = plan_run(settings)
    display.print_start(plan)
    run = write_run_dir(plan)
    with display.ProgressDisplay() as shown:
        progress = job.run_locally(settings, run, job.Listener(shown.show, shown.warn))
    display.print_end(run, progress)
    return open_run(run.dir), progress.images_per_s or float("nan")


def _accuracy(results: Results) -> float:
    return float((results.table["label"] == results.table["prediction"]).mean())


def _draw(results: Results, mask_dir: Path) -> Pixels:
    """Draw one rightly classified image of each class with its CAM and Grad-CAM."""
    table = results.table
    right = table[table["label"] == table["prediction"]]
    rows = [_draw_row(results, part.iloc[0], mask_dir) for _, part in right.groupby("label")]
    return draw_grid(rows)


def _draw_row(results: Results, row: pd.Series, mask_dir: Path) -> list[Tile]:
    image = results.image(row["image_id"])
    size = image.shape[:2]
    mask = _read_mask(mask_dir, row["image_id"])
    title = f"{row['label']}, {row['probability_' + row['prediction']]:.0%} sure"
    tiles = [Tile(title, draw_contour(image, mask))]
    last, before = results.run.inspection.last, results.run.inspection.stages[-2]
    for method, layer in (("cam", last), ("gradcam", last), ("gradcam", before)):
        heatmap = results.heatmap(row["image_id"], method, layer, size=size)
        name = {"cam": "CAM", "gradcam": "Grad-CAM"}[method]
        tiles.append(Tile(f"{name}, {layer}", draw_overlay(image, heatmap)))
    return tiles


def _print_figures(figures: Figures, results: Results, picture_path: Path, seconds: float) -> None:
    run_dir = results.run.dir
    _say(
        f"""
{figures.images} held-out images: accuracy {figures.accuracy:.1%}, {figures.images_per_s:.0f} images/s
Grad-CAM peak in the lesion: {figures.in_lesion:.1%} of the rightly classified images
picture: {picture_path} (outline: the true lesion); run: {run_dir}; {seconds:.0f} s in all

What to type next:
  camshard status {run_dir}
  python -c "import camshard; print(camshard.open_run('{run_dir}').table)"
  camshard run --metadata HAM10000_metadata.csv --images DIR --model YOUR_MODEL.keras"""
    )


def _say(text: str) -> None:
    display.console.print(text, markup=False)
