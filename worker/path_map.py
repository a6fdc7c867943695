"""Where this machine has what a run names by absolute path or URL."""

from dataclasses import dataclass
from pathlib import Path

from shared.errors import SettingsError
from shared.locations import Location, parse_location, relative_to


@dataclass(frozen=True)
class PathMap:
    """Pairs of folders, the run's and this machine's; the first that fits counts."""

    pairs: tuple[tuple[Location, Location], ...]

    def here(self, place: Location) -> Location:
        """Return a path or URL of the run as this machine has it."""
        for old, new in self.pairs:
            inside = relative_to(place, old)
            if inside is not None:
                return new / inside if inside else new
        return place


def parse_path_map(texts: tuple[str, ...]) -> PathMap:
    """Read --map OLD=NEW,….

    Raises:
        SettingsError: a pair without `=`, or with a relative path, or with a URL that is none.
    """
    pairs = []
    for text in texts:
        old, new = map(parse_location, text.partition("=")[::2])
        if any(isinstance(one, Path) and not one.is_absolute() for one in (old, new)):
            raise SettingsError(f"--map: OLD=NEW with absolute paths or URLs is wanted, received {text!r}.")
        pairs.append((old, new))
    return PathMap(tuple(pairs))
