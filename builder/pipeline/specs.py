"""From a unit to its rendered spec, its release serial and its key."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from builder.errors import RenderError, RepobuildError
from builder.model.cells import PackageKind, Unit
from builder.model.gate import GateKernel
from builder.model.keys import Inputs, KeyParts
from builder.model.naming import ARCHIVE_KINDS
from builder.model.planning import UnitState
from builder.model.sources import Buildroot, DriverSources, KernelDevel, SpecFile
from builder.pipeline.kernels import requirements_digest
from builder.pipeline.known_keys import KnownKeys, narrowed
from builder.pipeline.releases import date_of, render_late
from builder.pipeline.workshop import Workshop, known, source_id, sources_of
from builder.plan.actions import content_digest, key_of, unit_parts
from builder.plan.toolchain import toolchain_hint
from builder.render import (
    has_compat32,
    render_archive,
    render_certificate,
    render_compat32,
    render_cuda_drivers,
    render_dkms,
    render_dnf_plugin,
    render_driver,
    render_kmod,
    render_modules,
    render_objects,
    render_open_meta,
    render_open_source,
    render_stream_kmods,
)

# They say what the streams of this publication are, so they come last.
LATE = (PackageKind.GATE, PackageKind.RELEASE, PackageKind.STREAM_KMODS)
PACK_RECIPE = "pack 2"  # a new number packs every kmod again; nothing is compiled for it


@dataclass(frozen=True, slots=True, kw_only=True)
class ModulesJob:
    """The compilation of a cell: independent of who signs, and of the package's release."""

    spec: SpecFile
    parts: KeyParts
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A unit with everything that its build needs."""

    unit: Unit
    serial: int  # first part of its Release
    content: str  # digest that the serial stands for
    spec: SpecFile
    parts: KeyParts
    key: str  # of ``parts``
    buildroot: Buildroot
    sources: DriverSources
    devel: KernelDevel | None
    modules: ModulesJob | None = None  # of kmods: what is compiled before it is packed


def render_unit(
    shop: Workshop, unit: Unit, sources: DriverSources, serial: int, kernels: tuple[GateKernel, ...] = ()
) -> SpecFile:
    """Render the spec of any unit; ``kernels`` is for gates and the modules of a stream."""
    matrix = shop.configuration.matrix
    match unit.kind:
        case PackageKind.KMOD:
            assert unit.cell is not None  # noqa: S101  a kmod unit has its cell
            cell, matrix = narrowed(unit.cell, matrix)
            return render_kmod(cell, sources, matrix, serial=serial, signer=shop.signing.name)
        case PackageKind.OBJECTS:
            return render_objects(unit, sources, matrix, serial=serial)
        case PackageKind.GATE | PackageKind.RELEASE:
            return render_late(shop, unit, serial, kernels)
        case PackageKind.STREAM_KMODS:
            signed = shop.signing.certificate is not None
            return render_stream_kmods(unit, kernels, sources, matrix, serial=serial, signed=signed)
        case PackageKind.CERTIFICATE:
            certificate = shop.signing.certificate
            assert certificate is not None  # noqa: S101  such a unit exists only where there is one
            return render_certificate(unit, matrix, certificate.name, certificate.der, serial=serial)
        case PackageKind.DRIVER:
            return render_driver(unit, sources, matrix, serial=serial)
        case PackageKind.COMPAT32:
            return render_compat32(unit, sources, matrix, serial=serial)
        case PackageKind.DKMS:
            return render_dkms(unit, sources, matrix, serial=serial)
        case PackageKind.FABRICMANAGER | PackageKind.NSCQ | PackageKind.IMEX:
            return render_archive(unit, sources, matrix, serial=serial)
        case PackageKind.OPEN_SOURCE:
            return render_open_source(unit, sources, matrix, serial=serial)
        case PackageKind.CUDA_DRIVERS | PackageKind.OPEN_META | PackageKind.DNF_PLUGIN | PackageKind.LIBDNF5_PLUGIN:
            return _SMALL[unit.kind](unit, matrix, serial=serial)


_SMALL = {
    PackageKind.CUDA_DRIVERS: render_cuda_drivers,
    PackageKind.OPEN_META: render_open_meta,
    PackageKind.DNF_PLUGIN: render_dnf_plugin,
    PackageKind.LIBDNF5_PLUGIN: render_dnf_plugin,
}


def make_job(shop: Workshop, unit: Unit, *, record: bool, kernels: tuple[GateKernel, ...] = ()) -> Job | None:
    """Render a unit and compute its key; None while sources, buildroot or kernel are not known.

    New content of a package that was released before gets the next serial in its Release, because a NEVRA is never
    reused for other bytes (docs/adr/0009-release-serials.md). ``record`` keeps a new serial in the ledger; without
    it nothing is written.
    """
    sources = known(sources_of(shop, unit))
    buildroot = known(shop.facts.buildroots.get(shop.chroot(unit).name))
    devel = None
    if unit.cell is not None:
        devel = known(shop.facts.kernels.get((unit.distribution.name, unit.cell.kernel.release)))
    if sources is None or buildroot is None or (unit.cell is not None and devel is None):
        return None
    if unit.of_repository:
        sources = replace(sources, source_date_epoch=date_of(shop))

    def made_of(spec: SpecFile, parts: Mapping[str, str] | None = None, devel: KernelDevel | None = None) -> KeyParts:
        return unit_parts(
            spec,
            distribution=unit.distribution,
            chroot=buildroot.chroot,
            buildroot_identity=buildroot.identity,
            devel_sha256=devel.sha256 if devel else None,
            source_date_epoch=sources.source_date_epoch,
            recipe=shop.builder.recipe,
            parts=parts,
        )

    modules, parts = None, None
    if unit.cell is not None:
        cell, matrix = narrowed(unit.cell, shop.configuration.matrix)
        compiled = render_modules(cell, sources, matrix)
        assert devel is not None  # noqa: S101  returned above without one
        # By name, so that keys of kernels that need nothing over their buildroot are as they would be without.
        over = {"requirements": requirements_digest(devel)} if devel.requirements else None
        whole = made_of(compiled, over, devel)
        modules = ModulesJob(spec=compiled, parts=whole, key=key_of(whole))
        parts = {"modules": modules.key, "signer": shop.signing.identity, "recipe": PACK_RECIPE}
    first = render_unit(shop, unit, sources, 1, kernels)
    # A gate or release is re-released only when what it says changes; the rest when anything of their build does.
    content = content_digest(first) if unit.kind in LATE else key_of(made_of(first, parts))
    serials = shop.store.serials
    serial = serials.serial(unit.scope, content) if record else serials.peek(unit.scope, content)
    spec = first if serial == 1 else render_unit(shop, unit, sources, serial, kernels)
    whole = made_of(spec, parts)
    return Job(
        unit=unit,
        serial=serial,
        content=content,
        spec=spec,
        parts=whole,
        key=key_of(whole),
        buildroot=buildroot,
        sources=sources,
        devel=devel,
        modules=modules,
    )


def inputs_of(shop: Workshop, job: Job, *, serial: int | None = None, kernels: tuple[GateKernel, ...] = ()) -> Inputs:
    """What a job is made from, to be recorded, or compared: then with the ``serial`` of what it is compared with."""
    parts = job.parts
    if serial not in (None, job.serial):
        parts = replace(parts, spec=render_unit(shop, job.unit, job.sources, serial or job.serial, kernels).text)
    cell = job.unit.cell
    return Inputs(
        unit_id=job.unit.scope,
        spec_name=job.spec.filename,
        serial=serial or job.serial,
        parts=parts,
        modules=job.modules.parts if job.modules else None,
        devel=f"{cell.kernel.devel.name}-{cell.kernel.devel.evr}" if cell else None,
        packages=job.buildroot.packages,
        requirements=tuple(f"{p.nevra} {p.sha256}" for p in job.devel.requirements) if job.devel else (),
    )


def exists(shop: Workshop, unit: Unit) -> bool:
    """Whether there is such a unit: the 32-bit libraries only where the driver's archive, once it is here, has any."""
    sources = known(shop.facts.sources.get(source_id(unit)))
    if unit.kind is not PackageKind.COMPAT32 or sources is None:
        return True
    try:
        return has_compat32(sources.manifest, unit.driver.version)
    except RenderError:  # told where it is rendered
        return True


