"""Build a cell a second time, elsewhere and later, and compare every byte with what the store holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from builder.errors import RepobuildError, SelectionError, VerifyError
from builder.model.cells import BuildResult, Unit
from builder.model.modules import BuiltModules, PackedModule
from builder.model.sources import KernelObject
from builder.pack import pack_modules, read_compiled, unpack_modules
from builder.pipeline.events import Listener
from builder.pipeline.hermetic import Former, find_former, hermetic
from builder.pipeline.matrix import open_workshop
from builder.pipeline.modules import find_modules, packed_sources, rpmbuild
from builder.pipeline.open_tree import find_open_trees, look_at_all
from builder.pipeline.settings import Settings
from builder.pipeline.specs import Job, inputs_of, make_job
from builder.pipeline.workshop import Workshop, known, make_buildroots, source_id, sources_of
from builder.plan.changes import describe_changes
from builder.qualify import section_differences
from builder.render import MODULES_FOLDER, objects_of
from builder.store import read_installed, write_answers
from builder.tools.rpms import file_sha256


def rebuild_cell(settings: Settings, cell_id: str, listener: Listener, *, locked: bool = False) -> dict[str, str]:
    """Compile, pack and sign a cell again; returns the sha256 of each module and RPM by name, all as before.

    With ``locked`` it is the newest build of the cell, in a root of exactly the packages that its lock names, made anew
    and without any other repository; else the build in the root of the repositories' present state.

    Raises VerifyError that names what differs and where, SelectionError for no such cell, or one that was not built
    from what matrix and streams say now. Nothing that is in the store is changed.
    """
    shop = open_workshop(settings, listener)
    with shop.store, ExitStack() as stack:
        look_at_all(shop)
        unit = _find(shop, cell_id)
        former: Former | None
        if locked:
            shop, former = stack.enter_context(hermetic(shop, unit))
        else:
            if known(shop.facts.sources.get(source_id(unit))):
                make_buildroots(shop, (unit,))
                find_open_trees(shop)
            former = find_former(shop, unit)
        job = _job(shop, unit)
        built, result = find_modules(shop, job), shop.store.result(job.key)
        if built is None or result is None:
            raise _other(shop, job, former, locked=locked)
        shop.tell("build", cell_id, "started", "a second time")
        found, faults = _compare(shop, job, built, result, locked=locked)
    if faults:
        raise VerifyError(f"{cell_id}: the second build differs from the first", details=faults)
    return found


def _find(shop: Workshop, cell_id: str) -> Unit:
    cells = {u.id: u for u in shop.configuration.units if u.cell is not None}
    if cell_id not in cells:
        near = get_close_matches(cell_id, cells, n=3)
        hint = f"did you mean {', '.join(near)}?" if near else "repobuild cells lists them"
        raise SelectionError(f"{cell_id}: no such cell in this matrix", hint=hint)
    return cells[cell_id]


def _job(shop: Workshop, unit: Unit) -> Job:
    """What a build of the cell is made from; raises what stands in the way of knowing it."""
    kernel = unit.cell.kernel.release if unit.cell else ""
    facts = shop.facts
    buildroot = facts.buildroots.get(shop.chroot(unit).name)
    for fact in (sources_of(shop, unit), buildroot, facts.kernels.get((unit.distribution.name, kernel))):
        if isinstance(fact, RepobuildError):
            raise fact
    job = make_job(shop, unit, record=False)
    if job is None:
        raise SelectionError(
            f"{unit.id}: its sources are not in the store, so nothing can be built of them",
            hint=f"repobuild fetch --select '{unit.id}'",
        )
    return job


def _other(shop: Workshop, job: Job, former: Former | None, *, locked: bool) -> SelectionError:
    """There is no build from what the job is made from; says what the newest one was made from instead."""
    cell = job.unit.id
    if former is None:
        changes: tuple[str, ...] = ()
    else:
        changes = describe_changes(former.inputs, inputs_of(shop, job, serial=former.inputs.serial))
    if locked:
        text, hint = "sources", "build it again with the matrix, streams and driver sources that it was built from"
    elif former is not None and former.lock is not None:
        text = "sources and buildroot"
        hint = "--hermetic makes the root that the newest build had, whatever the repositories have now"
    else:
        text, hint = "sources and buildroot", f"repobuild build --select '{cell}'"
    return SelectionError(
        f"{cell}: was not built from the present {text}, so there is nothing to compare with",
        details=changes,
        hint=hint,
    )


def _compare(
    shop: Workshop, job: Job, built: BuiltModules, result: BuildResult, *, locked: bool
) -> tuple[dict[str, str], list[str]]:
    cell, modules = job.unit.cell, job.modules
    assert cell is not None  # noqa: S101  only cells come here
    assert modules is not None  # noqa: S101
    objects = objects_of(cell, job.sources)
    with shop.store.tmp() as tmp:
        for name in ("compile", "packed", "parts", "pack"):
            (tmp / name).mkdir()
        nothing = write_answers(tmp, b"")  # so that remembered answers cannot repeat a mistake of theirs
        spec = replace(modules.spec, sources=(*modules.spec.sources, nothing))
        resultdir, seconds = rpmbuild(shop, job.unit, spec, job.buildroot, job.sources, tmp / "compile")
        (rpm,) = (p for p in resultdir.glob("*.rpm") if not p.name.endswith(".src.rpm"))
        packed = pack_modules(read_compiled(rpm, MODULES_FOLDER, cell.driver.modules), objects, tmp / "packed")
        found = {f"{m.name}.ko": m.sha256 for m in packed}
        faults = list(_root_differences(built.folder, resultdir)) if locked else []
        faults += [
            line for pair in zip(built.modules, packed, strict=True) for line in _differences(*pair, objects, tmp)
        ]
        if not faults:
            again = replace(built, folder=tmp / "packed", modules=packed, seconds=seconds)
            spec = replace(job.spec, sources=packed_sources(shop, job, again, tmp / "parts"))
            resultdir, _ = rpmbuild(shop, job.unit, spec, job.buildroot, job.sources, tmp / "pack")
            for artifact in result.artifacts:
                second = file_sha256(resultdir / artifact.path.name)
                found[artifact.path.name] = second
                if second != artifact.sha256:
                    faults.append(f"{artifact.path.name}: {artifact.sha256} before, {second} now{_ec_note(shop)}")
        return found, faults


def _root_differences(before: Path, now: Path) -> Iterator[str]:
    """Packages that were in one root only, or with other bytes; the lists are rpm's own."""
    old, new = read_installed(before), read_installed(now)
    yield from (f"the root had {nevra} before, not now" for nevra in sorted(old.keys() - new.keys()))
    yield from (f"the root has {nevra} now, not before" for nevra in sorted(new.keys() - old.keys()))
    for nevra in sorted(old.keys() & new.keys()):
        if None not in (old[nevra], new[nevra]) and old[nevra] != new[nevra]:
            yield f"the root has other bytes of {nevra} now"


def _differences(old: PackedModule, new: PackedModule, objects: tuple[KernelObject, ...], tmp: Path) -> Iterator[str]:
    if old.sha256 == new.sha256:
        return
    against = next((o.path for o in objects if o.sha256 == old.object_sha256), None)
    yield f"{old.name}.ko: {old.sha256} before, {new.sha256} now"
    before, now = unpack_modules((old.path, new.path), against, tmp)
    yield from (f"{old.name}.ko: {line}" for line in section_differences(before, now))


def _ec_note(shop: Workshop) -> str:
    certificate = shop.signing.certificate
    return " (each ECDSA signature is another one: sign with RSA)" if certificate and certificate.ecdsa else ""
