"""A folder over HTTP, by repobuild's own server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Thread

from builder.publish.serving import PublicationServer


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Its address, without a trailing slash."""
    with PublicationServer(folder, "127.0.0.1", 0) as server:
        thread = Thread(target=partial(server.serve_forever, 0.01), daemon=True)
        thread.start()
        yield server.url
        server.shutdown()
        thread.join()