def unit_states(shop: Workshop, units: Iterable[Unit]) -> tuple[UnitState, ...]:
    """What ``plan`` is told of each unit. What stays the same for all is asked for once; see known_keys."""
    asked = tuple(units)
    ledger = shop.store.ledger
    keys = KnownKeys(shop)
    keys.prepare(asked)
    failed = {unit for unit, _ in ledger.failures()}
    made = ledger.scopes()
    peek = shop.store.serials.peeker()
    states = []
    for unit in asked:
        scope = unit.scope
        failure = ledger.failure(scope) if scope in failed else None
        blocked, hint = _blocked(shop, unit, keys)
        key = None
        if not blocked:
            try:
                key = _key(shop, unit, keys, peek)
            except RenderError as exc:  # of this unit alone: a file that no rule places, a value that rpm would misread
                blocked, hint = exc.message, exc.hint
        states.append(
            UnitState(
                unit=unit,
                key=key,
                stored=key is not None and shop.store.has("results", key),
                earlier=scope in made,
                missing=None if key or blocked else _missing(shop, unit),
                blocked=blocked,
                hint=hint,
                selected=unit.id in shop.configuration.selected,
                last_failure=f"{failure.stage}: {failure.message}" if failure else None,
            )
        )
    keys.keep()
    return tuple(states)


