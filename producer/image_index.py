"""Find the file of every image id in the image folders."""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from shared.errors import ImageFolderError
from shared.locations import Location, Url
from shared.object_store import list_files

SUFFIXES = (".jpg", ".jpeg", ".png")
Matches = Callable[[str], tuple[str, ...]]  # a file's name → the ids that it could be the image of


@dataclass(frozen=True)
class ImageOptions:
    """Where images are looked for; the fields are those of `Settings`."""

    dirs: tuple[Location, ...]
    pattern: str | None
    follow_links: bool


def find_images(image_ids: list[str], options: ImageOptions) -> list[str | None]:
    """Return the absolute path or the URL of each id's file, None where there is none.

    An id is a file's name with or without extension, or `folder/name` one level down.

    Raises:
        ImageFolderError: no such folder, an id found twice, a link that leads out of the folders,
            or no image at all.
        StorageError: what lists a URL cannot be reached, or does not allow it.
    """
    found: dict[str, str | None] = dict.fromkeys(image_ids)
    for path, names in _candidates(options):
        for name in names:
            if name not in found:
                continue
            if found[name] not in (None, path):
                raise ImageFolderError(
                    f"image {name!r} is there twice: {found[name]} and {path}. "
                    "Name fewer folders with --images, or the right file with --pattern."
                )
            found[name] = path
    if not any(found.values()):
        folders = ", ".join(map(str, options.dirs))
        raise ImageFolderError(
            f"none of the {len(image_ids)} images, first {image_ids[0]!r}, is in {folders} (searched one "
            f"level deep for {options.pattern or ' '.join(SUFFIXES)}). Name the folder with --images, "
            "the file names with --pattern, the column of ids with --id-column."
        )
    return [found[image_id] for image_id in image_ids]


def _candidates(options: ImageOptions) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each image file's path with the ids that it could be the image of."""
    matches = _matcher(options.pattern)
    for folder in options.dirs:
        if isinstance(folder, Url):
            yield from _candidates_at(folder, matches)
            continue
        root = folder.absolute()
        for entry, inside in _files(root, options.follow_links):
            ids = matches(entry.name)
            if not ids:
                continue
            if not options.follow_links:
                _refuse_link_that_leads_out(entry, root)
            yield entry.path, ids + tuple([f"{inside}/{one}" for one in ids]) if inside else ids


def _candidates_at(folder: Url, matches: Matches) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name, inside, url in list_files(folder):
        ids = matches(name)
        if ids:
            yield url, ids + tuple([f"{inside}/{one}" for one in ids]) if inside else ids


def _matcher(pattern: str | None) -> Matches:
    if pattern is None:

        def by_suffix(name: str) -> tuple[str, ...]:
            stem, dot, suffix = name.rpartition(".")
            return (name, stem) if stem and dot + suffix.lower() in SUFFIXES else ()

        return by_suffix
    if pattern.count("{image_id}") != 1 or "/" in pattern:
        raise ImageFolderError(
            f"--pattern {pattern!r}: a file name with one {{image_id}} in it is wanted, {{image_id}}.tif."
        )
    before, after = map(re.escape, pattern.split("{image_id}"))
    compiled = re.compile(f"{before}(.+){after}")

    def by_pattern(name: str) -> tuple[str, ...]:
        match = compiled.fullmatch(name)
        return (match[1],) if match else ()

    return by_pattern


def _files(root: Path, follow_links: bool) -> Iterator[tuple["os.DirEntry[str]", str]]:
    """Yield the files of a folder, then of its folders, each with the name of the folder it is in."""
    folders = []
    try:
        with os.scandir(root) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    folders.append(entry)
                else:
                    yield entry, ""
        for folder in folders:
            if not follow_links:
                _refuse_link_that_leads_out(folder, root)
            with os.scandir(folder.path) as below:
                yield from ((one, folder.name) for one in below if not one.is_dir())
    except OSError as error:
        raise ImageFolderError(
            f"{error.filename or root}: the image folder cannot be read: {error.strerror}. "
            "Name it with --images."
        ) from error


def _refuse_link_that_leads_out(entry: "os.DirEntry[str]", root: Path) -> None:
    if not entry.is_symlink():
        return
    target = os.path.realpath(entry.path)
    if not Path(target).is_relative_to(os.path.realpath(root)):
        raise ImageFolderError(
            f"{entry.path}: the link leads out of the image folder, to {target}. "
            "Accept such links with --follow-links."
        )
