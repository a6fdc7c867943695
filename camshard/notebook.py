"""What a notebook shows of a run: facts, what was explained, classes, and a few overlays, in HTML."""

from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from camshard.selection import choose_attribution, default_target, predicted_class
from shared.errors import CamshardError
from shared.methods import METHODS
from shared.run import Run
from shared.shard_layout import attribution_size
from shared.status import Status

if TYPE_CHECKING:
    from camshard.results import Results

MOST_CLASSES = 12
MOST_OVERLAYS = 6
_SCORES = {"logit": "logits", "probability": "probabilities"}
_TRIED_AT_MOST = 12  # images; where storage is gone, each may take its time
_OVERLAY_SIDE = 180  # pixels, the longer side

_STYLE = """
.camshard-run { font-size: 13px; line-height: 1.45; max-width: 1180px; }
.camshard-run h4 { margin: 0 0 6px; font-size: 15px; font-weight: 600; }
.camshard-run h5 { margin: 12px 0 4px; font-size: 13px; font-weight: 600; }
.camshard-run .side-by-side { display: flex; flex-wrap: wrap; gap: 0 36px; align-items: flex-start; }
.camshard-run table { border-collapse: collapse; margin: 0; font-size: inherit; color: inherit;
  background: transparent; }
.camshard-run tr { background: transparent !important; }
.camshard-run th, .camshard-run td { padding: 2px 12px 2px 0; text-align: left; vertical-align: top;
  border: 0; color: inherit; }
.camshard-run .figures th, .camshard-run .figures td { text-align: right;
  border-bottom: 1px solid rgba(128, 128, 128, .35); }
.camshard-run .figures th:first-child, .camshard-run .figures td:first-child { text-align: left; }
.camshard-run th { font-weight: 600; }
.camshard-run .facts th { font-weight: 400; opacity: .65; white-space: nowrap; }
.camshard-run .facts td { word-break: break-word; }
.camshard-run figure { display: inline-block; margin: 0 10px 6px 0; width: 180px; vertical-align: top; }
.camshard-run figure img { display: block; max-width: none; margin: 0 0 3px; border-radius: 3px; }
.camshard-run figcaption { font-size: 12px; overflow-wrap: anywhere; }
.camshard-run .bad { color: #d6453d; font-weight: 600; }
.camshard-run .good { color: #2a9461; font-weight: 600; }
.camshard-run .faint { opacity: .65; }
"""


@dataclass(frozen=True)
class Verdicts:
    """What the model said of each record.

    Attributes:
        class_index: int64 (n,), the predicted class (see `selection.predicted_class`); -1 where failed.
        confidence: float64 (n,), its probability, NaN where failed.
        right: int8 (n,), 1 right, 0 wrong, -1 unknown or failed; for multilabel, of that class.
    """

    class_index: NDArray[np.int64]
    confidence: NDArray[np.float64]
    right: NDArray[np.int8]


def results_html(results: "Results") -> str:
    """Return what a notebook shows of a run; all text from data is escaped, pictures are within.

    Raises:
        ShardError: a shard cannot be read. Images that cannot be read are left out.
    """
    verdicts = judge(results) if len(results) else None
    title = f"<h4>camshard run {escape(results.run.run_id)}</h4>"
    facts = _facts_table(_facts(results) | (_accuracy(results, verdicts) if verdicts else {}))
    tables = [_attribution_table(results.run), _class_table(results) if verdicts else ""]
    side_by_side = "".join(f"<div>{one}</div>" for one in tables)
    strip = _strip(results, verdicts) if verdicts else ""
    return (
        f'<div class="camshard-run"><style>{_STYLE}</style>{title}{facts}'
        f'<div class="side-by-side">{side_by_side}</div>{strip}</div>'
    )


