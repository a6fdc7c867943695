"""Draw the mean heatmap of each class: where, on the whole, does the model look?

python examples/mean_heatmaps.py RUN [OUT.png]

Centred objects give a centred mean. Where corners and edges light up, find_shortcuts.py names the images. The
classes are the predicted ones, in a run of --targets label the labels. It needs a run with one class for each
image.
"""

import sys

import matplotlib

matplotlib.use("Agg")  # writes files, needs no screen
import matplotlib.pyplot as plt
import numpy as np

import camshard
from camshard.selection import default_target

run = camshard.open_run(sys.argv[1])
out_path = sys.argv[2] if len(sys.argv) > 2 else "mean_heatmaps.png"
if run.run.spec.task == "multilabel":
    sys.exit("mean_heatmaps.py needs a run with one class for each image; this one has several.")

column = {"label": "label", "predicted": "prediction"}[default_target(run.run)]
table = run.table.set_index("image_id")
class_of = table[column].where(table["status"] == 0)
sums = dict.fromkeys(run.run.spec.classes, 0.0)
counts = dict.fromkeys(run.run.spec.classes, 0)

for image_ids, attributions in run.batches():  # Grad-CAM of that class, raw, a few images at a time
    heatmaps = np.maximum(attributions, 0)
    highest = heatmaps.max(axis=(1, 2), keepdims=True)
    heatmaps = heatmaps / np.where(highest > 0, highest, 1)  # each image counts the same
    names = class_of.loc[image_ids].to_numpy()
    for name in sums:  # failed and unlabelled images are in no class
        sums[name] = sums[name] + heatmaps[names == name].sum(axis=0)
        counts[name] += int((names == name).sum())

there = [name for name in sums if counts[name]]
figure, axes = plt.subplots(
    1, len(there), figsize=(2.4 * len(there), 2.7), squeeze=False, layout="constrained"
)
for axis, name in zip(axes[0], there, strict=True):
    shown = axis.imshow(sums[name] / counts[name], cmap="jet", vmin=0, vmax=1, interpolation="bilinear")
    axis.set_title(f"{name}, n = {counts[name]}")
    axis.set_axis_off()
figure.colorbar(shown, ax=axes[0].tolist(), shrink=0.7, pad=0.01)
figure.savefig(out_path, dpi=150)
print(f"{out_path}: mean heatmaps of {', '.join(there)}")
