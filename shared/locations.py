"""Where a file lies: on a path of this machine, or at a URL that fsspec reads."""

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from shared.errors import SettingsError

_SIGNED = {"http", "https"}  # of other URLs, a ? is part of the name
_OF_THIS_MACHINE = {
    "asynclocal", "asyncwrapper", "blockcache", "cached", "data", "dir", "file", "filecache", "generic",
    "git", "libarchive", "local", "memory", "reference", "simplecache", "tar", "zip",
}  # fmt: skip
_SECRET = re.compile(r"(?<=://)[^/\s'\"@]*:(?!\d+/)[^\s'\"]*@|(?<=\?)[^\s'\"<>)]+")


@dataclass(frozen=True)
class Url:
    """An object or a folder in a store; as text it shows no secret.

    Attributes:
        path: what follows `://`, bucket or host first, without `/` at the end.
        query: what follows the `?` of a signed web address, and opens the object to whoever knows it.
    """

    protocol: str
    path: str
    query: str = ""

    def __str__(self) -> str:
        return f"{self.protocol}://{self.path}{'?…' if self.query else ''}"

    @property
    def text(self) -> str:
        """The whole URL, secrets too."""
        return f"{self.protocol}://{self.path}{'?' if self.query else ''}{self.query}"

    @property
    def name(self) -> str:
        """What follows the last `/`."""
        return self.path.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """The name's ending, with its dot."""
        return Path(self.name).suffix

    @property
    def stem(self) -> str:
        """The name without its ending."""
        return Path(self.name).stem

    @property
    def parent(self) -> "Url":
        """The folder above."""
        return replace(self, path=self.path.rpartition("/")[0])

    def with_suffix(self, suffix: str) -> "Url":
        """Return what lies beside, named alike but for its ending."""
        return replace(self, path=self.path.removesuffix(self.suffix) + suffix)

    def __truediv__(self, inside: "str | Path") -> "Url":
        return replace(self, path=f"{self.path}/{inside}")


Location = Path | Url


def parse_location(value: object) -> Location:
    """Return a path, or the URL that a text is.

    Raises:
        SettingsError: a URL of this machine's own files, or of several file systems chained by `::`.
    """
    if isinstance(value, Path | Url):
        return value
    text = str(value)
    if "://" not in text or text.startswith(("/", ".", "~")):
        return Path(text)
    protocol, _, rest = text.partition("://")
    shown = without_secrets(text)
    if "::" in text.partition("?")[0]:
        raise SettingsError(f"{shown}: chained URLs (::) are not read. Name the object itself.")
    protocol = protocol.lower()
    if protocol in _OF_THIS_MACHINE:
        raise SettingsError(f"{shown}: {protocol}:// is not read. Name files of this machine by plain paths.")
    path, _, query = rest.partition("?") if protocol in _SIGNED else (rest, "", "")
    path = path.rstrip("/")
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise SettingsError(f"{shown}: PROTOCOL://BUCKET/PATH is wanted, without . and .. and // in it.")
    user, _, host = path.partition("/")[0].rpartition("@")
    _, colon, port = host.partition(":")
    if ":" in user or (colon and not port.isdecimal()):
        raise SettingsError(
            f"{shown}: a password does not belong into a URL, which is kept in the run directory. Give it to "
            "fsspec: docs/remote.md says how."
        )
    return Url(protocol, path, query)


def location_text(place: Location) -> str:
    """Return what `parse_location` makes the same location of: secrets are in it."""
    return place.text if isinstance(place, Url) else str(place)


def absolute(place: Location) -> Location:
    """Return an absolute path without `..`, links kept: they may be how machines agree on a place."""
    return place if isinstance(place, Url) else Path(os.path.abspath(place))


def relative_to(place: Location, folder: Location) -> str | None:
    """Return where a location lies below a folder of its kind ("" for itself), None where it does not."""
    if isinstance(place, Path) and isinstance(folder, Path):
        inside = place.relative_to(folder) if place.is_relative_to(folder) else None
        return None if inside is None else "/".join(inside.parts)
    if isinstance(place, Url) and isinstance(folder, Url) and place.protocol == folder.protocol:
        below = f"{place.path}/".removeprefix(f"{folder.path}/")
        return below.rstrip("/") if below != f"{place.path}/" else None
    return None


def is_web(place: Location) -> bool:
    """Tell whether a location is a web address, in which names are percent-encoded."""
    return isinstance(place, Url) and place.protocol in _SIGNED


def without_secrets(text: Any) -> str:
    """Return a text with the queries and passwords of the URLs in it left out."""
    return _SECRET.sub("…", str(text))
