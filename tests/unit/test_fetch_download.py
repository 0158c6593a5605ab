"""Downloads: resumed when the server has the same bytes, started again when not, never wrong bytes."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from builder.errors import FetchError, PinMismatchError, PinMissingError, UnreachableError
from builder.fetch import fetch_source, pin_source
from builder.model.matrix import Lock, Pin, Source
from builder.store import Store
from builder.tools.attempts import with_attempts

FIRST = bytes(range(256)) * 4096  # 1 MiB
SECOND = FIRST[::-1]


class Server(ThreadingHTTPServer):
    """One file, and a list of faults that the next requests meet in turn."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = FIRST
        self.etag: str | None = '"one"'
        self.modified: str | None = None
        self.faults: list[str] = []
        self.requests: list[tuple[str | None, int]] = []  # Range asked for, status given

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/NVIDIA-1.run"

    def replace(self, content: bytes, etag: str) -> None:
        self.content, self.etag = content, etag


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def do_GET(self) -> None:
        server = self.server
        fault = server.faults.pop(0) if server.faults else ""
        wanted = self.headers.get("Range")
        if fault.isdigit():
            server.requests.append((wanted, int(fault)))
            self.send_response(int(fault))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        partial = bool(wanted) and (self.headers.get("If-Range") in (server.etag, server.modified) or fault == "lie")
        body = server.content[start:] if partial else server.content
        status = 206 if partial else 200
        server.requests.append((wanted, status))
        self.send_response(status)
        if partial:
            shift = 7 if fault == "other range" else 0
            whole = len(server.content)
            self.send_header("Content-Range", f"bytes {start + shift}-{whole - 1}/{whole}")
        if server.etag:
            self.send_header("ETag", server.etag)
        if server.modified:
            self.send_header("Last-Modified", server.modified)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if fault == "cut" else body)
        self.close_connection = True


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield running
        running.shutdown()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "work") as opened:
        yield opened


@pytest.fixture
def pauses() -> list[float]:
    return []


Get = Callable[[], Path]


@pytest.fixture
def get(server: Server, store: Store, pauses: list[float]) -> Get:
    """Fetch the server's file against a pin of FIRST."""

    def fetch() -> Path:
        action = partial(fetch_source, source(server.url), lock_of(server.url, FIRST), store)
        return with_attempts(action, wait=pauses.append)

    return fetch


def source(url: str) -> Source:
    return Source(kind="run", arch="x86_64", url=url)


def lock_of(url: str, content: bytes) -> Lock:
    return Lock(pins=(Pin(url=url, sha256=hashlib.sha256(content).hexdigest(), size=len(content)),))


def test_a_source_without_pin_is_refused_before_any_request(server: Server, store: Store) -> None:
    with pytest.raises(PinMissingError) as caught:
        fetch_source(source(server.url), Lock(), store)
    assert server.requests == []
    assert "repobuild pin --select" in (caught.value.hint or "")


def test_fetched_bytes_are_kept_and_asked_for_once(server: Server, get: Get) -> None:
    path = get()
    assert path.read_bytes() == FIRST
    assert get() == path
    assert server.requests == [(None, 200)]


def test_a_cut_download_goes_on_where_it_stopped(server: Server, get: Get, pauses: list[float]) -> None:
    server.faults = ["cut"]
    assert get().read_bytes() == FIRST
    assert server.requests == [(None, 200), (f"bytes={len(FIRST) // 2}-", 206)]
    assert pauses == [1.0]


def test_a_later_run_goes_on_where_the_earlier_one_stopped(server: Server, get: Get) -> None:
    server.faults = ["cut", "503", "503", "503", "503"]
    with pytest.raises(FetchError, match=r"HTTP 503 Service Unavailable \(5 tries\)"):
        get()
    server.requests.clear()
    assert get().read_bytes() == FIRST
    assert server.requests == [(f"bytes={len(FIRST) // 2}-", 206)]


def test_a_file_resumed_by_date_where_there_is_no_strong_etag(server: Server, get: Get) -> None:
    server.etag, server.modified = 'W/"weak"', "Wed, 21 Oct 2015 07:28:00 GMT"
    server.faults = ["cut"]
    assert get().read_bytes() == FIRST
    assert server.requests[-1] == (f"bytes={len(FIRST) // 2}-", 206)


def test_without_validator_a_download_starts_again(server: Server, get: Get) -> None:
    server.etag = None
    server.faults = ["cut"]
    assert get().read_bytes() == FIRST
    assert server.requests == [(None, 200), (None, 200)]


