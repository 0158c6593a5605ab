"""A current publication of which is known that composing it again would give the same (ADR 0039)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from builder.model.matrix import Delivery
from builder.model.publication import Publication
from builder.publish.client_files import write_client_files
from builder.publish.generations import Repository
from builder.publish.issue import renew
from builder.publish.key_files import key_files
from builder.publish.manifest import Terms
from builder.tools.gpg import fingerprint_of


def let_stand(
    repo: Path,
    digest: str,
    packages: int,
    *,
    module: str,
    distribution: str,
    arch: str,
    delivery: Delivery,
    public_key: bytes,
    sign: Callable[[Path], bytes],
    terms: Terms,
    base_url: str | None = None,
    other_keys: Sequence[bytes] = (),
) -> Publication | None:
    """As ``publish`` of the content that is current already: its client files are written, and its manifest is renewed
    where ``terms`` ask for it.

    None where another generation than ``digest`` is current, or that one is not there. ``packages`` are its binary
    RPMs. Raises what ``publish`` raises of those steps.
    """
    repository = Repository(repo)
    with repository.writing():
        place = repository.place(digest)
        if repository.current(distribution, arch) != digest or not place.is_dir():
            return None
        write_client_files(repository, module, distribution, delivery, key_files(public_key, other_keys), base_url)
        key = fingerprint_of(public_key)
        renewed = renew(repository, distribution, arch, digest, key=key, sign=sign, terms=terms)
        return Publication(
            digest=digest,
            distribution=distribution,
            arch=arch,
            path=place,
            current=repository.current_link(distribution, arch),
            packages=packages,
            changed=False,
            renewed=renewed,
        )
