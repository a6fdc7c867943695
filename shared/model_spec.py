"""What a model expects and what its outputs mean: the TOML file beside it."""

import tomllib
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from shared.errors import SpecError
from shared.locations import Location

TASKS = ("binary", "multiclass", "multilabel")
RESIZES = ("stretch", "crop", "pad")
INTERPOLATIONS = ("nearest", "bilinear", "area", "cubic")
SCALES = ("0..1", "-1..1", "0..255", "caffe", "torch")


@dataclass(frozen=True)
class InputSpec:
    """The pixels a model is called with."""

    size: tuple[int, int]  # height, width
    channels: int = 3
    resize: str = "stretch"
    interpolation: str = "bilinear"
    scale: str = "0..255"

    def __post_init__(self) -> None:
        _allow("resize", self.resize, RESIZES)
        _allow("interpolation", self.interpolation, INTERPOLATIONS)
        _allow("scale", self.scale, SCALES)
        if type(self.channels) is not int or self.channels not in (1, 3):
            raise SpecError(f"channels: 1 (grey) or 3 (RGB) are allowed, received {self.channels!r}.")
        if len(self.size) != 2 or not all(type(side) is int and side > 0 for side in self.size):
            raise SpecError(f"size: [height, width] in pixels is wanted, received {self.size!r}.")
        if self.channels == 1 and self.scale in ("caffe", "torch"):
            raise SpecError(
                f"scale: {self.scale!r} needs 3 channels, the model takes 1. "
                "Allowed for grey images: 0..1, -1..1, 0..255."
            )


@dataclass(frozen=True)
class ModelSpec:
    """What decides a model's inputs, and what its outputs mean."""

    task: str
    classes: tuple[str, ...]
    input: InputSpec
    layers: tuple[str, ...] = ("last",)
    thresholds: dict[str, float] = field(default_factory=dict)
    custom_layers: str | None = None  # path of a Python file
    adapter: str | None = None  # path:function
    architecture: str | None = None
    num_classes: int | None = None

    def __post_init__(self) -> None:
        _allow("task", self.task, TASKS)
        folded = [name.casefold() for name in self.classes]
        if len(set(folded)) < len(folded):
            raise SpecError(f"classes: a name comes twice: {', '.join(self.classes)}.")
        if self.task == "binary" and len(self.classes) != 2:
            raise SpecError(
                f"classes: a binary task has two, the second being the positive one; "
                f"received {len(self.classes)}: {', '.join(self.classes)}."
            )
        if not self.layers:
            raise SpecError("layers: none are named. Name layers, last or stages, or leave the entry out.")
        for name, threshold in self.thresholds.items():
            self._check_threshold(name, threshold)

    def _check_threshold(self, name: str, threshold: object) -> None:
        if name not in self.classes:
            raise SpecError(f"thresholds: {name!r} is no class. Classes: {', '.join(self.classes)}.")
        if not isinstance(threshold, int | float) or not 0 <= threshold <= 1:
            raise SpecError(f"thresholds: {name} = {threshold!r} is not within 0..1.")
        if self.task == "multiclass":
            raise SpecError(
                f"thresholds: {name} = {threshold} would change nothing: a multiclass model predicts the "
                "likeliest class. Leave it out; binary and multilabel models have thresholds."
            )
        if self.task == "binary" and name != self.classes[1]:
            raise SpecError(
                f"thresholds: {name} = {threshold} would change nothing: the threshold of a binary model is "
                f"that of its positive class, the second one. Name it for {self.classes[1]}."
            )

    def threshold(self, class_name: str) -> float:
        """Return the probability from which `class_name` counts as predicted (0.5 unless set)."""
        return self.thresholds.get(class_name, 0.5)


def spec_path_beside(model_path: Location) -> Location:
    """Return where the spec of a model lies unless --spec names another: `model.keras` → `model.toml`."""
    return model_path.with_suffix(".toml")


