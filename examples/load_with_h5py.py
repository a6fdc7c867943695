"""Read a run with h5py and NumPy alone: what there is, what failed, and one attribution.

python examples/load_with_h5py.py RUN

A finished run of up to 200 shards has index.h5, which shows them as one file; `camshard export --to hdf5`
merges larger runs. A single shard below RUN/shards/ has the same variables.
"""

import sys
from pathlib import Path

import h5py
import numpy as np

with h5py.File(Path(sys.argv[1]) / "index.h5") as file:
    image_ids = file["image_id"].asstr()[:]
    classes = file["class_name"].asstr()[:]
    status = file["status"][:]
    meanings = file["status"].attrs["flag_meanings"].split()
    print(f"{len(image_ids)} images, classes {', '.join(classes)}")
    for value, meaning in enumerate(meanings):
        print(f"  {meaning}: {np.count_nonzero(status == value)}")

    for name, variable in file.items():
        if "method" in variable.attrs:  # an attribution: (image_id, target_rank, y, x)
            print(f"{name}: {variable.attrs['long_name']}, {variable.shape}")

    # of the first image that was explained: the attribution of its likeliest class
    name = file.attrs["signal"]
    row = np.flatnonzero((file["target"][:] >= 0).any(axis=1))[0]
    likeliest = file["probability"][row].argmax()
    targets = file["target"][row]  # class indices, by rank; -1 none
    rank = (targets == likeliest).argmax()  # the first target, if the likeliest class was not explained
    attribution = file[name][row, rank]  # reads this one image
    low, high = attribution.min(), attribution.max()
    print(f"{image_ids[row]}, {name} for {classes[targets[rank]]}: {low:.3g} to {high:.3g}")
