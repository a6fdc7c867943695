"""Read a run with xarray: everything by name, nothing loaded before it is needed.

python examples/load_with_xarray.py RUN

camshard.open_run(RUN).dataset() gives the same for runs without index.h5, in dask chunks.
"""

import sys
from pathlib import Path

import xarray as xr

with xr.open_dataset(Path(sys.argv[1]) / "index.h5", engine="h5netcdf") as run:
    print(run)
    name = run.attrs["signal"]  # such as gradcam__conv5_block3_out
    y, x = run[name].dims[2:]

    first = run.isel(image_id=0)
    print(f"\n{first.image_id.item()}:")
    print(first.probability.to_series().sort_values(ascending=False).round(3).to_string())

    # the mean profile from left to right, of the first target of each image; NaN where failed is left out
    profile = run[name].isel(target_rank=0).mean(dim=["image_id", y])
    print(f"\n{name}, mean by {x}:")
    print(profile.to_series().round(4).to_string())
