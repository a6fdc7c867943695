"""Which variable, and which target of each image, a question is about."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from shared.errors import RequestError
from shared.run import Run
from shared.status import Status

Target = str | int | None
ImageIds = str | Sequence[str]

_WORDS = ("predicted", "label")


def choose_attribution(run: Run, method: str | None, layer: str | None) -> tuple[str, str]:
    """Return method and layer; by default Grad-CAM (CAM if there is no other) at the run's last layer.

    Raises:
        RequestError: the run does not have them.
    """
    pairs = run.request.attributions
    method = method or ("gradcam" if any(one == "gradcam" for one, _ in pairs) else pairs[0][0])
    layers = [at for one, at in pairs if one == method]
    if not layers or (layer is not None and layer not in layers):
        there = ", ".join(f"{one} at {at}" for one, at in pairs)
        raise RequestError(f"{run.dir}: no {method} at {layer or 'any layer'}. There is: {there}.")
    last = run.inspection.last
    return method, layer or (last if last in layers else layers[-1])


def default_target(run: Run) -> str:
    """Return what no target means: `label` in a run of --targets label, else `predicted`."""
    return "label" if run.request.targets.kind == "label" else "predicted"


def predicted_class(run: Run, probabilities: NDArray[Any], predictions: NDArray[Any]) -> NDArray[Any]:
    """Return the class that each record predicts, (n,).

    Of several labels it is the likeliest over its threshold, or the likeliest of all where none is; in a run
    of --targets top, where thresholds do not count, the likeliest. So in such runs, and in those of --targets
    predicted, it is rank 0.

    Args:
        probabilities: (n, classes), NaN where failed.
        predictions: (n,), for multilabel (n, classes), as they are stored.
    """
    if run.spec.task != "multilabel":
        return predictions
    bonus = 0 if run.request.targets.kind == "top" else predictions == 1
    return np.asarray((np.nan_to_num(probabilities) + bonus).argmax(axis=1))


def choose_ranks(
    run: Run, file: h5py.File, rows: NDArray[np.int64], target: Target, rank: int | None
) -> NDArray[np.int64]:
    """Return the place of the wanted target among those of each row, (n,); 0 for rows that failed.

    Args:
        target: a class by name or index, `predicted` or `label` (unless a class is called so); None for
            `default_target`.
        rank: the place itself, instead of a class.

    Raises:
        RequestError: the class was not explained for one of the images, or the image has no label.
    """
    if rank is not None:
        _check_rank(run, rank, target)
        return np.full(len(rows), rank, np.int64)
    if target is None or _is_word(run, target):
        target = target or default_target(run)
        if target == run.request.targets.kind:  # just that was explained
            return np.zeros(len(rows), np.int64)
        wanted = _predicted(run, file, rows) if target == "predicted" else _labels(run, file, rows)
    else:
        wanted = np.full(len(rows), class_index(run, target))
    return _find(run, file, rows, wanted)


def _find(run: Run, file: h5py.File, rows: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the place of each row's wanted class among its targets; raises RequestError if it has none."""
    targets = file["target"][...][rows]
    matches = (targets == wanted[:, None]) & (wanted >= 0)[:, None]
    lacking = ~matches.any(axis=1) & (file["status"][...][rows] == Status.OK)
    if lacking.any():
        row = int(np.flatnonzero(lacking)[0])
        raise RequestError(_not_explained(run, file, int(rows[row]), int(wanted[row]), targets[row].tolist()))
    return np.asarray(matches.argmax(axis=1), np.int64)


def class_index(run: Run, target: str | int) -> int:
    """Return the index of a class that is named, whatever its case, or given by index.

    Raises:
        RequestError: there is no such class.
    """
    if isinstance(target, Integral):  # NumPy's integers too
        return int(target)
    folded = [one.casefold() for one in run.spec.classes]
    if not isinstance(target, str) or target.casefold() not in folded:
        classes = ", ".join(run.spec.classes)
        raise RequestError(f"target: {target!r} is no class. Classes, by name or index: {classes}.")
    return folded.index(target.casefold())


def _is_word(run: Run, target: str | int) -> bool:
    return (
        isinstance(target, str)
        and target in _WORDS
        and target not in [one.casefold() for one in run.spec.classes]
    )


def _predicted(run: Run, file: h5py.File, rows: NDArray[np.int64]) -> NDArray[Any]:
    return predicted_class(run, file["probability"][...][rows], file["prediction"][...][rows])


def _labels(run: Run, file: h5py.File, rows: NDArray[np.int64]) -> NDArray[Any]:
    if run.spec.task == "multilabel":
        raise RequestError(
            f"target: 'label': {run.dir} has several labels an image. Name a class with target=, or rank=."
        )
    labels = file["label"][...][rows]
    unknown = np.flatnonzero((labels < 0) & (file["status"][...][rows] == Status.OK))
    if len(unknown):
        image_id = file["image_id"].asstr()[int(rows[unknown[0]])]
        raise RequestError(
            f"{run.dir}: image {image_id!r} has no label. Name a class with target=, or rank=."
        )
    return np.asarray(labels)


def _check_rank(run: Run, rank: int, target: Target) -> None:
    ranks = run.request.targets.ranks
    if target is not None:
        raise RequestError(f"target {target!r} and rank {rank}: name one of the two.")
    if not isinstance(rank, Integral) or not 0 <= rank < ranks:
        raise RequestError(f"rank: {rank!r} is not within 0..{ranks - 1}, the run's target ranks.")


def _not_explained(run: Run, file: h5py.File, row: int, wanted: int, targets: list[int]) -> str:
    classes = run.spec.classes
    there = ", ".join(classes[one] for one in targets if one >= 0) or "none"
    name = classes[wanted] if 0 <= wanted < len(classes) else str(wanted)
    image_id = file["image_id"].asstr()[row]
    return (
        f"{run.dir}: {name} was not explained for image {image_id!r}; targets: {there}; "
        "name one with target=, or rank=."
    )


def checked_ids(image_ids: ImageIds) -> list[str]:
    """Return one id, or several, as a list.

    Raises:
        RequestError: something is no text.
    """
    several: Any = image_ids if np.ndim(image_ids) else [image_ids]
    for one in several:
        if not isinstance(one, str):
            raise RequestError(f"image ids are text; received {one!r}, of type {type(one).__name__}.")
    return list(several)
