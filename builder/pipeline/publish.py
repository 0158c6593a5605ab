"""Sign what was built, compose the streams, publish each distribution × arch, and look at it as a client would."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from builder.errors import DiskFullError, InterruptedRunError, PublishError, RepobuildError
from builder.model.cells import Artifact
from builder.model.errata import Advisory
from builder.model.matrix import Distribution
from builder.model.planning import StreamPlan, UnitOutcome
from builder.model.publication import Publication, PublicationContent, StreamContent
from builder.pipeline.gpus import gpus_of
from builder.pipeline.integrity import declared_keys, former_fingerprints, terms_of, trusted_keys
from builder.pipeline.lifetimes import check_lifetimes
from builder.pipeline.units import artifacts_of
from builder.pipeline.workshop import Workshop
from builder.plan.streams import offered_profiles, units_of_stream
from builder.publish import current_generation, prove_transitions, publish, verify_publication, with_errata, with_former
from builder.report import gpus_sentences
from builder.sign import Signer


def sign_artifacts(shop: Workshop, signer: Signer, outcomes: Sequence[UnitOutcome]) -> dict[str, Artifact]:
    """Signed copies of all RPMs of these outcomes, by the unsigned file's sha256; each is signed once, ever.

    All RPMs of one driver carry the date of its sources in their signatures, so that a rerun gives the same bytes.
    What a former key signed stays as it is: a published file name never stands for other bytes.
    """
    former = former_fingerprints(signer, shop.configuration.matrix.integrity)
    signed: dict[str, Artifact] = {}
    waiting: dict[int, dict[str, Artifact]] = {}
    for outcome in outcomes:
        epoch = outcome.result.source_date_epoch if outcome.result else 0
        for artifact in artifacts_of([outcome]):
            found = _find_signed(shop, (*former, signer.fingerprint), artifact, epoch)
            if found is not None:
                signed[artifact.sha256] = found
            else:
                waiting.setdefault(epoch, {})[artifact.sha256] = artifact
    for epoch, batch in sorted(waiting.items()):
        shop.tell("sign", f"{len(batch)} RPMs", "started")
        with shop.store.tmp() as tmp:
            copies = signer.sign_rpms(list(batch.values()), tmp, epoch=epoch)
            for artifact, copy in zip(batch.values(), copies, strict=True):
                signed[artifact.sha256] = _keep_signed(shop, signer, artifact, copy, epoch)
        shop.tell("sign", f"{len(batch)} RPMs", "done", f"key {signer.fingerprint[-16:]}, verified")
    return signed


def _signed_key(fingerprint: str, artifact: Artifact, epoch: int) -> str:
    return f"{artifact.sha256[:40]}-{fingerprint[-16:]}-{epoch}"


def _find_signed(shop: Workshop, fingerprints: Sequence[str], artifact: Artifact, epoch: int) -> Artifact | None:
    """The copy that the first of these keys signed."""
    folders = (shop.store.folder("signed", _signed_key(fingerprint, artifact, epoch)) for fingerprint in fingerprints)
    folder = next((found for found in folders if found is not None), None)
    if folder is None:
        return None
    (path,) = (folder / name for name in os.listdir(folder) if name.endswith(".rpm"))  # noqa: PTH208  as thousands are
    sha256 = (folder / "sha256").read_text()
    return Artifact(nevra=artifact.nevra, path=path, size=path.stat().st_size, sha256=sha256)


def _keep_signed(shop: Workshop, signer: Signer, artifact: Artifact, copy: Artifact, epoch: int) -> Artifact:
    def fill(folder: Path) -> None:
        copy.path.rename(folder / artifact.nevra.filename)
        (folder / "sha256").write_text(copy.sha256)

    shop.store.put_folder("signed", _signed_key(signer.fingerprint, artifact, epoch), fill)
    found = _find_signed(shop, (signer.fingerprint,), artifact, epoch)
    assert found is not None  # noqa: S101  put_folder made it
    return found


def compose(
    shop: Workshop,
    distribution: Distribution,
    arch: str,
    streams: Sequence[StreamPlan],
    outcomes: Mapping[str, UnitOutcome],
    signed: Mapping[str, Artifact],
    files: tuple[tuple[str, bytes], ...],
) -> PublicationContent:
    """What the publication of a distribution × arch holds; streams that are held back are not in it."""
    contents = []
    eol = {branch.name: branch.eol for branch in shop.configuration.matrix.branches}
    for plan in streams:
        if plan.drivers:
            members = artifacts_of(units_of_stream(plan, outcomes))
            label = plan.stream.label if distribution.plain else None
            profiles = offered_profiles(plan.stream, plan.drivers[-1].version, (a.nevra for a in members), label)
            contents.append(
                StreamContent(
                    stream=replace(plan.stream, profiles=profiles, description=_description(shop, plan, arch)),
                    driver_versions=tuple(d.version for d in plan.drivers),
                    artifacts=tuple(signed[a.sha256] for a in members),
                    eol=eol.get(plan.stream.branch) if plan.stream.branch is not None else None,
                )
            )
    return PublicationContent(
        module=shop.configuration.matrix.module,
        distribution=distribution.name,
        platform=distribution.platform,
        arch=arch,
        streams=tuple(sorted(contents, key=lambda c: c.stream.name)),
        sources=(),
        files=files,
        delivery=distribution.delivery,
        beside=tuple(
            signed[a.sha256] for o in outcomes.values() if o.ok and o.unit.of_repository for a in artifacts_of([o])
        ),
    )


def _description(shop: Workshop, plan: StreamPlan, arch: str) -> str:
    """The stream's own words, and which GPUs it leaves out where its driver says so."""
    gpus = gpus_of(shop, plan, arch)
    return " ".join(part for part in (plan.stream.description, gpus_sentences(gpus) if gpus else "") if part)


