"""Send what is published to where clients are: ``repobuild push``, and ``--push`` of the verbs that publish."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from builder.errors import TargetError
from builder.publish import Generation, Pushed, Repository, RsyncTarget, S3Target, read_generation
from builder.store import Bucket
from builder.tools.rsync import host_of

KEEP_DAYS = 7.0
_DAY = 86400.0  # seconds
_SECRETIVE = "credentials are taken from the environment, ssh's configuration or an agent, never from an address"
_FORMS = "a folder, user@host:/folder, rsync://host/module/folder or s3://bucket/prefix"


class Target(Protocol):
    """Somewhere that clients read from."""

    def push(self, repository: Repository, generation: Generation, *, now: float, keep: float) -> Pushed:
        """Make a generation the current one there.

        ``now``: seconds since the epoch; former generations are removed once they are so for ``keep`` seconds. Raises
        TargetError; clients see the former publication or the new one.
        """


def open_target(url: str, *, ssh_config: Path | None = None, step: Callable[[str], object] = lambda _: None) -> Target:
    """The target of an address; raises TargetError for one that is none, or that holds a password."""
    parts = urlsplit(url)
    if (parts.scheme and parts.password) or (parts.scheme in ("s3", "file") and ("@" in parts.netloc or parts.query)):
        raise TargetError(f"{parts.scheme}://…: an address with credentials in it", hint=_SECRETIVE)
    if parts.scheme == "s3" and parts.netloc:
        return S3Target(url, Bucket(f"{parts.netloc}{parts.path}".rstrip("/")), step=step)
    if parts.scheme == "rsync" and parts.netloc and parts.path.strip("/"):
        return RsyncTarget(url, url, step=step)
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
        return RsyncTarget(url, unquote(parts.path), step=step)
    if host_of(url) is not None:
        return RsyncTarget(url, url, ssh_config=ssh_config, step=step)
    if "://" not in url and ":" not in url and not url.startswith("-"):
        return RsyncTarget(url, str(Path(url).absolute()), step=step)
    raise TargetError(f"{url}: no target", hint=_FORMS)


def push_all(
    repo: Path,
    urls: Sequence[str],
    *,
    distributions: Sequence[str] = (),
    keep_days: float = KEEP_DAYS,
    ssh_config: Path | None = None,
    step: Callable[[str], object] = lambda _: None,
) -> tuple[Pushed, ...]:
    """Send the current publication of each distribution × arch to each target, in the order given.

    ``distributions`` narrows it. Nothing is published here meanwhile. Raises TargetError, at the first target that
    fails; what was sent before stays.
    """
    targets = [open_target(url, ssh_config=ssh_config, step=step) for url in urls]
    repository = Repository(repo)
    digests = sorted(repository.linked()) if repository.generations.is_dir() else []
    generations = sorted(map(read_generation, map(repository.place, digests)), key=lambda g: (g.distribution, g.arch))
    chosen = [g for g in generations if not distributions or g.distribution in distributions]
    unknown = sorted(set(distributions) - {g.distribution for g in chosen})
    if unknown or not chosen:
        what = f"nothing of {', '.join(unknown)} is published" if unknown else "nothing is published"
        raise TargetError(f"{repo}: {what} here", hint="repobuild publish")
    with repository.writing():
        return tuple(
            target.push(repository, generation, now=time.time(), keep=keep_days * _DAY)
            for target in targets
            for generation in chosen
        )
