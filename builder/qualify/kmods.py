"""Qualify a kmod package: would this kernel load these modules, and is the package what was planned?"""

from __future__ import annotations

import lzma
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from builder.model.cells import Artifact, Cell, Check, Verdict
from builder.model.matrix import Matrix
from builder.model.naming import kmod_folder, kmod_nevra
from builder.qualify.checks import LEVEL, check
from builder.qualify.elf import Module, ModuleFormatError, read_module
from builder.qualify.symbols import SymversError, gpl_faults, import_faults, read_symvers
from builder.tools.rpms import extract_members, read_header
from builder.tools.run import run

_ZSTD_TIMEOUT = 300.0  # seconds
_SCRIPTLETS = "/bin/sh"  # rpm's own requirement for %posttrans and %postun


def qualify_kmod(
    cell: Cell, artifacts: Sequence[Artifact], symvers: bytes, matrix: Matrix, *, serial: int = 1
) -> Verdict:
    """The static verdict on a cell's package; ``symvers`` is its kernel's own Module.symvers.

    Every fault of the package is a failed check, also a damaged module; only a failing tool raises (ToolError).
    """
    planned = kmod_nevra(cell, matrix, serial=serial)
    faults = [f"unexpected package {a.nevra}" for a in artifacts if a.nevra != planned]
    found = [a for a in artifacts if a.nevra == planned]
    faults += [] if len(found) == 1 else [f"{len(found)} packages are {planned}, one is expected"]
    checks = [check("nevra", faults, passed=[str(planned)])]
    if len(found) == 1:
        checks += _check_package(cell, found[0].path, symvers)
    return Verdict(unit_id=cell.id, level=LEVEL, checks=tuple(checks))


def _check_package(cell: Cell, rpm: Path, symvers: bytes) -> Iterable[Check]:
    header = read_header(rpm)
    kernel = str(cell.kernel.core)
    requires = [r for r in header.requires if r != _SCRIPTLETS]
    wrong = [f"requires {r}" for r in requires if r != kernel] + ([] if kernel in requires else [f"lacks {kernel}"])
    yield check("requires", wrong, passed=[kernel])

    files = {path: _module_name(path) for path in header.files}
    folder = kmod_folder(cell.kernel)
    allowed = {folder, str(PurePosixPath(folder).parent)}
    strangers = [
        path for path, name in files.items() if path not in allowed and (not name or not path.startswith(f"{folder}/"))
    ]
    yield check("files", [f"{path} does not belong here" for path in strangers], passed=[f"all below {folder}"])

    names = sorted(name for name in files.values() if name)
    faults = [f"{m}.ko is missing" for m in cell.driver.modules if m not in names]
    faults += [f"{m}.ko was not asked for" for m in sorted(set(names) - set(cell.driver.modules))]
    faults += [f"{m}.ko is there {names.count(m)} times" for m in sorted(set(names)) if names.count(m) > 1]
    yield check("modules", faults, passed=[", ".join(names)])

    modules, damaged = _read_modules(rpm, {path: name for path, name in files.items() if name})
    yield check("readable", damaged, passed=[f"{len(modules)} modules"])
    yield from _check_modules(cell, modules, symvers)


def _check_modules(cell: Cell, modules: Sequence[Module], symvers: bytes) -> Iterable[Check]:
    release = cell.kernel.release
    wrong = [
        f"{m.name}: built for {m.vermagic.split(' ')[0] or 'no kernel'}, expected {release}"
        for m in modules
        if m.vermagic.split(" ")[0] != release
    ]
    yield check("vermagic", wrong, passed=[release])
    version = cell.driver.version
    wrong = [f"{m.name}: version {m.version or 'none'}, expected {version}" for m in modules if m.version != version]
    yield check("version", wrong, passed=[version])
    try:
        kernel = read_symvers(symvers)
    except SymversError as exc:
        yield check("imports", [str(exc)], passed=[])
        return
    counts = [f"{m.name}: {len(m.imports)} imports, {len(m.versions)} CRCs" for m in modules]
    yield check("imports", list(import_faults(modules, kernel)), passed=counts)
    yield check("gpl", list(gpl_faults(modules, kernel)), passed=[f"{m.name}: {m.license}" for m in modules])


def _module_name(path: str) -> str:
    """``nvidia`` for ``…/nvidia.ko.xz``, "" for anything that is no module."""
    stem, dot, suffix = PurePosixPath(path).name.partition(".ko")
    return stem if dot and suffix in {"", ".xz", ".zst", ".gz"} else ""


def _read_modules(rpm: Path, files: dict[str, str]) -> tuple[list[Module], list[str]]:
    modules, damaged = [], []
    payload = extract_members(rpm, tuple(files))
    for path, name in sorted(files.items(), key=lambda item: item[1]):
        if path not in payload:
            damaged.append(f"{path} is no regular file")
            continue
        try:
            modules.append(read_module(name, _decompress(path, payload[path])))
        except (ModuleFormatError, lzma.LZMAError, EOFError) as exc:
            damaged.append(f"{path}: {exc}")
    return modules, damaged


def _decompress(path: str, data: bytes) -> bytes:
    if path.endswith(".xz"):
        return lzma.decompress(data)
    if not path.endswith(".zst"):
        return data
    with tempfile.TemporaryDirectory(prefix="repobuild-zstd-") as tmp:
        packed, plain = Path(tmp, "module.ko.zst"), Path(tmp, "module.ko")
        packed.write_bytes(data)
        done = run(["zstd", "-q", "-d", packed, "-o", plain], timeout=_ZSTD_TIMEOUT, ok=(0, 1))
        if done.returncode:
            raise ModuleFormatError(f"zstd cannot unpack it: {done.stderr.strip()}")
        return plain.read_bytes()
