"""A run as a FiftyOne dataset on disk: labels, predictions, metadata columns, heatmaps.

Images stay where they are and are named by absolute paths. To load it:
`fo.Dataset.from_dir(dataset_dir=…, dataset_type=fo.types.FiftyOneDataset)`.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from camshard.display import count_up
from camshard.export import fiftyone_format as fo
from camshard.export.outcome import Outcome, Skipped, attempt, check_some
from camshard.export.panels import Panel, read_image_of
from camshard.export.rows import Row, Rows, read_variable
from camshard.output import file_stems, replacing
from camshard.overlay import write_png
from camshard.parallel import map_in_threads
from shared.model_spec import ModelSpec
from shared.shard_layout import attribution_name

if TYPE_CHECKING:
    from camshard.results import Results

_LONGEST_SIDE = 256  # of a heatmap's file; FiftyOne stretches it over the image
_OWN_FIELDS = ("image_id", "status", "error", "ground_truth", "prediction")


@dataclass(frozen=True)
class _Item:
    """What becomes one sample.

    Attributes:
        stem: of the names of its heatmaps' files.
        labels, predictions: class names; for multilabel several or none.
        logits: float32 (classes,), NaN where failed.
        metadata: by field.
    """

    row: Row
    stem: str
    labels: list[str]
    predictions: list[str]
    logits: NDArray[np.float32]
    metadata: dict[str, Any]


@dataclass(frozen=True)
class _SampleMaker:
    """Makes samples, and the heatmaps' files beside them.

    Attributes:
        panels: by the field that holds their heatmaps.
    """

    results: "Results"
    panels: dict[str, Panel]
    out_dir: Path

    def make(self, item: _Item) -> fo.Document | Skipped:
        """Return one sample; an image without a file has none."""
        row = item.row
        if row.image_path is None:
            return Skipped(row.image_id, row.error or "no image file")
        values = {"image_id": row.image_id, "status": row.status, "error": row.error or None, **item.metadata}
        if row.label is not None:
            values["ground_truth"] = self._label(item, "ground_truth", item.labels, None)
        if row.prediction is not None:
            values["prediction"] = self._label(item, "prediction", item.predictions, item.logits)
        for field, panel in self.panels.items():
            map_path = self._draw(item, field, panel)
            if map_path is not None:
                values[field] = fo.heatmap(self._id(item, field), map_path)
        return fo.sample(self._id(item), row.image_path, values)

    def _label(
        self, item: _Item, field: str, names: list[str], logits: NDArray[np.float32] | None
    ) -> fo.Document:
        """Return ground truth, which has no logits, or prediction."""
        sure = {} if logits is None else item.row.probabilities
        if self.results.run.spec.task != "multilabel":
            return fo.classification(self._id(item, field), names[0], sure.get(names[0]), logits)
        several = [fo.classification(self._id(item, field, one), one, sure.get(one)) for one in names]
        return fo.classifications(several, logits)

    def _draw(self, item: _Item, field: str, panel: Panel) -> str | None:
        """Write a heatmap's file; return its path, or None where there is nothing to draw."""
        path = Path("fields", field, f"{item.stem}.png")
        done = attempt(item.row, lambda row: write_png(self.out_dir / path, self._levels(row, panel)))
        return None if isinstance(done, Skipped) else path.as_posix()

    def _levels(self, row: Row, panel: Panel) -> NDArray[np.uint8]:
        """Return a heatmap in grey levels, of the image's proportions."""
        class_name = panel.class_name(row)
        height, width = read_image_of(row, self.results.run).shape[:2]
        scale = min(1, _LONGEST_SIDE / max(height, width))
        size = max(1, round(height * scale)), max(1, round(width * scale))
        heatmap = panel.heatmap(self.results, row.image_id, class_name, size)
        return np.round(np.nan_to_num(heatmap) * 255).astype(np.uint8)

    def _id(self, item: _Item, *parts: str) -> str:
        return "\0".join((self.results.run.run_id, item.row.image_id, *parts))


