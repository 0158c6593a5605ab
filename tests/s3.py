"""An S3 server on this machine (moto's) for tests of shared stores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Lock, Thread
from typing import Any

import s3fs
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

SECRET = "of-nobody-and-nothing"


class _OneAtATime:
    """moto's application with one request at a time.

    moto looks whether an object is there and then writes it, in two steps; S3 promises that a conditional write is one.
    """

    def __init__(self) -> None:
        self._application: Any = DomainDispatcherApplication(create_backend_app)
        self._lock = Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        with self._lock:
            return list(self._application(environ, start_response))


class S3Server:
    """A running server; what it holds belongs to the process and outlives a stop."""

    def __init__(self) -> None:
        self.port = 0  # any that is free, and the same one later
        self.start()

    @property
    def environment(self) -> dict[str, str]:
        """Where it is and which keys it takes, as S3's tools read them."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "nobody",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def start(self) -> None:
        self._server = make_server(
            "127.0.0.1", self.port, _OneAtATime(), threaded=True, request_handler=MotoRequestHandler
        )
        self.port = self._server.server_port
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """A running server at a port of its own."""
    server = S3Server()
    try:
        yield server
    finally:
        server.stop()


def make_bucket(name: str) -> None:
    """In the server of the environment; the next client reads the environment again, too."""
    s3fs.S3FileSystem.clear_instance_cache()
    if not s3fs.S3FileSystem().exists(name):
        s3fs.S3FileSystem().mkdir(name)
