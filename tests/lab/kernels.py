"""Real kernels of the archive as EL-like packages: kernel-core, kernel-devel and the kernel meta.

Which ones is decided by rule from what the archive has today: the newest ABIs of the host's own series, the newest
cloud flavor, and on request the newest of a later series. Kernels of the release itself come before those of its
security suite: the archive's drivers were made for the former, and stable updates have broken them before (6.1.187
changed pci_resize_resource(), which no open driver of the release follows).
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.tools.run import run
from tests.lab.archive import Archive, LabUnavailableError
from tests.lab.convert import DIST, Package, alternatives, cached, merge_usr, move_into
from tests.lab.deb import control

FORMAT = 3  # of the packages made here; a new number makes them again
# What kernel-core carries, as a minimal EL client has it; the lab leaves the rest (EL's kernel-modules) out.
CORE_MODULES = (
    "drm", "drm_kms_helper", "drm_ttm_helper", "ttm", "video", "wmi", "i2c-algo-bit", "ipmi_msghandler", "ib_core",
    "ext4", "overlay", "squashfs", "loop", "virtio_blk", "virtio_net", "virtio_pci", "vfat", "dm-mod", "crc32c_generic",
)  # fmt: skip
_GENERIC = re.compile(
    r"linux-headers-(?P<release>(?P<series>\d+\.\d+)[\w.+]*?(?:-(?P<abi>\d+))?-(?:(?P<variant>cloud|rt)-)?amd64)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageId:
    """Name and EVR of a package."""

    name: str
    evr: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LabKernel:
    """One kernel of the lab, ready as RPMs."""

    release: str  # uname -r
    variant: str  # generic, cloud or rt
    core: PackageId
    devel: PackageId
    devel_path: str
    compiler_package: str
    compiler_command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A kernel chosen from the archive, with the packages it is made of."""

    release: str
    variant: str
    version: str
    build: str
    packages: tuple[str, ...]  # image, headers, common headers, kbuild
    compiler: str
    suite: str  # release of the archive that the kernel and its compiler come from

    @property
    def evr(self) -> str:
        """EVR of its packages."""
        return f"{self.version}-{self.build}{DIST}"

    def package(self, part: str) -> str:
        """``kernel-core``, or ``kernel-cloud-core`` for the cloud variant."""
        infix = "" if self.variant == "generic" else f"-{self.variant}"
        return f"kernel{infix}-{part}" if part else f"kernel{infix}"


def choose(archive: Archive, series: Sequence[str] = ()) -> list[Choice]:
    """The two newest ABIs and the newest cloud kernel of the host's series; the newest of each further series.

    A further series is "6.12", as the host's release has it, "6.12/trixie", as that one has it with its compiler, or
    "6.1/bookworm-security", the newest of that suite; "6.1:rt" is a real-time kernel, "6.12:cloud/trixie" a cloud one.
    """
    offered: dict[tuple[str, str], list[tuple[tuple[int, ...], str]]] = {}
    for name in archive.names(r"linux-headers-\d.*"):
        match = _GENERIC.fullmatch(name)
        if match:
            variant = match["variant"] or "generic"
            order = tuple(int(n) for n in re.findall(r"\d+", match["release"]))
            offered.setdefault((match["series"], variant), []).append((order, match["release"]))
    host = _host_series(archive)
    wanted = [(host, "generic", 2, ""), (host, "cloud", 1, "")]
    wanted += [_further(text) for text in series if text != host]
    chosen = []
    for number, variant, count, suite in wanted:
        newest = [release for _, release in sorted(offered.get((number, variant), []), reverse=True)]
        found = _newest(archive, newest, variant, suite or archive.suite)[:count]
        if len(found) < count:
            raise LabUnavailableError(f"the archive has {len(found)} {variant} kernels of {number}, {count} are needed")
        chosen.extend(sorted(found, key=lambda c: [int(n) for n in re.findall(r"\d+", c.release)]))
    return chosen


