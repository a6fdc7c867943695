"""Find images that the model may decide by their edges: rulers, dark corners, markers.

python examples/find_shortcuts.py RUN [OUT.csv]

border_share is the share of the positive attribution in the outermost tenth of the image; of a map that is
the same everywhere it is 36 %. Where a class stands out, look at its images. OUT.csv has all figures.
"""

import sys

import camshard

run = camshard.open_run(sys.argv[1])

statistics = run.attribution_statistics().merge(run.table, on="image_id")  # Grad-CAM, predicted class
statistics = statistics.sort_values("border_share", ascending=False)

print("Most of the attribution at the border:")
columns = ["image_id", "label", "prediction", "border_share", "peak_y", "peak_x", "spread"]
print(statistics[columns].head(10).round(3).to_string(index=False))

print("\nBy predicted class:")
by_class = statistics.groupby("prediction")[["border_share", "spread", "positive_share"]]
print(by_class.median().sort_values("border_share", ascending=False).round(3))

if len(sys.argv) > 2:
    statistics.to_csv(sys.argv[2], index=False)
    print(f"\n{sys.argv[2]}: {len(statistics)} rows")
