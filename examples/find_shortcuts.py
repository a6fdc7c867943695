"""Find images that the model may decide by their edges: rulers, dark corners, markers.

python examples/find_shortcuts.py RUN [OUT.csv]

border_share is the share of the positive attribution in the outermost tenth of the image; of a map that is
the same everywhere it is 36 %. Where a class stands out, look at its images. OUT.csv has all figures. The
attributions are Grad-CAM's of the predicted class, in a run of --targets label of the label; where images
have several labels, each class has the figures of the images that it is predicted for.
"""

import sys

import camshard
from camshard.selection import default_target

run = camshard.open_run(sys.argv[1])
several, classes = run.run.spec.task == "multilabel", run.run.spec.classes

statistics = run.attribution_statistics().merge(run.table, on="image_id")
statistics = statistics.sort_values("border_share", ascending=False)

print("Most of the attribution at the border:")
columns = ["border_share", "peak_y", "peak_x", "spread"]
names = [f"prediction_{one}" for one in classes] if several else ["label", "prediction"]
print(statistics[["image_id", *names, *columns]].head(10).round(3).to_string(index=False))

figures = ["border_share", "spread", "positive_share"]
if several:
    print("\nBy predicted class, an image with several in each:")
    for name in classes:
        there = statistics[statistics[f"prediction_{name}"] == 1]
        print(f"{name}, {len(there)} images: {there[figures].median().round(3).to_dict()}")
else:
    column = {"label": "label", "predicted": "prediction"}[default_target(run.run)]
    print(f"\nBy {column}:")
    by_class = statistics.groupby(column)[figures]
    print(by_class.median().sort_values("border_share", ascending=False).round(3))

if len(sys.argv) > 2:
    statistics.to_csv(sys.argv[2], index=False)
    print(f"\n{sys.argv[2]}: {len(statistics)} rows")
