"""Objects at URLs, as fsspec reads them: find, read, download, list."""

import hashlib
import importlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from shared.errors import ImageFolderError, MissingExtraError, SettingsError, StorageError
from shared.locations import Url, without_secrets

MOST_READS = 64  # at once, of a process, from one store
_WEB = ("http", "https")
_GONE = (404, 410)
_VERSIONS = (
    "ETag", "etag", "e_tag", "md5Hash", "generation", "content_md5", "Content-MD5", "LastModified",
    "last_modified", "Last-Modified", "updated", "mtime", "modified",
)  # fmt: skip
_LISTS_AT_ONCE = 16


@dataclass(frozen=True)
class Found:
    """An object that is there.

    Attributes:
        size: bytes; None where the store does not say.
        version: what changes when the object does; "" where the store does not say.
    """

    url: Url
    is_file: bool
    size: int | None
    version: str

    @property
    def key(self) -> str:
        """Hexadecimal name of this version of this object."""
        return hashlib.sha256(f"{self.url.text}\0{self.version}\0{self.size}".encode()).hexdigest()


def find_object(url: Url) -> Found | None:
    """Ask the store for an object; None where there is none.

    Raises:
        StorageError: the store cannot be reached, does not allow it, or the folder is not there either.
        MissingExtraError: what reads such URLs is not installed.
    """
    with _reaching(url):
        system, path = _open(url)
        try:
            info = system.info(path)
        except FileNotFoundError as error:
            _check_folder(url, system, error)
            return None
        version = " ".join(f"{name}={info[name]}" for name in _VERSIONS if info.get(name))
        return Found(url, info.get("type", "file") == "file", info.get("size"), version)


def read_object(found: Found, most_bytes: int) -> bytes:
    """Read an object of at most so many bytes.

    Returns:
        One byte more than `most_bytes`, at least, where it has turned out larger.

    Raises:
        StorageError: reading failed, or the object changed meanwhile.
    """
    if found.size is not None and found.size > most_bytes:
        raise StorageError(f"{found.url}: {found.size:,} bytes, more than the {most_bytes:,} it may have.")
    with _reaching(found.url):
        system, path = _open(found.url)
        if found.size is None or found.url.protocol in _WEB:
            return _read_stream(system, path, found, most_bytes)
        data: bytes = system.cat_file(path)
    if len(data) != found.size:
        raise StorageError(f"{found.url}: {len(data):,} bytes came of {found.size:,}: it changed meanwhile.")
    return data


def download_object(found: Found, path: Path) -> None:
    """Write an object into a file of this machine.

    Raises:
        StorageError: reading or writing failed.
    """
    with _reaching(found.url):
        system, object_path = _open(found.url)
        system.get_file(object_path, str(path))
    if found.size is not None and path.stat().st_size != found.size:
        raise StorageError(
            f"{found.url}: {path.stat().st_size:,} bytes came of {found.size:,}: it changed meanwhile."
        )


def list_files(folder: Url) -> Iterator[tuple[str, str, str]]:
    """Yield name, folder below and URL of each file in a folder and in the folders in it.

    What the store lists and does not lie there is left out.

    Raises:
        ImageFolderError: there is no such folder, or the server lists nothing.
        StorageError: the store cannot be reached, or does not allow it.
    """
    listed = [one for one in _list(folder) if not one[0].startswith(".")]
    if not listed:
        raise ImageFolderError(_why_empty(folder))
    yield from ((name, "", f"{folder.text}/{raw}") for name, raw, is_file in listed if is_file)
    inside = [name for name, _, is_file in listed if not is_file]
    folders = [folder / raw for _, raw, is_file in listed if not is_file]
    with ThreadPoolExecutor(_LISTS_AT_ONCE) as threads:
        for above, below, entries in zip(inside, folders, threads.map(_list, folders), strict=True):
            yield from ((name, above, f"{below.text}/{raw}") for name, raw, is_file in entries if is_file)


def _list(folder: Url) -> list[tuple[str, str, bool]]:
    """Return name, name as it stands in the URL, and whether it is a file, of each entry of a folder."""
    with _reaching(folder):
        system, path = _open(folder)
        web = folder.protocol in _WEB
        try:
            entries = system.ls(f"{path}/" if web else path, detail=True)
        except FileNotFoundError as error:
            if not _is_gone(folder, error):
                raise
            return []
    above = f"{path if web else system._strip_protocol(path)}/"
    found = []
    for entry in entries:
        raw = entry["name"].removeprefix(above).rstrip("/")
        name = unquote(raw) if web else raw
        if entry["name"].startswith(above) and _is_plain(name) and not (web and set("?#") & set(raw)):
            found.append((name, raw, entry["type"] == "file"))
    return found


