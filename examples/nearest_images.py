"""List the images that look most alike to the model; needs a run made with --save-features.

python examples/nearest_images.py RUN IMAGE_ID [K]

Neighbours of another class say what a wrong prediction may rest on; those at a distance of nearly 0 are often
the same picture again. Where images have several labels, each class has a column of 1 and 0 (-1 unknown).
"""

import sys

import camshard

run = camshard.open_run(sys.argv[1])
image_id = sys.argv[2]
k = int(sys.argv[3]) if len(sys.argv) > 3 else 10

columns = ["image_id", "label", "prediction"]
if run.run.spec.task == "multilabel":
    columns[1:] = [f"{name}_{one}" for name in ("label", "prediction") for one in run.run.spec.classes]
print(run.table.loc[run.table["image_id"] == image_id, columns].to_string(index=False))

neighbours = run.nearest(image_id, k)
print(f"\n{len(neighbours)} nearest:")
print(neighbours[["distance", *columns]].round(4).to_string(index=False))
