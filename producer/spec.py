"""Complete the model spec: flags, then the file beside the model, then what the model itself tells."""

from pathlib import Path
from typing import Any

from shared.errors import SpecError
from shared.file_cache import read_text
from shared.inspection import Inspection
from shared.locations import Location, Url
from shared.model_spec import ModelSpec, parse_spec, read_spec_file, spec_from_dict, spec_path_beside
from shared.settings import Settings

# what the output's activation must be for a task, and how many outputs may be there
_HEADS: dict[str, set[tuple[str, int | None]]] = {
    "binary": {("sigmoid", 1), ("softmax", 2)},
    "multiclass": {("softmax", None)},
    "multilabel": {("sigmoid", None)},
}


def read_document(settings: Settings) -> tuple[dict[str, Any], str]:
    """Return what flags and spec file say, in the file's shape, and where it is said.

    Raises:
        SpecError: the file cannot be read, or a flag is wrong.
    """
    assert settings.model is not None
    path = settings.spec or spec_path_beside(settings.model)
    flags = _from_flags(settings)
    if isinstance(path, Path):
        there = read_spec_file(path) if settings.spec or path.exists() else {}
        document = _with_code_paths(there, path.parent)
    else:
        document = _read_spec_at(path)
        _check_code_is_named(document, flags, path)
    return _merge(document, flags), str(path) if document else "model spec"


def resolve_spec(
    document: dict[str, Any], where: str, model_path: Location, inspection: Inspection,
    labels: tuple[str, ...],
) -> ModelSpec:  # fmt: skip
    """Return the complete spec.

    Args:
        document, where: as `read_document` gives them.
        labels: the sorted unique labels of the whole CSV, the classes if nobody names them.

    Raises:
        SpecError: a value is wrong, does not fit the model, or is missing and cannot be known.
    """
    merged = dict(document)
    if "task" not in merged:
        merged["task"] = default_task(inspection)
    if "classes" not in merged:
        merged["classes"] = list(_default_classes(labels, inspection, merged["task"]))
    has_adapter = "inputs" in merged
    merged["input"] = _complete_input(merged.get("input", {}), inspection, model_path, has_adapter)
    spec = spec_from_dict(merged, where)
    _check_against_model(spec, inspection, where)
    return spec


def _read_spec_at(url: Url) -> dict[str, Any]:
    try:
        text = read_text(url)
    except UnicodeDecodeError as error:
        raise SpecError(f"{url}: no TOML: {error}.") from error
    return {} if text is None else parse_spec(text, str(url))


def _check_code_is_named(document: dict[str, Any], flags: dict[str, Any], url: Url) -> None:
    """Refuse code that lies at a URL: whoever can write there could run it here."""
    for table, flag in (("code", "--custom-layers"), ("inputs", "--adapter")):
        if table in document and table not in flags:
            raise SpecError(
                f"{url}: [{table}] names Python code, which is not fetched from a URL. Download it, read it, "
                f"and name it with {flag}."
            )


def _with_code_paths(document: dict[str, Any], base: Path) -> dict[str, Any]:
    """Take paths of code as they are meant: beside the spec that names them."""
    found = dict(document)
    if "layers" in document.get("code", {}):
        found["code"] = {"layers": str((base / document["code"]["layers"]).absolute())}
    if "adapter" in document.get("inputs", {}):
        found["inputs"] = {"adapter": _adapter(document["inputs"]["adapter"], base)}
    return found


def _adapter(text: str, base: Path) -> str:
    path, _, name = text.rpartition(":")
    if not path or not name.isidentifier():
        raise SpecError(f"adapter: FILE.py:FUNCTION is wanted, received {text!r}.")
    return f"{(base / path).absolute()}:{name}"


def _from_flags(settings: Settings) -> dict[str, Any]:
    names = ("channels", "resize", "interpolation", "scale")
    given = {name: getattr(settings, name) for name in names if getattr(settings, name) is not None}
    if settings.size:
        given["size"] = _two_integers(settings.size)
    document: dict[str, Any] = {"input": given} if given else {}
    if settings.task:
        document["task"] = settings.task
    if settings.classes:
        document["classes"] = list(settings.classes)
    if settings.thresholds:
        document["thresholds"] = dict(map(_threshold, settings.thresholds))
    if settings.custom_layers:
        document["code"] = {"layers": str(settings.custom_layers.absolute())}
    if settings.adapter:
        document["inputs"] = {"adapter": _adapter(settings.adapter, Path.cwd())}
    weights = {"architecture": settings.architecture, "num_classes": settings.num_classes}
    if any(weights.values()):
        document["weights"] = {name: value for name, value in weights.items() if value is not None}
    return document


