"""Try every pixel scaling and interpolation of a model on labelled images."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from shared.images import ImageError, read_image, resize_image, scale_pixels
from shared.locations import parse_location
from shared.model_spec import INTERPOLATIONS, SCALES, ModelSpec
from shared.records import Records
from shared.request import ExplainRequest, Targets
from worker.adapter import Adapter
from worker.explain import Explainer
from worker.model import LoadedModel

_BATCH_SIZE = 32
_FEWEST = 8


@dataclass(frozen=True)
class Trial:
    """How well a model did on images that were prepared in one way.

    Attributes:
        spec: the spec with the scale and interpolation that were tried.
        accuracy: share of right labels; for multilabel the mean over classes.
        log_loss: mean −log probability of the truth, which tells ties apart.
    """

    spec: ModelSpec
    accuracy: float
    log_loss: float


def try_inputs(
    model: LoadedModel, spec: ModelSpec, records: Records, adapter: Adapter | None, max_pixels: int
) -> Iterator[Trial]:
    """Yield a trial for each scale and interpolation; sort them by accuracy, then log loss.

    Args:
        records: labelled, each with a file.

    Raises:
        ImageError: hardly any of the images can be read.
    """
    request = ExplainRequest((), Targets("top", 1))
    explainer = Explainer(model, spec, request, _BATCH_SIZE)
    pixels, kept = _readable(records, spec.input.channels, max_pixels)
    frame = records.frame(slice(0, len(records))).iloc[kept]
    scales = [scale for scale in SCALES if spec.input.channels == 3 or scale not in ("caffe", "torch")]
    for interpolation in INTERPOLATIONS:
        way = replace(spec.input, interpolation=interpolation)
        resized = np.stack([resize_image(one, way) for one in pixels])
        for scale in scales:
            images = scale_pixels(resized, scale)
            inputs = adapter(images, frame) if adapter else (images,)
            tried = replace(spec, input=replace(way, scale=scale))
            yield _judge(tried, _predict(explainer, inputs), records.labels[kept])


def _readable(records: Records, channels: int, max_pixels: int) -> tuple[list[np.ndarray], list[int]]:
    """Return the images that can be read, and their places among the records."""
    pixels, kept = [], []
    failure: ImageError | None = None
    for place, path in enumerate(records.image_paths):
        try:
            pixels.append(read_image(parse_location(path), channels, max_pixels))
            kept.append(place)
        except ImageError as error:
            failure = error
    if failure is not None and len(kept) < min(_FEWEST, len(records)):
        raise failure
    return pixels, kept


def _predict(explainer: Explainer, inputs: tuple[np.ndarray, ...]) -> np.ndarray:
    targets = np.full((_BATCH_SIZE, 1), -1, np.int32)
    found = []
    for start in range(0, len(inputs[0]), _BATCH_SIZE):
        parts = [one[start : start + _BATCH_SIZE] for one in inputs]
        number = len(parts[0])
        padded = [np.zeros((_BATCH_SIZE, *one.shape[1:]), one.dtype) for one in parts]
        for whole, part in zip(padded, parts, strict=True):
            whole[:number] = part
        found.append(explainer(padded, targets).probabilities[:number])
    return np.concatenate(found)


def _judge(spec: ModelSpec, probabilities: np.ndarray, labels: np.ndarray) -> Trial:
    likely = np.clip(np.nan_to_num(probabilities), 1e-7, 1 - 1e-7)
    if labels.ndim == 2:
        accuracy = float(((probabilities >= 0.5) == (labels == 1)).mean())
        loss = -np.where(labels == 1, np.log(likely), np.log(1 - likely)).mean()
    else:
        accuracy = float((probabilities.argmax(axis=1) == labels).mean())
        loss = -np.log(likely[np.arange(len(labels)), labels]).mean()
    return Trial(spec, accuracy, float(loss))
