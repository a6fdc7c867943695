"""Complete the explanation request: which method at which layer, for which targets."""

import difflib

from shared.errors import RequestError
from shared.inspection import Inspection
from shared.methods import METHODS
from shared.model_spec import ModelSpec
from shared.request import (
    PRECISIONS,
    RESOLUTIONS,
    SCORES,
    ExplainRequest,
    parse_targets,
)
from shared.settings import Settings


def resolve_request(settings: Settings, spec: ModelSpec, inspection: Inspection) -> ExplainRequest:
    """Return the complete request, every layer by name.

    Raises:
        RequestError: an unknown method, layer, target or option, or a method the head does not allow.
    """
    for name, allowed in (("score", SCORES), ("resolution", RESOLUTIONS), ("precision", PRECISIONS)):
        value = getattr(settings, name)
        if value not in allowed:
            raise RequestError(f"--{name}: {value!r} is not allowed. Allowed: {', '.join(allowed)}.")
    layers = _layers(settings.layers or spec.layers, inspection)
    methods = _methods(settings.methods, inspection) or _default_methods(layers, inspection)
    attributions = _attributions(methods, layers, inspection)
    targets = settings.targets or _default_targets(attributions, settings.score, inspection)
    return ExplainRequest(
        attributions=attributions,
        targets=parse_targets(targets, spec, settings.target_ranks),
        score=settings.score,
        resolution=settings.resolution,
        precision=settings.precision,
        save_features=settings.save_features,
    )


def allowed_methods(inspection: Inspection) -> dict[str, str]:
    """Return every method with "" where the model allows it, else with the reason why not."""
    reason = (
        "" if inspection.pooled_linear_head
        else f"needs global average pooling followed by one linear layer; this head has {_head(inspection)}"
    )  # fmt: skip
    return {name: reason if one.needs_pooled_linear_head else "" for name, one in METHODS.items()}


def _methods(asked: tuple[str, ...], inspection: Inspection) -> tuple[str, ...]:
    allowed = allowed_methods(inspection)
    can = ", ".join(name for name, reason in allowed.items() if not reason)
    for name in asked:
        if name not in METHODS:
            raise RequestError(f"--methods: {name!r} is no method. This model allows: {can}.")
        if allowed[name]:
            raise RequestError(f"--methods: {name} {allowed[name]}. This model allows: {can}.")
    return tuple(dict.fromkeys(asked))


def _default_methods(layers: tuple[str, ...], inspection: Inspection) -> tuple[str, ...]:
    if inspection.pooled_linear_head and inspection.last in layers:
        return ("cam", "gradcam")
    return ("gradcam",)


def _layers(asked: tuple[str, ...], inspection: Inspection) -> tuple[str, ...]:
    names = [layer.name for layer in inspection.layers]
    resolved: list[str] = []
    for name in asked:
        if name == "last":
            resolved.append(inspection.last)
        elif name == "stages":
            resolved.extend(inspection.stages)
        elif name in names:
            resolved.append(name)
        else:
            raise RequestError(
                f"--layers: {name!r} is no layer of this model that has a height and a width. "
                f"{_could_be_meant(name, names)} `camshard inspect MODEL` lists all {len(names)}; "
                "last and stages are understood too."
            )
    return tuple(dict.fromkeys(resolved))


def _could_be_meant(name: str, names: list[str]) -> str:
    path_of = {one.split("/")[-1]: one for one in names}
    near = [path_of[end] for end in difflib.get_close_matches(name, path_of, n=5)]
    near = near or difflib.get_close_matches(name, names, n=5, cutoff=0.4)
    return f"Could be meant: {', '.join(near or names[-5:])}."


def _attributions(
    methods: tuple[str, ...], layers: tuple[str, ...], inspection: Inspection
) -> tuple[tuple[str, str], ...]:
    """Pair methods with layers; those that need the pooled head exist at the last layer alone."""
    pairs: list[tuple[str, str]] = []
    for method in methods:
        if not METHODS[method].needs_pooled_linear_head:
            pairs.extend((method, layer) for layer in layers)
        elif inspection.last in layers:
            pairs.append((method, inspection.last))
        else:
            raise RequestError(
                f"--methods {method} exists at {inspection.last} alone, the layer that enters the pooling; "
                f"--layers {','.join(layers)} leaves it out. Add last, or leave out {method}."
            )
    return tuple(pairs)


def _default_targets(attributions: tuple[tuple[str, str], ...], score: str, inspection: Inspection) -> str:
    free = inspection.pooled_linear_head and score == "logit"
    return "all" if free and all(layer == inspection.last for _, layer in attributions) else "predicted"


def _head(inspection: Inspection) -> str:
    if inspection.pooling == "average":
        return "global average pooling, but more than one layer after it"
    return f"{inspection.pooling} pooling" if inspection.pooling == "max" else inspection.pooling
