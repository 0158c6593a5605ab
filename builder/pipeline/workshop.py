"""What every stage of a run works with, and what is found out about sources, buildroots and kernels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeAlias, TypeVar

from builder.build import Builder
from builder.errors import PinMissingError, RepobuildError
from builder.fetch import fetch_source, find_prepared, prepare_driver
from builder.model.cells import PackageKind, Unit
from builder.model.matrix import Chroot, Driver, Flavor, Kernel, Source
from builder.model.naming import ARCHIVE_KINDS
from builder.model.sources import Buildroot, DriverArchive, DriverSources, KernelDevel
from builder.pipeline.attempts import try_again
from builder.pipeline.configure import Configuration
from builder.pipeline.events import Event, Listener, State
from builder.pipeline.farm import Farm
from builder.pipeline.kernels import find_kernel_devel, read_kernel_devel
from builder.pipeline.settings import Settings
from builder.pipeline.signing import ModuleSigning
from builder.pipeline.workers import run_all
from builder.store import Store
from builder.tools.run import check_stopped

SourceId: TypeAlias = tuple[str, str]  # driver version, arch
KernelId: TypeAlias = tuple[str, str]  # distribution, kernel release
OpenId: TypeAlias = tuple[str, str]  # driver version, chroot name
ArchiveId: TypeAlias = tuple[str, str, PackageKind]  # driver version, arch, what is made of it
T = TypeVar("T")

# What is made of a kernel tree or its objects; the rest only names the flavor.
_OF_A_TREE = (
    PackageKind.KMOD,
    PackageKind.STREAM_KMODS,
    PackageKind.OBJECTS,
    PackageKind.DKMS,
    PackageKind.OPEN_SOURCE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known by now; an error says why something will not be known. Filled by stages, read by planning."""

    sources: dict[SourceId, DriverSources | RepobuildError] = field(default_factory=dict)
    buildroots: dict[str, Buildroot | RepobuildError] = field(default_factory=dict)  # by chroot name
    kernels: dict[KernelId, KernelDevel | RepobuildError] = field(default_factory=dict)
    open_trees: dict[OpenId, DriverSources | RepobuildError] = field(default_factory=dict)  # with objects from source
    archives: dict[ArchiveId, DriverArchive | RepobuildError] = field(default_factory=dict)
    keys: list[bytes] = field(default_factory=list)  # public keys that hosts are told of, oldest first; [] before that


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """Settings, configuration, store, builder, module signer, listener and workers elsewhere of one run."""

    settings: Settings
    configuration: Configuration
    store: Store
    builder: Builder
    signing: ModuleSigning
    listener: Listener
    farm: Farm | None = None  # who compiles elsewhere; None: nobody
    facts: Facts = field(default_factory=Facts)

    def tell(
        self,
        stage: str,
        subject: str,
        state: State,
        text: str = "",
        seconds: float | None = None,
        *,
        code: str | None = None,
    ) -> None:
        """Send one event to the listener; ``code`` is that of a failure."""
        self.listener(Event(stage=stage, subject=subject, state=state, text=text, seconds=seconds, code=code))

    def try_again(self, stage: str, subject: str, action: Callable[[], T]) -> T:
        """Do something, and again where its failure may pass by itself."""
        return try_again(
            action,
            store=self.store,
            listener=self.listener,
            stage=stage,
            subject=subject,
            retries=self.settings.retries,
        )

    def chroot(self, unit: Unit) -> Chroot:
        """The buildroot description a unit is built in."""
        return unit.distribution.chroot(unit.arch)


def source_id(unit: Unit) -> SourceId:
    """Which driver sources a unit is made of."""
    return unit.driver.version, unit.arch


def takes_open_tree(unit: Unit) -> bool:
    """Is this unit made of the open tree of a driver whose source release the matrix names?"""
    return unit.kind in _OF_A_TREE and unit.flavor is Flavor.OPEN and unit.driver.open_source is not None


def open_source(unit: Unit) -> Source:
    """The source release of a unit's driver; only for units that take it."""
    source = unit.driver.open_source
    assert source is not None  # noqa: S101  takes_open_tree is asked first
    return source


def open_id(shop: Workshop, unit: Unit) -> OpenId:
    """Which open tree a unit is made of."""
    return unit.driver.version, shop.chroot(unit).name


def archive_id(unit: Unit) -> ArchiveId:
    """Which archive a unit is made of; only for units that are."""
    return unit.driver.version, unit.arch, unit.kind


def archive_source(unit: Unit) -> Source | None:
    """The archive beside the .run that a unit is made of, None for the rest."""
    kind = ARCHIVE_KINDS.get(unit.kind)
    return unit.driver.source(kind, unit.arch) if kind is not None else None


def sources_of(shop: Workshop, unit: Unit) -> DriverSources | RepobuildError | None:
    """What a unit is made of: the .run's sources, those with the open tree built from source, or with its archive."""
    base = shop.facts.sources.get(source_id(unit))
    if not isinstance(base, DriverSources):
        return base
    if takes_open_tree(unit):
        return shop.facts.open_trees.get(open_id(shop, unit))
    if unit.kind in ARCHIVE_KINDS:
        archive = shop.facts.archives.get(archive_id(unit))
        return replace(base, archive=archive) if isinstance(archive, DriverArchive) else archive
    return base


