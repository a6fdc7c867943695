"""Draw the mean heatmap of each class: where, on the whole, does the model look?

python examples/mean_heatmaps.py RUN [OUT.png]

Centred objects give a centred mean. Where corners and edges light up, find_shortcuts.py names the images.
"""

import sys

import matplotlib

matplotlib.use("Agg")  # writes files, needs no screen
import matplotlib.pyplot as plt
import numpy as np

import camshard

run = camshard.open_run(sys.argv[1])
out_path = sys.argv[2] if len(sys.argv) > 2 else "mean_heatmaps.png"

prediction = run.table.set_index("image_id")["prediction"]
sums = dict.fromkeys(run.run.spec.classes, 0.0)
counts = dict.fromkeys(run.run.spec.classes, 0)

for image_ids, attributions in run.batches():  # Grad-CAM of the predicted class, raw, a few images at a time
    heatmaps = np.maximum(attributions, 0)
    highest = heatmaps.max(axis=(1, 2), keepdims=True)
    heatmaps = heatmaps / np.where(highest > 0, highest, 1)  # each image counts the same
    predicted = prediction.loc[image_ids].to_numpy()
    for name in sums:  # failed images have no prediction and are in no class
        sums[name] = sums[name] + heatmaps[predicted == name].sum(axis=0)
        counts[name] += int((predicted == name).sum())

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
