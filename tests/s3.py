"""An S3 server on this machine (moto's) for tests of shared stores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import s3fs
from moto.server import ThreadedMotoServer

SECRET = "of-nobody-and-nothing"


@dataclass
class S3Server:
    """A server; what it holds belongs to the process and outlives a stop."""

    port: int
    _server: ThreadedMotoServer

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

    def stop(self) -> None:
        self._server.stop()

    def start(self) -> None:
        """After a stop: at the same port."""
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=self.port, verbose=False)
        self._server.start()


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """A running server at a port of its own."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    running = S3Server(port=server.get_host_and_port()[1], _server=server)
    try:
        yield running
    finally:
        running.stop()


def make_bucket(name: str) -> None:
    """In the server of the environment; the next client reads the environment again, too."""
    s3fs.S3FileSystem.clear_instance_cache()
    if not s3fs.S3FileSystem().exists(name):
        s3fs.S3FileSystem().mkdir(name)