def _further(text: str) -> tuple[str, str, int, str]:
    """Number, variant, how many, suite."""
    name, _, suite = text.partition("/")
    number, _, variant = name.partition(":")
    return number, variant or "generic", 1, suite


def _newest(archive: Archive, newest: Sequence[str], variant: str, suite: str) -> list[Choice]:
    """Complete kernels of one release of the archive: those of the release itself before those of its other suites."""
    if not newest:
        return []
    images = archive.candidates([f"linux-image-{r}" for r in newest])
    depends = archive.depends([f"linux-headers-{r}" for r in newest])
    suites = {r: {c.suite for c in images[f"linux-image-{r}"]} for r in newest}
    settled = [r for r in newest if suite in suites[r]]
    later = [r for r in newest if r not in settled and any(s.startswith(f"{suite}-") for s in suites[r])]
    found = [_examine(depends[f"linux-headers-{r}"], r, variant, suite) for r in (*settled, *later)]
    return [choice for choice in found if choice is not None]


def _host_series(archive: Archive) -> str:
    """The series of the host release's own kernel, e.g. "6.1", read from what linux-headers-amd64 depends on."""
    for dependency in archive.depends(["linux-headers-amd64"])["linux-headers-amd64"]:
        match = _GENERIC.fullmatch(dependency)
        if match:
            return match["series"]
    raise LabUnavailableError("linux-headers-amd64 depends on no kernel this lab understands")


def _examine(headers: Sequence[str], release: str, variant: str, suite: str) -> Choice | None:
    """The packages of one kernel by what its headers depend on, None when one of them is missing."""
    common = next((d for d in headers if re.search(r"-common(-rt)?$", d)), None)
    kbuild = next((d for d in headers if d.startswith("linux-kbuild")), None)
    gcc = next((d for d in headers if re.fullmatch(r"linux-compiler-gcc-\d+-x86|gcc-\d+(-.*)?", d)), None)
    if not (common and kbuild and gcc):
        return None
    compiler = re.search(r"gcc-\d+", gcc)
    version, _, rest = release.partition("-")
    abi = re.match(r"\d+", rest)
    return Choice(
        release=release,
        variant=variant,
        version=version,
        build=abi[0] if abi else "1",
        packages=(f"linux-image-{release}", f"linux-headers-{release}", common, kbuild),
        compiler=compiler[0] if compiler else "gcc",
        suite=suite.partition("-")[0],
    )


def make_kernels(archive: Archive, choices: Sequence[Choice], output: Path) -> tuple[list[LabKernel], list[Path]]:
    """Build (or take from the cache) all packages of the chosen kernels: their description and their RPMs."""
    kernels, rpms = [], []
    files = archive.download(sorted({p for choice in choices for p in choice.packages}))
    for choice in choices:
        debs = [files[p] for p in choice.packages]
        identity = [f"kernel {FORMAT}", choice.release, *(d.name for d in debs)]
        rpms += [
            cached([*identity, "core"], lambda root, c=choice, d=debs: _core(c, d, root), output),
            cached([*identity, "devel", *_needs(debs[3])], lambda root, c=choice, d=debs: _devel(c, d, root), output),
            cached([*identity, "meta"], lambda root, c=choice: _meta(c, root), output),
        ]
        kernels.append(
            LabKernel(
                release=choice.release,
                variant=choice.variant,
                core=PackageId(name=choice.package("core"), evr=choice.evr),
                devel=PackageId(name=choice.package("devel"), evr=choice.evr),
                devel_path=f"/usr/src/kernels/{choice.release}",
                compiler_package=choice.compiler,
                compiler_command=choice.compiler,
            )
        )
    return kernels, rpms


def _describe(choice: Choice, part: str, root: Path, **more: object) -> Package:
    release = choice.release
    values: dict[str, object] = {
        "name": choice.package(part),
        "version": choice.version,
        "release": f"{choice.build}{DIST}",
        "summary": f"Linux kernel {release}" + (f" ({part})" if part else ""),
        "license": "GPL-2.0-only",
        "root": root,
        "find_provides": False,
    }
    if part in ("core", "devel"):
        values["provides"] = [f"{choice.package(part)}-uname-r({release})", "installonlypkg(kernel)"]
    return Package(**{**values, **more})  # type: ignore[arg-type]


