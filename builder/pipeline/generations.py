"""Compare the generations of a publication, and make an earlier one current again."""

from __future__ import annotations

import json
from contextlib import suppress
from functools import partial

from builder.config import load_matrix
from builder.errors import PublishError, RepobuildError
from builder.model.publication import Publication
from builder.pipeline.integrity import open_signer, sign_site, terms_of
from builder.pipeline.notify import read_events, record_events
from builder.pipeline.settings import Settings
from builder.pipeline.site import write_site
from builder.publish import (
    Generation,
    Repository,
    current_generation,
    find_generation,
    is_due,
    issue,
    rollback,
)
from builder.report import Difference, Published, difference
from builder.store import Store


def rollback_to(settings: Settings, distribution: str, arch: str, digest: str | None) -> Publication:
    """Move the symlink of a distribution × arch; the lock keeps a running build from publishing meanwhile.

    With a key (``gnupghome``) the generation gets a new number, because a rollback is a publication like any other
    (ADR 0026); without, it keeps its former one.
    """
    renew = None
    sign_top = None
    if settings.gnupghome is not None:
        integrity = load_matrix(settings.config, settings.streams).integrity
        signer, terms = open_signer(settings, integrity), terms_of(settings, integrity)

        def renew(repository: Repository, chosen: str) -> bool:
            if not is_due(repository, distribution, arch, chosen, signer.fingerprint, terms):
                return False
            sign = partial(signer.sign_detached, epoch=0)
            issue(repository, distribution, arch, chosen, key=signer.fingerprint, sign=sign, terms=terms)
            return True

        sign_top = partial(sign_site, settings, signer, integrity)

    with Store.open(settings.work):
        publication = rollback(settings.repo_path, distribution, arch, digest, renew=renew)
        try:
            write_site(settings)
        except RepobuildError as exc:
            raise PublishError(
                f"{distribution}/{arch} is {publication.digest} now, but the repository's support matrix still shows "
                f"what was current before: {exc.message}",
                hint="the next publication or rollback writes it again",
            ) from exc
        with suppress(RepobuildError):  # the rollback is done; the next publication makes up for the event
            known = [e["url"] for e in read_events(settings.repo_path) if e.get("url")]
            tail = f"/{distribution}/{arch}"
            address = next((url.removesuffix(tail) for url in known if url.endswith(tail)), settings.published_at)
            record_events(settings.repo_path, [(distribution, arch)], address=address, kind="rollback")
        if sign_top is not None:
            sign_top()
        return publication


def compare(settings: Settings, distribution: str, arch: str, old: str | None, new: str | None) -> Difference:
    """What differs between two generations, named by the beginnings of their digests.

    ``old`` None: the one made before the current one. ``new`` None: the current one. Raises PublishError.
    """
    repo = settings.repo_path
    before = find_generation(repo, distribution, arch, old)
    after = find_generation(repo, distribution, arch, new or current_generation(repo, distribution, arch) or "")
    return difference(_published(before), _published(after))


def _published(generation: Generation) -> Published:
    path = generation.path / "support-matrix.json"
    try:
        support = json.loads(path.read_text())
    except (OSError, ValueError) as exc:
        raise PublishError(f"{path}: cannot be read: {exc}") from exc
    return Published(digest=generation.digest, packages=generation.nevras, support=support)