def spec_to_dict(spec: ModelSpec) -> dict[str, Any]:
    """Return the spec in the TOML file's shape, without what is not set; JSON-serialisable."""
    document: dict[str, Any] = {
        "task": spec.task,
        "classes": list(spec.classes),
        "layers": list(spec.layers),
        "input": {**asdict(spec.input), "size": list(spec.input.size)},
    }
    if spec.thresholds:
        document["thresholds"] = dict(spec.thresholds)
    if spec.custom_layers:
        document["code"] = {"layers": spec.custom_layers}
    if spec.adapter:
        document["inputs"] = {"adapter": spec.adapter}
    if spec.architecture:
        document["weights"] = {"architecture": spec.architecture, "num_classes": spec.num_classes}
    return document


def spec_from_dict(document: dict[str, Any], where: str) -> ModelSpec:
    """Build a complete spec from the TOML file's shape.

    Raises:
        SpecError: an unknown, missing or wrong entry; `where` names the source.
    """
    check_spec_keys(document, where)
    for name in ("task", "classes", "input"):
        if name not in document:
            raise SpecError(f"{where}: {name!r} is missing.")
    if "size" not in document["input"]:
        raise SpecError(f"{where}: [input] size is missing.")
    try:
        return ModelSpec(
            task=document["task"],
            classes=tuple(document["classes"]),
            input=InputSpec(**{**document["input"], "size": tuple(document["input"]["size"])}),
            layers=tuple(document.get("layers", ("last",))),
            thresholds=dict(document.get("thresholds", {})),
            custom_layers=document.get("code", {}).get("layers"),
            adapter=document.get("inputs", {}).get("adapter"),
            **document.get("weights", {}),
        )
    except SpecError as error:
        raise SpecError(f"{where}: {error}") from error


def read_spec_file(path: Path) -> dict[str, Any]:
    """Read a spec file, which may leave out what the model or the metadata tell.

    Raises:
        SpecError: the file is not there, is no TOML, or has unknown entries.
    """
    try:
        return parse_spec(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise SpecError(f"{path}: the model spec cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: no TOML: {error}.") from error


def parse_spec(text: str, where: str) -> dict[str, Any]:
    """Read the text of a spec file.

    Raises:
        SpecError: it is no TOML, or has unknown entries; `where` names the source.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{where}: no TOML: {error}.") from error
    check_spec_keys(document, where)
    return document


def spec_to_toml(spec: ModelSpec) -> str:
    """Return the text of the spec's TOML file, an entry a line."""
    import tomli_w

    return tomli_w.dumps(spec_to_dict(spec))


def write_spec(path: Path, spec: ModelSpec) -> None:
    """Write the spec as TOML (UTF-8), replacing what was there."""
    path.write_text(spec_to_toml(spec), encoding="utf-8")


def check_spec_keys(document: dict[str, Any], where: str) -> None:
    """Refuse entries that mean nothing, and values of the wrong kind, before they are used."""
    sections = {
        "input": {one.name for one in fields(InputSpec)},
        "code": {"layers"},
        "inputs": {"adapter"},
        "weights": {"architecture", "num_classes"},
    }
    kinds = {"task": str, "classes": list, "layers": list, "thresholds": dict}
    for name, value in document.items():
        if name in sections:
            if not isinstance(value, dict):
                raise SpecError(f"{where}: [{name}] must be a table, received {value!r}.")
            for key in value:
                _allow(f"{where}: [{name}]", key, tuple(sorted(sections[name])))
            if not isinstance(value.get("size", []), list | tuple):
                raise SpecError(
                    f"{where}: [input] size: [height, width] in pixels is wanted, received {value['size']!r}."
                )
            continue
        _allow(where, name, (*kinds, *sections))
        if not isinstance(value, kinds[name]):
            raise SpecError(f"{where}: {name} must be a {kinds[name].__name__}, received {value!r}.")
        if isinstance(value, list) and not all(isinstance(one, str) for one in value):
            raise SpecError(f"{where}: {name} must hold text in quotes, received {value!r}.")


def _allow(what: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise SpecError(f"{what}: {value!r} is not allowed. Allowed: {', '.join(allowed)}.")