def _merge(document: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = {**document, **over}
    for table in ("input", "thresholds", "weights"):
        if table in document and table in over:
            merged[table] = {**document[table], **over[table]}
    return merged


def _two_integers(text: str) -> list[int]:
    parts = text.replace("x", ",").split(",")
    if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
        raise SpecError(f"--size: HEIGHT,WIDTH in pixels is wanted, received {text!r}.")
    return [int(part) for part in parts]


def _threshold(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name.strip(), float(value)
    except ValueError as error:
        raise SpecError(f"--thresholds: CLASS=PROBABILITY is wanted, received {text!r}.") from error


def default_task(inspection: Inspection) -> str:
    """Return the task that a head is made for.

    Raises:
        SpecError: the model ends in plain outputs, which may mean anything.
    """
    if inspection.activation == "softmax":
        return "binary" if inspection.outputs == 2 else "multiclass"
    if inspection.activation == "sigmoid":
        return "binary" if inspection.outputs == 1 else "multilabel"
    raise SpecError(
        f"model spec: the model ends without softmax or sigmoid ({inspection.outputs} plain outputs), "
        "so its task cannot be known. Name it with --task or in the spec: binary, multiclass or multilabel."
    )


def _default_classes(labels: tuple[str, ...], inspection: Inspection, task: str) -> tuple[str, ...]:
    wanted = 2 if task == "binary" else inspection.outputs
    if len(labels) == wanted:
        return labels
    came = f"{len(labels)} labels ({', '.join(labels[:12])})" if labels else "no label column"
    raise SpecError(
        f"model spec: the model tells {wanted} classes apart, the metadata has {came}. Name the classes in "
        "the order of the model's outputs with --classes or in the spec beside the model."
    )


def _complete_input(
    document: dict[str, Any], inspection: Inspection, model_path: Location, has_adapter: bool
) -> dict[str, Any]:
    shape = inspection.image_shape
    if not has_adapter and (len(inspection.input_shapes) != 1 or shape is None):
        raise SpecError(
            f"{model_path}: the model takes {_shapes(inspection)}, not one image (height, width, channels). "
            "Write a function from images and records to these, and name it with --adapter FILE.py:FUNCTION "
            "(docs/models.md has an example)."
        )
    height, width, channels = shape or (None, None, None)
    completed = dict(document)
    if "size" not in completed:
        if height is None or width is None:
            raise SpecError(f"{model_path}: the model takes any size. Name one with --size HEIGHT,WIDTH.")
        completed["size"] = [height, width]
    completed.setdefault("channels", channels if channels is not None else 3)
    if "scale" not in completed:
        raise SpecError(
            f"{model_path}: how pixels are scaled for this model is nowhere said, and never guessed. "
            "Say it with --scale 0..1 (or -1..1, 0..255, caffe, torch), or try them all on labelled images "
            "with `camshard inspect MODEL --metadata CSV --images DIR`, which writes the spec."
        )
    return completed


def _check_against_model(spec: ModelSpec, inspection: Inspection, where: str) -> None:
    wanted = 2 if spec.task == "binary" else inspection.outputs
    if len(spec.classes) != wanted:
        raise SpecError(
            f"{where}: {len(spec.classes)} classes ({', '.join(spec.classes)}) for a {spec.task} model "
            f"with {inspection.outputs} outputs; {wanted} are wanted."
        )
    head = (inspection.activation, inspection.outputs)
    allowed = _HEADS[spec.task]
    if inspection.activation == "linear":
        if not {outputs for _, outputs in allowed} & {None, inspection.outputs}:
            raise SpecError(
                f"{where}: task {spec.task} does not fit a model with {inspection.outputs} plain outputs; "
                "multiclass and multilabel do."
            )
    elif head not in allowed and (head[0], None) not in allowed:
        raise SpecError(
            f"{where}: task {spec.task} does not fit a model that ends in {inspection.activation} over "
            f"{inspection.outputs} outputs; that is {default_task(inspection)}."
        )
    if spec.adapter or inspection.image_shape is None:
        return  # what the adapter makes of the images is the worker's to check
    height, width, channels = inspection.image_shape
    for name, said, known in (
        ("height", spec.input.size[0], height),
        ("width", spec.input.size[1], width),
        ("channels", spec.input.channels, channels),
    ):
        if known is not None and said != known:
            raise SpecError(f"{where}: input {name} {said} does not fit the model, which takes {known}.")


def _shapes(inspection: Inspection) -> str:
    return " and ".join("×".join(map(str, shape)) for shape in inspection.input_shapes)
