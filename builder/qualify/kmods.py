"""Qualify a kmod package: would this kernel load these modules, and is the package what was planned?"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from builder.model.cells import Artifact, Cell, Check, Verdict
from builder.model.matrix import Matrix
from builder.model.modules import split_signature
from builder.model.naming import JOIN_CAPABILITY, PARTS, kmod_folder, kmod_nevra, kmod_parts
from builder.qualify.checks import LEVEL, check
from builder.qualify.elf import Module, ModuleFormatError, read_module
from builder.qualify.joined import join_package
from builder.qualify.symbols import SymversError, gpl_faults, import_faults, namespace_faults, read_symvers
from builder.tools.openssl import cms_fault
from builder.tools.rpms import read_header

_SCRIPTLETS = "/bin/sh"  # rpm's own requirement for %posttrans and %postun


def qualify_kmod(
    cell: Cell,
    artifacts: Sequence[Artifact],
    symvers: bytes,
    matrix: Matrix,
    *,
    serial: int = 1,
    objects: Mapping[str, Path] | None = None,
    certificate: bytes | None = None,
    firmware: Collection[str] | None = None,
) -> Verdict:
    """The static verdict on a cell's package; ``symvers`` is its kernel's own Module.symvers.

    ``objects`` are the files its modules are joined with, by sha256; ``certificate`` (PEM) is whose signature every
    module must carry, None when none may carry one; ``firmware`` are the files that the driver ships
    (``nvidia/<version>/gsp_tu10x.bin``), None where that is not known. What is looked
    at is what the host will have: joined and whole.

    Every fault of the package is a failed check, also a damaged module; only a failing tool raises (ToolError).
    """
    planned = kmod_nevra(cell, matrix, serial=serial)
    faults = [f"unexpected package {a.nevra}" for a in artifacts if a.nevra != planned]
    found = [a for a in artifacts if a.nevra == planned]
    faults += [] if len(found) == 1 else [f"{len(found)} packages are {planned}, one is expected"]
    checks = [check("nevra", faults, passed=[str(planned)])]
    if len(found) == 1:
        checks += _check_package(cell, found[0].path, symvers, objects or {}, certificate, firmware)
    return Verdict(unit_id=cell.id, level=LEVEL, checks=tuple(checks))


def _check_package(
    cell: Cell,
    rpm: Path,
    symvers: bytes,
    objects: Mapping[str, Path],
    certificate: bytes | None,
    firmware: Collection[str] | None,
) -> Iterable[Check]:
    header = read_header(rpm)
    kernel = str(cell.kernel.core)
    needed = {kernel, JOIN_CAPABILITY}
    requires = {r for r in header.requires if not r.startswith((_SCRIPTLETS, "nvidia-kmod-object"))}
    wrong = [f"requires {r}" for r in sorted(requires - needed)] + [f"lacks {r}" for r in sorted(needed - requires)]
    yield check("requires", wrong, passed=[kernel])

    parts, folder = kmod_parts(cell.kernel), kmod_folder(cell.kernel)
    allowed = {PARTS, parts, f"{parts}/modules", folder, str(PurePosixPath(folder).parent)}
    installed = {path: _module_name(path, folder, ".ko") for path in header.files}
    packed = {path: _module_name(path, parts, ".ko.zst") for path in header.files}
    signatures = {path: _module_name(path, parts, ".ko.sig") for path in header.files}
    strangers = [p for p in header.files if p not in allowed and not (installed[p] or packed[p] or signatures[p])]
    yield check("files", [f"{path} does not belong here" for path in strangers], passed=[f"below {parts}, {folder}"])

    wanted = set(cell.driver.modules)
    faults = []
    for suffix, names in ((".ko", installed), (".ko.zst", packed)):
        present = {name for name in names.values() if name}
        faults += [f"{m}{suffix} is missing" for m in sorted(wanted - present)]
        faults += [f"{m}{suffix} was not asked for" for m in sorted(present - wanted)]
    yield check("modules", faults, passed=[", ".join(sorted(wanted))])

    joined = join_package(rpm, parts, objects)
    yield check("joined", joined.faults, passed=[f"{len(joined.images)} modules as their list says"])
    yield check("signatures", list(_signature_faults(joined.images, certificate)), passed=[_signer(certificate)])
    modules, damaged = _read_modules(joined.images)
    yield check("readable", damaged, passed=[f"{len(modules)} modules"])
    yield from _check_modules(cell, modules, symvers)
    if firmware is not None:
        asked = [(m.name, file) for m in modules for file in m.firmware]
        missing = [
            f"{name} asks for {file}, which the driver does not ship" for name, file in asked if file not in firmware
        ]
        yield check("firmware", missing, passed=[f"{len(asked)} files, all shipped"])


def _check_modules(cell: Cell, modules: Sequence[Module], symvers: bytes) -> Iterable[Check]:
    release = cell.kernel.release
    wrong = [
        f"{m.name}: built for {m.vermagic.split(' ')[0] or 'no kernel'}, expected {release}"
        for m in modules
        if m.vermagic.split(" ")[0] != release
    ]
    yield check("vermagic", wrong, passed=[release])
    version = cell.driver.version
    # nvidia-uvm of 470 and older drivers records none.
    wrong = [
        f"{m.name}: version {m.version or 'none'}, expected {version}"
        for m in modules
        if m.version != version and (m.version or m.name == "nvidia")
    ]
    yield check("version", wrong, passed=[version])
    try:
        kernel = read_symvers(symvers)
    except SymversError as exc:
        yield check("imports", [str(exc)], passed=[])
        return
    counts = [f"{m.name}: {len(m.imports)} imports, {len(m.versions)} CRCs" for m in modules]
    yield check("imports", list(import_faults(modules, kernel)), passed=counts)
    yield check("namespaces", list(namespace_faults(modules, kernel)), passed=["every one is imported"])
    yield check("gpl", list(gpl_faults(modules, kernel)), passed=[f"{m.name}: {m.license}" for m in modules])


def _module_name(path: str, folder: str, suffix: str) -> str:
    """``nvidia`` for ``<folder>/nvidia.ko``, "" for anything else."""
    name = PurePosixPath(path)
    return name.name.removesuffix(suffix) if str(name.parent) == folder and name.name.endswith(suffix) else ""


def _signer(certificate: bytes | None) -> str:
    return "every module by the given certificate" if certificate else "none, as asked"


def _signature_faults(images: Mapping[str, bytes], certificate: bytes | None) -> Iterable[str]:
    for name, image in sorted(images.items()):
        try:
            plain, signature = split_signature(image)
        except ValueError as exc:
            yield f"{name}: {exc}"
            continue
        if certificate is None:
            if signature is not None:
                yield f"{name}: signed, though this run signs no modules"
        elif signature is None:
            yield f"{name}: not signed"
        elif (fault := cms_fault(plain, signature, certificate)) is not None:
            yield f"{name}: its signature is not the certificate's: {fault}"


def _read_modules(images: Mapping[str, bytes]) -> tuple[list[Module], list[str]]:
    modules, damaged = [], []
    for name, image in sorted(images.items()):
        try:
            modules.append(read_module(name, image))
        except ModuleFormatError as exc:
            damaged.append(f"{name}: {exc}")
    return modules, damaged
