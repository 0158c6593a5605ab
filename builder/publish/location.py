"""Read a published repository where it lies: a folder, file:// or http(s)://."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from builder.errors import VerifyError

if TYPE_CHECKING:
    import requests

_TIMEOUT = (20.0, 120.0)  # seconds to connect, to the next byte
_CHUNK = 1 << 20  # bytes


class MissingFileError(Exception):
    """A file that the repository promises cannot be read; the text says why."""


class Location:
    """One repository. Local files are read in place; remote ones are fetched into ``tmp``."""

    def __init__(self, location: str, tmp: Path) -> None:
        parts = urlsplit(location)
        if parts.scheme not in ("", "file", "http", "https"):
            raise VerifyError(f"{location}: not a folder and not a file://, http:// or https:// address")
        self.name = location
        self.folder = Path(unquote(parts.path)) if parts.scheme in ("", "file") else None  # where it is a local one
        self._base = location.rstrip("/")
        self._tmp = tmp
        self._session: requests.Session | None = None  # as soon as a server is asked

    @contextmanager
    def open(self, href: str, *, limit: int | None = None) -> Iterator[Path]:
        """A local path with the bytes of ``href``; a fetched copy is removed afterwards.

        Raises MissingFileError. An href that leaves the repository is refused, and an answer that does not end after
        ``limit`` bytes.
        """
        if href.startswith("/") or ".." in href.split("/"):
            raise MissingFileError("its address leaves the repository")
        if self.folder is not None:
            path = self.folder / href
            if not path.is_file():
                raise MissingFileError("missing")
            yield path
            return
        target = self._tmp / "fetched" / href
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._fetch(href, target, limit)
            yield target
        finally:
            target.unlink(missing_ok=True)

    def holds(self, href: str) -> bool:
        """Is there a file at all? Nothing is fetched."""
        if self.folder is not None:
            return (self.folder / href).is_file()
        import requests  # noqa: PLC0415  most runs ask no server

        try:
            answer = self._server().head(f"{self._base}/{quote(href)}", timeout=_TIMEOUT, allow_redirects=True)
        except requests.RequestException:
            return False
        return bool(answer.status_code == requests.codes.ok)

    def state(self, href: str) -> os.stat_result | None:
        """Of a local file; None for what is not there, not local, or outside."""
        if self.folder is None or href.startswith("/") or ".." in href.split("/"):
            return None
        try:
            return os.stat(f"{self.folder}/{href}")  # noqa: PTH116  ten thousand of them
        except OSError:
            return None

    def _server(self) -> requests.Session:
        import requests  # noqa: PLC0415  most runs ask no server

        if self._session is None:
            self._session = requests.Session()
        return self._session

    def _fetch(self, href: str, target: Path, limit: int | None) -> None:
        import requests  # noqa: PLC0415  most runs ask no server

        got = 0
        try:
            with self._server().get(f"{self._base}/{quote(href)}", stream=True, timeout=_TIMEOUT) as answer:
                if answer.status_code != requests.codes.ok:
                    raise MissingFileError(f"missing (HTTP {answer.status_code})")
                answer.raw.decode_content = False  # a .gz is to be hashed as it lies there
                with target.open("wb") as file:
                    while chunk := answer.raw.read(_CHUNK):
                        got += len(chunk)
                        if limit is not None and got > limit:
                            raise MissingFileError(f"does not end after {limit} bytes")
                        file.write(chunk)
        except (requests.RequestException, OSError) as exc:
            raise MissingFileError(f"cannot be fetched: {exc}") from exc
