"""A large set as users have them: a CSV like HAM10000's, and image folders; and a stand-in for a model."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from benchmarks.made_up_run import CLASSES, inspection
from shared.inspection import inspection_path_beside, inspection_to_json
from shared.model_source import ModelSource

_FILES_PER_FOLDER = 1_000
_CHOICES = {
    "dx": CLASSES,
    "dx_type": ("histo", "follow_up", "consensus", "confocal"),
    "age": (*(f"{age}.0" for age in range(0, 90, 5)), ""),
    "sex": ("male", "female", "unknown"),
    "localization": ("back", "trunk", "face", "scalp", "lower extremity", "upper extremity"),
}


def make_metadata(csv_path: Path, num_records: int) -> Path:
    """Write a CSV with the seven columns of HAM10000_metadata."""
    rng = np.random.default_rng(5)
    columns = {
        "lesion_id": pa.array([f"HAM_{row // 2:07d}" for row in range(num_records)]),
        "image_id": pa.array([f"ISIC_{row:07d}" for row in range(num_records)]),
    }
    for name, values in _CHOICES.items():
        columns[name] = pa.array(values).take(pa.array(rng.integers(0, len(values), num_records)))
    options = pa.csv.WriteOptions(quoting_style="none")
    pa.csv.write_csv(pa.table(columns), csv_path, options)
    return csv_path


def make_image_folder(folder: Path, num_records: int) -> Path:
    """Make an empty file an image, all in one folder: planning opens none."""
    folder.mkdir()
    _make_files(folder, range(num_records))
    return folder


def make_image_folders(folder: Path, num_records: int) -> Path:
    """Make an empty file an image, a thousand in each of many folders."""
    for number, start in enumerate(range(0, num_records, _FILES_PER_FOLDER)):
        inner = folder / f"part_{number:04d}"
        inner.mkdir(parents=True)
        _make_files(inner, range(start, min(start + _FILES_PER_FOLDER, num_records)))
    return folder


def make_model(model_path: Path) -> Path:
    """Write a file that stands for a model, with the inspection beside it: planning needs no more."""
    model_path.write_bytes(b"a model")
    digest = hashlib.sha256(b"a model").hexdigest()
    text = inspection_to_json(replace(inspection(), model_sha256=digest), ModelSource(model_path))
    inspection_path_beside(model_path).write_text(text)
    return model_path


def _make_files(folder: Path, rows: range) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        for row in rows:
            os.mknod(f"ISIC_{row:07d}.jpg", dir_fd=handle)
    finally:
        os.close(handle)
