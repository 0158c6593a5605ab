"""QEMU: boot a kernel and an initramfs without any acceleration, with a BIOS or with UEFI Secure Boot.

TCG always: KVM is missing, or hangs, on the virtual machines that builds run on. UEFI firmware is found through QEMU's
own descriptors (qemu.git/docs/interop/firmware.json), which every distribution's firmware packages install.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.errors import ToolMissingError, ToolTimeoutError
from builder.tools.run import run, which

_PROGRAMS = ("qemu-system-x86_64", "/usr/libexec/qemu-kvm")  # the second is EL's, which can do TCG as well
_DESCRIPTORS = (Path("/etc/qemu/firmware"), Path("/usr/share/qemu/firmware"))
_MACHINE = "x86_64"
_MEMORY = 768  # MiB beside the initramfs, which is there three times while it is unpacked
_COMMAND_LINE = "console=ttyS0 loglevel=4 panic=-1 oops=panic rdinit=/init"


@dataclass(frozen=True, slots=True, kw_only=True)
class Firmware:
    """UEFI firmware that can do Secure Boot, with an empty store of variables."""

    code: Path
    variables: Path  # the template


@dataclass(frozen=True, slots=True, kw_only=True)
class Booted:
    """What came out of a machine until it reset itself, or was stopped."""

    console: str  # the first serial port: firmware and kernel
    report: str  # the second: the init's
    timed_out: bool


def find_qemu() -> str:
    """QEMU's program; raises ToolMissingError."""
    found = next((p for p in _PROGRAMS if which(p) is not None), None)
    if found is None:
        raise ToolMissingError(
            "QEMU is not installed",
            hint="install qemu-system-x86 (Debian), qemu-system-x86-core (Fedora), qemu-kvm (EL)",
        )
    return found


def find_secure_firmware() -> Firmware:
    """The Secure Boot firmware that QEMU's descriptors put first; raises ToolMissingError."""
    files: dict[str, Path] = {}
    for folder in reversed(_DESCRIPTORS):  # a file in /etc hides the one of its name in /usr/share
        files |= {path.name: path for path in folder.glob("*.json")}
    for _name, path in sorted(files.items()):
        firmware = _secure_firmware(path)
        if firmware is not None:
            return firmware
    raise ToolMissingError(
        "no UEFI firmware with Secure Boot is installed for QEMU",
        hint="install ovmf (Debian) or edk2-ovmf (Fedora, EL)",
    )


def _secure_firmware(path: Path) -> Firmware | None:
    try:
        document: dict[str, Any] = json.loads(path.read_text())
        features = document["features"]
        mapping = document["mapping"]
        machines = [m for t in document["targets"] if t["architecture"] == _MACHINE for m in t["machines"]]
        images = (mapping["executable"], mapping["nvram-template"])
    except (OSError, ValueError, KeyError, TypeError):  # another firmware's, or one for another kind of device
        return None
    if not {"secure-boot", "requires-smm"} <= set(features) or "enrolled-keys" in features:
        return None
    code, variables = (Path(image["filename"]) for image in images)
    raw = all(image.get("format") == "raw" for image in images)
    if not raw or not any("q35" in m for m in machines) or not (code.is_file() and variables.is_file()):
        return None
    return Firmware(code=code, variables=variables)


def boot(kernel: Path, initramfs: Path, folder: Path, *, timeout: float, firmware: Firmware | None = None) -> Booted:
    """Boot until the machine resets itself or ``timeout`` (seconds) is over; ``folder`` gets the two ports' files.

    With ``firmware`` its ``variables`` are the machine's own: what is written to them is kept there. Raises ToolError
    where QEMU does not start, ToolMissingError where it is not installed.
    """
    console, report, log = (folder / name for name in ("console.log", "report.log", "qemu.log"))
    for file in (console, report, log):
        file.unlink(missing_ok=True)
    memory = _MEMORY + 3 * (initramfs.stat().st_size >> 20)
    argv: list[str | Path] = [find_qemu(), *_machine(firmware), "-accel", "tcg", "-cpu", "max", "-smp", "1"]
    argv += ["-m", str(memory), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
    argv += ["-serial", f"file:{console}", "-serial", f"file:{report}"]
    argv += ["-kernel", kernel, "-initrd", initramfs, "-append", _COMMAND_LINE]
    timed_out = False
    try:
        run(argv, timeout=timeout, log=log)
    except ToolTimeoutError:
        timed_out = True
    return Booted(console=_read(console), report=_read(report), timed_out=timed_out)


def _machine(firmware: Firmware | None) -> Sequence[str]:
    if firmware is None:
        return ("-machine", "pc")
    flash = [
        f"if=pflash,format=raw,unit=0,readonly=on,file={_escaped(firmware.code)}",
        f"if=pflash,format=raw,unit=1,file={_escaped(firmware.variables)}",
    ]
    secure = ("-global", "driver=cfi.pflash01,property=secure,value=on")
    return ("-machine", "q35,smm=on", *secure, "-drive", flash[0], "-drive", flash[1])


def copy_variables(firmware: Firmware, target: Path) -> Firmware:
    """The firmware with a copy of its template to write to."""
    shutil.copyfile(firmware.variables, target)
    return Firmware(code=firmware.code, variables=target)


def _escaped(path: Path) -> str:
    return str(path).replace(",", ",,")


def _read(path: Path) -> str:
    return path.read_bytes().decode(errors="replace") if path.exists() else ""
