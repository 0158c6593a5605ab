"""Imported symbols of a set of modules against a kernel's Module.symvers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from builder.qualify.elf import Module

# What the kernel itself takes for GPL-compatible: license_is_gpl_compatible in its linux/license.h.
GPL_COMPATIBLE = ("GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL")


class SymversError(ValueError):
    """The bytes are no Module.symvers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelSymbol:
    """One line of Module.symvers."""

    crc: int  # 0 where the kernel records none
    gpl: bool
    namespace: str = ""  # what a module must say it imports, "" for most


def read_symvers(data: bytes) -> dict[str, KernelSymbol]:
    """Symbols by name (Documentation/kbuild/modules.rst, 6.3); raises SymversError."""
    symbols = {}
    for number, line in enumerate(data.decode(errors="replace").splitlines(), start=1):
        fields = line.split("\t")
        try:
            crc, name, how = int(fields[0], 16), fields[1], fields[3]
        except (ValueError, IndexError) as exc:
            raise SymversError(f"Module.symvers line {number}: {line[:60]!r}") from exc
        namespace = fields[4].strip() if len(fields) > 4 else ""
        symbols[name] = KernelSymbol(crc=crc, gpl=how.startswith("EXPORT_SYMBOL_GPL"), namespace=namespace)
    if not symbols:
        raise SymversError("Module.symvers is empty")
    return symbols


def import_faults(modules: Sequence[Module], kernel: Mapping[str, KernelSymbol]) -> Iterator[str]:
    """A line for each import that the kernel and the set do not provide with the very CRC the module was built with."""
    exports = {name: (module, export) for module in modules for name, export in module.exports.items()}
    for module in modules:
        for name in sorted(module.imports | module.versions.keys()):
            found = module.versions.get(name)
            if name in kernel:
                expected, owner = kernel[name].crc, "the kernel"
            elif name in exports and exports[name][1].crc is not None:
                expected, owner = exports[name][1].crc or 0, f"{exports[name][0].name}.ko"
            else:
                yield f"{module.name}: {name}: neither the kernel nor these modules export it"
                continue
            if found is None and expected:
                yield f"{module.name}: {name}: the module records no CRC, {owner} has 0x{expected:08x}"
            elif found is not None and found != expected:
                yield f"{module.name}: {name}: expected 0x{expected:08x} ({owner}), found 0x{found:08x}"


def gpl_faults(modules: Sequence[Module], kernel: Mapping[str, KernelSymbol]) -> Iterator[str]:
    """A line for each symbol that only GPL-compatible modules may use and another one uses."""
    exports = {name: export for module in modules for name, export in module.exports.items()}
    for module in modules:
        if module.license in GPL_COMPATIBLE:
            continue
        for name in sorted(module.imports):
            own = exports.get(name)
            if kernel[name].gpl if name in kernel else own is not None and own.gpl:
                yield f"{module.name} (license {module.license!r}) uses {name}, which is for GPL modules only"


def namespace_faults(modules: Sequence[Module], kernel: Mapping[str, KernelSymbol]) -> Iterator[str]:
    """A line for each symbol of a namespace that its user does not say it imports."""
    for module in modules:
        for name in sorted(module.imports):
            namespace = kernel[name].namespace if name in kernel else ""
            if namespace and namespace not in module.namespaces:
                yield f"{module.name} uses {name} of namespace {namespace}, which it does not import"
