"""Open a run and read its results: table, attributions, heatmaps, pictures."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from camshard.analysis.comparison import Comparison, compare
from camshard.analysis.neighbours import nearest
from camshard.analysis.statistics import attribution_statistics
from camshard.dataset import make_dataset
from camshard.heatmap import checked_size, make_heatmap
from camshard.notebook import results_html
from camshard.opening import UsableFiles, find_usable_files
from camshard.overlay import draw_overlay
from camshard.selection import ImageIds, Target, checked_ids, choose_attribution, choose_ranks
from shared.errors import RequestError
from shared.finish import is_current
from shared.images import read_image
from shared.locations import parse_location
from shared.places import Places, find_places
from shared.run import Run, read_run
from shared.shard import reading
from shared.shard_layout import attribution_bytes, attribution_name, attribution_size
from shared.table import build_table, read_digests, result_columns

if TYPE_CHECKING:
    import xarray as xr

Floats = NDArray[np.float32]

_BLOCK_BYTES = 32 * 1024 * 1024


def open_run(path: str | Path, partial: bool = False) -> "Results":
    """Open a run directory.

    Args:
        partial: accept a run whose shards are not all there, or not all whole. Records of such shards are
            left out, and `missing` names them; `left_out` names published files that are not read, which
            may have held rows that were done again.

    Raises:
        RunError: there is no run.
        IncompleteRunError: shards are missing, and `partial` is not set; or no shard is there at all.
        ShardError: a shard has not the size it was published with, and `partial` is not set.
    """
    run = read_run(Path(path))
    return Results(run, find_usable_files(run, partial))


class Results:
    """The results of a run.

    Attributes:
        run: what was asked, of which model.
        files: the published shard files that are read.
        missing: numbers of the shards that are left out.
        left_out: names of published files that are not read.
    """

    def __init__(self, run: Run, usable: UsableFiles):
        self.run = run
        self.files, self.missing, self.left_out = usable.files, usable.missing, usable.left_out

    def __len__(self) -> int:
        return len(self._places)

    def __repr__(self) -> str:
        pairs = ", ".join(attribution_name(*pair) for pair in self.run.request.attributions)
        partial = f" of {self.run.num_records}" if self.missing else ""
        return (
            f"<camshard run {self.run.run_id} in {self.run.dir}: {len(self)}{partial} records, "
            f"classes {', '.join(self.run.spec.classes)}; {pairs}"
            f"{'; not read: ' + ', '.join(self.left_out) if self.left_out else ''}>"
        )

    def _repr_html_(self) -> str:
        return results_html(self)

    @property
    def image_ids(self) -> list[str]:
        """The ids of the records that are there, in the order of the CSV."""
        return list(self._positions)

    @property
    def table(self) -> pd.DataFrame:
        """One row a record, in the order of the CSV.

        Columns: image_id, label, prediction (class names, missing where unknown or failed; for multilabel
        label_<class> and prediction_<class>, 1, 0, -1), probability_<class>, status, error, and the metadata
        columns under their own names (with `metadata_` before them where the name is one of these).

        Each call gives a frame of its own, to be changed at will.

        Raises:
            ShardError: a shard cannot be read.
        """
        return self._table.copy(deep=False)

    @cached_property
    def _table(self) -> pd.DataFrame:
        if is_current(read_digests(self.run), list(self.files)):
            names = result_columns(pq.read_schema(self.run.table_path).names, self.run)
            table = pq.read_table(self.run.table_path, columns=names)
        else:
            table = build_table(self._places)
            table = table.select(result_columns(table.column_names, self.run))
        frame: pd.DataFrame = table.to_pandas()
        return frame

    def attribution(
        self, image_ids: ImageIds, method: str | None = None, layer: str | None = None,
        target: Target = None, rank: int | None = None,
    ) -> Floats:  # fmt: skip
        """Return attributions as they are stored: float32, signed, NaN where failed.

        Args:
            image_ids: one id, which gives (height, width), or several, which give (n, height, width).
            method: default Grad-CAM, or CAM if there is no other.
            layer: default the last one of the run.
            target: a class by name or index, `predicted` or `label`; default the predicted one, in a run of
                --targets label the label. Of several labels, the predicted one is the likeliest over its
                threshold, or where none is the likeliest of all.
            rank: the place of the target among those explained, instead of a class.

        Raises:
            RequestError: no such image, method, layer or target in this run.
            ShardError: a shard cannot be read.
        """
        several = checked_ids(image_ids)
        asked = np.array([self._position(one) for one in several], np.int64)
        method, layer = choose_attribution(self.run, method, layer)
        name = attribution_name(method, layer)
        found: list[Floats] = [np.empty(0, np.float32)] * len(several)
        for part in self._places.parts(asked):
            with reading(part.file.path) as file:
                ranks = choose_ranks(self.run, file, part.rows, target, rank)
                for position, row, at in zip(part.positions, part.rows, ranks, strict=True):
                    found[position] = file[name][row, at]
        if isinstance(image_ids, str):
            return found[0]
        return np.stack(found) if found else np.empty((0, *attribution_size(self.run, layer)), np.float32)

    def heatmap(
        self, image_ids: ImageIds, method: str | None = None, layer: str | None = None,
        target: Target = None, rank: int | None = None,
        normalize: str = "relu", size: tuple[int, int] | str | None = None,
    ) -> Any:  # fmt: skip
        """Return attributions made for the eye: scaled, and resized with half-pixel centres.

        Args:
            image_ids, method, layer, target, rank: as for `attribution`.
            normalize: `relu` (negative values 0, divided by the maximum: 0..1), `max` (divided by the largest
                absolute value, signed: -1..1), or `none`.
            size: (height, width) in pixels to lay over the image, or `image` for each image's own; default
                the model's input size. Where the model saw a cut or padded image, the heatmap covers the
                whole image all the same.

        Returns:
            float32 (height, width) for one id, (n, height, width) for several; a list of arrays for several
            of size `image`.

        Raises:
            RequestError: what `attribution` raises, or no such normalization or size.
        """
        size = checked_size(size)
        raw = self.attribution(image_ids, method, layer, target, rank)
        several = checked_ids(image_ids)
        heatmaps = [
            make_heatmap(one, self.run.spec.input, self._size(image_id, size), normalize)
            for image_id, one in zip(several, raw[None] if isinstance(image_ids, str) else raw, strict=True)
        ]
        if isinstance(image_ids, str):
            return heatmaps[0]
        return heatmaps if size == "image" or not heatmaps else np.stack(heatmaps)

    def image(self, image_id: str) -> NDArray[np.uint8]:
        """Read the image's file: uint8 (height, width, channels), RGB or grey, upright.

        Raises:
            ImageError: it cannot be read.
            RequestError: there was no file when the run was planned.
        """
        shard, row = divmod(int(self._places.records[self._position(image_id)]), self.run.shard_size)
        path = self.run.shard_records(shard).image_paths[row]
        if path is None:
            raise RequestError(f"{image_id}: there was no file of this image when the run was planned.")
        return read_image(parse_location(path), self.run.spec.input.channels, self.run.images.max_pixels)

    def overlay(
        self, image_id: str, method: str | None = None, layer: str | None = None,
        target: Target = None, rank: int | None = None, colormap: str = "jet", alpha: float = 0.4,
    ) -> NDArray[np.uint8]:  # fmt: skip
        """Draw the heatmap over the image: uint8 (height, width, 3), RGB, of the image's size.

        Args:
            method, layer, target, rank: as for `attribution`.
            colormap: jet, viridis or turbo.
            alpha: how much of the colour is seen, 0..1.

        Raises:
            RequestError, ImageError: what `attribution` and `image` raise.
        """
        image = self.image(image_id)
        heatmap = self.heatmap(image_id, method, layer, target, rank, size=image.shape[:2])
        return draw_overlay(image, heatmap, alpha, colormap)

    def batches(
        self, method: str | None = None, layer: str | None = None,
        target: Target = None, rank: int | None = None, all_ranks: bool = False,
    ) -> Iterator[tuple[list[str], Floats]]:  # fmt: skip
        """Stream all attributions in bounded memory, shard after shard.

        Args:
            method, layer, target, rank: as for `attribution`.
            all_ranks: every target that was explained, instead of one.

        Yields:
            ids, and float32 (n, height, width), with `all_ranks` (n, ranks, height, width); NaN where failed.

        Raises:
            RequestError, ShardError: what `attribution` raises.
        """
        method, layer = choose_attribution(self.run, method, layer)
        image_ids, name = self.image_ids, attribution_name(method, layer)
        most = max(1, _BLOCK_BYTES // attribution_bytes(self.run, layer))
        for part in (block for whole in self._places.parts() for block in whole.blocks(most)):
            first, last = int(part.rows.min()), int(part.rows.max())
            with reading(part.file.path) as file:
                values = file[name][first : last + 1][part.rows - first]
                if not all_ranks:
                    ranks = choose_ranks(self.run, file, part.rows, target, rank)
                    values = values[np.arange(len(ranks)), ranks]
            yield [image_ids[position] for position in part.positions], values

    def features(self) -> Floats:
        """Return the pooled activations of the last layer: float32 (n, channels), NaN where failed.

        Raises:
            RequestError: they were not saved.
        """
        self._require_features()
        return self._places.read(["feature"])["feature"]

    def nearest(self, image_id: str, k: int = 5) -> pd.DataFrame:
        """Return the table's rows of the k images whose features are nearest; see `neighbours.nearest`."""
        return nearest(self, image_id, k)

    def attribution_statistics(
        self, method: str | None = None, layer: str | None = None,
        target: Target = None, rank: int | None = None,
    ) -> pd.DataFrame:  # fmt: skip
        """Return where each attribution lies, to sort by; see `statistics.attribution_statistics`."""
        return attribution_statistics(self, method, layer, target, rank)

    def compare(self, other: "Results", method: str | None = None, layer: str | None = None) -> Comparison:
        """Compare with another run of the same records; see `comparison.compare`."""
        return compare(self, other, method, layer)

    def dataset(self) -> "xr.Dataset":
        """Return the run as one xarray.Dataset, its attributions read when they are needed.

        Raises:
            MissingExtraError: xarray or dask is not installed.
        """
        return make_dataset(self._places)

    @cached_property
    def _places(self) -> Places:
        return find_places(self.run, self.files)

    @cached_property
    def _positions(self) -> dict[str, int]:
        image_ids = self.run.image_ids()
        return {image_ids[record]: position for position, record in enumerate(self._places.records.tolist())}

    def _position(self, image_id: str) -> int:
        if image_id not in self._positions:
            raise RequestError(f"{self.run.dir}: no image {image_id!r} among its {len(self)} records.")
        return self._positions[image_id]

    def _size(self, image_id: str, size: Any) -> tuple[int, int] | None:
        return self.image(image_id).shape[:2] if size == "image" else size

    def _require_features(self) -> None:
        if not self.run.request.save_features:
            raise RequestError(
                f"{self.run.dir}: no features were saved. Plan a new run with --save-features."
            )
