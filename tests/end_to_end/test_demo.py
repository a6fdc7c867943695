"""`camshard demo`, smaller and less trained than a user's.

Over seven seeds, such a demo had an accuracy of 0.50 to 0.79 and 0.83 to 0.97 of its peaks in the lesion.
"""

import cv2
import pandas as pd
import pytest

from camshard.demo import make_demo
from camshard.results import open_run

pytestmark = [pytest.mark.tensorflow, pytest.mark.service]


def test_the_demo_makes_trains_runs_and_draws(tmp_path, capsys) -> None:
    figures = make_demo(tmp_path, images=280, epochs=20)
    table = open_run(tmp_path / "run").table
    assert figures.images == len(table) == len(pd.read_csv(tmp_path / "data" / "test.csv"))
    assert figures.accuracy == (table["label"] == table["prediction"]).mean()
    assert figures.accuracy > 0.4, "far better than guessing one of seven"
    assert figures.in_lesion > 0.8
    train, test = (pd.read_csv(tmp_path / "data" / name) for name in ("train.csv", "test.csv"))
    assert not set(train["lesion_id"]) & set(test["lesion_id"])
    picture = cv2.imread(str(tmp_path / "overlays.png"))
    assert picture.shape[1] == 8 + 4 * (240 + 8)
    printed = capsys.readouterr().out
    assert f"accuracy {figures.accuracy:.1%}" in printed
    assert "What to type next" in printed