def test_a_file_that_changed_meanwhile_is_started_again(server: Server, store: Store) -> None:
    server.faults = ["cut"]
    with pytest.raises(UnreachableError):
        pin_source(source(server.url), store)
    server.replace(SECOND, '"two"')
    pin = pin_source(source(server.url), store)
    assert pin.sha256 == hashlib.sha256(SECOND).hexdigest()
    assert server.requests[-1] == (f"bytes={len(FIRST) // 2}-", 200)


def test_a_server_that_lies_about_its_validator_costs_one_fresh_download(server: Server, store: Store) -> None:
    server.faults = ["cut"]
    lock = lock_of(server.url, SECOND)
    with pytest.raises(UnreachableError):
        fetch_source(source(server.url), lock, store)
    server.replace(SECOND, '"two"')
    server.faults = ["lie"]
    assert fetch_source(source(server.url), lock, store).read_bytes() == SECOND
    assert [status for _range, status in server.requests[-2:]] == [206, 200]


def test_an_answer_with_another_range_is_not_joined(server: Server, get: Get) -> None:
    server.faults = ["cut", "other range"]
    assert get().read_bytes() == FIRST
    assert [status for _range, status in server.requests] == [200, 206, 200]


def test_a_range_beyond_the_end_starts_again(server: Server, get: Get) -> None:
    server.faults = ["cut", "416"]
    assert get().read_bytes() == FIRST
    assert [status for _range, status in server.requests] == [200, 416, 200]


def test_other_bytes_than_the_pinned_are_thrown_away(server: Server, store: Store, get: Get) -> None:
    server.replace(SECOND, '"two"')
    with pytest.raises(PinMismatchError) as caught:
        get()
    sha256 = hashlib.sha256(SECOND).hexdigest()
    assert caught.value.details[1] == f"fetched: sha256 {sha256}, {len(SECOND)} bytes"
    assert not store.source_path(sha256, "NVIDIA-1.run").exists()
    assert list(store.partial_path(server.url).iterdir()) == []


def test_damaged_bytes_in_the_store_are_fetched_again(server: Server, get: Get) -> None:
    path = get()
    path.write_bytes(SECOND)
    assert get().read_bytes() == FIRST
    assert len(server.requests) == 2


def test_a_missing_file_is_no_reason_to_try_again(server: Server, get: Get) -> None:
    server.faults = ["404"]
    with pytest.raises(FetchError, match=r"NVIDIA-1.run: HTTP 404 Not Found$") as caught:
        get()
    assert "driver version and url" in (caught.value.hint or "")
    assert len(server.requests) == 1


def test_a_busy_server_is_tried_again_with_growing_pauses(server: Server, get: Get, pauses: list[float]) -> None:
    server.faults = ["503", "502", "429"]
    assert get().read_bytes() == FIRST
    assert pauses == [1.0, 2.0, 4.0]


def test_no_server_at_all_is_said_with_its_url(server: Server, get: Get, pauses: list[float]) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(FetchError, match=r"no connection .*\(5 tries\)") as caught:
        get()
    assert server.url in caught.value.message
    assert len(pauses) == 4


def test_progress_tells_bytes_so_far_and_in_all(server: Server, store: Store) -> None:
    seen: list[tuple[int, int]] = []
    fetch_source(
        source(server.url), lock_of(server.url, FIRST), store, progress=lambda got, size: seen.append((got, size))
    )
    assert seen[-1] == (len(FIRST), len(FIRST))


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_a_local_file_is_copied_into_the_store(form: str, tmp_path: Path, store: Store) -> None:
    file = tmp_path / "driver.run"
    file.write_bytes(FIRST)
    url = form.format(file)
    pin = pin_source(source(url), store)
    file.unlink()
    assert fetch_source(source(url), Lock(pins=(pin,)), store).read_bytes() == FIRST


def test_a_local_file_that_is_not_there_is_named(tmp_path: Path, store: Store) -> None:
    with pytest.raises(FetchError, match=r"nothing.run: No such file or directory"):
        pin_source(source(str(tmp_path / "nothing.run")), store)


def test_an_empty_file_is_not_pinned(tmp_path: Path, store: Store) -> None:
    (tmp_path / "empty.run").touch()
    with pytest.raises(FetchError, match="the file is empty"):
        pin_source(source(str(tmp_path / "empty.run")), store)


def test_an_unknown_scheme_is_refused(store: Store) -> None:
    with pytest.raises(FetchError, match="cannot fetch ftp addresses"):
        pin_source(source("ftp://127.0.0.1/driver.run"), store)
