"""Publications that follow one another, and what clients of a target see of them."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from builder.model.publication import Publication, PublicationContent
from builder.publish import Generation, Repository, publish, read_generation, verify_publication
from builder.tools.createrepo import read_repomd
from tests.tools.publishing import EPOCH, TERMS, Shop, content_of, stream, two_streams


@dataclass(frozen=True, kw_only=True)
class Source:
    """A repository on disk with two generations: A has two streams, B the newer of them alone."""

    repository: Repository
    a: Generation
    b: Generation

    def make_current(self, generation: Generation) -> None:
        with self.repository.writing():
            self.repository.switch(generation.distribution, generation.arch, generation.digest)


def put(shop: Shop, content: PublicationContent, repo: Path, *, former: int = 0) -> Publication:
    """Without what publishing itself keeps of ``former`` ones: a target keeps its own."""
    sign = partial(shop.signer.sign_detached, epoch=EPOCH)
    key = shop.signer.public_key()
    return publish(content, repo, public_key=key, sign=sign, epoch=EPOCH, terms=TERMS, former=former)


def two_generations(shop: Shop, repo: Path, *, former: int = 0) -> Source:
    """A is the current one."""
    a = put(shop, two_streams(shop.rpms), repo, former=former)
    new = [artifact for artifact in shop.rpms.values() if artifact.nevra.evr.version.startswith("550")]
    newest = content_of([(stream("latest", default=True), ["550.163.01"], new)], files=(("page.html", b"B\n"),))
    b = put(shop, newest, repo, former=former)
    source = Source(repository=Repository(repo), a=read_generation(a.path), b=read_generation(b.path))
    source.make_current(source.a)
    return source


def copy_of(source: Source, repo: Path) -> Source:
    """The same in another folder, packages linked."""
    shutil.copytree(source.repository.root, repo, symlinks=True, copy_function=os.link)
    repository = Repository(repo)
    a, b = (read_generation(repository.place(g.digest)) for g in (source.a, source.b))
    return Source(repository=repository, a=a, b=b)


def generation_seen(read: Callable[[str], bytes], source: Source) -> Generation | None:
    """Which generation a client of these files sees, None when it would refuse; fails unless that one is there whole.

    A client refuses a repomd.xml under another signature. Whatever it takes must be named and there, byte for byte.
    """
    repomd, signature = (read(f"repodata/repomd.xml{end}") for end in ("", ".asc"))
    for generation in (source.a, source.b):
        own = generation.path / "repodata"
        if (own / "repomd.xml").read_bytes() == repomd:
            if (own / "repomd.xml.asc").read_bytes() != signature:
                return None
            check_whole(read, generation)
            return generation
    raise AssertionError("a repomd.xml that was never published")


def check_whole(read: Callable[[str], bytes], generation: Generation) -> None:
    """Everything that a generation's metadata name is there with the right bytes."""
    for record in read_repomd(generation.path / "repodata/repomd.xml"):
        assert hashlib.sha256(read(record.href)).hexdigest() == record.sha256, record.href
    for name, sha256 in generation.files.items():
        assert hashlib.sha256(read(f"Packages/{name[0]}/{name}")).hexdigest() == sha256, name


def seen(location: str, shop: Shop, tmp: Path) -> int:
    """How many packages a client finds, all of it whole and signed; raises VerifyError otherwise."""
    tmp.mkdir(parents=True)
    return verify_publication(location, shop.signer.public_key(), tmp).packages


class Killed(BaseException):
    """Stands for SIGKILL between two steps: nothing of the program catches or tidies it."""


class Steps:
    """Takes what a target says before each change: looks at the target, and raises ``Killed`` before one of them."""

    def __init__(self, stop_before: str | None = None, look: Callable[[], object] = lambda: None) -> None:
        self.said: list[str] = []
        self.seen: list[object] = []  # what ``look`` returned before each step
        self._stop_before = stop_before
        self._look = look

    def __call__(self, text: str) -> None:
        self.seen.append(self._look())
        if text == self._stop_before:
            raise Killed(text)
        self.said.append(text)
