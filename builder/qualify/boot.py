"""Level "boot": that kernel's own image, an initramfs of the installed root, every module inserted by modprobe.

Good is a module that is live afterwards. Without a GPU nvidia.ko refuses in its own words with ENODEV: everything but
the hardware was right, and nothing else counts as that. What needs nvidia is then not tried.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from builder.errors import QualifyError
from builder.model.cells import Cell, Check, Verdict
from builder.qualify.bootreport import Attempt, BootReport, last_words, load_faults, read_report, told
from builder.qualify.initramfs import Insertion, modules_folder, order_modules, pack_initramfs, read_dependencies
from builder.qualify.rootfiles import RootFileError, resolve
from builder.qualify.roots import InstalledRoot
from builder.tools.qemu import Booted, Firmware, boot

LEVEL = "boot"
_MACHINES = ("x86_64",)


def qualify_boot(cell: Cell, installed: InstalledRoot, *, timeout: float, scratch: Path) -> Verdict:
    """Boot and insert every module of the driver; ``timeout`` in seconds, ``scratch`` keeps initramfs and logs.

    A module, a kernel or a machine that does not do what it must is a failed check with the console's words. Raises
    ToolMissingError without QEMU, QualifyError for an arch that cannot be booted here.
    """
    require_machine(cell)
    try:
        insertions = order_modules(cell.driver.modules, read_dependencies(installed.path, cell.kernel.release))
        booted = boot_root(cell, installed.path, insertions, {}, scratch, timeout=timeout)
    except RootFileError as exc:
        return unbootable(cell, LEVEL, exc)
    report = read_report(booted.report)
    checks = [*boot_checks(cell, booted, report), *module_checks(cell, report, insertions)]
    return Verdict(unit_id=cell.id, level=LEVEL, checks=tuple(checks))


def require_machine(cell: Cell) -> None:
    """Raise QualifyError for an arch that no machine is described for."""
    if cell.arch not in _MACHINES:
        raise QualifyError(
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
    return boot(image, initramfs, scratch, timeout=timeout, firmware=firmware)


def unbootable(cell: Cell, level: str, exc: Exception) -> Verdict:
    """The verdict on a root that nothing can be booted from."""
    return Verdict(unit_id=cell.id, level=level, checks=(told("boot", [str(exc)], passed=()),))


def boot_checks(cell: Cell, booted: Booted, report: BootReport) -> Iterable[Check]:
    """Did the machine come to its end, with that kernel?"""
    if report.done:
        faults: list[str] = []
    elif booted.timed_out:
        faults = ["the machine did not come to its end in time and was stopped", *last_words(booted.console)]
    else:
        faults = ["the machine reset itself before its end", *last_words(booted.console)]
    running = [a.label for a in report.attempts if a.tried and a.rc is None]
    faults += [f"while {label} was being inserted" for label in running if faults]
    yield told("boot", faults, passed=["booted, and came to its end"])
    if report.kernel or report.done:
        release = cell.kernel.release
        wrong = [] if report.kernel == release else [f"the image is {report.kernel}, expected {release}"]
        yield told("kernel", wrong, passed=[release])


def module_checks(cell: Cell, report: BootReport, insertions: Sequence[Insertion]) -> Iterable[Check]:
    """One check a module, its evidence the kernel's and modprobe's words also where it is good."""
    for insertion in insertions:
        attempt = report.attempt(insertion.label)
        faults = load_faults(attempt, insertion.module, cell.driver.version)
        yield told(insertion.module, faults, passed=_good(attempt) if attempt else ())


def _good(attempt: Attempt) -> tuple[str, ...]:
    if not attempt.tried:
        return (f"not tried: it needs {attempt.missing}, which is not loaded",)
    if attempt.state == "live":
        return (f"loaded, version {attempt.version}", *attempt.evidence)
    return attempt.evidence
