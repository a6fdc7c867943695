"""A made-up HAM10000: dermoscopy images of seven classes, their lesion masks and metadata."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from camshard import lesion_patterns as seen
from camshard.lesion_drawing import Bytes, LesionLook, draw_lesion, photograph
from shared.errors import CamshardError

COLUMNS = ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization")
LOOKS = {
    "akiec": LesionLook(
        area=(0.09, 0.20), elongation=(1.0, 1.5), irregularity=(0.12, 0.26), softness=(0.3, 0.6),
        melanin=(0.1, 0.6), blood=(0.22, 0.5), mottling=0.5,
        patterns=((seen.scales, 0.93), (seen.strawberry, 0.6), (seen.dotted_vessels, 0.35)),
    ),
    "bcc": LesionLook(
        area=(0.07, 0.17), elongation=(1.0, 1.4), irregularity=(0.08, 0.2), softness=(0.15, 0.5),
        melanin=(0.0, 0.25), blood=(0.06, 0.25), mottling=0.4,
        patterns=(
            (seen.arborising_vessels, 0.93), (seen.blue_nests, 0.7),
            (seen.shiny_white, 0.35), (seen.ulcer, 0.3),
        ),
    ),
    "bkl": LesionLook(
        area=(0.08, 0.20), elongation=(1.0, 1.6), irregularity=(0.08, 0.25), softness=(0.06, 0.2),
        melanin=(0.4, 1.0), blood=(0.0, 0.12), mottling=0.3,
        patterns=((seen.milia_cysts, 0.93), (seen.comedo_openings, 0.75), (seen.fissures, 0.5)),
    ),
    "df": LesionLook(
        area=(0.07, 0.16), elongation=(1.0, 1.3), irregularity=(0.03, 0.1), softness=(0.35, 0.7),
        melanin=(0.3, 0.8), blood=(0.05, 0.25), mottling=0.2,
        patterns=((seen.central_scar, 0.96), (seen.peripheral_network, 0.7)),
    ),
    "mel": LesionLook(
        area=(0.10, 0.22), elongation=(1.1, 1.5), irregularity=(0.14, 0.3), softness=(0.08, 0.3),
        melanin=(0.7, 1.5), blood=(0.0, 0.3), mottling=0.3,
        patterns=(
            (seen.blotches, 0.9), (seen.atypical_network, 0.5), (seen.streaks, 0.5),
            (seen.dark_dots, 0.4), (seen.blue_white_veil, 0.7), (seen.regression, 0.3),
        ),
    ),
    "nv": LesionLook(
        area=(0.07, 0.17), elongation=(1.0, 1.35), irregularity=(0.03, 0.13), softness=(0.12, 0.4),
        melanin=(0.7, 1.6), blood=(0.0, 0.15), mottling=0.2,
        patterns=((seen.pigment_network, 0.75), (seen.globules, 0.4)),
    ),
    "vasc": LesionLook(
        area=(0.07, 0.15), elongation=(1.0, 1.4), irregularity=(0.05, 0.16), softness=(0.08, 0.3),
        melanin=(0.0, 0.15), blood=(0.5, 1.5), mottling=0.3,
        patterns=((seen.lacunae, 0.85),),
    ),
}  # fmt: skip

_NV_WEIGHT = 1.3  # a few more naevi than of any other class
_LEFT_BLANK = 0.02  # of the ages


@dataclass(frozen=True)
class LesionBearer:
    """What the metadata tell of a class: how diagnoses were made, how old and where its bearers."""

    dx_types: tuple[str, ...]
    mean_age: float
    sites: tuple[str, ...]


_BEARERS = {
    "akiec": LesionBearer(("histo",), 66, ("face", "scalp", "hand", "lower extremity")),
    "bcc": LesionBearer(("histo",), 66, ("face", "back", "chest", "neck", "upper extremity")),
    "bkl": LesionBearer(("histo", "consensus", "confocal"), 64, ("back", "face", "abdomen", "chest")),
    "df": LesionBearer(("histo", "consensus"), 52, ("lower extremity", "upper extremity")),
    "mel": LesionBearer(("histo",), 61, ("back", "upper extremity", "lower extremity", "face")),
    "nv": LesionBearer(
        ("follow_up", "histo", "consensus"), 45, ("trunk", "back", "abdomen", "lower extremity")
    ),
    "vasc": LesionBearer(("consensus", "histo"), 51, ("trunk", "abdomen", "upper extremity")),
}


def make_lesion_set(folder: Path, count: int = 700, seed: int = 7) -> Path:
    """Draw and write a data set in HAM10000's shape; the same seed writes the same files.

    Writes `images/<image_id>.jpg` (600×450), `masks/<image_id>_segmentation.png` (uint8, 0 or 255)
    and `metadata.csv` with HAM10000's columns. Some lesions have two or three images.

    Returns:
        The path of the CSV.
    """
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rows = plan_images(count, seed)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        drawing = [pool.submit(_write_lesion, folder, views, seed) for _, views in rows.groupby("lesion_id")]
        for lesion in drawing:
            lesion.result()
    csv_path = folder / "metadata.csv"
    rows.to_csv(csv_path, index=False)
    return csv_path


def plan_images(count: int, seed: int) -> pd.DataFrame:
    """Choose lesions, their bearers and how often each is photographed: HAM10000's columns."""
    rng = np.random.default_rng(seed)
    rows: list[tuple[object, ...]] = []
    lesions = 0
    for dx, wanted in _count_per_class(count).items():
        enough = len(rows) + wanted
        while len(rows) < enough:
            lesions += 1
            views = min(enough - len(rows), int(rng.choice([1, 2, 3], p=[0.72, 0.2, 0.08])))
            bearer = _choose_bearer(rng, dx)
            rows += [(f"DEMO_L{lesions:06d}", "", dx, *bearer)] * views
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).iloc[rng.permutation(len(rows))]
    frame["image_id"] = [f"DEMO_{number:07d}" for number in range(1, len(frame) + 1)]
    return frame.reset_index(drop=True)


