"""The heatmaps that stand beside each image: method, layer and target."""

import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from camshard.export.outcome import Undrawable
from camshard.export.request import ExportRequest, split
from camshard.export.rows import Row
from camshard.overlay import Floats, Pixels, draw_overlay
from camshard.selection import choose_attribution, class_index, default_target
from shared.errors import RequestError
from shared.images import read_image
from shared.locations import parse_location
from shared.methods import METHODS
from shared.run import Run
from shared.status import Status

if TYPE_CHECKING:
    from camshard.results import Results

_RANK = re.compile(r"rank(\d+)")


@dataclass(frozen=True)
class Panel:
    """One heatmap of each image.

    Attributes:
        target: predicted, label, rank<n>, or a class name.
    """

    method: str
    layer: str
    target: str

    @property
    def title(self) -> str:
        """Method and layer, in print."""
        return f"{METHODS[self.method].title} at {self.layer}"

    def class_name(self, row: Row) -> str:
        """Return the class whose heatmap of this image is meant; raises Undrawable where there is none."""
        if row.status != Status.OK:
            raise Undrawable(row.error or Status(row.status).name.lower())
        rank = _RANK.fullmatch(self.target)
        if self.target in row.probabilities:
            found: str | None = self.target
        elif rank:
            found = row.targets[int(rank[1])]
        else:
            found = row.label if self.target == "label" else row.prediction
        if found is None:
            raise Undrawable(f"it has no {self.target}.")
        if found not in row.targets:
            there = ", ".join(one for one in row.targets if one) or "none"
            raise Undrawable(f"{found} was not explained; targets: {there}.")
        return found

    def heatmap(self, results: "Results", image_id: str, class_name: str, size: tuple[int, int]) -> Floats:
        """Return the heatmap, float32 of `size` within 0..1."""
        found = results.heatmap(image_id, self.method, self.layer, class_name, size=size)
        return np.asarray(found, np.float32)

    def overlay(
        self, results: "Results", image: Pixels, image_id: str, class_name: str, style: tuple[float, str]
    ) -> Pixels:
        """Draw the heatmap over the image."""
        return draw_overlay(image, self.heatmap(results, image_id, class_name, image.shape[:2]), *style)


def read_image_of(row: Row, run: Run) -> Pixels:
    """Read a row's image; raises Undrawable where there is none, ImageError where it cannot be read."""
    if row.image_path is None:
        raise Undrawable("there was no file of this image when the run was planned.")
    return read_image(parse_location(row.image_path), run.spec.input.channels, run.images.max_pixels)


def choose_panels(run: Run, request: ExportRequest) -> list[Panel]:
    """Return what --methods, --layers and --targets ask for, in their order.

    Raises:
        RequestError: the run does not have it.
    """
    pairs = _choose_pairs(run, split(request.methods), split(request.layers))
    targets = [_check_target(run, one) for one in split(request.targets) or (default_target(run),)]
    return [Panel(method, layer, target) for method, layer in pairs for target in targets]


def _choose_pairs(run: Run, methods: tuple[str, ...], layers: tuple[str, ...]) -> list[tuple[str, str]]:
    names = [name for one in layers for name in _layer_names(run, one)]
    if not names:
        return [choose_attribution(run, method, None) for method in methods or (None,)]
    wanted = methods or (choose_attribution(run, None, None)[0],)
    there = run.request.attributions
    for method in wanted:  # a method may lack some of the layers, as CAM does, but not all
        if not any((method, name) in there for name in names):
            choose_attribution(run, method, names[0])
    for name in names:
        if not any((method, name) in there for method in wanted):
            choose_attribution(run, wanted[0], name)
    return [pair for pair in itertools.product(wanted, names) if pair in there]


def _layer_names(run: Run, word: str) -> tuple[str, ...]:
    if word != "stages":
        return (run.inspection.last,) if word == "last" else (word,)
    stages = tuple(one for one in run.inspection.stages if one in run.request.layers)
    return stages or run.inspection.stages


def _check_target(run: Run, word: str) -> str:
    """Return the word as `Panel.target` has it."""
    if word == "label" and run.spec.task == "multilabel" and word not in run.spec.classes:
        if run.request.targets.kind == "label":  # the first label of each image
            return "rank0"
        raise RequestError("--targets label: images have several labels. Name classes, or rank0, rank1, ….")
    if word in ("predicted", "label"):
        return word
    rank = _RANK.fullmatch(word)
    if rank and word not in run.spec.classes:
        if int(rank[1]) >= run.request.targets.ranks:
            raise RequestError(f"--targets {word}: the run has rank0 to rank{run.request.targets.ranks - 1}.")
        return word
    index = int(word) if word.isdecimal() and word not in run.spec.classes else class_index(run, word)
    if index >= len(run.spec.classes):
        raise RequestError(f"--targets: {word!r} is no class. Classes: {', '.join(run.spec.classes)}.")
    return run.spec.classes[index]
