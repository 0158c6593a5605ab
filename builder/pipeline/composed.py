"""Publications that stand as they are, because all they are composed of is what it was (ADR 0039).

To find a publication of thousands of packages equal to the one that is current, all of it has to be composed. So when
that was found, a digest of everything that it was composed from is kept in the work folder; while that is the same and
the same generation is current, it is not composed again. What goes into the digest is taken whole rather than by what
is used of it: a change that would make no difference costs a composition and nothing else.
"""

from __future__ import annotations

import hashlib
import pickle
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version

from builder.model.matrix import Distribution
from builder.model.planning import StreamPlan, UnitOutcome
from builder.model.publication import Publication
from builder.pipeline.integrity import declared_keys, terms_of
from builder.pipeline.orders import identity
from builder.pipeline.workshop import Workshop, known
from builder.publish import let_stand
from builder.sign import Signer

_KIND = "composed"  # rows by place: digest of what went in, digest of the publication, its packages
_LIBRARIES = ("jinja2", "cyclonedx-python-lib")  # that write what a publication holds
_FINE = ("built", "reused")  # of a unit that is ok: how it came to be there says nothing of it


def ingredients(
    shop: Workshop,
    signer: Signer,
    distribution: Distribution,
    arch: str,
    streams: Sequence[StreamPlan],
    outcomes: Mapping[str, UnitOutcome],
) -> str | None:
    """A digest of all that the publication of a distribution × arch is composed of; ``outcomes`` are its own.

    None where something of it is looked up while composing, because this run does not know it. A clock is no
    ingredient: only a manifest follows from one, which is no part of a publication's content.
    """
    for plan in streams:
        if not all(known(shop.facts.sources.get((driver.version, arch))) for driver in plan.drivers):
            return None
    planned = {unit.id for unit in shop.configuration.units}  # which follow from the files; gates do not
    configuration, signing = shop.configuration, shop.signing
    whole = (
        (identity(), sys.version, *(version(name) for name in _LIBRARIES)),
        (configuration.matrix, configuration.lock, configuration.retired, distribution.name, arch),
        (shop.settings.repo_path, shop.settings.published_at, shop.settings.base_url),
        shop.facts,
        (signer.fingerprint, signing.identity, signing.certificate),
        streams,
        [outcome.unit for unit_id, outcome in outcomes.items() if unit_id not in planned],
    )
    digest = hashlib.sha256(pickle.dumps(whole))
    for row in _rows(outcomes.values()):
        digest.update(repr(row).encode())
    return digest.hexdigest()


def _rows(outcomes: Iterable[UnitOutcome]) -> Iterator[tuple[object, ...]]:
    """What a publication says of each unit: its result by key and bytes, how far it was tried, why it is not there."""
    for outcome in outcomes:
        result, verdict = outcome.result, outcome.verdict
        fine = outcome.ok and outcome.reason in _FINE
        yield (
            outcome.unit.id,
            None if fine else (outcome.reason, outcome.code),
            None if verdict is None else (verdict.level, verdict.ok),
            None
            if result is None
            else (
                result.key,
                result.serial,
                result.source_date_epoch,
                result.signer,
                [(str(artifact.nevra), artifact.sha256) for artifact in result.artifacts],
            ),
        )


def standing(
    shop: Workshop, signer: Signer, distribution: Distribution, arch: str, digest: str | None, epoch: int
) -> Publication | None:
    """The current publication, where composing it of these ingredients was found to give the same; its manifest is
    renewed where it has to be, signed as of ``epoch``. Raises what ``let_stand`` raises.
    """
    subject = f"{distribution.name}/{arch}"
    row = shop.store.derived.get(_KIND, [subject]).get(subject, b"").decode().split()
    if digest is None or row[:1] != [digest]:
        return None
    matrix = shop.configuration.matrix
    return let_stand(
        shop.settings.repo_path,
        row[1],
        int(row[2]),
        module=matrix.module,
        distribution=distribution.name,
        arch=arch,
        delivery=distribution.delivery,
        public_key=signer.public_key(),
        sign=lambda path: signer.sign_detached(path, epoch=epoch),
        terms=terms_of(shop.settings, matrix.integrity),
        base_url=shop.settings.published_at,
        other_keys=declared_keys(matrix.integrity),
    )


def remember(shop: Workshop, publication: Publication, digest: str | None) -> None:
    """Keep that these ingredients gave what was current already; of another publication nothing is known yet."""
    if digest is not None and not publication.changed:
        subject = f"{publication.distribution}/{publication.arch}"
        row = f"{digest} {publication.digest} {publication.packages}"
        shop.store.derived.put(_KIND, {subject: row.encode()})
