"""Serve the publications of a folder over HTTP."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from builder.errors import TargetError
from builder.publish.serving import PublicationServer


class _Server6(PublicationServer):
    """For addresses of IPv6; ``::`` takes IPv4, too, where the system says so."""

    address_family = socket.AF_INET6


def open_server(repo: Path, host: str, port: int, log: Callable[[str], object]) -> PublicationServer:
    """A server that listens already; raises TargetError where it cannot, or where there is nothing to serve."""
    if not repo.is_dir():
        raise TargetError(f"{repo}: there is no such folder", hint="repobuild publish makes one; --repo says where")
    try:
        return (_Server6 if ":" in host else PublicationServer)(repo, host, port, log)
    except OSError as exc:
        raise TargetError(f"{host}:{port}: cannot listen there: {exc.strerror or exc}", hint="--port") from exc
