"""`camshard inspect`: what is in a model, and the spec that suits it."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
from rich.table import Table

from camshard.display import console, errors
from producer.image_index import ImageOptions, find_images
from producer.labels import class_names, read_labels
from producer.metadata import MetadataOptions, fetch_metadata, select_rows
from producer.request import allowed_methods
from producer.spec import default_task, read_document, resolve_spec
from shared.errors import MetadataError, ModelError, SettingsError, SpecError
from shared.file_cache import FileCache, local_copy
from shared.inspection import Inspection, inspection_path_beside, inspection_to_json
from shared.locations import Location, Url, absolute
from shared.model_source import model_source
from shared.model_spec import ModelSpec, read_spec_file, spec_path_beside, spec_to_dict, spec_to_toml
from shared.records import METADATA_PREFIX, Records
from shared.settings import Settings
from worker.inspect import inspect_file

_SAMPLE = 64
_SEED = 0


def inspect_and_write(settings: Settings) -> None:
    """Print what is in the model; leave the findings as JSON and a spec beside it.

    Raises:
        CamshardError: the model cannot be explained, the labelled images cannot be used, or the spec cannot
            be written.
    """
    assert settings.model is not None
    if bool(settings.metadata) != bool(settings.images):
        given, lacking = ("--metadata", "--images") if settings.metadata else ("--images", "--metadata")
        raise SettingsError(f"{given} without {lacking}: labelled images are tried with both, or not at all.")
    with local_copy(settings.model, FileCache.from_settings(settings)) as model_path:
        if model_path is None:
            raise ModelError(f"{settings.model}: no such model file.")
        _inspect_and_write(settings, settings.model, model_path)


def _inspect_and_write(settings: Settings, origin: Location, model_path: Path) -> None:
    spec_path = settings.spec or _own(spec_path_beside(origin))
    settings = settings.model_copy(update={"spec": spec_path if spec_path.exists() else None})
    document, _ = read_document(settings)
    source = model_source(model_path, document)
    inspection = inspect_file(source, settings.trust_model)
    _print_inspection(inspection)
    json_path = _own(inspection_path_beside(origin))
    try:
        json_path.write_text(inspection_to_json(inspection, source), encoding="utf-8")
    except OSError as error:
        errors.print(f"notice: {json_path} cannot be written: {error.strerror}", markup=False)
    if settings.metadata and settings.images:
        _write_best(settings, model_path, inspection, spec_path)
    else:
        _write_first(settings, inspection, spec_path)
    if isinstance(origin, Url):
        console.print(
            f"copy {json_path} and {spec_path} beside the model, or name the spec with --spec", markup=False
        )


def _own(place: Location) -> Path:
    """Return where a file of ours goes: beside the model, or into the working folder if that is at a URL."""
    return place if isinstance(place, Path) else Path(place.name)


def _write_best(settings: Settings, model_path: Path, inspection: Inspection, spec_path: Path) -> None:
    """Try the model on labelled images; complete the spec with what did best, unless it says a scale."""
    from worker.adapter import load_adapter
    from worker.model import load_model
    from worker.trial import try_inputs

    tried = settings.model_copy(update={"scale": settings.scale or "0..1"})
    spec, sample = _labelled_sample(tried, inspection)
    labels = sample.labels
    model = load_model(model_source(model_path, spec_to_dict(spec)), settings.trust_model)
    adapter = load_adapter(spec.adapter, model.graph, settings.trust_model) if spec.adapter else None
    trials = []
    with console.status(f"trying the model on {len(sample)} labelled images"):
        for trial in try_inputs(model, spec, sample, adapter, settings.max_pixels):
            trials.append(trial)
    trials.sort(key=lambda trial: (-trial.accuracy, trial.log_loss))
    table = Table("scale", "interpolation", "accuracy", "log loss", title=f"{len(sample)} labelled images")
    for trial in trials:
        way = trial.spec.input
        table.add_row(way.scale, way.interpolation, f"{trial.accuracy:.1%}", f"{trial.log_loss:.3f}")
    console.print(table)
    commonest = np.bincount(labels).max() / len(labels) if labels.ndim == 1 else 0.0
    convincing = trials[0].accuracy > commonest
    if not convincing:
        errors.print(
            "warning: no way of preparing the pixels beats always saying the commonest class of this sample "
            f"({commonest:.0%}), so the scale is not known. Check the order of the classes (--classes) and "
            "--resize.",
        )
    _write_tried(spec_path, trials[0].spec, convincing)


def _labelled_sample(settings: Settings, inspection: Inspection) -> tuple[ModelSpec, Records]:
    """Pick labelled images that have a file, evenly over the classes."""
    assert settings.metadata is not None and settings.model is not None
    cache = FileCache.from_settings(settings)
    metadata = fetch_metadata(settings.metadata, MetadataOptions.from_settings(settings), cache)
    names = class_names(metadata, settings.label_separator, settings.no_label)
    document, where = read_document(settings)
    spec = resolve_spec(document, where, settings.model, inspection, names)
    rows = select_rows(metadata, settings.where, settings.ids)
    labels = read_labels(metadata, rows, spec, settings.label_separator, settings.no_label)
    dirs = tuple(absolute(one) for one in settings.images)
    image_options = ImageOptions(dirs, settings.pattern, settings.follow_links)
    found = find_images(rows[metadata.id_column].tolist(), image_options)
    known = labels >= 0 if labels.ndim == 1 else (labels >= 0).all(axis=1)
    usable = np.flatnonzero(known & np.array([path is not None for path in found]))
    if not usable.size:
        raise MetadataError(f"{metadata.path}: no labelled image has a file. Name the label column.")
    chosen = _evenly(usable, labels)
    picked = rows.iloc[chosen]
    return spec, Records(
        image_ids=picked[metadata.id_column].tolist(),
        image_paths=[found[row] for row in chosen],
        labels=labels[chosen],
        metadata=pa.Table.from_pandas(picked.add_prefix(METADATA_PREFIX), preserve_index=False),
    )


def _evenly(usable: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Take images class by class in turn, seeded, until the sample is full."""
    shuffled = np.random.default_rng(_SEED).permutation(usable)
    if labels.ndim == 2:
        return shuffled[:_SAMPLE]
    seen: dict[int, int] = {}
    turns = []
    for row in shuffled:
        seen[labels[row]] = seen.get(labels[row], 0) + 1
        turns.append(seen[labels[row]])
    return shuffled[np.argsort(turns, kind="stable")][:_SAMPLE]


