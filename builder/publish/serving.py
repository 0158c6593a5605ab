"""A read-only HTTP server over a repository's folder: for tests, small sites and machines without a web server.

A request is answered from one generation. A client that began before a switch ends with what it began with: the
signature of repomd.xml comes from the generation whose repomd.xml the same client got, and packages and metadata that
the current generation has no more come from those that are kept. Only regular files below the folder are ever read.
"""

from __future__ import annotations

import mimetypes
import os
import re
from collections import OrderedDict
from collections.abc import Callable
from contextlib import ExitStack
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from builder.errors import PublishError
from builder.publish.generations import Repository, read_generation
from builder.publish.order import Role, cache_control, is_immutable, role_of

_REMEMBERED = 4096  # clients whose last repomd.xml is known
_IDLE = 60.0  # seconds after which a connection without a request is closed
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_Pins = OrderedDict[tuple[str, str], str]  # (client, address of its repomd.xml) → digest


class Publisher:
    """Which file answers a request."""

    def __init__(self, root: Path) -> None:
        self._repository = Repository(root)
        self._top = self._repository.root.resolve()
        self._places: dict[str, tuple[str, str]] = {}  # digest → distribution, arch
        self._pins: _Pins = OrderedDict()
        self._lock = Lock()

    def open(self, address: str, *clients: str) -> BinaryIO | None:
        """The open file of an address (no leading slash), None where there is none.

        ``clients`` are names of who asks, the most certain one first: a connection, a host.
        """
        parts = address.split("/")
        if not all(parts) or any(part.startswith(".") for part in parts) or "\0" in address:
            return None
        if len(parts) > 2 and self._is_ours(self._repository.current_link(*parts[:2])):
            return self._open_published(parts[0], parts[1], "/".join(parts[2:]), clients)
        return self._open(self._top / address)

    def _is_ours(self, link: Path) -> bool:
        return link.is_symlink() and link.readlink().parent.name == self._repository.generations.name

    def _open_published(self, distribution: str, arch: str, name: str, clients: tuple[str, ...]) -> BinaryIO | None:
        digest = self._repository.current(distribution, arch) or ""
        asked = f"{distribution}/{arch}/{name.removesuffix('.asc')}"
        if role_of(name) is Role.REPOMD:
            self._remember(asked, digest, clients)
        elif role_of(name) is Role.SIGNATURE:
            digest = self._remembered(asked, clients) or digest
        found = self._open(self._repository.place(digest) / name)
        if found is None and is_immutable(name):
            for other in self._repository.folders():
                if other.name != digest and self._place(other) == (distribution, arch):
                    found = self._open(other / name)
                    if found is not None:
                        break
        return found

    def _open(self, path: Path) -> BinaryIO | None:
        """A regular file below the folder, wherever links lead."""
        try:
            real = path.resolve(strict=True)
            if not real.is_relative_to(self._top) or not real.is_file():
                return None
            return real.open("rb")
        except (OSError, RuntimeError):  # the latter: a loop of links
            return None

    def _place(self, folder: Path) -> tuple[str, str] | None:
        """Of whom a generation is; its record never changes, so it is read once."""
        if folder.name not in self._places:
            try:
                generation = read_generation(folder)
            except PublishError:
                return None
            self._places[folder.name] = (generation.distribution, generation.arch)
        return self._places[folder.name]

    def _remember(self, asked: str, digest: str, clients: tuple[str, ...]) -> None:
        with self._lock:
            for client in clients:
                self._pins[client, asked] = digest
                self._pins.move_to_end((client, asked))
            while len(self._pins) > _REMEMBERED:
                self._pins.popitem(last=False)

    def _remembered(self, asked: str, clients: tuple[str, ...]) -> str | None:
        with self._lock:
            return next((self._pins[client, asked] for client in clients if (client, asked) in self._pins), None)


class PublicationServer(ThreadingHTTPServer):
    """Listens at once; ``serve_forever`` answers. ``log`` gets a line a request."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, root: Path, host: str, port: int, log: Callable[[str], object] = lambda _: None) -> None:
        self.publisher = Publisher(root)
        self.log = log
        super().__init__((host, port), _Handler)

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self.server_address[:2]
        name = host.decode() if isinstance(host, bytes) else host
        return f"http://{f'[{name}]' if ':' in name else name}:{port}"


class _Handler(BaseHTTPRequestHandler):
    """GET and HEAD; one instance a connection."""

    protocol_version = "HTTP/1.1"
    server_version = "repobuild"
    sys_version = ""
    timeout = _IDLE
    server: PublicationServer

    def do_GET(self) -> None:
        """A file, or a part of it."""
        self._answer(body=True)

    def do_HEAD(self) -> None:
        """What GET would say of it."""
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        address = unquote(urlsplit(self.path).path).removeprefix("/")
        host, port = self.client_address[:2]
        agent = self.headers.get("User-Agent", "")
        with ExitStack() as stack:
            file = self.server.publisher.open(address, f"{host}:{port}", f"{host} {agent}")
            if file is None:
                self._refuse(HTTPStatus.NOT_FOUND)
                return
            stack.enter_context(file)
            status = os.fstat(file.fileno())
            tag = f'"{status.st_mtime_ns:x}-{status.st_size:x}"'
            if tag in self.headers.get("If-None-Match", ""):
                self.send_response(HTTPStatus.NOT_MODIFIED)
                self._say(address, tag, status.st_mtime)
                self.end_headers()
                return
            part = self._part(status.st_size, tag)
            if part is None:
                self._refuse(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, f"bytes */{status.st_size}")
                return
            start, end, partial = part
            self.send_response(HTTPStatus.PARTIAL_CONTENT if partial else HTTPStatus.OK)
            self._say(address, tag, status.st_mtime)
            self.send_header("Content-Length", str(end - start))
            if partial:
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{status.st_size}")
            self.end_headers()
            if body and end > start:
                self.wfile.flush()
                self.connection.sendfile(file, start, end - start)

    def _part(self, size: int, tag: str) -> tuple[int, int, bool] | None:
        """(first byte, byte after the last, is it a part) of what is asked for; None: beyond the end of the file.

        Several ranges, other units and a range of a file that changed since (If-Range) get the whole (RFC 9110 §14).
        """
        match = _RANGE.fullmatch(self.headers.get("Range", "").replace(" ", ""))
        if match is None or not any(match.groups()) or self.headers.get("If-Range", tag) != tag:
            return 0, size, False
        first, last = match.groups()
        if not first:
            return (max(0, size - int(last)), size, True) if int(last) and size else None
        start, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < int(first):
            return 0, size, False
        return (start, end, True) if start < size else None

    def _say(self, address: str, tag: str, modified: float) -> None:
        kind = "application/x-rpm" if address.endswith(".rpm") else mimetypes.guess_type(address)[0]
        kind = "application/gzip" if address.endswith(".gz") else kind
        self.send_header("Content-Type", kind or "application/octet-stream")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Cache-Control", cache_control(address))
        self.send_header("ETag", tag)
        self.send_header("Last-Modified", formatdate(modified, usegmt=True))
        self.send_header("X-Content-Type-Options", "nosniff")

    def _refuse(self, status: HTTPStatus, content_range: str | None = None) -> None:
        self.send_response(status)
        if content_range is not None:
            self.send_header("Content-Range", content_range)
        self.send_header("Content-Length", "0")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name that the library gave it
        """One line a request, without what could move a terminal's cursor."""
        text = "".join(c if c.isprintable() else "?" for c in format % args)
        self.server.log(f"{self.client_address[0]} {text}")
