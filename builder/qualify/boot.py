"""Level "boot": that kernel's own image, an initramfs of the installed root, every module inserted by modprobe.

Good is a module that is live afterwards. Without a GPU nvidia.ko refuses in its own words with ENODEV: everything but
the hardware was right, and nothing else counts as that. What needs nvidia is then not tried.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from builder.errors import ToolError, ToolMissingError
from builder.model.cells import Cell, Check, Verdict
from builder.qualify.bootreport import Attempt, BootReport, alone_faults, last_words, load_faults, read_report, told
from builder.qualify.elf import ModuleFormatError, read_module
from builder.qualify.initramfs import (
    Insertion,
    kernel_name,
    modules_folder,
    order_modules,
    pack_initramfs,
    read_dependencies,
)
from builder.qualify.rootfiles import RootFileError, resolve
from builder.qualify.roots import InstalledRoot
from builder.tools.kmod import read_module_file
from builder.tools.qemu import Booted, Firmware, boot

LEVEL = "boot"
_MACHINES = ("x86_64",)
_TIMED_OUT = "the machine did not come to its end in time and was stopped"


def qualify_boot(cell: Cell, installed: InstalledRoot, *, timeout: float, scratch: Path) -> Verdict:
    """Boot and insert every module of the driver; ``timeout`` in seconds, ``scratch`` keeps the logs.

    A module, a kernel or a machine that does not do what it must is a failed check with the console's words. Raises
    ToolMissingError without QEMU, and for an arch that cannot be booted here.
    """
    require_machine(cell)
    root, release = installed.path, cell.kernel.release
    try:
        dependencies = read_dependencies(root, release)
        insertions = order_modules(cell.driver.modules, dependencies)
        modules = read_modules(root, insertions, dependencies)
        exported = exported_symbols(modules)
        booted = boot_root(cell, root, insertions, {}, scratch, timeout=timeout)
    except RootFileError as exc:
        return unbootable(cell, LEVEL, exc)
    report = read_report(booted.report)
    checks = [*boot_checks(cell, booted, report), *module_checks(cell, report, insertions, exported)]
    return Verdict(unit_id=cell.id, level=LEVEL, checks=tuple(checks))


def read_modules(
    root: Path, insertions: Sequence[Insertion], dependencies: Mapping[str, tuple[str, ...]]
) -> dict[str, bytes]:
    """The plain bytes of the set's modules as they are installed; raises RootFileError."""
    modules = {}
    for insertion in insertions:
        file = dependencies[kernel_name(insertion.module)][0]
        try:
            modules[insertion.module] = read_module_file(resolve(root, file))
        except ToolError as exc:
            raise RootFileError(f"{file}: {exc.message}") from exc
    return modules


def exported_symbols(modules: Mapping[str, bytes]) -> set[str]:
    """All that the set exports; raises RootFileError for a damaged module."""
    found: set[str] = set()
    for name, data in modules.items():
        try:
            found |= read_module(name, data).exports.keys()
        except ModuleFormatError as exc:
            raise RootFileError(f"{name}: {exc}") from exc
    return found


def timed_out(verdict: Verdict) -> bool:
    """Did a boot only not end in time? On a busy machine it may another day."""
    return any(check.evidence[:1] == (_TIMED_OUT,) for check in verdict.checks)


def require_machine(cell: Cell) -> None:
    """Raise ToolMissingError for an arch that no machine is described for."""
    if cell.arch not in _MACHINES:
        raise ToolMissingError(
            f"{cell.id}: {cell.arch} kernels cannot be booted by this version",
            hint=f"ask for the level install; boot and secureboot are for {', '.join(_MACHINES)}",
        )


def kernel_image(root: Path, release: str) -> Path:
    """The kernel's own image in a root, as seen from outside; raises RootFileError."""
    try:
        return resolve(root, f"{modules_folder(release)}/vmlinuz")
    except RootFileError:
        return resolve(root, f"/boot/vmlinuz-{release}")


def boot_root(
    cell: Cell,
    root: Path,
    insertions: Sequence[Insertion],
    extra: Mapping[str, bytes],
    scratch: Path,
    *,
    timeout: float,
    firmware: Firmware | None = None,
) -> Booted:
    """Pack an initramfs of the root and boot it; raises RootFileError, ToolError."""
    scratch.mkdir(parents=True, exist_ok=True)
    initramfs = scratch / "initramfs.cpio"
    pack_initramfs(root, cell.kernel.release, insertions, extra, initramfs)
    image = kernel_image(root, cell.kernel.release)
    try:
        return boot(image, initramfs, scratch, timeout=timeout, firmware=firmware)
    finally:
        initramfs.unlink()  # as large as the modules; what is worth keeping is the logs


def unbootable(cell: Cell, level: str, exc: Exception) -> Verdict:
    """The verdict on a root that nothing can be booted from."""
    return Verdict(unit_id=cell.id, level=level, checks=(told("boot", [str(exc)], passed=()),))


def boot_checks(cell: Cell, booted: Booted, report: BootReport) -> Iterable[Check]:
    """Did the machine come to its end, with that kernel?"""
    if report.done:
        faults: list[str] = []
    elif booted.timed_out:
        faults = [_TIMED_OUT, *last_words(booted.console)]
    else:
        faults = ["the machine reset itself before its end", *last_words(booted.console)]
    running = [a.label for a in report.attempts if a.tried and a.rc is None]
    faults += [f"while {label} was being inserted" for label in running if faults]
    yield told("boot", faults, passed=["booted, and came to its end"])
    if report.kernel or report.done:
        release = cell.kernel.release
        wrong = [] if report.kernel == release else [f"the image is {report.kernel}, expected {release}"]
        yield told("kernel", wrong, passed=[release])


def module_checks(
    cell: Cell, report: BootReport, insertions: Sequence[Insertion], exported: Collection[str]
) -> Iterable[Check]:
    """One check a module, its evidence the kernel's and modprobe's words also where it is good.

    For a module that was not tried a second one says whether the kernel takes it but for the set's own symbols.
    """
    for insertion in insertions:
        attempt = report.attempt(insertion.label)
        faults = load_faults(attempt, insertion.module, cell.driver.version)
        yield told(insertion.module, faults, passed=_good(attempt) if attempt else ())
        if attempt is not None and not attempt.tried and insertion.otherwise is not None:
            alone = report.attempt(insertion.otherwise.label)
            passed = ("refused only for what the modules export that it needs", *(alone.evidence if alone else ()))
            yield told(f"{insertion.module} symbols", alone_faults(alone, insertion.module, exported), passed=passed)


def _good(attempt: Attempt) -> tuple[str, ...]:
    if not attempt.tried:
        return (f"not tried: it needs {attempt.missing}, which is not loaded",)
    if attempt.state == "live":
        return (f"loaded, version {attempt.version}", *attempt.evidence)
    return attempt.evidence
