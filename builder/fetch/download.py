"""Bring the bytes of a URL into a folder, going on from where an earlier try stopped.

A download resumes only when the server can tell that it still has the same bytes (RFC 9110 §13.1.5 ``If-Range`` with
a strong ETag, else the Last-Modified date); anything else starts again from the first byte.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from builder.errors import FetchError, UnreachableError

if TYPE_CHECKING:
    import requests

Progress = Callable[[int, int], None]  # bytes so far, bytes in all (0: not known)

_CHUNK = 1 << 16  # bytes: what a broken connection loses at most, urllib3 hands out whole chunks only
_TIMEOUT = (15.0, 60.0)  # seconds: connect, silence between two reads
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_DATA = "data.part"
_STATE = "state.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Downloaded:
    """A whole download, still in the folder of partial files."""

    path: Path
    sha256: str
    size: int  # bytes
    resumed: bool  # some of the bytes come from an earlier try


_AGAIN = "run again when the server or the network is back: the download goes on where it stopped"


def download(url: str, folder: Path, *, progress: Progress | None = None) -> Downloaded:
    """Fetch a URL (http, https, file) or an absolute path into ``folder``, which keeps what an interrupted try got.

    Raises UnreachableError for what may pass by itself (connection, timeout, short body, HTTP 408/425/429/5xx), else
    FetchError, both naming the URL and the reason; OSError where the folder cannot be written.
    """
    report = progress or (lambda _got, _size: None)
    scheme = urlsplit(url).scheme
    if url.startswith("/") or scheme == "file":
        return _copy(Path(unquote(urlsplit(url).path)) if scheme else Path(url), url, folder, report)
    if scheme not in ("http", "https"):
        raise FetchError(
            f"{url}: cannot fetch {scheme or 'such'} addresses",
            hint="a source is an http://, https:// or file:// URL, or a path",
        )
    return _fetch(url, folder, report)


def discard(folder: Path) -> None:
    """Forget what an earlier try got."""
    for name in (_DATA, _STATE):
        (folder / name).unlink(missing_ok=True)


def _copy(source: Path, url: str, folder: Path, report: Progress) -> Downloaded:
    discard(folder)
    digest = hashlib.sha256()
    try:
        with source.open("rb") as reader:
            size = source.stat().st_size
            with (folder / _DATA).open("wb") as writer:
                for chunk in iter(lambda: reader.read(_CHUNK), b""):
                    writer.write(chunk)
                    digest.update(chunk)
                    report(writer.tell(), size)
    except (FileNotFoundError, PermissionError, IsADirectoryError) as exc:
        raise FetchError(f"{url}: {exc.strerror}", hint="correct the source's url in matrix.yaml") from exc
    path = folder / _DATA
    return Downloaded(path=path, sha256=digest.hexdigest(), size=path.stat().st_size, resumed=False)


def _fetch(url: str, folder: Path, report: Progress) -> Downloaded:
    """One try: resume if possible, stream to the end, hash."""
    import requests  # noqa: PLC0415  most runs ask no server

    path = folder / _DATA
    have, validator = _resumable(url, folder)
    headers = {"Accept-Encoding": "identity"}
    if have and validator:
        headers |= {"Range": f"bytes={have}-", "If-Range": validator}
    try:
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
            resumed = _continues(response, url, folder, have)
            if not resumed:
                discard(folder)
                have = 0
                _remember(response, url, folder)
            total = _total(response, have)
            digest = hashlib.sha256(usedforsecurity=True)
            for chunk in _chunks(path, have):
                digest.update(chunk)
            got = have
            with path.open("ab") as writer:
                for chunk in response.iter_content(_CHUNK):
                    writer.write(chunk)
                    digest.update(chunk)
                    got += len(chunk)
                    report(got, total)
    except requests.RequestException as exc:
        if isinstance(exc, requests.exceptions.InvalidURL | requests.exceptions.TooManyRedirects):
            raise FetchError(f"{url}: {exc}", hint="correct the source's url in matrix.yaml") from exc
        raise _unreachable(url, _words(exc)) from exc
    if total and got < total:
        raise _unreachable(url, f"the connection ended after {got} of {total} bytes")
    return Downloaded(path=path, sha256=digest.hexdigest(), size=got, resumed=resumed)


def _continues(response: requests.Response, url: str, folder: Path, have: int) -> bool:
    """True when the answer goes on after the bytes at hand, False when it starts afresh; raises for the rest."""
    status = response.status_code
    if status == HTTPStatus.PARTIAL_CONTENT:
        if have and response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            return True
        discard(folder)
        raise _unreachable(url, "the server answered with another range than was asked for")
    if status == HTTPStatus.OK:
        return False
    if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
        discard(folder)  # the file is shorter than what is here: not the same file any more
        raise _unreachable(url, "the file on the server has changed")
    reason = f"HTTP {status} {response.reason}".rstrip()
    if status in _TRANSIENT:
        error = _unreachable(url, reason)
        error.retry_after = _retry_after(response)
        raise error
    hints: dict[int, str] = {
        HTTPStatus.NOT_FOUND: "check driver version and url in matrix.yaml: this file is not on the server",
        HTTPStatus.UNAUTHORIZED: "the server wants a login: fetch the file by hand and give its path as url",
        HTTPStatus.FORBIDDEN: "the server refuses this file: check the url in matrix.yaml",
    }
    raise FetchError(f"{url}: {reason}", hint=hints.get(status, "check the url in matrix.yaml"))


def _unreachable(url: str, reason: str) -> UnreachableError:
    return UnreachableError(f"{url}: {reason}", hint=_AGAIN)


def _resumable(url: str, folder: Path) -> tuple[int, str | None]:
    """Bytes at hand and the validator they came with; (0, None) when they cannot be trusted."""
    try:
        state = json.loads((folder / _STATE).read_text())
        size = (folder / _DATA).stat().st_size
    except (OSError, ValueError):
        return 0, None
    if state.get("url") != url or not state.get("validator"):
        return 0, None
    return size, str(state["validator"])


def _remember(response: requests.Response, url: str, folder: Path) -> None:
    etag = response.headers.get("ETag", "")
    weak = not etag or etag.startswith("W/")  # a weak tag says nothing about bytes (RFC 9110 §8.8.1)
    validator = response.headers.get("Last-Modified") if weak else etag
    (folder / _STATE).write_text(json.dumps({"url": url, "validator": validator}))


def _total(response: requests.Response, have: int) -> int:
    length = response.headers.get("Content-Length", "")
    return have + int(length) if length.isdigit() else 0


def _retry_after(response: requests.Response) -> float | None:
    text = response.headers.get("Retry-After", "")
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def _chunks(path: Path, size: int) -> Iterator[bytes]:
    """The first ``size`` bytes of a file."""
    if not size:
        return
    with path.open("rb") as reader:
        yield from iter(lambda: reader.read(_CHUNK), b"")


def _words(exc: requests.RequestException) -> str:
    import requests  # noqa: PLC0415  most runs ask no server

    if isinstance(exc, requests.Timeout):
        return "the server did not answer in time"
    if isinstance(exc, requests.exceptions.ChunkedEncodingError):
        return "the connection broke in the middle of the file"
    return f"no connection ({exc.__class__.__name__}: {exc})"
