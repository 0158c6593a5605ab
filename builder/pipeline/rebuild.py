"""Build a cell a second time, elsewhere and later, and compare every byte with what the store holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from builder.errors import SelectionError, VerifyError
from builder.model.cells import BuildResult, Unit
from builder.model.modules import BuiltModules, PackedModule
from builder.model.sources import KernelObject
from builder.pack import pack_modules, unpack_module
from builder.pipeline.events import Listener
from builder.pipeline.hermetic import hermetic
from builder.pipeline.matrix import open_workshop
from builder.pipeline.modules import find_modules, packed_sources, rpmbuild
from builder.pipeline.open_tree import find_open_trees, look_at_all
from builder.pipeline.settings import Settings
from builder.pipeline.specs import Job, make_job
from builder.pipeline.workshop import Workshop, known, make_buildroots, source_id
from builder.qualify import section_differences
from builder.render import MODULES_FOLDER, objects_of
from builder.store import LOCK_FILE, write_answers
from builder.tools.rpms import file_sha256

_INSTALLED = "installed_pkgs.log"


def rebuild_cell(settings: Settings, cell_id: str, listener: Listener, *, locked: bool = False) -> dict[str, str]:
    """Compile, pack and sign a cell again; returns the sha256 of each module and RPM by name, all as before.

    With ``locked``, in a root of exactly the packages that its lock names, made anew and without any other repository.

    Raises VerifyError that names what differs and where, SelectionError for no such cell or one that was not built.
    Nothing in the store is changed.
    """
    shop = open_workshop(settings, listener)
    with shop.store:
        look_at_all(shop)
        unit = _find(shop, cell_id)
        if known(shop.facts.sources.get(source_id(unit))):
            make_buildroots(shop, (unit,))
            find_open_trees(shop)
        job = make_job(shop, unit, record=False)
        built = find_modules(shop, job) if job else None
        result = shop.store.result(job.key) if job else None
        if job is None or built is None or result is None:
            raise SelectionError(
                f"{cell_id}: was not built from the present sources and buildroot, so there is nothing to compare with",
                hint=f"repobuild build --select '{cell_id}'",
            )
        shop.tell("build", cell_id, "started", "a second time")
        with ExitStack() as stack:
            if locked:
                tmp = stack.enter_context(shop.store.tmp())
                shop, job = stack.enter_context(hermetic(shop, job, built.folder / LOCK_FILE, tmp))
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
        packed = pack_modules(rpm, MODULES_FOLDER, cell.driver.modules, objects, tmp / "packed")
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
    """Packages that were in one root only; the list is rpm's own, with the MD5 of each."""
    old, new = (set((folder / _INSTALLED).read_text().splitlines()) for folder in (before, now))
    yield from (f"the root had {line.split()[0]} before, not now" for line in sorted(old - new))
    yield from (f"the root has {line.split()[0]} now, not before" for line in sorted(new - old))


def _differences(old: PackedModule, new: PackedModule, objects: tuple[KernelObject, ...], tmp: Path) -> Iterator[str]:
    if old.sha256 == new.sha256:
        return
    against = next((o.path for o in objects if o.sha256 == old.object_sha256), None)
    yield f"{old.name}.ko: {old.sha256} before, {new.sha256} now"
    before, now = (unpack_module(m.path, against, tmp) for m in (old, new))
    yield from (f"{old.name}.ko: {line}" for line in section_differences(before, now))


def _ec_note(shop: Workshop) -> str:
    certificate = shop.signing.certificate
    return " (each ECDSA signature is another one: sign with RSA)" if certificate and certificate.ecdsa else ""