def _write_first(settings: Settings, inspection: Inspection, spec_path: Path) -> None:
    """Write what the model tells of its spec, with the rest to be filled in by hand."""
    height, width, channels = inspection.image_shape or (224, 224, 3)
    names = ", ".join(f'"class {index}"' for index in range(inspection.outputs))
    lines = [
        f'task = "{_task(settings, inspection)}"',
        f"# classes = [{names}]  # in the order of the outputs; default: the sorted labels of the CSV",
        'layers = ["last"]',
        "",
        "[input]",
        f"size = [{height}, {width}]",
        f"channels = {channels}",
        'resize = "stretch"  # stretch | crop | pad',
        'interpolation = "bilinear"  # nearest | bilinear | area | cubic',
        '# scale = "0..1"  # 0..1 | -1..1 | 0..255 | caffe | torch: never guessed; inspect with --metadata '
        "and --images tries them",
    ]
    if spec_path.exists():
        console.print(f"{spec_path} is there and stays as it is", markup=False)
        return
    _save(spec_path, "\n".join(lines) + "\n")
    console.print("uncomment and fill in what it cannot know", markup=False)


def _task(settings: Settings, inspection: Inspection) -> str:
    try:
        return settings.task or default_task(inspection)
    except SpecError:
        return "multiclass"


def _write_tried(spec_path: Path, spec: ModelSpec, convincing: bool) -> None:
    """Write the spec that did best, its scale as a comment alone where that is not convincing."""
    if spec_path.exists() and "scale" in read_spec_file(spec_path).get("input", {}):
        console.print(
            f"{spec_path} is there and stays as it is; the best was scale {spec.input.scale!r}, "
            f"interpolation {spec.input.interpolation!r}. Write it elsewhere with --spec PATH.",
            markup=False,
        )
        return
    text = spec_to_toml(spec)
    if not convincing:
        comment = "the best of those tried, and no better than the commonest class"
        text = re.sub(r"^(scale = .*)$", rf"# \1  # {comment}", text, flags=re.MULTILINE)
    _save(spec_path, text)


def _save(spec_path: Path, text: str) -> None:
    try:
        spec_path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SpecError(
            f"{spec_path}: the spec cannot be written: {error.strerror}. Name another place with --spec."
        ) from error
    console.print(f"wrote {spec_path}", markup=False)


def _print_inspection(inspection: Inspection) -> None:
    table = Table("layer", "kind", "height × width × channels")
    for layer in inspection.layers:
        table.add_row(layer.name, layer.kind, "×".join(map(str, layer.shape)))
    console.print(table)
    shapes = ", ".join("×".join(map(str, shape)) for shape in inspection.input_shapes)
    console.print(f"input    {shapes}", markup=False)
    console.print(
        f"head     {inspection.pooling}, {inspection.outputs} outputs, {inspection.activation}",
        markup=False,
    )
    for name, reason in allowed_methods(inspection).items():
        console.print(f"method   {name}: {reason or 'yes'}", markup=False)
    console.print(f"last     {inspection.last}", markup=False)
    console.print(f"stages   {', '.join(inspection.stages)}", markup=False)