def judge(results: "Results") -> Verdicts:
    """Find the predicted class of each record, how sure the model is, and whether it is right."""
    table, classes = results.table, list(results.run.spec.classes)
    probabilities = table[[f"probability_{one}" for one in classes]].to_numpy(np.float64)
    ok, rows = (table["status"] == Status.OK).to_numpy(), np.arange(len(table))
    if results.run.spec.task == "multilabel":
        flags = table[[f"prediction_{one}" for one in classes]].to_numpy(np.int8)
        predicted = predicted_class(results.run, probabilities, flags)
        right = table[[f"label_{one}" for one in classes]].to_numpy(np.int8)[rows, predicted]
    else:
        predicted = _index_of(table["prediction"], classes)
        labels = _index_of(table["label"], classes)
        right = np.where(labels >= 0, labels == predicted, -1)
    confidence = np.where(ok, probabilities[rows, predicted], np.nan)
    return Verdicts(np.where(ok, predicted, -1), confidence, np.where(ok, right, -1).astype(np.int8))


def _index_of(names: Any, classes: list[str]) -> NDArray[np.int64]:
    places = {name: index for index, name in enumerate(classes)}
    return np.array([places.get(name, -1) for name in names], np.int64)


def _facts_table(facts: dict[str, str]) -> str:
    rows = (f"<tr><th>{name}</th><td>{text}</td></tr>" for name, text in facts.items())
    return f'<table class="facts">{"".join(rows)}</table>'


def _facts(results: "Results") -> dict[str, str]:
    run = results.run
    height, width = run.spec.input.size
    features = {"features": "saved: <code>nearest(image_id)</code>"} if run.request.save_features else {}
    return {
        "directory": escape(str(run.dir)),
        "model": f"{escape(run.model_path.name)}, {run.spec.task}, {len(run.spec.classes)} classes, "
        f"{height} × {width} pixels",
        "records": _records(results),
        "explained": f"{_explained(results)}, {_SCORES[run.request.score]}",
        **features,
    }


def _records(results: "Results") -> str:
    run, number = results.run, len(results)
    text = f"{number:,}"
    if results.missing:
        missing = f"{len(results.missing):,} of {run.num_shards:,} shards are missing"
        text += f' of {run.num_records:,}; <span class="bad">{missing}</span>'
    if not number:
        return text
    counts = results.table["status"].value_counts()
    failed = [f"{counts[one]:,} {one.name.lower()}" for one in Status if one and one in counts]
    return text + (f'; <span class="bad">failed: {", ".join(failed)}</span>' if failed else "; none failed")


def _explained(results: "Results") -> str:
    targets, classes = results.run.request.targets, results.run.spec.classes
    if targets.kind == "named":
        names = ", ".join(classes[one] for one in targets.classes)
        return "all classes" if len(targets.classes) == len(classes) else escape(names)
    return {
        "predicted": "the predicted class" if targets.ranks == 1 else "the predicted classes",
        "label": "the true class" if targets.ranks == 1 else "the true classes",
        "top": f"the {targets.ranks} likeliest classes",
    }[targets.kind]


def _accuracy(results: "Results", verdicts: Verdicts) -> dict[str, str]:
    right = verdicts.right
    known = int((right >= 0).sum())
    if not known:
        return {}
    name = "likeliest prediction is right" if results.run.spec.task == "multilabel" else "accuracy"
    return {name: f"{(right == 1).sum() / known:.1%} of {known:,} labelled records"}


def _attribution_table(run: Run) -> str:
    request = run.request
    in_order = [one.name for one in run.inspection.layers if one.name in request.layers]
    head = ["layer", *(METHODS[one].title for one in request.methods)]
    rows = [
        [
            layer,
            *(
                _size(run, layer) if (method, layer) in request.attributions else ""
                for method in request.methods
            ),
        ]
        for layer in in_order
    ]
    return f"<h5>Attributions, height × width</h5>{_figures_table(head, rows)}"


def _size(run: Run, layer: str) -> str:
    height, width = attribution_size(run, layer)
    return f"{height} × {width}"


