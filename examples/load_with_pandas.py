"""Read a run's table with pandas alone: confusion matrix, accuracy by a metadata column, what failed.

python examples/load_with_pandas.py RUN [COLUMN]

COLUMN is a column of the metadata CSV, such as sex or localization.
"""

import sys
from pathlib import Path

import pandas as pd

table = pd.read_parquet(Path(sys.argv[1]) / "table.parquet")

failed = table[table["status"] != 0]
print(f"{len(table)} images, {len(failed)} failed")
for error, number in failed["error"].value_counts().items():
    print(f"  {number} × {error}")

done = table[table["label"].notna() & table["prediction"].notna()].copy()
print("\nlabels (down) and predictions (across):")
print(pd.crosstab(done["label"], done["prediction"]))

done["right"] = done["label"] == done["prediction"]
print(f"\naccuracy {done['right'].mean():.1%}")
if len(sys.argv) > 2:
    print(done.groupby(sys.argv[2], dropna=False)["right"].agg(["count", "mean"]).round(3))
