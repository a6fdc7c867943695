"""Compare two models on the same images: where do they disagree, and where do they agree for other reasons?

python examples/compare_models.py RUN OTHER_RUN
"""

import sys

import camshard

first, second = camshard.open_run(sys.argv[1]), camshard.open_run(sys.argv[2])
comparison = first.compare(second)
print(comparison)

table = comparison.table.dropna(subset=["agree"])
print("\nDifferent predictions, the largest change of probability first:")
differing = table[~table["agree"].astype(bool)].sort_values("probability_difference", ascending=False)
columns = ["image_id", "label", "prediction", "prediction_other", "probability_difference"]
print(differing[columns].head(10).round(3).to_string(index=False))

print("\nThe same prediction, but looking elsewhere:")
alike = table[table["agree"].astype(bool)].sort_values("correlation")
print(alike[["image_id", "label", "prediction", "correlation"]].head(10).round(3).to_string(index=False))

print("\nCorrelation of the attributions by class:")
print(table.groupby("target")["correlation"].describe()[["count", "mean", "min", "max"]].round(3))