def _key(shop: Workshop, unit: Unit, keys: KnownKeys, peek: Callable[[str, str], int]) -> str | None:
    content = keys.content(unit)
    known_key = keys.key(unit, peek(unit.scope, content)) if content is not None else None
    if known_key is not None:
        return known_key
    job = make_job(shop, unit, record=False)
    if job is None:
        return None
    keys.learn(unit, job.content, job.serial, job.key)
    return job.key


def _blocked(shop: Workshop, unit: Unit, keys: KnownKeys) -> tuple[str | None, str | None]:
    errors: list[object] = [sources_of(shop, unit)]
    if unit.cell is not None:
        errors.append(shop.facts.kernels.get((unit.distribution.name, unit.cell.kernel.release)))
    errors.append(shop.facts.buildroots.get(shop.chroot(unit).name))
    for error in errors:
        if isinstance(error, RepobuildError):
            return error.message, error.hint
    return _wrong_toolchain(shop, unit, keys)


def _wrong_toolchain(shop: Workshop, unit: Unit, keys: KnownKeys) -> tuple[str | None, str | None]:
    if unit.cell is None:
        return None, None
    kernel = unit.cell.kernel
    devel = known(shop.facts.kernels.get((unit.distribution.name, kernel.release)))
    buildroot = known(shop.facts.buildroots.get(shop.chroot(unit).name))
    if devel is None:
        return None, None
    fault = keys.toolchain_fault(kernel, devel, buildroot)
    return (fault, toolchain_hint(kernel, devel)) if fault else (None, None)


def _missing(shop: Workshop, unit: Unit) -> str:
    if source_id(unit) not in shop.facts.sources:
        return "sources not fetched yet"
    if shop.chroot(unit).name not in shop.facts.buildroots:
        return "no current buildroot yet"
    if sources_of(shop, unit) is None:
        of_archive = unit.kind in ARCHIVE_KINDS
        return "its archive was not fetched yet" if of_archive else "its open objects were not built from source yet"
    return "its kernel's devel package was not read yet"
