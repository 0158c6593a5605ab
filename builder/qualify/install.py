"""Level "install": in a root with that kernel, what its own kmod and rpm say of the installed modules."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from builder.errors import QualifyError
from builder.model.cells import Cell, Verdict
from builder.model.naming import kmod_folder
from builder.qualify.bootreport import told
from builder.qualify.checks import check
from builder.qualify.initramfs import kernel_name, module_name, modules_folder
from builder.qualify.rootfiles import RootFileError, resolve
from builder.qualify.roots import InstalledRoot
from builder.tools.inroot import in_root, over_root
from builder.tools.run import Completed, run

LEVEL = "install"
_TIMEOUT = 300.0  # seconds, for each program
_ANY = range(256)  # exit codes: what a program says is what is judged
_SYMBOLS = re.compile(r"^[0-9a-f]{8,} [A-Za-z] __ksymtab_", re.MULTILINE)


def not_installed(cell: Cell, exc: QualifyError) -> Verdict:
    """The verdict on packages that dnf would not install."""
    evidence = tuple(line for line in exc.details if line) or (exc.message,)
    return Verdict(unit_id=cell.id, level=LEVEL, checks=(told("install", evidence, passed=()),))


def qualify_install(cell: Cell, installed: InstalledRoot) -> Verdict:
    """The verdict on an installed root (builder.qualify.roots): scriptlets, rpm -V, modprobe, modinfo, depmod.

    The root is only read. Raises ToolError where a program cannot be run at all.
    """
    checks = [
        told("scriptlets", installed.complaints, passed=["none failed"]),
        check("rpm -V", list(_verify(installed)), passed=[", ".join(installed.packages)]),
        check("modprobe", list(_show_depends(cell, installed.path)), passed=[f"all below {kmod_folder(cell.kernel)}"]),
        check("modinfo", list(_modinfo(cell, installed.path)), passed=[f"{cell.driver.version} {cell.kernel.release}"]),
    ]
    symbols = _system_map(cell, installed.path)
    if symbols:
        checks.append(check("depmod", list(_depmod(cell, installed.path, symbols)), passed=[f"no symbol of {symbols}"]))
    return Verdict(unit_id=cell.id, level=LEVEL, checks=tuple(checks))


def _verify(installed: InstalledRoot) -> Iterator[str]:
    words = ["rpm", "--root", str(installed.path), "--dbpath", installed.database, "-V", *installed.packages]
    done = run(over_root(installed.path, words), timeout=_TIMEOUT, ok=_ANY)
    yield from _said(done)
    if done.returncode and not _said(done):
        yield f"rpm -V ended with exit code {done.returncode}, without a word"


def _show_depends(cell: Cell, root: Path) -> Iterator[str]:
    """What modprobe would insert for each module: the module in its folder, every file of the chain really there."""
    folder = kmod_folder(cell.kernel)
    for module in cell.driver.modules:
        words = ["modprobe", "-S", cell.kernel.release, "-d", "/", "--show-depends", module]
        done = run(in_root(root, words), timeout=_TIMEOUT, ok=_ANY)
        lines = done.stdout.splitlines()
        if done.returncode or not lines:
            yield f"{module}: {' '.join(_said(done)) or 'modprobe knows nothing of it'}"
            continue
        own = None
        for line in lines:
            how, _, path = line.strip().partition(" ")
            path = f"/{path.split(' ')[0].lstrip('/')}"  # "//lib/…" below "-d /"
            if how == "builtin":
                continue
            if how != "insmod":
                yield f"{module}: modprobe would run: {line.strip()}"
                continue
            if not _exists(root, path):
                yield f"{module}: {path} is not there"
            own = path if module_name(path) == kernel_name(module) else own
        if own is None or not own.startswith((f"{folder}/", f"/usr{folder}/")):
            yield f"{module}: modprobe would take {own or 'nothing'}, expected it below {folder}"


def _modinfo(cell: Cell, root: Path) -> Iterator[str]:
    wanted = {"version": cell.driver.version, "vermagic": cell.kernel.release}
    for module in cell.driver.modules:
        done = run(in_root(root, ["modinfo", "-k", cell.kernel.release, module]), timeout=_TIMEOUT, ok=_ANY)
        if done.returncode:
            yield f"{module}: {' '.join(_said(done))}"
            continue
        fields = dict(re.findall(r"^(\w+):\s+(.*)$", done.stdout, re.MULTILINE))
        for name, value in wanted.items():
            found = fields.get(name, "").split(" ")[0]
            if name == "version" and not found and module != "nvidia":
                continue  # nvidia-uvm of 470 and older drivers records none
            if found != value:
                yield f"{module}: {name} {found or 'none'}, expected {value}"


def _system_map(cell: Cell, root: Path) -> str | None:
    """Path inside of the kernel's table of symbols; what some distributions ship in its place is a stub."""
    release = cell.kernel.release
    for path in (f"{modules_folder(release)}/System.map", f"/boot/System.map-{release}"):
        if _exists(root, path) and _SYMBOLS.search(resolve(root, path).read_text(errors="replace")):
            return path
    return None


def _depmod(cell: Cell, root: Path, symbols: str) -> Iterator[str]:
    done = run(in_root(root, ["depmod", "-n", "-e", "-F", symbols, cell.kernel.release]), timeout=_TIMEOUT, ok=_ANY)
    for line in done.stderr.splitlines():
        if "/extra/nvidia/" in line:
            yield line.strip()
    if done.returncode:
        yield f"depmod ended with exit code {done.returncode}"


def _exists(root: Path, path: str) -> bool:
    try:
        return resolve(root, path).is_file()
    except RootFileError:
        return False


def _said(done: Completed) -> list[str]:
    return [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
