"""Fixtures of the producer's tests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_plans import ROWS, MakePlan

from producer.plan import Plan, plan_run
from shared.settings import Settings


@pytest.fixture
def make_plan(
    tmp_path: Path,
    make_images: Callable[..., Path],
    write_model: Callable[..., Path],
    make_settings: Callable[..., Settings],
) -> MakePlan:
    """Plan over five records; `rows`, `files` and `content` change the CSV, the images and the model."""

    def plan(
        folder: Path = tmp_path,
        rows: tuple[str, ...] = ROWS,
        files: str = "abcde",
        content: bytes = b"a model",
        **flags: Any,
    ) -> Plan:
        folder.mkdir(exist_ok=True)
        csv_path = folder / "set.csv"
        csv_path.write_text("\n".join(("lesion_id,image_id,dx,age", *rows)) + "\n")
        defaults = {
            "metadata": csv_path,
            "images": [make_images(folder / "images", files)],
            "model": write_model(folder, content),
            "scale": "0..1",
        }
        return plan_run(make_settings(**defaults | flags))

    return plan