def publish_content(
    shop: Workshop, signer: Signer, content: PublicationContent, epoch: int, errata: Sequence[Advisory] = ()
) -> Publication:
    """Publish and verify; a publication that is not whole is an error and the switch is undone by the caller."""
    subject = f"{content.distribution}/{content.arch}"
    shop.tell("publish", subject, "started")
    check_lifetimes(shop, content)
    content = with_errata(with_former(content, shop.settings.repo_path), errata, shop.settings.repo_path)
    publication = publish(
        content,
        shop.settings.repo_path,
        public_key=signer.public_key(),
        sign=lambda path: signer.sign_detached(path, epoch=epoch),
        epoch=epoch,
        terms=terms_of(shop.settings, shop.configuration.matrix.integrity),
        base_url=shop.settings.published_at,
        check=lambda path: _check(shop, signer, content, path),
        derived=shop.store.derived,
        other_keys=declared_keys(shop.configuration.matrix.integrity),
        former=shop.configuration.matrix.retention.former_generations,
    )
    tell_published(shop, publication)
    return publication


def tell_published(shop: Workshop, publication: Publication) -> None:
    """Say what became of a publication."""
    text = "already current" if not publication.changed else f"{publication.packages} packages"
    text += ", manifest renewed" if publication.renewed and not publication.changed else ""
    subject = f"{publication.distribution}/{publication.arch}"
    shop.tell("publish", subject, "done", f"{text}, {publication.digest[:12]}")


def _check(shop: Workshop, signer: Signer, content: PublicationContent, path: Path) -> None:
    """The publication gate: whole for a client, and every transition of its hosts works; raises before the switch."""
    subject = f"{content.distribution}/{content.arch}"
    with shop.store.tmp() as tmp:
        verify_publication(
            path.as_uri(), trusted_keys(signer, shop.configuration.matrix.integrity), tmp, derived=shop.store.derived
        )
    before = current_generation(shop.settings.repo_path, content.distribution, content.arch)
    previous = path.parent / before if before is not None else None
    if previous is not None and not previous.is_dir():  # somebody removed it, and it is made again
        previous = None
    proof = prove_transitions(path, previous)
    if proof.faults:
        raise PublishError(
            f"{subject}: {len(proof.faults)} of {proof.transitions} transitions of its hosts fail: {proof.faults[0]}",
            details=proof.faults,
            hint="the former publication stays current; repobuild report says what is missing of which driver",
        )
    shop.tell("prove", subject, "done", f"{proof.transitions} transitions of hosts")


def tried(
    shop: Workshop, subject: str, publish: Callable[[], Publication | None]
) -> Publication | RepobuildError | None:
    """What ``publish`` returns, or its failure, told: that of one distribution must not harm the others.

    Raises what harms them all: DiskFullError, InterruptedRunError.
    """
    try:
        return publish()
    except (DiskFullError, InterruptedRunError):
        raise
    except RepobuildError as exc:
        shop.tell("publish", subject, "failed", exc.message, code=exc.code)
        return exc
