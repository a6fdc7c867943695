"""Fixtures of the worker's tests; TensorFlow is imported only by the modules marked for it."""

from pathlib import Path

import cv2
import numpy as np
import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Keep the quick loop quick: importing a module that is left out anyway would load TensorFlow."""
    if "not tensorflow" not in config.option.markexpr or collection_path.suffix != ".py":
        return None
    return "pytestmark = pytest.mark.tensorflow" in collection_path.read_text() or None


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """Four noise images of different colours, float32 (4, 32, 32, 3) of 0..1."""
    rng = np.random.default_rng(5)
    return rng.random((4, 32, 32, 3), np.float32) * rng.random((4, 1, 1, 3), np.float32)


@pytest.fixture
def image_dir(tmp_path: Path) -> Path:
    """A folder of seven PNG files, image0.png to image6.png, all different."""
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(6)
    for number in range(7):
        cv2.imwrite(str(folder / f"image{number}.png"), rng.integers(0, 256, (40, 48, 3), np.uint8))
    return folder
