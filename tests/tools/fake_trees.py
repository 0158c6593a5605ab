"""Stand-ins for NVIDIA's trees and a kernel's build tree, built in a second by the host's gcc.

The modules are real ELF objects with the sections that kbuild gives modules, so that rpm and qualification treat them
as the real ones; no kernel would load them.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

from builder.model.matrix import Driver, Flavor
from tests.golden import sample

# What the fake kernel exports: name -> (crc, how it is exported).
KERNEL_SYMBOLS = {
    "module_layout": (0x11111111, "EXPORT_SYMBOL"),
    "_printk": (0x22222222, "EXPORT_SYMBOL"),
    "kmalloc": (0xFEDCBA98, "EXPORT_SYMBOL"),
    "gpl_only": (0x33333333, "EXPORT_SYMBOL_GPL"),
}
NVIDIA_GET_CRC = 0x44444444  # nvidia.ko exports nvidia_get, the others import it


def symvers(**changes: int | None) -> bytes:
    """Module.symvers of the fake kernel; ``changes`` are other CRCs, None leaves a symbol out."""
    lines = []
    for name, (crc, how) in KERNEL_SYMBOLS.items():
        value = changes.get(name, crc)
        if value is not None:
            lines.append(f"0x{value:08x}\t{name}\tvmlinux\t{how}\t\n")
    return "".join(lines).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeModule:
    """One module's source in C."""

    name: str
    version: str
    release: str
    license: str = "Dual MIT/GPL"
    imports: dict[str, int] = field(default_factory=dict)
    exports: dict[str, int] = field(default_factory=dict)
    extra: str = ""
    firmware: str = ""
    namespace: str = ""

    def source(self) -> str:
        """Sections .modinfo, __versions, __ksymtab and __kcrctab as modpost writes them."""
        info = {
            "version": self.version,
            "license": self.license,
            "vermagic": f"{self.release} SMP preempt mod_unload modversions ",
            "name": self.name.replace("-", "_"),
        }
        info |= {"firmware": self.firmware} if self.firmware else {}
        info |= {"import_ns": self.namespace} if self.namespace else {}
        lines = ["#define IN(s) __attribute__((section(s), used, aligned(1)))"]
        lines += [f'IN(".modinfo") static const char info_{k}[] = "{k}={v}";' for k, v in info.items()]
        lines += ["struct version { unsigned long crc; char name[56]; };"]
        rows = "".join(f'{{ 0x{crc:x}, "{name}" }}, ' for name, crc in self.imports.items())
        lines += [
            f'__attribute__((section("__versions"), used)) static const struct version versions[] = {{ {rows} }};'
        ]
        lines += [f"extern void {name}(void);" for name in self.imports]
        calls = " ".join(f"{name}();" for name in self.imports)
        lines += [f"void {self.name.replace('-', '_')}_start(void) {{ {calls} }}"]
        for name, crc in self.exports.items():
            lines += [
                f"void {name}(void) {{}}",
                f'__attribute__((section("__ksymtab"), used)) const void *__ksymtab_{name} = {name};',
                f'__attribute__((section("__kcrctab"), used)) const unsigned int __crc_{name} = 0x{crc:x};',
            ]
        return "\n".join([*lines, self.extra, ""])


def crcs(*names: str) -> dict[str, int]:
    return {name: KERNEL_SYMBOLS[name][0] for name in names}


def fake_modules(driver: Driver, release: str, flavor: Flavor = Flavor.OPEN) -> list[FakeModule]:
    """The five modules, all good."""
    license_ = "Dual MIT/GPL" if flavor is Flavor.OPEN else "NVIDIA"
    modules = []
    for name in driver.modules:
        imports = crcs("module_layout", "_printk", "kmalloc")
        if name != "nvidia":
            imports["nvidia_get"] = NVIDIA_GET_CRC
        exports = {"nvidia_get": NVIDIA_GET_CRC} if name == "nvidia" else {}
        modules.append(
            FakeModule(
                name=name, version=driver.version, release=release, license=license_, imports=imports, exports=exports
            )
        )
    return modules


MAKEFILE = """\
MODULES := $(filter-out $(NV_EXCLUDE_KERNEL_MODULES),$(patsubst %.c,%,$(wildcard *.c)))
modules:
\t@test -f "$(SYSSRC)/Makefile" && test -f "$(SYSOUT)/.config"
\tset -e; for m in $(MODULES); do $(CC) $(KCFLAGS) -O1 -fno-pie -mcmodel=kernel -c -o $$m.ko $$m.c; done
"""


def write_kernel_tree(modules: list[FakeModule]) -> dict[str, str]:
    """The files of a kernel tree that its Makefile turns into these modules, and one that must be left out."""
    files = {f"{module.name}.c": module.source() for module in modules}
    return {"Makefile": MAKEFILE, "nvidia-vgpu-vfio.c": "#error this module is excluded\n", **files}


def write_tarball(path: Path, top: str, files: dict[str, str]) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, text in sorted(files.items()):
            info = tarfile.TarInfo(f"{top}/{name}")
            info.size, info.mtime, info.mode = len(text.encode()), sample.EPOCH - 100, 0o755
            tar.addfile(info, io.BytesIO(text.encode()))
    path.write_bytes(gzip.compress(buffer.getvalue(), mtime=0))


def write_devel(folder: Path, *, major: int) -> None:
    """A kernel's build tree, as far as the spec reads it."""
    folder.mkdir(parents=True)
    (folder / "Makefile").write_text("# fake\n")
    (folder / ".config").write_text(
        f'CONFIG_CC_VERSION_TEXT="gcc (Fake) {major}.1.0"\nCONFIG_GCC_VERSION={major}0100\nCONFIG_CLANG_VERSION=0\n'
    )
