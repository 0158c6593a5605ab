"""The support matrix that goes into a publication, from what was planned, built and composed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from builder.model.cells import Cell, PackageKind
from builder.model.lifetimes import leaves_on
from builder.model.matrix import Distribution
from builder.model.planning import StreamPlan, UnitOutcome
from builder.model.report import (
    SupportBranch,
    SupportFacts,
    SupportKernel,
    SupportOutcome,
    SupportRow,
    SupportStream,
)
from builder.pipeline.gpus import gpus_files, gpus_of
from builder.pipeline.integrity import key_names
from builder.pipeline.kept import kept_page
from builder.pipeline.signing import UNSIGNED
from builder.pipeline.units import artifacts_of
from builder.pipeline.workshop import Workshop
from builder.plan.streams import cells_of_stream, offered_profiles, units_of_stream
from builder.report import support_files as write_files

CERTIFICATE_FILE = "nvidia-kmod-certificate.der"  # in a publication, for hosts that enrol it before they install


def support_files(
    shop: Workshop,
    distribution: Distribution,
    arch: str,
    streams: Sequence[StreamPlan],
    outcomes: Mapping[str, UnitOutcome],
) -> tuple[tuple[str, bytes], ...]:
    """``support-matrix.json`` and ``support-matrix.html`` of a distribution × arch, ``supported-gpus.json``, the
    certificate; deterministic.
    """
    certificate = shop.signing.certificate
    own = ((CERTIFICATE_FILE, certificate.der),) if certificate else ()
    own = (*gpus_files(shop, streams, arch), *own)
    kept = partial(kept_page, shop.store.derived, f"{distribution.name}/{arch}")
    return (*write_files(support_facts(shop, distribution, arch, streams, outcomes), kept), *own)


def support_facts(
    shop: Workshop,
    distribution: Distribution,
    arch: str,
    streams: Sequence[StreamPlan],
    outcomes: Mapping[str, UnitOutcome],
) -> SupportFacts:
    """What the support matrix of a distribution × arch says."""
    matrix = shop.configuration.matrix
    published = {o.unit.id for plan in streams for o in cells_of_stream(plan, outcomes)}
    cells = [o for o in outcomes.values() if o.unit.kind is PackageKind.KMOD]
    rows = [_row(o, published=o.unit.id in published) for o in cells]
    excluded = (e for e in shop.configuration.excluded if (e.cell.distribution, e.cell.arch) == (distribution, arch))
    rows.extend(_support_row(e.cell, SupportOutcome.EXCLUDED, e.reason) for e in excluded)
    certificate = shop.signing.certificate
    named = {row.branch for row in rows} | {d.branch for plan in streams for d in plan.drivers}
    return SupportFacts(
        module=matrix.module,
        distribution=distribution.name,
        title=distribution.title,
        arch=arch,
        branches=tuple(
            SupportBranch(
                name=b.name,
                type=b.type,
                eol=b.eol,
                max_cuda=b.max_cuda,
                gpus=b.gpus,
                note=b.note,
                leaves=leaves_on(b.eol, matrix.retention),
            )
            for b in matrix.branches
            if b.name in named
        ),
        kernels=tuple(
            SupportKernel(
                release=k.release,
                variant=k.variant,
                package=str(k.core),
                built=k.built,
                published=k.published,
                live=k.live,
                eol=k.eol,
                leaves=leaves_on(k.eol, matrix.retention),
            )
            for k in distribution.kernels
            if k.arch == arch
        ),
        streams=tuple(_stream(shop, plan, arch, outcomes, distribution) for plan in streams),
        rows=tuple(rows),
        signer=(certificate.name, certificate.fingerprint) if certificate else None,
        delivery=distribution.delivery.value,
        notice_days=matrix.retention.notice_days,
        key_names=key_names(matrix.integrity),
        brings_repository=any(o.ok and o.unit.of_repository for o in outcomes.values()),
    )


def _stream(
    shop: Workshop, plan: StreamPlan, arch: str, outcomes: Mapping[str, UnitOutcome], distribution: Distribution
) -> SupportStream:
    return SupportStream(
        name=plan.stream.name,
        default=plan.stream.default,
        branch=plan.stream.branch,
        flavor=plan.stream.flavor.value,
        kmods=plan.stream.kmods.value,
        summary=plan.stream.summary,
        driver_versions=tuple(d.version for d in plan.drivers),
        held=plan.held,
        profiles=_profiles(plan, outcomes, distribution),
        label=plan.stream.label if distribution.plain else None,
        gpus=gpus_of(shop, plan, arch),
    )


def _profiles(plan: StreamPlan, outcomes: Mapping[str, UnitOutcome], distribution: Distribution) -> tuple[str, ...]:
    if not plan.drivers:
        return ()
    members = artifacts_of(units_of_stream(plan, outcomes))
    label = plan.stream.label if distribution.plain else None
    offered = offered_profiles(plan.stream, plan.drivers[-1].version, (a.nevra for a in members), label)
    return tuple(profile.name for profile in offered)


def _row(outcome: UnitOutcome, *, published: bool) -> SupportRow:
    cell = outcome.unit.cell
    assert cell is not None  # noqa: S101  only kmods come here
    if published:
        kind, reason = SupportOutcome.PUBLISHED, ""
    elif outcome.ok:
        kind, reason = SupportOutcome.HELD, "no stream carries its driver"
    else:
        blocked = outcome.code is None
        kind, reason = (SupportOutcome.BLOCKED if blocked else SupportOutcome.FAILED), outcome.reason
    return replace(
        _support_row(cell, kind, reason),
        level=outcome.verdict.level if outcome.verdict and outcome.verdict.ok else None,
        package=_package(outcome),
        signer=outcome.result.signer if outcome.result and outcome.result.signer not in ("", UNSIGNED) else None,
    )


def _support_row(cell: Cell, outcome: SupportOutcome, reason: str) -> SupportRow:
    return SupportRow(
        cell=cell.id,
        kernel=cell.kernel.release,
        variant=cell.kernel.variant,
        branch=cell.driver.branch,
        driver_version=cell.driver.version,
        flavor=cell.flavor.value,
        outcome=outcome,
        reason=reason,
    )


def _package(outcome: UnitOutcome) -> str | None:
    """NEVRA of the kmod package itself: what a rebuild changes at least the Release of."""
    artifacts = outcome.result.artifacts if outcome.result else ()
    return next((str(artifact.nevra) for artifact in artifacts), None)
