"""The records that two runs have in common, brought into one order."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from camshard.selection import choose_attribution, default_target, predicted_class
from shared.errors import RequestError
from shared.places import Part, Places, find_places
from shared.run import Run
from shared.shard import reading
from shared.shard_layout import attribution_name, attribution_size
from shared.status import Status

if TYPE_CHECKING:
    from camshard.results import Results

Array = NDArray[Any]
Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

_VARIABLES = ("label", "prediction", "probability", "target", "status")


@dataclass(frozen=True)
class MatchedRecords:
    """One run's records that are compared with another's, record n with record n.

    Attributes:
        positions: int64 (n,), where each lies among the records of the run that are there.
        stored: label, prediction, probability, target and status of each, as in a shard.
        class_of: int64 (classes,), the run's own index of each class of the first run.
    """

    run: Run
    places: Places
    image_ids: list[str]
    positions: Indices
    stored: dict[str, Array]
    class_of: Indices

    @classmethod
    def of(cls, results: "Results", positions: Indices, class_of: Indices) -> Self:
        """Read what is stored of some records of a run."""
        places, image_ids = find_places(results.run, results.files), results.image_ids
        stored = {name: values[positions] for name, values in places.read(_VARIABLES).items()}
        own_ids = [image_ids[position] for position in positions.tolist()]
        return cls(results.run, places, own_ids, positions, stored, class_of)

    @property
    def ok(self) -> NDArray[np.bool_]:
        """Which records have results: bool (n,)."""
        return np.asarray(self.stored["status"] == Status.OK)

    @property
    def probabilities(self) -> Floats:
        """Float64 (n, classes), NaN where failed."""
        return np.asarray(self.stored["probability"][:, self.class_of], np.float64)

    def classes_in(self, name: str) -> Array:
        """Return `label` or `prediction` by the first run's classes: (n,) indices, -1 for none.

        For multilabel: (n, classes), 1, 0, or -1 for unknown or failed.
        """
        values = self.stored[name]
        if values.ndim == 2:
            return np.asarray(values[:, self.class_of])
        return np.where(values < 0, -1, np.argsort(self.class_of)[values])

    def default_target(self) -> Indices:
        """Return the run's default target by the first run's classes: (n,), -1 where failed or unlabelled."""
        if default_target(self.run) == "label":
            found = self.stored["target"][:, 0]
            return np.where(self.ok & (found >= 0), np.argsort(self.class_of)[found], -1)
        return np.where(
            self.ok, predicted_class(self.run, self.probabilities, self.classes_in("prediction")), -1
        )

    def ranks(self, wanted: Indices) -> Indices:
        """Return the rank at which each record's wanted class was explained: (n,), -1 where it was not."""
        matches = self.stored["target"] == self.class_of[wanted][:, None]
        return np.where(matches.any(axis=1) & self.ok & (wanted >= 0), matches.argmax(axis=1), -1)

    def attributions(self, pair: tuple[str, str], block: slice, ranks: Indices) -> NDArray[np.float32]:
        """Read the attributions of a block of records at a rank each: (n, height, width), NaN for rank -1."""
        name = attribution_name(*pair)
        found = np.full((len(ranks), *attribution_size(self.run, pair[1])), np.nan, np.float32)
        for part in self.places.parts(self.positions[block]):
            with reading(part.file.path) as file:
                for rows, at in _consecutive(part):
                    values = file[name][rows]
                    found[at] = values[np.arange(len(values)), ranks[at]]
        found[ranks < 0] = np.nan
        return found


def _consecutive(part: Part) -> Iterator[tuple[slice, Indices]]:
    """Yield the rows of a part, ascending, as slices, and the places of each: a chunk is read once."""
    order = np.argsort(part.rows)
    for run in np.split(order, np.flatnonzero(np.diff(part.rows[order]) != 1) + 1):
        first = int(part.rows[run[0]])
        yield slice(first, first + len(run)), part.positions[run]


def match_records(results: "Results", other: "Results") -> tuple[MatchedRecords, MatchedRecords]:
    """Return the records that both have, in the order of the first; classes match whatever their case.

    Raises:
        RequestError: the runs have different classes or tasks, or no record in common.
    """
    _refuse_different_classes(results.run, other.run)
    there = pd.Index(other.image_ids).get_indexer(pd.Index(results.image_ids)).astype(np.int64)
    if not (there >= 0).any():
        raise RequestError(
            f"No record in common: {results.run.dir} has {_some(results.image_ids)}; {other.run.dir} has "
            f"{_some(other.image_ids)}."
        )
    folded = [one.casefold() for one in other.run.spec.classes]
    class_of = np.array([folded.index(one.casefold()) for one in results.run.spec.classes])
    ours = np.flatnonzero(there >= 0)
    return (
        MatchedRecords.of(results, ours, np.arange(len(class_of))),
        MatchedRecords.of(other, there[ours], class_of),
    )


def choose_pairs(
    run: Run, other: Run, method: str | None, layer: str | None
) -> tuple[tuple[str, str], tuple[str, str]]:
    """Return method and layer of each run: one method, by default Grad-CAM or else the first in common.

    Raises:
        RequestError: a run does not have them, or the two have no method in common.
    """
    common = [one for one in run.request.methods if one in other.request.methods]
    if method is None and not common:
        raise RequestError(
            f"No method in common: {run.dir} has {', '.join(run.request.methods)}; {other.dir} has "
            f"{', '.join(other.request.methods)}."
        )
    method = method or ("gradcam" if "gradcam" in common else common[0])
    return choose_attribution(run, method, layer), choose_attribution(other, method, layer)


def _refuse_different_classes(run: Run, other: Run) -> None:
    ours, theirs = run.spec, other.spec
    if {one.casefold() for one in ours.classes} != {one.casefold() for one in theirs.classes}:
        raise RequestError(
            f"{run.dir} has the classes {', '.join(ours.classes)}; {other.dir} has the classes "
            f"{', '.join(theirs.classes)}. Only runs of the same classes can be compared."
        )
    if (ours.task == "multilabel") != (theirs.task == "multilabel"):
        raise RequestError(
            f"{run.dir} is {ours.task}, {other.dir} is {theirs.task}: one predicts a single class an image, "
            "the other any number, so that they cannot be compared."
        )


def _some(image_ids: list[str]) -> str:
    more = ", …" if len(image_ids) > 3 else ""
    return f"{len(image_ids)} ({', '.join(image_ids[:3])}{more})" if image_ids else "none"
