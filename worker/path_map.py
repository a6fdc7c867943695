"""Where this machine mounts what a run names by absolute path."""

from dataclasses import dataclass
from pathlib import Path

from shared.errors import SettingsError


@dataclass(frozen=True)
class PathMap:
    """Pairs of path prefixes, the run's and this machine's; the first that fits counts."""

    pairs: tuple[tuple[Path, Path], ...]

    def here(self, path: Path) -> Path:
        """Return a path of the run as this machine has it."""
        for old, new in self.pairs:
            if path.is_relative_to(old):
                return new / path.relative_to(old)
        return path


def parse_path_map(texts: tuple[str, ...]) -> PathMap:
    """Read --map OLD=NEW,….

    Raises:
        SettingsError: a pair without `=`, or with a relative path.
    """
    pairs = []
    for text in texts:
        old, equals, new = text.partition("=")
        if not equals or not Path(old).is_absolute() or not Path(new).is_absolute():
            raise SettingsError(f"--map: OLD=NEW with absolute paths is wanted, received {text!r}.")
        pairs.append((Path(old), Path(new)))
    return PathMap(tuple(pairs))