def look(shop: Workshop) -> None:
    """Fill the facts with what can be known without fetching or making anything.

    A buildroot is asked for (which asks its repositories whether they changed) only where sources are there already:
    without them nothing can be said of a unit anyway.
    """
    asked: set[str] = set()
    kernels: set[KernelId] = set()  # a kernel is of many cells
    for unit in shop.configuration.units:
        identity = source_id(unit)
        if identity not in shop.facts.sources:
            found = _look_for_sources(shop, unit.driver, unit.arch)
            if found is not None:
                shop.facts.sources[identity] = found
        if known(shop.facts.sources.get(identity)) is None:
            continue
        chroot = shop.chroot(unit)
        if chroot.name not in asked:
            asked.add(chroot.name)
            buildroot = shop.builder.find(chroot)
            if buildroot is not None:
                shop.facts.buildroots[chroot.name] = buildroot
        if unit.cell is not None and (buildroot := known(shop.facts.buildroots.get(chroot.name))) is not None:
            kernel = unit.cell.kernel
            of = (unit.distribution.name, kernel.release)
            if of in kernels:
                continue
            kernels.add(of)
            devel = find_kernel_devel(kernel, buildroot, shop.store)
            if devel is not None:
                shop.facts.kernels[of] = devel


def _look_for_sources(shop: Workshop, driver: Driver, arch: str) -> DriverSources | RepobuildError | None:
    source = driver.run_source(arch)
    pin = shop.configuration.lock.pin(source.url)
    if pin is None:
        return missing_pin(shop, driver, source)
    if shop.store.source(pin.sha256, source.filename) is None:
        return None
    return find_prepared(driver, arch, pin.sha256, shop.store)


def missing_pin(shop: Workshop, driver: Driver, source: Source) -> PinMissingError:
    """The error of a source that nobody pinned, with the command that pins it."""
    return PinMissingError(
        f"{source.filename}: no pin in {shop.settings.lock_path.name}",
        hint=f"repobuild pin --select 'r{driver.branch}*'",
    )


def known(value: T | RepobuildError | None) -> T | None:
    """The value, None where there is an error or nothing yet."""
    return None if isinstance(value, RepobuildError) else value


def fetch_sources(shop: Workshop, units: tuple[Unit, ...]) -> None:
    """Fetch, check against the pins and prepare the sources of these units; failures become facts."""
    wanted = {
        source_id(u): u.driver for u in units if not isinstance(shop.facts.sources.get(source_id(u)), DriverSources)
    }

    def task(driver: Driver, arch: str) -> DriverSources:
        source = driver.run_source(arch)
        error = shop.facts.sources.get((driver.version, arch))
        if isinstance(error, PinMissingError):  # told with the command for this driver
            raise error
        shop.tell("fetch", source.filename, "started", source.url)

        def progress(got: int, size: int) -> None:
            check_stopped(f"{source.filename}: not fetched to its end")
            fraction = got / size if size else None
            shop.listener(Event(stage="fetch", subject=source.filename, state="progress", fraction=fraction))

        lock = shop.configuration.lock
        path = shop.try_again(
            "fetch", source.filename, partial(fetch_source, source, lock, shop.store, progress=progress)
        )
        pin = lock.pin(source.url)
        assert pin is not None  # noqa: S101  fetch_source refuses a source without a pin
        prepared = prepare_driver(driver, arch, path, pin.sha256, shop.store)
        shop.tell("fetch", source.filename, "done", f"sha256 {pin.sha256[:12]}…, unpacked and sorted")
        return prepared

    tasks = {i: partial(task, driver, i[1]) for i, driver in wanted.items()}
    found = run_all(tasks, workers=shop.settings.workers)
    for identity, outcome in found.items():
        shop.facts.sources[identity] = outcome
        if isinstance(outcome, RepobuildError):
            text = "; ".join((outcome.message, *outcome.details[:3]))
            filename = wanted[identity].run_source(identity[1]).filename
            shop.tell("fetch", filename, "failed", text, code=outcome.code)


def make_buildroots(shop: Workshop, units: tuple[Unit, ...]) -> None:
    """Make or refresh the base roots these units are built in and read their kernels; failures become facts."""
    chroots = {shop.chroot(u).name: shop.chroot(u) for u in units}

    def task(chroot: Chroot) -> Buildroot:
        shop.tell("buildroot", chroot.name, "started")
        buildroot = shop.builder.prepare(chroot)
        text = f"{len(buildroot.packages)} packages, identity {buildroot.identity[:12]}"
        shop.tell("buildroot", chroot.name, "done", text)
        return buildroot

    made = run_all({n: partial(task, c) for n, c in chroots.items()}, workers=shop.settings.workers)
    for name, outcome in made.items():
        shop.facts.buildroots[name] = outcome
        if isinstance(outcome, RepobuildError):
            shop.tell("buildroot", name, "failed", outcome.message, code=outcome.code)
    kernels: dict[KernelId, tuple[Kernel, Buildroot]] = {}
    for unit in units:
        buildroot = known(shop.facts.buildroots.get(shop.chroot(unit).name))
        if unit.cell is not None and buildroot is not None:
            kernels[unit.distribution.name, unit.cell.kernel.release] = (unit.cell.kernel, buildroot)
    read = run_all(
        {i: partial(read_kernel_devel, k, b, shop.store) for i, (k, b) in kernels.items()},
        workers=shop.settings.workers,
    )
    shop.facts.kernels.update(read)
