"""Level "secureboot": as "boot", under UEFI Secure Boot with our certificate enrolled, and two forgeries beside.

The kernel is started by the firmware itself, without shim: db holds the kernel's own signers, for firmware that
verifies what QEMU hands it (Debian 12's starts any kernel), and our certificate, which the kernel takes from db for its
modules (in EL, Fedora and Debian; upstream kernels want it in the machine owner's list). The forgeries are one module
without its signature and one with a flipped byte; both are inserted before anything else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from builder.model.cells import Cell, Check, Verdict
from builder.qualify.boot import (
    boot_checks,
    boot_root,
    exported_symbols,
    kernel_image,
    module_checks,
    read_modules,
    require_machine,
    unbootable,
)
from builder.qualify.bootreport import Attempt, BootReport, plain, read_report, told
from builder.qualify.checks import check
from builder.qualify.initramfs import Insertion, order_modules, read_dependencies
from builder.qualify.roots import InstalledRoot
from builder.tools.efi import enroll, image_signers
from builder.tools.kmod import split_signature
from builder.tools.qemu import copy_variables, find_secure_firmware

LEVEL = "secureboot"
_FOLDER = "/repobuild"  # of the forgeries, in the initramfs
_SECURE = re.compile(r"[Ss]ecure boot enabled|EFI Secure Boot mode", re.IGNORECASE)
_KEY = ("Key was rejected by service", "Required key not available", "Bad message")
_UNSIGNED = (*_KEY, "Operation not permitted")  # EPERM is lockdown's own answer to a module without a signature


def qualify_secureboot(
    cell: Cell, installed: InstalledRoot, certificate: bytes, *, timeout: float, scratch: Path
) -> Verdict:
    """Boot under Secure Boot with ``certificate`` (DER) enrolled; ``timeout`` in seconds, ``scratch`` keeps the logs.

    Failed checks carry the console's words. Raises ToolMissingError without QEMU, its firmware or virt-firmware,
    and for an arch that cannot be booted here.
    """
    require_machine(cell)
    template = find_secure_firmware()
    root, release = installed.path, cell.kernel.release
    try:
        dependencies = read_dependencies(root, release)
        insertions = order_modules(cell.driver.modules, dependencies)
        modules = read_modules(root, insertions, dependencies)
        exported = exported_symbols(modules)
        signers = image_signers(kernel_image(root, release).read_bytes())
    except ValueError as exc:  # RootFileError is one; the kernel's image may be no PE image
        return unbootable(cell, LEVEL, exc)
    unsigned = [f"{name} carries no signature" for name, data in modules.items() if not split_signature(data)[1]]
    faults = unsigned + ([] if signers else [f"the image of {release} is not signed: Secure Boot would not start it"])
    if faults:
        return unsigned_verdict(cell, *faults)

    extra, forged = _forgeries(insertions, modules)
    scratch.mkdir(parents=True, exist_ok=True)
    firmware = copy_variables(template, scratch / "variables.fd")
    enroll(firmware.variables, signers[0], (*signers, certificate), scratch)
    booted = boot_root(cell, root, [*forged, *insertions], extra, scratch, timeout=timeout, firmware=firmware)
    report = read_report(booted.report)
    checks = [check("signed", [], passed=[f"{len(modules)} modules"]), *boot_checks(cell, booted, report)]
    if report.kernel:
        checks += [*_lockdown_checks(report), *_forgery_checks(report)]
    checks += module_checks(cell, report, insertions, exported)
    return Verdict(unit_id=cell.id, level=LEVEL, checks=tuple(checks))


def unsigned_verdict(cell: Cell, *faults: str) -> Verdict:
    """The verdict where nothing is signed that could be tried."""
    return Verdict(unit_id=cell.id, level=LEVEL, checks=(check("signed", faults, passed=[]),))


def _forgeries(
    insertions: Sequence[Insertion], modules: dict[str, bytes]
) -> tuple[dict[str, bytes], tuple[Insertion, ...]]:
    """Files and insertions of the smallest module that needs no other, without its signature and with one flipped byte.

    The kernel checks a signature before it reads anything else of a module, so the smallest one shows it in the least
    time; one that needs no other is inserted for good afterwards: the very same module is then seen to be accepted.
    """
    alone = [i.module for i in insertions if not i.needs] or [insertions[0].module]
    name = min(alone, key=lambda module: (len(modules[module]), module))
    bare, _signature = split_signature(modules[name])
    tampered = bytearray(modules[name])
    tampered[len(bare) // 2] ^= 1
    files = {f"{_FOLDER}/unsigned.ko": bare, f"{_FOLDER}/tampered.ko": bytes(tampered)}
    forged = [Insertion(label=Path(file).stem, module=name, file=file) for file in files]
    return files, tuple(forged)


def _lockdown_checks(report: BootReport) -> Iterable[Check]:
    words = [plain(line) for line in report.log if _SECURE.search(line)]
    yield told("secure boot", [] if words else ["the kernel does not say that Secure Boot is enabled"], passed=words)
    locked = "[integrity]" in report.lockdown or "[confidentiality]" in report.lockdown
    faults = [] if locked else [f"lockdown is {report.lockdown or 'not there'}"]
    yield told("lockdown", faults, passed=[report.lockdown])


def _forgery_checks(report: BootReport) -> Iterable[Check]:
    for label, answers in (("unsigned", _UNSIGNED), ("tampered", _KEY)):
        attempt = report.attempt(label)
        faults = ["was not reached"] if attempt is None else _not_rejected(attempt, answers)
        yield told(label, faults, passed=attempt.evidence if attempt else [])


def _not_rejected(attempt: Attempt, answers: Sequence[str]) -> list[str]:
    if attempt.rc == 0 or attempt.state:
        return [f"the kernel accepted the {attempt.label} module", *attempt.evidence]
    if any(line.endswith(answer) for line in attempt.said for answer in answers):
        return []
    return ["it was refused, but not for its signature", *attempt.evidence]