def _class_table(results: "Results") -> str:
    """Count labels and predictions of each class; of very many classes, those that come most often."""
    classes = results.run.spec.classes
    labels, predictions = (_counts(results, name) for name in ("label", "prediction"))
    shown = np.arange(len(classes))
    if len(classes) > MOST_CLASSES:
        shown = np.argsort(-(labels + predictions), kind="stable")[:MOST_CLASSES]
    rows = [[classes[one], f"{labels[one]:,}", f"{predictions[one]:,}"] for one in shown]
    more = len(classes) - len(shown)
    note = f'<div class="faint">and {more:,} classes that come less often</div>' if more else ""
    return f"<h5>Classes</h5>{_figures_table(['class', 'labels', 'predictions'], rows)}{note}"


def _counts(results: "Results", name: str) -> NDArray[np.int64]:
    table, classes = results.table, results.run.spec.classes
    if results.run.spec.task == "multilabel":
        return np.array([(table[f"{name}_{one}"] == 1).sum() for one in classes], np.int64)
    counts = table[name].value_counts()
    return np.array([counts.get(one, 0) for one in classes], np.int64)


def _figures_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(one)}</th>" for one in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(one)}</td>" for one in row) + "</tr>" for row in rows)
    return f'<table class="figures"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>'


def _strip(results: "Results", verdicts: Verdicts) -> str:
    """Show the most confident images: half of them right, half of them wrong where there are such."""
    wrong = list(_figures(results, verdicts, verdicts.right == 0, MOST_OVERLAYS // 2))
    others = list(_figures(results, verdicts, verdicts.right != 0, MOST_OVERLAYS - len(wrong)))
    if not wrong and not others:
        return ""
    method, layer = choose_attribution(results.run, None, None)
    what = f"{METHODS[method].title} of {_drawn(results.run)} at {escape(layer)}"
    title = f"Most confident predictions: {what}"
    return f"<h5>{title}</h5><div>{''.join([*others, *wrong])}</div>"


def _drawn(run: Run) -> str:
    several = run.spec.task == "multilabel"
    if default_target(run) == "label":
        return "the first label" if several else "the label"
    if several and run.request.targets.kind == "top":
        return "the likeliest class"
    return "the likeliest predicted class" if several else "the predicted class"


def _figures(results: "Results", verdicts: Verdicts, among: NDArray[np.bool_], wanted: int) -> Iterator[str]:
    """Yield figures of the images that the model is surest of; those that cannot be drawn are skipped."""
    ids = results.table["image_id"]
    candidates = np.flatnonzero(among & (verdicts.class_index >= 0))
    surest = candidates[np.argsort(-verdicts.confidence[candidates], kind="stable")]
    for position in surest[:_TRIED_AT_MOST]:
        if wanted == 0:
            return
        try:
            if np.isnan(results.attribution(ids[position])).any():  # no label, in a run of labels
                continue
            overlay = results.overlay(ids[position])
        except CamshardError:  # no file any more, or the class was not explained
            continue
        wanted -= 1
        caption = _caption(results, verdicts, int(position))
        yield f'<figure><img alt="" src="{_data_uri(overlay)}"><figcaption>{caption}</figcaption></figure>'


def _caption(results: "Results", verdicts: Verdicts, position: int) -> str:
    row = results.table.iloc[position]
    name = escape(results.run.spec.classes[verdicts.class_index[position]])
    verdict = {1: "right", 0: "wrong", -1: ""}[int(verdicts.right[position])]
    if verdict == "wrong" and results.run.spec.task != "multilabel":
        verdict = f"wrong, label {escape(row['label'])}"
    mark = f' <span class="{"good" if verdict == "right" else "bad"}">{verdict}</span>' if verdict else ""
    image_id = f'<div class="faint">{escape(row["image_id"])}</div>'
    return f"{name} {verdicts.confidence[position]:.0%}{mark}{image_id}"


def _data_uri(picture: NDArray[np.uint8]) -> str:
    height, width = picture.shape[:2]
    scale = _OVERLAY_SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    png = cv2.imencode(".png", cv2.cvtColor(small, cv2.COLOR_RGB2BGR))[1]
    return f"data:image/png;base64,{b64encode(png.tobytes()).decode()}"