def _unpack_image(debs: Sequence[Path], root: Path) -> Path:
    run(["dpkg-deb", "-x", debs[0], root], timeout=300)
    merge_usr(root)
    shutil.rmtree(root / "usr/share", ignore_errors=True)
    return next((root / "usr/lib/modules").iterdir())


def _core_set(tree: Path) -> set[Path]:
    """The module files of CORE_MODULES with everything they depend on."""
    by_name = {_module_name(p): p for p in tree.glob("kernel/**/*.ko*")}
    found: set[Path] = set()
    todo = [n.replace("-", "_") for n in CORE_MODULES]
    while todo:
        path = by_name.get(todo.pop())
        if path is not None and path not in found:
            found.add(path)
            depends = run(["modinfo", "-F", "depends", path], timeout=60).stdout.strip()
            todo += [d.replace("-", "_") for d in depends.split(",") if d]
    return found


def _module_name(path: Path) -> str:
    return path.name.partition(".ko")[0].replace("-", "_")


def _core(choice: Choice, debs: Sequence[Path], root: Path) -> Package:
    tree = _unpack_image(debs, root)
    _keep(tree, _core_set(tree))
    shutil.copy2(root / "boot" / f"vmlinuz-{choice.release}", tree / "vmlinuz")
    (tree / "build").symlink_to(f"/usr/src/kernels/{choice.release}")
    own = f"/usr/lib/modules/{choice.release}"
    scriptlets = (
        f"%posttrans\ndepmod -a {choice.release} || :\n"
        f"%postun\nrm -f /lib/modules/{choice.release}/modules.*\n"
        f"rmdir /lib/modules/{choice.release} 2>/dev/null || :"
    )
    return _describe(choice, "core", root, requires=["filesystem", "kmod"], scriptlets=scriptlets, own=own)


def _keep(tree: Path, wanted: Iterable[Path]) -> None:
    """Remove every module file that is not wanted, and the folders that get empty."""
    keep = set(wanted)
    for path in tree.glob("kernel/**/*.ko*"):
        if path not in keep:
            path.unlink()
    for folder in sorted((p for p in tree.glob("kernel/**/*") if p.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()


def _devel(choice: Choice, debs: Sequence[Path], root: Path) -> Package:
    """One self-contained build tree, as EL's kernel-devel is: common headers, arch headers and kbuild merged."""
    source = root.parent / "debs"
    for deb in debs[1:]:
        run(["dpkg-deb", "-x", deb, source], timeout=300)
    common = next(source.glob("usr/src/linux-headers-*-common*"))
    headers = next(p for p in source.glob("usr/src/linux-headers-*") if p != common)
    kbuild = next(source.glob("usr/lib/linux-kbuild-*"))
    tree = root / "usr/src/kernels" / choice.release
    for name in ("scripts", "tools", "certs"):
        for part in (kbuild, common, headers):
            if (part / name).is_dir() and not (part / name).is_symlink():
                move_into(part / name, tree / name)
    for part, left_out in ((common, ("scripts", "tools")), (headers, ("scripts", "tools", "Makefile"))):
        for item in part.iterdir():
            if item.name not in left_out:
                move_into(item, tree / item.name)
    requires = ["filesystem", choice.compiler, "make", "libelf1", *_needs(debs[3])]
    return _describe(choice, "devel", root, requires=requires)


def _needs(kbuild: Path) -> list[str]:
    """pahole, where the archive's kbuild says that its makefiles call it."""
    return [p for group in alternatives(control(kbuild).get("Depends", "")) for p in group if p == "pahole"]


def _meta(choice: Choice, root: Path) -> Package:
    readme = root / "usr/share/kernel-lab" / choice.release
    readme.mkdir(parents=True)
    return _describe(choice, "", root, requires=[f"{choice.package('core')} = {choice.evr}"])
