"""Find the file of every image id in the image folders."""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from shared.errors import ImageFolderError

SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class ImageOptions:
    """Where images are looked for; the fields are those of `Settings`."""

    dirs: tuple[Path, ...]
    pattern: str | None
    follow_links: bool


def find_images(image_ids: list[str], options: ImageOptions) -> list[str | None]:
    """Return the absolute path of each id's file, None where there is none.

    An id is a file's name with or without extension, or `folder/name` one level down.

    Raises:
        ImageFolderError: no such folder, an id found twice, a link that leads out of the folders,
            or no image at all.
    """
    wanted = set(image_ids)
    found: dict[str, str] = {}
    for path, names in _candidates(options):
        for name in names:
            if name not in wanted:
                continue
            if name in found and found[name] != path:
                raise ImageFolderError(
                    f"image {name!r} is there twice: {found[name]} and {path}. "
                    "Name fewer folders with --images, or the right file with --pattern."
                )
            found[name] = path
    if not found:
        folders = ", ".join(map(str, options.dirs))
        raise ImageFolderError(
            f"none of the {len(image_ids)} images, first {image_ids[0]!r}, is in {folders} (searched one "
            f"level deep for {options.pattern or ' '.join(SUFFIXES)}). Name the folder with --images, "
            "the file names with --pattern, the column of ids with --id-column."
        )
    return [found.get(image_id) for image_id in image_ids]


def _candidates(options: ImageOptions) -> Iterator[tuple[str, set[str]]]:
    """Yield each image file's path with the ids that it could be the image of."""
    matches = _matcher(options.pattern)
    for folder in options.dirs:
        root = folder.absolute()
        for entry, inside in _files(root, options.follow_links):
            ids = matches(entry.name)
            if not ids:
                continue
            if not options.follow_links:
                _refuse_link_that_leads_out(entry, root)
            yield entry.path, ids | {f"{inside}/{one}" for one in ids if inside}


def _matcher(pattern: str | None) -> Callable[[str], set[str]]:
    if pattern is None:

        def by_suffix(name: str) -> set[str]:
            stem, suffix = os.path.splitext(name)
            return {name, stem} if suffix.lower() in SUFFIXES else set()

        return by_suffix
    if pattern.count("{image_id}") != 1 or "/" in pattern:
        raise ImageFolderError(
            f"--pattern {pattern!r}: a file name with one {{image_id}} in it is wanted, {{image_id}}.tif."
        )
    before, after = map(re.escape, pattern.split("{image_id}"))
    compiled = re.compile(f"{before}(.+){after}")

    def by_pattern(name: str) -> set[str]:
        match = compiled.fullmatch(name)
        return {match[1]} if match else set()

    return by_pattern


def _files(root: Path, follow_links: bool) -> Iterator[tuple["os.DirEntry[str]", str]]:
    """Yield the files of a folder and of its folders, each with the name of the folder it is in."""
    try:
        with os.scandir(root) as entries:
            listed = [entry for entry in entries if not entry.name.startswith(".")]
        for entry in listed:
            if not entry.is_dir():
                yield entry, ""
                continue
            if not follow_links:
                _refuse_link_that_leads_out(entry, root)
            with os.scandir(entry.path) as below:
                yield from ((one, entry.name) for one in below if not one.is_dir())
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
