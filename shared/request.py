"""What is asked of a run: methods, layers, targets and how they are computed."""

import re
from dataclasses import asdict, dataclass
from typing import Any

from shared.errors import RequestError
from shared.model_spec import ModelSpec

SCORES = ("logit", "probability")
RESOLUTIONS = ("native", "input")
PRECISIONS = ("float32", "mixed_float16", "bfloat16")


@dataclass(frozen=True)
class Targets:
    """Which classes of each image are explained.

    Attributes:
        kind: `predicted`, `label`, `top` (the highest scores), or `named` (`classes`, for every image).
        ranks: how many targets an image has at most; the length of the axis `target_rank`.
        classes: class indices, for `named` only.
    """

    kind: str
    ranks: int
    classes: tuple[int, ...] = ()


@dataclass(frozen=True)
class ExplainRequest:
    """Everything a worker must know to explain, but the model and the records.

    Attributes:
        attributions: (method, layer) pairs in the order of the shard's variables.
        score: `logit` or `probability`, the score that is explained.
        resolution: `native` (the layer's own) or `input` (resized to the model's input).
        precision: of the backbone: `float32` (as the model was saved), `mixed_float16` or `bfloat16`.
        save_features: whether the pooled activations of the last layer are stored too.
    """

    attributions: tuple[tuple[str, str], ...]
    targets: Targets
    score: str = "logit"
    resolution: str = "native"
    precision: str = "float32"
    save_features: bool = False

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods, each once, in order."""
        return tuple(dict.fromkeys(method for method, _ in self.attributions))

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers, each once, in order."""
        return tuple(dict.fromkeys(layer for _, layer in self.attributions))


def parse_targets(text: str, spec: ModelSpec, target_ranks: int) -> Targets:
    """Turn --targets into class indices: predicted, label, all, top3, or names and indices.

    Raises:
        RequestError: a name that is no class, or more ranks than classes.
    """
    num_classes = len(spec.classes)
    several = min(target_ranks, num_classes) if spec.task == "multilabel" else 1
    if text in ("predicted", "label"):
        return Targets(text, several)
    if text == "all":
        return Targets("named", num_classes, tuple(range(num_classes)))
    top = re.fullmatch(r"top(\d+)", text)
    if top:
        if not 1 <= int(top[1]) <= num_classes:
            raise RequestError(f"--targets {text}: the model has {num_classes} classes.")
        return Targets("top", int(top[1]))
    indices = tuple(_class_index(name.strip(), spec) for name in text.split(","))
    if len(set(indices)) < len(indices):
        raise RequestError(f"--targets {text}: a class comes twice.")
    return Targets("named", len(indices), indices)


def _class_index(name: str, spec: ModelSpec) -> int:
    folded = [one.casefold() for one in spec.classes]
    if name.casefold() in folded:
        return folded.index(name.casefold())
    if name.isdecimal() and int(name) < len(spec.classes):
        return int(name)
    raise RequestError(
        f"--targets: {name!r} is no class. Classes: {', '.join(spec.classes)}; "
        "or predicted, label, all, top3."
    )


def request_to_dict(request: ExplainRequest) -> dict[str, Any]:
    """Return the request as JSON-serialisable values."""
    return {
        **asdict(request),
        "attributions": [list(pair) for pair in request.attributions],
        "targets": {**asdict(request.targets), "classes": list(request.targets.classes)},
    }


def request_from_dict(document: dict[str, Any]) -> ExplainRequest:
    """Build the request from what `request_to_dict` gave."""
    targets = document["targets"]
    return ExplainRequest(
        attributions=tuple((method, layer) for method, layer in document["attributions"]),
        targets=Targets(targets["kind"], targets["ranks"], tuple(targets["classes"])),
        score=document["score"],
        resolution=document["resolution"],
        precision=document["precision"],
        save_features=document["save_features"],
    )
