"""Where this machine has what a run names by absolute path or URL."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from shared.errors import SettingsError, StorageError
from shared.locations import Location, is_web, parse_location, relative_to


@dataclass(frozen=True)
class PathMap:
    """Pairs of folders, the run's and this machine's; the first that fits counts."""

    pairs: tuple[tuple[Location, Location], ...]

    def here(self, place: Location) -> Location:
        """Return a path or URL of the run as this machine has it."""
        for old, new in self.pairs:
            inside = relative_to(place, old)
            if inside is not None:
                return new / _name_in(new, inside, place) if inside else new
        return place


def _name_in(folder: Location, inside: str, place: Location) -> str:
    """Return how what lies `inside` a folder is written there: the web writes names percent-encoded.

    Raises:
        StorageError: a name that would lead out of the folder.
    """
    from_web, to_web = is_web(place), is_web(folder)
    name = unquote(inside) if from_web and not to_web else inside
    if "\0" in name or any(part in ("", ".", "..") for part in name.split("/")):
        raise StorageError(f"{place}: with --map it would lead out of {folder}.")
    return quote(name) if to_web and not from_web else name


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
