"""The last block output of each spatial resolution."""

from worker.graph import Graph, Step

_ELEMENTWISE = {
    "Activation",
    "ReLU",
    "LeakyReLU",
    "PReLU",
    "ELU",
    "BatchNormalization",
    "Dropout",
    "LayerNormalization",
}
_NO_FEATURES = {"ZeroPadding2D", "Cropping2D", "Lambda"}


def find_stages(graph: Graph, last: int) -> tuple[str, ...]:
    """Return a layer name a resolution, the finest first, ending with the layer that makes slot `last`.

    Where branches are merged (residual or dense blocks), a stage is the last merge of its resolution
    with the activation after it; in a plain chain, the last layer of its resolution.
    """
    steps = _feature_steps(graph, last)
    merges = [step for step in steps if step.kind in ("Add", "Concatenate") and len(step.inputs) > 1]
    candidates = merges or [step for step in steps if step.kind not in _NO_FEATURES]
    by_resolution = {_resolution(graph, step): step for step in candidates}
    by_resolution[graph.shapes[last][1:3]] = graph.producers[last]
    ends = [_follow(graph, step) for step in by_resolution.values()]
    return tuple(step.name for step in sorted(ends, key=graph.steps.index))


def _feature_steps(graph: Graph, last: int) -> list[Step]:
    """Return the steps that lead from the first convolution to `last` and are no coarser than it.

    So neither preprocessing nor the 1×1 gates of squeeze-and-excitation blocks are among them.
    """
    convolutions = {slot for step in graph.steps if "Conv" in step.kind for slot in step.outputs}
    features = (convolutions | graph.downstream(convolutions)) & graph.upstream(last)
    return [
        step
        for step in graph.steps
        if features.intersection(step.outputs)
        and graph.has_pixels(step.outputs[0])
        and min(_resolution(graph, step)) >= min(graph.shapes[last][1:3])
    ]


def _resolution(graph: Graph, step: Step) -> tuple[int | None, ...]:
    return graph.shapes[step.outputs[0]][1:3]


def _follow(graph: Graph, step: Step) -> Step:
    """Go on over what is done to each value alone, as long as nothing else uses it."""
    consumers = graph.consumers.get(step.outputs[0], [])
    while len(consumers) == 1 and consumers[0].kind in _ELEMENTWISE:
        step = consumers[0]
        consumers = graph.consumers.get(step.outputs[0], [])
    return step
