"""``repobuild matrix`` and each of its stages alone."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from enum import Flag, auto
from functools import partial

from builder.build import open_builder
from builder.errors import DiskFullError, InterruptedRunError, RepobuildError, StalePlanError
from builder.model.cells import Action, Decision
from builder.model.lifetimes import Webhook
from builder.model.matrix import Chroot, Distribution
from builder.model.planning import StreamPlan, UnitOutcome
from builder.model.publication import Publication
from builder.model.run import DistributionReport, RunReport
from builder.pipeline.archives import fetch_archives
from builder.pipeline.attestations import attestation_files
from builder.pipeline.composed import ingredients, remember, standing
from builder.pipeline.configure import Configuration, configure
from builder.pipeline.events import Listener
from builder.pipeline.gates import build_gates, build_releases
from builder.pipeline.gpus import tell_lost_gpus
from builder.pipeline.integrity import open_signer, sign_site, told_keys
from builder.pipeline.levels import qualify_levels
from builder.pipeline.notify import notify
from builder.pipeline.open_tree import look_at_all, make_open_trees
from builder.pipeline.publish import compose, publish_content, sign_artifacts, tell_published, tried
from builder.pipeline.report import support_files
from builder.pipeline.schedule import require_space_to_fetch
from builder.pipeline.settings import Settings
from builder.pipeline.shared_builder import SharedBuilder
from builder.pipeline.sharing import give_shared, open_shared, take_shared
from builder.pipeline.signing import ModuleSigning
from builder.pipeline.site import tell_site
from builder.pipeline.specs import exists, unit_states
from builder.pipeline.stream_packages import build_stream_packages, is_published
from builder.pipeline.units import compiles, run_units
from builder.pipeline.workshop import Workshop, fetch_sources, known, make_buildroots, source_id
from builder.plan.actions import plan_actions
from builder.plan.errata import plan_errata
from builder.plan.streams import plan_streams
from builder.publish import SITE_MANIFEST
from builder.render import render_mock_config
from builder.sign import Signer
from builder.store import Store


class Stage(Flag):
    """Which stages a run goes through; what a left-out stage would make is taken from the store."""

    FETCH = auto()
    BUILD = auto()
    QUALIFY = auto()
    SIGN = auto()
    PUBLISH = auto()


ALL = Stage.FETCH | Stage.BUILD | Stage.QUALIFY | Stage.SIGN | Stage.PUBLISH


def open_workshop(settings: Settings, listener: Listener, *, exclusive: bool = True, exchange: bool = True) -> Workshop:
    """Check the configuration first, then open the store; the caller closes ``workshop.store``.

    Looking (``exclusive`` False) at a work folder that is not there yet makes none. Without ``exchange`` nothing goes
    from or to a shared store.
    """
    configuration = configure(settings)
    signing = ModuleSigning(settings)
    shared = open_shared(settings, listener, exchange=exclusive and exchange)
    if exclusive or settings.work.is_dir():
        store = Store.open(settings.work, exclusive=exclusive, shared=shared)
    else:
        store = Store.open_empty(shared)
    try:
        builder = open_builder(settings.builder, store, partial(_mock_configuration, configuration))
    except BaseException:
        store.close()
        raise
    return Workshop(
        settings=settings,
        configuration=configuration,
        store=store,
        builder=SharedBuilder(builder, store, listener, retries=settings.retries),
        signing=signing,
        listener=listener,
    )


def _mock_configuration(configuration: Configuration, chroot: Chroot) -> str:
    of = next(d for d in configuration.matrix.distributions if chroot.name in {c.name for c in d.chroots})
    return render_mock_config(chroot, of)


def plan(settings: Settings, listener: Listener) -> tuple[Configuration, tuple[Action, ...]]:
    """Look at what is there and decide; fetches, makes and changes nothing."""
    shop = open_workshop(settings, listener, exclusive=False)
    with shop.store:
        look_at_all(shop)
        return shop.configuration, plan_units(shop)


def plan_units(shop: Workshop) -> tuple[Action, ...]:
    """Decide for every unit of the configuration from the facts known by now."""
    states = unit_states(shop, [unit for unit in shop.configuration.units if exists(shop, unit)])
    return plan_actions(states, shop.configuration.excluded)


def run(
    settings: Settings, listener: Listener, stages: Stage = ALL, *, expected: Mapping[str, str] | None = None
) -> RunReport:
    """Go through stages for the selected cells; everything else in the store stays in the publication.

    ``expected`` holds the keys of a saved plan by unit id; StalePlanError is raised when one differs. Failures of
    single units are in the report, not raised.
    """
    shop = open_workshop(settings, listener)
    with shop.store, ExitStack() as stack:
        if Stage.BUILD in stages and settings.scheduler:
            shop = _with_farm(shop, stack)  # now: a farm of another repobuild is refused before anything is fetched
        signs = bool(stages & (Stage.SIGN | Stage.PUBLISH))
        signer = open_signer(settings, shop.configuration.matrix.integrity) if signs else None
        shop.facts.keys.extend(told_keys(settings, shop.configuration.matrix.integrity, signer))
        look_at_all(shop)
        work = tuple(u for u in shop.configuration.units if u.id in shop.configuration.selected)
        if stages & (Stage.FETCH | Stage.BUILD):
            require_space_to_fetch(shop, work)
        if Stage.FETCH in stages:
            fetch_sources(shop, work)
            fetch_archives(shop, work)
        if Stage.BUILD in stages:
            make_buildroots(shop, tuple(u for u in work if known(shop.facts.sources.get(source_id(u)))))
            if settings.compile:
                make_open_trees(shop, work)
        actions = take_shared(shop, plan_units(shop)) or plan_units(shop)
        _check_expected(actions, expected)
        if Stage.BUILD in stages and shop.farm is None and any(compiles(shop, action) for action in actions):
            shop = _with_farm(shop, stack)
        outcomes = run_units(
            shop, actions, build=Stage.BUILD in stages, check=bool(stages & (Stage.QUALIFY | Stage.PUBLISH))
        )
        if stages & (Stage.QUALIFY | Stage.PUBLISH):
            outcomes = qualify_levels(shop, outcomes)
        reports, outcomes = _publish_all(shop, signer, outcomes, stages)
        if any(report.publication is not None for report in reports):
            tell_site(shop, outcomes.values())
            _notify(shop)
            if signer is not None:
                _sign_site(shop, signer)
        give_shared(shop)
        return RunReport(
            actions=actions,
            outcomes=tuple(outcomes.values()),
            excluded=shop.configuration.excluded,
            distributions=reports,
        )


def _notify(shop: Workshop) -> None:
    matrix, settings = shop.configuration.matrix, shop.settings
    places = [(distribution.name, arch) for distribution in matrix.distributions for arch in distribution.arches]
    hooks = (*matrix.webhooks, *(Webhook(url=url, secret_env=settings.webhook_secret_env) for url in settings.webhook))
    notify(
        settings.repo_path,
        settings.work,
        places,
        hooks,
        shop.listener,
        address=settings.published_at,
        author=matrix.vendor,
    )


def _sign_site(shop: Workshop, signer: Signer) -> None:
    """What was published stands; that the list at the top could not be signed is told, and `verify` says it, too."""
    try:
        sign_site(shop.settings, signer, shop.configuration.matrix.integrity)
    except RepobuildError as exc:
        shop.tell("site", SITE_MANIFEST, "failed", exc.message, code=exc.code)


def _with_farm(shop: Workshop, stack: ExitStack) -> Workshop:
    """With the workers that the settings name, until the stack is closed; as it was where they name none."""
    if not shop.settings.farmed:
        return shop
    from builder.pipeline.open_farm import open_farm  # noqa: PLC0415  asyncio, which runs without workers need not

    farm = open_farm(shop.settings, shop.store, shop.builder, shop.try_again)
    stack.callback(farm.close)
    return replace(shop, farm=farm)


def _check_expected(actions: tuple[Action, ...], expected: Mapping[str, str] | None) -> None:
    changed = [
        f"{a.unit.id}: planned {expected[a.unit.id][:12]}, now {(a.key or 'unknown')[:12]}"
        for a in actions
        if expected and a.unit.id in expected and a.decision is not Decision.SKIP and a.key != expected[a.unit.id]
    ]
    if changed:
        raise StalePlanError(
            f"the plan no longer fits: {len(changed)} keys differ", details=changed, hint="repobuild plan -o plan.json"
        )


def _publish_all(
    shop: Workshop, signer: Signer | None, outcomes: dict[str, UnitOutcome], stages: Stage
) -> tuple[tuple[DistributionReport, ...], dict[str, UnitOutcome]]:
    reports = []
    for distribution in shop.configuration.matrix.distributions:
        for arch in distribution.arches:
            mine = {i: o for i, o in outcomes.items() if o.unit.distribution == distribution and o.unit.arch == arch}
            if Stage.PUBLISH in stages and signer is not None:
                report, mine = _publish(shop, signer, distribution, arch, mine)
                outcomes = {**outcomes, **mine}
            else:
                streams = plan_streams(shop.configuration.matrix, distribution, arch, list(mine.values()))
                if Stage.SIGN in stages and signer is not None:
                    sign_artifacts(shop, signer, [o for o in mine.values() if o.ok])
                report = DistributionReport(distribution=distribution, arch=arch, streams=streams, publication=None)
            reports.append(report)
    return tuple(reports), outcomes


def _publish(
    shop: Workshop, signer: Signer, distribution: Distribution, arch: str, outcomes: dict[str, UnitOutcome]
) -> tuple[DistributionReport, dict[str, UnitOutcome]]:
    if not any(o.ok for o in outcomes.values()):
        streams: tuple[StreamPlan, ...] = plan_streams(
            shop.configuration.matrix, distribution, arch, list(outcomes.values())
        )
        nothing = DistributionReport(distribution=distribution, arch=arch, streams=streams, publication=None)
        return nothing, outcomes
    try:
        if distribution.plain:
            streams, outcomes = build_stream_packages(shop, distribution, arch, outcomes)
        else:
            streams, outcomes = build_gates(shop, distribution, arch, outcomes)
            streams, outcomes = build_releases(shop, distribution, streams, outcomes)
    except (DiskFullError, InterruptedRunError):
        raise
    except RepobuildError as exc:
        failed = DistributionReport(distribution=distribution, arch=arch, streams=(), publication=None, error=exc)
        return failed, outcomes
    make = partial(_publish_streams, shop, signer, distribution, arch, streams, outcomes)
    published = tried(shop, f"{distribution.name}/{arch}", make)
    error = published if isinstance(published, RepobuildError) else None
    report = DistributionReport(
        distribution=distribution,
        arch=arch,
        streams=streams,
        publication=None if isinstance(published, RepobuildError) else published,
        error=error,
    )
    return report, outcomes


def _publish_streams(
    shop: Workshop,
    signer: Signer,
    distribution: Distribution,
    arch: str,
    streams: tuple[StreamPlan, ...],
    outcomes: dict[str, UnitOutcome],
) -> Publication | None:
    """None where no stream carries anything."""
    # The repository's own release package is of another date than its drivers, which a publication's follows.
    epoch = max(o.result.source_date_epoch for o in outcomes.values() if o.ok and o.result and not o.unit.of_repository)
    digest = ingredients(shop, signer, distribution, arch, streams, outcomes)
    if (current := standing(shop, signer, distribution, arch, digest, epoch)) is not None:
        tell_published(shop, current)
        return current
    signed = sign_artifacts(shop, signer, [o for o in outcomes.values() if o.ok and is_published(o.unit)])
    tell_lost_gpus(shop, distribution, arch, streams)
    files = support_files(shop, distribution, arch, streams, outcomes)
    files = (*files, *attestation_files(shop, signer, distribution, arch, streams, outcomes, signed))
    content = compose(shop, distribution, arch, streams, outcomes, signed, files)
    if not content.streams:
        return None
    errata = plan_errata(shop.configuration.matrix, distribution, arch, streams, outcomes)
    published = publish_content(shop, signer, content, epoch, errata)
    remember(shop, published, digest)
    return published
