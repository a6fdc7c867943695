"""What an export made, and which rows it had to leave out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from camshard.export.rows import Row
from shared.errors import CamshardError, RequestError
from shared.images import ImageError

Made = TypeVar("Made")


class Undrawable(CamshardError):
    """One image has nothing to draw; the others go on."""


@dataclass(frozen=True)
class Skipped:
    """A row that was left out, and why."""

    image_id: str
    reason: str


@dataclass(frozen=True)
class Outcome:
    """What an export made.

    Attributes:
        noun: what of, in the plural.
        about: what else to say, such as the order in a strip.
    """

    path: Path
    made: int
    noun: str
    skipped: tuple[Skipped, ...] = ()
    about: str = ""

    def __str__(self) -> str:
        lines = [f"{self.made:,} {self.noun} → {self.path}"]
        if self.skipped:
            first = self.skipped[0]
            lines[0] += f"; {len(self.skipped):,} skipped, the first {first.image_id}: {first.reason}"
        return "\n".join([*lines, self.about] if self.about else lines)


def attempt(row: Row, make: Callable[[Row], Made]) -> Made | Skipped:
    """Make something of a row, or say why it has nothing to draw."""
    try:
        return make(row)
    except (Undrawable, ImageError, RequestError) as error:
        return Skipped(row.image_id, str(error))


def check_some(skipped: list[Skipped], asked: int) -> None:
    """Raise RequestError where every row was skipped."""
    if len(skipped) == asked:
        first = skipped[0]
        raise RequestError(
            f"none of {asked} images has anything to draw; the first, {first.image_id}: {first.reason}"
        )