def export_fiftyone(results: "Results", rows: Rows, panels: list[Panel], out_dir: Path) -> Outcome:
    """Write the dataset; metadata.json comes last, so what can be loaded is whole.

    Raises:
        RequestError: no row has an image file.
        OSError: as the file system says.
    """
    columns = _choose_columns(rows)
    by_field = _name_panels(panels, [*_OWN_FIELDS, *columns])
    maker = _SampleMaker(results, by_field, out_dir)
    skipped: list[Skipped] = []
    work = count_up(map_in_threads(maker.make, _items(results, rows, columns)), len(rows), "samples")
    with replacing(out_dir / "samples.json") as path:
        _write_samples(path, work, skipped)
    check_some(skipped, len(rows))
    spec = results.run.spec
    fields = _declare(spec, {name: rows.table[column] for name, column in columns.items()}, by_field)
    info = {"camshard_run": results.run.run_id, "model_sha256": results.run.inspection.model_sha256}
    document = fo.dataset_document(f"camshard-{results.run.run_id}", fields, spec.classes, info)
    with replacing(out_dir / "metadata.json") as path:
        path.write_text(json.dumps(document), encoding="utf-8")
    how = f"fo.Dataset.from_dir(dataset_dir={str(out_dir)!r}, dataset_type=fo.types.FiftyOneDataset)"
    return Outcome(out_dir, len(rows) - len(skipped), "samples", tuple(skipped), f"load with: {how}")


def _write_samples(path: Path, made: Iterable[fo.Document | Skipped], skipped: list[Skipped]) -> None:
    """Write samples as they come, one a line; what was skipped is added to `skipped`."""
    with path.open("w", encoding="utf-8") as file:
        file.write('{"samples": [')
        separator = "\n"
        for one in made:
            if isinstance(one, Skipped):
                skipped.append(one)
                continue
            file.write(separator + json.dumps(one))
            separator = ",\n"
        file.write("\n]}\n")


def _items(results: "Results", rows: Rows, columns: dict[str, str]) -> Iterable[_Item]:
    logits = read_variable(results, "logit")[rows.table.index]
    stems = file_stems(rows.table["image_id"].tolist())
    metadata = {field: _plain(rows.table[column]) for field, column in columns.items()}
    labels, predictions = (_class_names(rows, name) for name in ("label", "prediction"))
    for place, row in enumerate(rows):
        own = {field: values[place] for field, values in metadata.items() if values[place] is not None}
        yield _Item(row, stems[place], labels[place], predictions[place], logits[place], own)


def _class_names(rows: Rows, name: str) -> list[list[str]]:
    """Return the names in the column `label` or `prediction`; for multilabel those whose column is 1."""
    classes = rows.spec.classes
    if rows.spec.task != "multilabel":
        return [[one] for one in rows.table[name]]
    chosen = rows.table[[f"{name}_{one}" for one in classes]].to_numpy() == 1
    return [[classes[at] for at in np.flatnonzero(row)] for row in chosen]


def _choose_columns(rows: Rows) -> dict[str, str]:
    """Return the metadata columns of the table by the names of their fields."""
    results = {"image_id", "status", "error", "label", "prediction"}
    for name in ("label", "prediction", "probability"):
        results |= {f"{name}_{one}" for one in rows.spec.classes}
    chosen: dict[str, str] = {}
    for column in rows.table.columns:
        if column not in results:
            chosen[fo.field_name(column, [*_OWN_FIELDS, *chosen])] = column
    return chosen


def _name_panels(panels: list[Panel], taken: list[str]) -> dict[str, Panel]:
    """Name each panel's field after its variable, and its target where there are several."""
    several = len({panel.target for panel in panels}) > 1
    named: dict[str, Panel] = {}
    for panel in panels:
        text = attribution_name(panel.method, panel.layer) + (f"__{panel.target}" if several else "")
        named[fo.field_name(text, [*taken, *named])] = panel
    return named


def _declare(
    spec: ModelSpec, columns: dict[str, "pd.Series[Any]"], panels: dict[str, Panel]
) -> list[fo.Document]:
    label = "Classifications" if spec.task == "multilabel" else "Classification"
    return [
        fo.plain_field("image_id", "String"),
        fo.plain_field("status", "Int", "0 ok; else error says why"),
        fo.plain_field("error", "String"),
        fo.label_field("ground_truth", label),
        fo.label_field("prediction", label),
        *(fo.plain_field(name, _kind(column), str(column.name)) for name, column in columns.items()),
        *(
            fo.label_field(name, "Heatmap", f"{panel.title}, {panel.target}")
            for name, panel in panels.items()
        ),
    ]


def _kind(column: "pd.Series[Any]") -> str:
    if pd.api.types.is_bool_dtype(column):
        return "Boolean"
    if pd.api.types.is_integer_dtype(column):
        return "Int"
    return "Float" if pd.api.types.is_float_dtype(column) else "String"


def _plain(column: "pd.Series[Any]") -> list[Any]:
    """Return a column's values as JSON has them: bool, int, float, text, or None where missing."""
    as_text = _kind(column) == "String"
    pairs = zip(column.tolist(), column.isna(), strict=True)
    return [None if missing else str(value) if as_text else value for value, missing in pairs]
