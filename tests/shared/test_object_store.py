"""Objects of a real S3 server and a real web server."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_server import S3Server, serving_here, told_to_fsspec

from shared.errors import ImageFolderError, MissingExtraError, SettingsError, StorageError
from shared.images import ImageError, read_image
from shared.locations import Url, parse_location
from shared.object_store import find_object, list_files, read_object
from shared.status import Status


def url(text: str) -> Url:
    found = parse_location(text)
    assert isinstance(found, Url)
    return found


@pytest.fixture(scope="module")
def bucket(server: S3Server) -> Path:
    """The folder that is s3://bucket: images/ and images/part/, with a text each."""
    return server.folder / "bucket"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    folder = tmp_path_factory.mktemp("buckets")
    (folder / "bucket" / "images" / "part").mkdir(parents=True)
    for name in ("a.jpg", ".hidden.jpg", "a b#1.jpg", "part/c.jpg", "part/deeper/d.jpg"):
        path = folder / "bucket" / "images" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    with serving_here(folder) as found:
        yield found


class Page(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; /odd: links to other places; /denied: nothing; /endless: zeros; /locked: by key."""

    links = (
        "<a href='../up.jpg'>", "<a href='/elsewhere/x.jpg'>", "<a href='http://other/y.jpg'>",
        "<a href='?C=N'>", "<a href='%2e%2e%2fz.jpg'>", "<a href='in%20side.jpg'>", "<a href='sub/'>",
        "<a href='/odd/full.jpg'>", "<a href='file:///etc/passwd'>", "<a href='a\\b.jpg'>",
    )  # fmt: skip

    def do_GET(self) -> None:
        if self.path.startswith("/odd"):
            body = "".join(self.links).encode() if self.path == "/odd/" else b""
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        elif self.path.startswith("/denied") or not self.is_open():
            self.send_error(403)
        elif self.path.startswith("/endless"):
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(bytes(100_000))
            except OSError:
                pass
        else:
            super().do_GET()

    def do_HEAD(self) -> None:
        if self.path.startswith(("/denied", "/endless")) or not self.is_open():
            self.send_error(403 if self.path.startswith("/denied") else 405)
        else:
            super().do_HEAD()

    def is_open(self) -> bool:
        return not self.path.startswith("/locked") or self.headers["Authorization"] == "Bearer key"

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a web server that shows its folders."""
    folder = tmp_path_factory.mktemp("web")
    for name in ("images", "locked"):
        (folder / name).mkdir()
        (folder / name / "a.jpg").write_text("from the web")

    def page(*arguments: object) -> Page:
        return Page(*arguments, directory=str(folder))  # type: ignore[arg-type]

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), page) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_an_object_is_found_and_read_and_changes_its_key(bucket: Path) -> None:
    found = find_object(url("s3://bucket/images/a b#1.jpg"))
    assert found is not None
    assert (found.is_file, found.size) == (True, 9)
    assert read_object(found, 9) == b"a b#1.jpg"
    (bucket / "images" / "a b#1.jpg").write_text("b a#1.jpg")
    again = find_object(url("s3://bucket/images/a b#1.jpg"))
    assert again is not None and again.key != found.key
    assert read_object(again, 9) == b"b a#1.jpg"


def test_no_more_is_read_than_is_allowed(bucket: Path, web: str) -> None:
    found = find_object(url("s3://bucket/images/a.jpg"))
    assert found is not None
    with pytest.raises(StorageError, match="5 bytes, more than the 4 it may have"):
        read_object(found, 4)
    with pytest.raises(ImageError) as failed:  # of a server that says no size, and does not end
        read_image(url(f"{web}/endless.jpg"), max_pixels=1_000)
    assert failed.value.status == Status.TOO_LARGE


def test_a_missing_object_is_missing_and_a_missing_bucket_is_trouble(bucket: Path, web: str) -> None:
    assert find_object(url("s3://bucket/images/none.jpg")) is None
    assert find_object(url(f"{web}/images/none.jpg")) is None
    assert find_object(url("s3://bucket/gone/none.jpg")) is None  # a folder ends with its last object
    with pytest.raises(StorageError, match="s3://nobucket: the bucket is not there"):
        find_object(url("s3://nobucket/images/none.jpg"))
    with pytest.raises(ImageError) as failed:
        read_image(url("s3://bucket/images/none.jpg"))
    assert failed.value.status == Status.MISSING


