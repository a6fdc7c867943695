"""Draw the wrong predictions that the model is surest of: why that class, and what of the true one?

python examples/confident_errors.py RUN [OUT.png]

Each row is an image, its heatmap for the predicted class and, if it was explained (--targets all), that for
the true class. It needs a run with one label for each image.
"""

import sys

import matplotlib

matplotlib.use("Agg")  # writes files, needs no screen
import matplotlib.pyplot as plt

import camshard
from shared.errors import CamshardError

run = camshard.open_run(sys.argv[1])
out_path = sys.argv[2] if len(sys.argv) > 2 else "confident_errors.png"
if run.run.spec.task == "multilabel":
    sys.exit("confident_errors.py needs a run with one label for each image; this one has several.")

table = run.table
table = table[table["label"].notna() & table["prediction"].notna()]
errors = table[table["label"] != table["prediction"]].copy()
errors["confidence"] = [row[f"probability_{row['prediction']}"] for _, row in errors.iterrows()]
errors = errors.sort_values("confidence", ascending=False).head(6)
print(errors[["image_id", "label", "prediction", "confidence"]].to_string(index=False))
if errors.empty:
    sys.exit("no wrong predictions")

figure, axes = plt.subplots(
    len(errors), 3, figsize=(9, 2.6 * len(errors)), squeeze=False, layout="constrained"
)
for row, (_, error) in zip(axes, errors.iterrows(), strict=True):
    for axis in row:
        axis.set_axis_off()
    row[0].imshow(run.image(error["image_id"]), cmap="gray")
    row[0].set_title(error["image_id"])
    for axis, target, text in ((row[1], error["prediction"], "predicted"), (row[2], error["label"], "true")):
        try:
            axis.imshow(run.overlay(error["image_id"], target=target))
        except CamshardError:  # this class was not explained
            continue
        axis.set_title(f"{text}: {target}, {error[f'probability_{target}']:.0%}")
figure.savefig(out_path, dpi=110)
print(out_path)
