"""Open a run and read its results: table, attributions, heatmaps."""

from functools import cached_property
from numbers import Integral
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from shared.errors import IncompleteRunError, RequestError
from shared.images import Region, input_region, read_image
from shared.run import METADATA_PREFIX, Run, read_run
from shared.shard import open_shard
from shared.shard_layout import attribution_name
from shared.status import Status

Floats = NDArray[np.float32]
Target = str | int | None


def open_run(path: str | Path, partial: bool = False) -> "Results":
    """Open a run directory.

    Args:
        partial: accept a run whose shards are not all there; their records are then left out.

    Raises:
        RunError: there is no run.
        IncompleteRunError: shards are missing, and `partial` is not set.
    """
    run = read_run(Path(path))
    published = run.published_shards()
    missing = [shard for shard in range(run.num_shards) if shard not in published]
    if missing and not partial:
        raise IncompleteRunError(
            f"{run.dir}: {len(missing)} of {run.num_shards} shards are not there, first "
            f"{run.shard_path(missing[0]).name}. Finish the run with the command that began it, or open what "
            "there is with open_run(path, partial=True)."
        )
    return Results(run, tuple(shard for shard in range(run.num_shards) if shard in published))


class Results:
    """The results of a run.

    Attributes:
        run: what was asked, of which model.
        shards: the numbers of the shards that are there.
    """

    def __init__(self, run: Run, shards: tuple[int, ...]):
        self.run = run
        self.shards = shards

    def __len__(self) -> int:
        return sum(len(self.run.shard_rows(shard)) for shard in self.shards)

    def __repr__(self) -> str:
        pairs = ", ".join(attribution_name(*pair) for pair in self.run.request.attributions)
        partial = "" if len(self.shards) == self.run.num_shards else f" of {self.run.num_records}"
        return (
            f"<camshard run {self.run.run_id} in {self.run.dir}: {len(self)}{partial} records, "
            f"classes {', '.join(self.run.spec.classes)}; {pairs}>"
        )

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a record, in the order of the CSV.

        Columns: image_id, label, prediction (class names, None where unknown or failed; for multilabel
        label_<class> and prediction_<class>, 1, 0, -1), probability_<class>, status, error, and the metadata
        columns under their own names (with `metadata_` before them where the name is one of these).
        """
        parts = [self._shard_table(shard) for shard in self.shards]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()

    def attribution(
        self, image_id: str, method: str | None = None, layer: str | None = None, target: Target = None
    ) -> Floats:
        """Return one attribution as it is stored: float32 (height, width), signed, NaN where failed.

        Args:
            method: default Grad-CAM, or CAM if there is no other.
            layer: default the last one of the run.
            target: a class by name or index; default the predicted one.

        Raises:
            RequestError: no such image, method, layer or target in this run.
        """
        shard, row = self._place(image_id)
        name = self._variable(method, layer)
        with open_shard(self.run.shard_path(shard)) as file:
            rank = self._rank(file, row, target)
            return np.asarray(file[name][row, rank], np.float32)

    def heatmap(
        self, image_id: str, method: str | None = None, layer: str | None = None, target: Target = None,
        size: tuple[int, int] | None = None,
    ) -> Floats:  # fmt: skip
        """Return one attribution made for the eye: ReLU, divided by its maximum, resized.

        Args:
            method, layer, target: as for `attribution`.
            size: (height, width) in pixels to lay over the image; default the model's input size. Where the
                model saw a cut or padded image, the heatmap covers the whole image all the same.

        Returns:
            float32 (height, width) within 0..1, resized with half-pixel centres; all zero where nothing is
            positive, NaN where the row failed.

        Raises:
            RequestError: what `attribution` raises, or a size without pixels.
        """
        if size is not None:
            _check_size(size)
        raw = np.maximum(self.attribution(image_id, method, layer, target), 0)
        highest = raw.max()
        scaled = raw / highest if highest > 0 else raw
        if size is None or self.run.spec.input.resize == "stretch":
            height, width = size or self.run.spec.input.size
            return np.asarray(cv2.resize(scaled, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
        return _lay_over(scaled, input_region(size, self.run.spec.input), size)

    def image(self, image_id: str) -> NDArray[np.uint8]:
        """Read the image's file: uint8 (height, width, channels), RGB or grey, upright.

        Raises:
            ImageError: it cannot be read.
            RequestError: there was no file when the run was planned.
        """
        shard, row = self._place(image_id)
        path = self.run.shard_records(shard).image_paths[row]
        if path is None:
            raise RequestError(f"{image_id}: there was no file of this image when the run was planned.")
        return read_image(Path(path), self.run.spec.input.channels, self.run.images.max_pixels)

    @cached_property
    def _places(self) -> dict[str, tuple[int, int]]:
        places: dict[str, tuple[int, int]] = {}
        image_ids = self.run.records().image_ids
        for shard in self.shards:
            rows = self.run.shard_rows(shard)
            places.update((image_ids[row], (shard, row - rows.start)) for row in rows)
        return places

    def _place(self, image_id: str) -> tuple[int, int]:
        if image_id not in self._places:
            raise RequestError(f"{self.run.dir}: no image {image_id!r} among its {len(self)} records.")
        return self._places[image_id]

    def _variable(self, method: str | None, layer: str | None) -> str:
        pairs = self.run.request.attributions
        method = method or ("gradcam" if any(one == "gradcam" for one, _ in pairs) else pairs[0][0])
        layers = [at for one, at in pairs if one == method]
        if not layers or (layer is not None and layer not in layers):
            there = ", ".join(f"{one} at {at}" for one, at in pairs)
            raise RequestError(f"{self.run.dir}: no {method} at {layer or 'any layer'}. There is: {there}.")
        last = self.run.inspection.last
        return attribution_name(method, layer or (last if last in layers else layers[-1]))

    def _rank(self, file: h5py.File, row: int, target: Target) -> int:
        targets = file["target"][row].tolist()
        if target is None:
            target = self._predicted_class(file, row)
        index = self._class_index(target)
        if index in targets:
            return int(targets.index(index))
        if file["status"][row] != Status.OK:
            return 0  # a failed row: NaN at every rank
        classes = self.run.spec.classes
        there = ", ".join(classes[one] for one in targets if one >= 0) or "none"
        name = classes[index] if 0 <= index < len(classes) else str(index)
        raise RequestError(f"{self.run.dir}: {name} was not explained for this image; targets: {there}.")

    def _predicted_class(self, file: h5py.File, row: int) -> int:
        if self.run.spec.task == "multilabel":
            return int(np.nan_to_num(file["probability"][row]).argmax())
        return int(file["prediction"][row])

    def _class_index(self, target: str | int) -> int:
        if isinstance(target, Integral):  # NumPy's integers too
            return int(target)
        folded = [one.casefold() for one in self.run.spec.classes]
        if not isinstance(target, str) or target.casefold() not in folded:
            classes = ", ".join(self.run.spec.classes)
            raise RequestError(f"target: {target!r} is no class. Classes, by name or index: {classes}.")
        return folded.index(target.casefold())

    def _shard_table(self, shard: int) -> pd.DataFrame:
        records = self.run.shard_records(shard)
        with open_shard(self.run.shard_path(shard)) as file:
            columns: dict[str, Any] = {"image_id": records.image_ids}
            for name in ("label", "prediction"):
                columns.update(self._class_columns(name, file[name][...]))
            probabilities = file["probability"][...]
            for index, name in enumerate(self.run.spec.classes):
                columns[f"probability_{name}"] = probabilities[:, index]
            columns["status"] = file["status"][...]
            columns["error"] = file["error"].asstr()[...]
        metadata = records.metadata.to_pandas()
        for column in metadata.columns:
            name = column.removeprefix(METADATA_PREFIX)
            if name == self.run.metadata.id_column == "image_id":
                continue
            columns[column if name in columns else name] = metadata[column].to_numpy()
        return pd.DataFrame(columns)

    def _class_columns(self, name: str, values: NDArray[Any]) -> dict[str, Any]:
        if values.ndim == 2:
            return {f"{name}_{one}": values[:, index] for index, one in enumerate(self.run.spec.classes)}
        names = np.array([*self.run.spec.classes, None], object)
        return {name: names[values]}


def _check_size(size: tuple[int, int]) -> None:
    if np.shape(size) != (2,) or not all(isinstance(side, Integral) and side > 0 for side in size):
        raise RequestError(f"size: (height, width) in pixels is wanted, received {size!r}.")


def _lay_over(scaled: Floats, region: Region, size: tuple[int, int]) -> Floats:
    """Resize a heatmap to the region of the image that the model saw; elsewhere it is zero."""
    resized = cv2.resize(scaled, (region.width, region.height), interpolation=cv2.INTER_LINEAR)
    canvas = np.zeros(size, np.float32)
    top, left = max(region.top, 0), max(region.left, 0)
    inside = resized[max(-region.top, 0) :, max(-region.left, 0) :][: size[0] - top, : size[1] - left]
    canvas[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
    return canvas
