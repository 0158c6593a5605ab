"""An initramfs made of one installed root: its programs, its modules, its modprobe rules, and an init that loads them.

The init inserts the modules and reports on the second serial port, so that the kernel's console never writes into a
line of the report (builder.qualify.bootreport reads it). Deterministic: same root, same bytes.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from builder.qualify.rootfiles import RootFileError, find_file, library_folders, needed_files, resolve, walk
from builder.tools.cpio import CpioEntry, file_entry, folder_entry, link_entry, write_cpio

_PROGRAM_FOLDERS = ("/usr/sbin", "/usr/bin", "/sbin", "/bin")
_PROGRAMS = ("sh", "mount", "modprobe", "insmod", "dmesg")
# kmod opens the libraries that decompress modules at run time since version 33; nothing in its ELF tables says so.
_OPENED_LATER = ("libz.so.1", "liblzma.so.5", "libzstd.so.1")
ALONE = ":alone"  # suffix of the label of an insertion without the modules that it needs
_MODPROBE_RULES = ("/etc/modprobe.d", "/usr/lib/modprobe.d", "/lib/modprobe.d")
_INIT = """#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t securityfs security /sys/kernel/security 2>/dev/null
exec >/dev/ttyS1 2>&1

mark() { printf '@repobuild %s\\n' "$*"; }
first() { [ -r "$1" ] && read -r line < "$1" && printf '%s' "$line"; }

# attempt LABEL MODULE "MODULES IT NEEDS" PROGRAM...: 2 where one that it needs is not there
attempt() {
    label=$1 module=$2 needs=$3; shift 3
    for other in $needs; do
        if [ "$(first "/sys/module/$other/initstate")" != live ]; then mark skip "$label" "$other"; return 2; fi
    done
    mark try "$label"
    "$@"
    mark rc $?
    mark state "$(first "/sys/module/$module/initstate")"
    mark version "$(first "/sys/module/$module/version")"
    mark taint "$(first "/sys/module/$module/taint")"
    mark log
    dmesg -c
    mark end
    return 0
}

mark kernel "$(first /proc/sys/kernel/osrelease)"
mark lockdown "$(first /sys/kernel/security/lockdown)"
mark log
dmesg -c
mark end
@attempts@
mark done
exec >/dev/console 2>&1  # closing the port waits until it has sent everything
echo b > /proc/sysrq-trigger
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Insertion:
    """One attempt to insert a module."""

    label: str  # how the report calls it
    module: str  # its name, as cells have it
    needs: tuple[str, ...] = ()  # modules without which it is not tried
    file: str | None = None  # insert this file with insmod; None: modprobe finds it
    before: tuple[str, ...] = ()  # modules of the kernel to insert first, for insmod looks after none
    otherwise: Insertion | None = None  # what is tried where ``needs`` are not there


def kernel_name(module: str) -> str:
    """A module's name as the kernel has it: ``nvidia_uvm``."""
    return module.replace("-", "_")


def modules_folder(release: str) -> str:
    """Where a kernel's modules and their index lie, inside a root."""
    return f"/lib/modules/{release}"


def read_dependencies(root: Path, release: str) -> dict[str, tuple[str, ...]]:
    """modules.dep by module name (the kernel's): path inside of the module, then of all it needs. RootFileError."""
    folder = modules_folder(release)
    text = resolve(root, f"{folder}/modules.dep").read_text(errors="replace")
    found = {}
    for line in text.splitlines():
        path, _, needs = line.partition(":")
        files = tuple(f if f.startswith("/") else f"{folder}/{f}" for f in (path, *needs.split()))
        found[module_name(path)] = files
    return found


def module_name(path: str) -> str:
    """The kernel's name of a module by its file's."""
    return kernel_name(PurePosixPath(path).name.partition(".ko")[0])


