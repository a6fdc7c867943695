"""Which variable, and which target of each image, a question is about."""

from numbers import Integral
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from shared.errors import RequestError
from shared.run import Run
from shared.status import Status

Target = str | int | None


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


def choose_ranks(
    run: Run, file: h5py.File, rows: NDArray[np.int64], target: Target, rank: int | None
) -> NDArray[np.int64]:
    """Return the place of the wanted target among those of each row, (n,); 0 for rows that failed.

    Args:
        target: a class by name or index; None for the predicted one, or for the label where a run explains
            labels.
        rank: the place itself, instead of a class.

    Raises:
        RequestError: the class was not explained for one of the images.
    """
    if rank is not None:
        _check_rank(run, rank, target)
    elif target is None and run.request.targets.kind == "label":
        rank = 0
    if rank is not None:
        return np.full(len(rows), rank, np.int64)
    targets = file["target"][...][rows]
    wanted = _predicted(run, file, rows) if target is None else np.full(len(rows), class_index(run, target))
    matches = targets == wanted[:, None]
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


def _predicted(run: Run, file: h5py.File, rows: NDArray[np.int64]) -> NDArray[Any]:
    """Return the predicted class of each row; for multilabel the likeliest."""
    if run.spec.task == "multilabel":
        return np.asarray(np.nan_to_num(file["probability"][...][rows]).argmax(axis=1))
    return np.asarray(file["prediction"][...][rows])


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
    return f"{run.dir}: {name} was not explained for image {image_id!r}; targets: {there}."