def split_lesions(metadata_csv: Path, held_out: float, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split the images into a training and a held-out part, whole lesions and class by class.

    Args:
        metadata_csv: has the columns lesion_id and dx.
        held_out: the share of images to hold out, 0..1; met as far as whole lesions allow.

    Returns:
        The training rows and the held-out rows, each in the CSV's order.
    """
    frame = pd.read_csv(metadata_csv)
    rng = np.random.default_rng(seed)
    held: set[str] = set()
    for _, of_class in frame.groupby("dx"):
        sizes = of_class.groupby("lesion_id").size()
        sizes = sizes.iloc[rng.permutation(len(sizes))]
        # A lesion is held out if that brings the count nearer to the one wanted.
        middle = sizes.cumsum() - sizes / 2
        held.update(sizes.index[middle < held_out * len(of_class)])
    is_held = frame["lesion_id"].isin(held)
    return frame[~is_held].reset_index(drop=True), frame[is_held].reset_index(drop=True)


def _count_per_class(count: int) -> dict[str, int]:
    weights = np.array([_NV_WEIGHT if dx == "nv" else 1.0 for dx in LOOKS])
    ends = np.round(np.cumsum(weights) / weights.sum() * count).astype(int)
    return dict(zip(LOOKS, np.diff(ends, prepend=0).tolist(), strict=True))


def _choose_bearer(rng: np.random.Generator, dx: str) -> tuple[str, float, str, str]:
    bearer = _BEARERS[dx]
    age = float(np.clip(round(rng.normal(bearer.mean_age, 14) / 5) * 5, 5, 85))
    return (
        str(rng.choice(bearer.dx_types)),
        float("nan") if rng.random() < _LEFT_BLANK else age,
        str(rng.choice(["male", "female"])),
        str(rng.choice(bearer.sites)),
    )


def _write_lesion(folder: Path, views: pd.DataFrame, seed: int) -> None:
    first = views.iloc[0]
    rng = np.random.default_rng([seed, int(first["lesion_id"].removeprefix("DEMO_L"))])
    lesion = draw_lesion(rng, LOOKS[first["dx"]])
    for image_id in views["image_id"]:
        picture, mask = photograph(rng, lesion)
        bgr = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), np.uint8)
        jpeg = [cv2.IMWRITE_JPEG_QUALITY, 90]
        _write(folder / "images" / f"{image_id}.jpg", bgr, jpeg)
        _write(folder / "masks" / f"{image_id}_segmentation.png", mask, [])


def _write(path: Path, pixels: Bytes, options: list[int]) -> None:
    written, data = cv2.imencode(path.suffix, pixels, options)
    if not written:
        raise CamshardError(f"{path}: OpenCV could not encode the image.")
    path.write_bytes(data.tobytes())