def order_modules(modules: Iterable[str], dependencies: Mapping[str, tuple[str, ...]]) -> tuple[Insertion, ...]:
    """One insertion each, after the modules of the set that it needs; raises RootFileError for one depmod never saw.

    A module that cannot be tried for want of another is inserted alone (label ``<module>:alone``): the kernel refuses
    it then, but says for which symbols.
    """
    names = tuple(modules)
    kernel_names = {kernel_name(name) for name in names}
    insertions = []
    for name in names:
        files = dependencies.get(kernel_name(name))
        if files is None:
            raise RootFileError(f"{name} is not in modules.dep: it is not installed, or depmod did not run")
        needs = tuple(module_name(file) for file in files[1:])
        others = tuple(n for n in reversed(needs) if n not in kernel_names)
        alone = Insertion(label=f"{name}{ALONE}", module=name, file=files[0], before=others)
        own = tuple(n for n in needs if n in kernel_names)
        insertions.append(Insertion(label=name, module=name, needs=own, otherwise=alone if own else None))
    return tuple(sorted(insertions, key=lambda i: len(i.needs)))  # modules.dep is transitive: fewer needs come first


def pack_initramfs(
    root: Path, release: str, insertions: Sequence[Insertion], extra: Mapping[str, bytes], target: Path
) -> None:
    """Write the initramfs that makes these insertions; ``extra`` files by absolute path. Raises RootFileError."""
    folder = modules_folder(release)
    dependencies = read_dependencies(root, release)
    wanted = {p for i in insertions for p in dependencies.get(kernel_name(i.module), ())}
    index = sorted(resolve(root, folder).glob("modules.*"))
    wanted |= {f"{folder}/{path.name}" for path in index}
    wanted |= _modprobe_rules(root)
    libraries = library_folders(root)
    for program in _PROGRAMS:
        path = find_file(root, program, _PROGRAM_FOLDERS)
        if path is None:
            raise RootFileError(f"the root has no program {program}")
        wanted |= {path, *needed_files(root, path, libraries)}
    for name in _OPENED_LATER:
        library = find_file(root, name, libraries)
        if library is not None:
            wanted |= {library, *needed_files(root, library, libraries)}
    write_cpio(_entries(root, wanted, {**extra, "/init": _init(insertions)}), target)


def _modprobe_rules(root: Path) -> set[str]:
    found = set()
    for folder in _MODPROBE_RULES:
        try:
            files = list(resolve(root, folder).glob("*.conf"))
        except RootFileError:
            continue
        found |= {f"{folder}/{file.name}" for file in files}
    return found


def _init(insertions: Sequence[Insertion]) -> bytes:
    return _INIT.replace("@attempts@", "\n".join(_attempt(i) for i in insertions)).encode()


def _attempt(insertion: Insertion) -> str:
    """A shell line; names of modules and of files that this package writes need no quoting."""
    needs = " ".join(kernel_name(name) for name in insertion.needs)
    program = f"insmod {insertion.file}" if insertion.file else f"modprobe {insertion.module}"
    line = f"attempt {insertion.label} {kernel_name(insertion.module)} '{needs}' {program}"
    if insertion.before:
        line = f"{{ modprobe -a {' '.join(insertion.before)}; {line}; }}"
    return f"{line} ||\n    {_attempt(insertion.otherwise)}" if insertion.otherwise else line


def _entries(root: Path, wanted: Iterable[str], extra: Mapping[str, bytes]) -> list[CpioEntry]:
    """What is wanted with the folders and symbolic links that lead there, sorted: folders come before their content."""
    entries = {name: folder_entry(name) for name in ("dev", "proc", "sys", "tmp")}
    entries["dev/console"] = CpioEntry(name="dev/console", mode=stat.S_IFCHR | 0o600, device=(5, 1))
    for path in wanted:
        for inside, link in walk(root, path):
            name = inside.lstrip("/")
            real = root / name
            if link is not None:
                entries[name] = link_entry(name, link)
            elif real.is_dir():
                entries[name] = folder_entry(name)
            else:
                entries[name] = file_entry(name, real, executable=bool(real.stat().st_mode & 0o111))
    for path, content in extra.items():
        name = path.lstrip("/")
        for parent in list(PurePosixPath(name).parents)[:-1]:
            entries.setdefault(str(parent), folder_entry(str(parent)))
        entries[name] = file_entry(name, content, executable=name == "init")
    return [entries[name] for name in sorted(entries)]
