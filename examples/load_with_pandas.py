"""Read a run's table with pandas alone: confusion matrix, accuracy by a metadata column, what failed.

python examples/load_with_pandas.py RUN [COLUMN]

COLUMN is a column of the metadata CSV, such as sex or localization. Where images have several labels, there
is a row of counts for each class instead of the confusion matrix, and right means that all labels are.
"""

import sys
from pathlib import Path

import pandas as pd

table = pd.read_parquet(Path(sys.argv[1]) / "table.parquet")

failed = table[table["status"] != 0]
print(f"{len(table)} images, {len(failed)} failed")
for error, number in failed["error"].value_counts().items():
    print(f"  {number} × {error}")

if "label" in table:
    done = table[table["label"].notna() & table["prediction"].notna()].copy()
    print("\nlabels (down) and predictions (across):")
    print(pd.crosstab(done["label"], done["prediction"]))
    done["right"] = done["label"] == done["prediction"]
else:  # several labels an image: a column of 1, 0 or -1 (unknown, failed) for each class
    classes = [one.removeprefix("probability_") for one in table if one.startswith("probability_")]
    columns = [f"{name}_{one}" for name in ("label", "prediction") for one in classes]
    done = table[(table[columns] >= 0).all(axis=1)].copy()
    labels, predictions = (
        done[[f"{name}_{one}" for one in classes]].set_axis(classes, axis=1) == 1
        for name in ("label", "prediction")
    )
    counts = {"labels": labels, "predictions": predictions, "both": labels & predictions}
    print()
    print(pd.DataFrame({name: flags.sum() for name, flags in counts.items()}))
    done["right"] = (labels == predictions).all(axis=1)

print(f"\naccuracy {done['right'].mean():.1%}")
if len(sys.argv) > 2:
    print(done.groupby(sys.argv[2], dropna=False)["right"].agg(["count", "mean"]).round(3))
