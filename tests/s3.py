"""An S3 server on this machine (moto's) for tests of shared stores."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Lock, Thread
from typing import Any

import s3fs
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

SECRET = "of-nobody-and-nothing"


Writing = Callable[[str, bool], object]  # told the address, before it is written (False) and after


class _OneAtATime:
    """moto's application with one request at a time.

    moto looks whether an object is there and then writes it, in two steps; S3 promises that a conditional write is one.
    """

    def __init__(self) -> None:
        self._application: Any = DomainDispatcherApplication(create_backend_app)
        self._lock = Lock()
        self.writing: Writing = lambda _name, _done: None

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        writes = environ["REQUEST_METHOD"] not in ("GET", "HEAD")
        with self._lock:
            if writes:
                self.writing(environ["PATH_INFO"], False)
            answer = list(self._application(environ, start_response))
            if writes:
                self.writing(environ["PATH_INFO"], True)
            return answer


class S3Server:
    """A running server; what it holds belongs to the process and outlives a stop."""

    def __init__(self) -> None:
        self.port = 0  # any that is free, and the same one later
        self._application = _OneAtATime()
        self.start()

    def tell(self, writing: Writing) -> None:
        """Who is told of each write from now on; what it raises the client gets as an answer 500."""
        self._application.writing = writing

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
            "127.0.0.1", self.port, self._application, threaded=True, request_handler=MotoRequestHandler
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


def let_anybody_read(bucket: str) -> None:
    """As the bucket behind a web site is: what is below it can be read over HTTP without a key."""
    allowed = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    s3fs.S3FileSystem().call_s3("put_bucket_policy", Bucket=bucket, Policy=policy)