def test_a_denied_object_is_trouble(bucket: Path, web: str) -> None:
    with told_to_fsspec(key="camshard", secret="wrong"):
        with pytest.raises(StorageError, match="s3://bucket/images/a.jpg: access denied"):
            read_image(url("s3://bucket/images/a.jpg"))
        with pytest.raises(StorageError, match="access denied"):
            list(list_files(url("s3://bucket/images")))
    with pytest.raises(StorageError, match="403"):
        find_object(url(f"{web}/denied.jpg"))


def test_a_server_that_is_down_is_trouble_and_its_text_has_no_secret(bucket: Path) -> None:
    retry = {"retries": {"max_attempts": 1}}
    with (
        told_to_fsspec(endpoint_url="http://127.0.0.1:9", config_kwargs=retry),
        pytest.raises(StorageError, match="could not connect|Could not connect"),
    ):
        find_object(url("s3://bucket/images/a.jpg"))
    with pytest.raises(StorageError) as failed:
        find_object(url("http://127.0.0.1:9/model.keras?sig=s3cr3t"))
    assert "Cannot connect" in str(failed.value)
    assert "s3cr3t" not in str(failed.value)
    assert failed.value.__suppress_context__, "a traceback would show what the text does not"


def test_a_folder_is_listed_one_level_deep(bucket: Path) -> None:
    assert sorted(list_files(url("s3://bucket/images"))) == [
        ("a b#1.jpg", "", "s3://bucket/images/a b#1.jpg"),
        ("a.jpg", "", "s3://bucket/images/a.jpg"),
        ("c.jpg", "part", "s3://bucket/images/part/c.jpg"),
    ]


def test_an_empty_or_missing_folder_is_said_to_be(bucket: Path) -> None:
    for text in ("s3://bucket/none", "s3://nobucket/images", "s3://bucket/images/a.jpg"):
        with pytest.raises(ImageFolderError, match=f"{text}: no such image folder"):
            list(list_files(url(text)))


def test_a_signed_url_opens_its_object(server: S3Server) -> None:
    import botocore.session
    from botocore.config import Config

    config = Config(signature_version="s3v4")
    client = botocore.session.get_session().create_client("s3", endpoint_url=server.endpoint, config=config)
    signed = url(
        client.generate_presigned_url("get_object", {"Bucket": "bucket", "Key": "images/part/c.jpg"})
    )
    assert signed.query and signed.name == "c.jpg" and signed.query not in str(signed)
    found = find_object(signed)
    assert found is not None and found.size == 10
    assert read_object(found, 100) == b"part/c.jpg"
    with pytest.raises(StorageError, match=r"c.jpg\?…: reading failed: .*403"):
        find_object(url(signed.text[:-4] + "0000"))


def test_a_web_page_of_links_is_a_folder(web: str) -> None:
    assert list(list_files(url(f"{web}/images"))) == [("a.jpg", "", f"{web}/images/a.jpg")]
    found = find_object(url(f"{web}/images/a.jpg"))
    assert found is not None and found.version
    assert read_object(found, 100) == b"from the web"


def test_links_that_lead_elsewhere_are_left_out(web: str) -> None:
    assert sorted(list_files(url(f"{web}/odd"))) == [
        ("full.jpg", "", f"{web}/odd/full.jpg"),
        ("in side.jpg", "", f"{web}/odd/in%20side.jpg"),
    ]


def test_headers_that_fsspec_is_told_open_a_web_server(web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec.config

    with pytest.raises(StorageError, match="403"):
        find_object(url(f"{web}/locked/a.jpg"))
    monkeypatch.setitem(fsspec.config.conf, "http", {"headers": {"Authorization": "Bearer key"}})
    assert list(list_files(url(f"{web}/locked"))) == [("a.jpg", "", f"{web}/locked/a.jpg")]
    found = find_object(url(f"{web}/locked/a.jpg"))
    assert found is not None and read_object(found, 100) == b"from the web"


def test_a_web_server_without_lists_says_what_to_do(web: str) -> None:
    with pytest.raises(ImageFolderError, match="lists no files there.*autoindex.*downloaded"):
        list(list_files(url(f"{web}/nowhere")))


def test_what_is_not_installed_is_named() -> None:
    with pytest.raises(MissingExtraError, match=r"abfs://.*adlfs.*camshard\[remote\]"):
        find_object(url("abfs://container/a.jpg"))
    with pytest.raises(SettingsError, match="no fsspec file system is known for foo://"):
        find_object(url("foo://a/b.jpg"))


def test_without_fsspec_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'camshard\[remote\]'"):
        find_object(url("s3://bucket/a.jpg"))
