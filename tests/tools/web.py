"""A folder over http, for clients of all kinds; what it answers can be changed while it is asked."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path


@contextmanager
def served(folder: Path, before: Callable[[str], object] = lambda _path: None) -> Iterator[str]:
    """The address of a folder; ``before`` is told of each request, before it is answered."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            before(self.path)
            super().do_GET()

        def log_message(self, *args: object) -> None:
            """Nothing on the console."""

    handler = partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