def _is_plain(name: str) -> bool:
    """Tell whether a name is one of an entry: it leads nowhere else."""
    return (
        name not in ("", ".", "..") and not set("/\\") & set(name) and "::" not in name and name.isprintable()
    )


def _why_empty(folder: Url) -> str:
    if folder.protocol in _WEB:
        return (
            f"{folder}: the server lists no files there, and without a list there are no images. Name a "
            "server that shows its folders (nginx with autoindex, `python -m http.server`), the store's own "
            "URL (s3://, gs://, …), or a folder that the images were downloaded into."
        )
    return f"{folder}: no such image folder, or nothing is in it. Name it with --images."


def _read_stream(system: Any, path: str, found: Found, most_bytes: int) -> bytes:
    """Read no more than is allowed, whatever the server sends."""
    options: dict[str, Any] = {}
    if found.url.protocol in _WEB:
        headers = {**system.kwargs.get("headers", {}), "Accept-Encoding": "identity"}
        options = {"block_size": 0, "size": found.size or 1, "headers": headers}
    with system.open(path, "rb", **options) as file:
        parts, left = [], most_bytes + 1
        while left > 0 and (part := file.read(left)):
            parts.append(part)
            left -= len(part)
    return b"".join(parts)


def _open(url: Url) -> tuple[Any, str]:
    """Return the file system of a URL, of this process, and the object's path in it."""
    fsspec = _fsspec(url)
    try:
        kind = fsspec.get_filesystem_class(url.protocol)
    except ValueError as error:
        raise SettingsError(f"{url}: no fsspec file system is known for {url.protocol}://.") from error
    except ImportError as error:
        raise MissingExtraError(
            f"{url}: what reads such URLs is not installed: {str(error).rstrip('. ')}. "
            "`pip install 'camshard[remote]'` brings what reads s3://, gs:// and https://."
        ) from error
    options = kind._get_kwargs_from_urls(url.text)
    if getattr(kind, "async_impl", False):
        options["use_listings_cache"] = False  # it would hide what has changed
    if url.query:
        options["encoded"] = True  # it is signed as it stands
    if url.protocol in ("s3", "s3a"):
        given = fsspec.config.apply_config(kind, {}).get("config_kwargs", {})
        options["config_kwargs"] = {"max_pool_connections": MOST_READS} | given
    return fsspec.filesystem(url.protocol, **options), _path_of(url, kind)


def _path_of(url: Url, kind: Any) -> str:
    return url.text if url.protocol in _WEB else str(kind._strip_protocol(url.text))


def _fsspec(url: Url) -> Any:
    try:
        return importlib.import_module("fsspec")
    except ImportError as error:
        raise MissingExtraError(
            f"{url}: reading it needs fsspec: `pip install 'camshard[remote]'`."
        ) from error


@contextmanager
def _reaching(url: Url) -> Iterator[None]:
    try:
        yield
    except (MissingExtraError, SettingsError, StorageError):
        raise
    except PermissionError as error:
        raise StorageError(
            f"{url}: access denied: {_reason(error)}. Some stores say so of objects that are not there, too. "
            "docs/remote.md says where fsspec finds keys and profiles."
        ) from None
    except Exception as error:  # every store has errors of its own, and secrets may be in their texts
        raise StorageError(f"{url}: reading failed: {_reason(error)}.") from None


def _reason(error: BaseException) -> str:
    cause = error.__cause__ if isinstance(error, FileNotFoundError) else None
    error = cause or error
    text = " ".join(without_secrets(error).split()).rstrip(".")
    if isinstance(error, PermissionError):
        return text[:300]
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


def _check_folder(url: Url, system: Any, error: FileNotFoundError) -> None:
    """Tell a missing object from a store that does not answer, and from a folder that is not there."""
    if not _is_gone(url, error):
        raise error
    bucket = replace(url, path=url.path.partition("/")[0])  # a folder in it ends with its last object
    if url.protocol not in _WEB and not system.exists(_path_of(bucket, type(system))):
        raise StorageError(
            f"{bucket}: the bucket is not there (any more). Where it lies elsewhere, give the worker "
            "--map OLD=NEW."
        )


def _is_gone(url: Url, error: FileNotFoundError) -> bool:
    """Tell whether there is no such object; of web addresses fsspec says so whatever has happened."""
    if url.protocol not in _WEB or error.__cause__ is None:
        return True
    return getattr(error.__cause__, "status", None) in _GONE
