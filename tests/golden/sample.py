"""One small matrix for the tests of rendering, naming and qualifying: two kernel series, a variant, three drivers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from builder.model.cells import Cell, PackageKind, Unit
from builder.model.gate import GateKernel
from builder.model.matrix import (
    Branch,
    Chroot,
    Compiler,
    Delivery,
    Distribution,
    Driver,
    Flavor,
    Kernel,
    Kmods,
    Matrix,
    PackageRef,
    RepositoryRef,
)
from builder.model.naming import ARCHIVE_KINDS, kmod_nevra
from builder.model.nevra import Evr
from builder.model.patches import Patch
from builder.model.sources import ArchiveMember, DriverArchive, DriverSources, KernelObject, ManifestEntry, SourceFile
from tests.lab.light_archives import members_of, top_of

MODULES = ("nvidia", "nvidia-uvm", "nvidia-modeset", "nvidia-drm", "nvidia-peermem")
EPOCH = 1_700_000_000


def kernel(release: str, evr: str, *, variant: str = "generic", command: str = "gcc") -> Kernel:
    prefix = "kernel" if variant == "generic" else f"kernel-{variant}"
    return Kernel(
        release=release,
        arch="x86_64",
        variant=variant,
        core=PackageRef(name=f"{prefix}-core", evr=Evr.parse(evr)),
        devel=PackageRef(name=f"{prefix}-devel", evr=Evr.parse(evr)),
        devel_path=f"/usr/src/kernels/{release}",
        compiler=Compiler(package=command, command=command),
        read_from="tests",
    )


K427 = kernel("5.14.0-427.13.1.el9_4.x86_64", "5.14.0-427.13.1.el9_4")
K503 = kernel("5.14.0-503.11.1.el9_5.x86_64", "5.14.0-503.11.1.el9_5")
K570 = kernel("5.14.0-570.12.1.el9_6.0.1.x86_64", "5.14.0-570.12.1.el9_6.0.1")
RT = kernel("5.14.0-503.11.1.el9_5.x86_64+rt", "5.14.0-503.11.1.el9_5", variant="rt")
CLOUD = kernel("6.1.0-50-cloud-amd64", "6.1.0-50.lab9", variant="cloud", command="gcc-12")
KERNELS = (K427, K503, K570, RT, CLOUD)


def driver(version: str, *, flavors: tuple[Flavor, ...] = tuple(Flavor)) -> Driver:
    branch = version.split(".", maxsplit=1)[0]
    return Driver(version=version, branch=branch, flavors=flavors, sources=(), read_from="tests", modules=MODULES)


D470 = driver("470.256.02", flavors=(Flavor.PROPRIETARY,))
D535 = driver("535.261.03")
D550 = driver("550.163.01")


PATCHES = tuple(
    Patch(name=name, path=Path("/nowhere", name), sha256=digit * 64, size=1, reason="100% needed")
    for name, digit in (("0001-first.patch", "a"), ("then.patch", "b"))
)


def distribution(name: str = "el9", **changes: object) -> Distribution:
    chroot = Chroot(
        name=f"{name}-x86_64",
        template=f"{name}.cfg.j2",
        arch="x86_64",
        releasever=name.removeprefix("el"),
        packages=("bash", "rpm-build", "redhat-rpm-config", "xz"),
        repositories=(
            RepositoryRef(
                id="baseos", baseurl="https://mirror.example/$releasever/BaseOS/$basearch/os/", gpgkey="file:///key"
            ),
            RepositoryRef(id="local", baseurl="file:///srv/kernels", gpgcheck=False),
        ),
        macros=(("dist", f".{name}"), ("vendor", "Example 100%")),
    )
    values: dict[str, object] = {
        "name": name,
        "other_kernels": ("kernel-64k-core",),
        "title": "Enterprise Linux 9",
        "platform": name,
        "dist_tag": f".{name}",
        "delivery": Delivery.MODULAR,
        "arches": ("x86_64",),
        "chroots": (chroot,),
        "kernels": KERNELS,
    }
    return Distribution(**{**values, **changes})  # type: ignore[arg-type]


EL9 = distribution()


def matrix(*distributions: Distribution) -> Matrix:
    branches = tuple(
        Branch(name=d.branch, type="LTS", eol=None, max_cuda=None, gpus=(), drivers=(d,)) for d in (D470, D535, D550)
    )
    return Matrix(
        module="nvidia-driver",
        epoch=3,
        vendor="Example & Co",
        distributions=distributions or (EL9,),
        branches=branches,
        excludes=(),
        streams=(),
    )


MATRIX = matrix()


def cell(k: Kernel = K503, d: Driver = D535, flavor: Flavor = Flavor.OPEN, dist: Distribution = EL9) -> Cell:
    return Cell(driver=d, newest=True, flavor=flavor, kernel=k, distribution=dist)


def unit(
    kind: PackageKind,
    d: Driver = D535,
    *,
    flavor: Flavor | None = None,
    kmods: Kmods | None = None,
    dist: Distribution = EL9,
) -> Unit:
    return Unit(kind=kind, driver=d, newest=True, distribution=dist, arch="x86_64", flavor=flavor, kmods=kmods)


def gate(
    d: Driver = D535, flavor: Flavor = Flavor.OPEN, kmods: Kmods = Kmods.PRECOMPILED, dist: Distribution = EL9
) -> Unit:
    return unit(PackageKind.GATE, d, flavor=flavor, kmods=kmods, dist=dist)


def gate_kernels(
    *supported: Kernel, d: Driver = D535, flavor: Flavor = Flavor.OPEN, kernels: tuple[Kernel, ...] = KERNELS
) -> tuple[GateKernel, ...]:
    return tuple(
        GateKernel(kernel=k, kmod=kmod_nevra(cell(k, d, flavor), MATRIX) if k in supported else None) for k in kernels
    )


def source(filename: str, path: Path | None = None) -> SourceFile:
    return SourceFile(filename=filename, path=path or Path("/nowhere", filename), sha256="0" * 64, size=1)


def kernel_object(module: str, digit: str) -> KernelObject:
    name = f"{module.replace('nvidia', 'nv', 1)}-kernel.o_binary"
    return KernelObject(module=module, filename=name, path=Path("/nowhere", name), sha256=digit * 64, size=1)


def entry(
    path: str, type_: str, *, arch: str | None = None, to: str | None = None, target: str | None = None
) -> ManifestEntry:
    return ManifestEntry(
        path=path,
        mode=0 if target else 0o755 if type_.endswith(("_LIB", "BINARY")) else 0o444,
        type=type_,
        arch=arch,
        destination=to,
        target=target,
        module=None,
    )


def manifest(version: str) -> tuple[ManifestEntry, ...]:
    """A bit of everything, in the words of NVIDIA's own manifests."""
    v = version
    return (
        entry("nvidia-installer", "INSTALLER_BINARY"),
        entry("LICENSE", "DOCUMENTATION", to="NVIDIA_GLX-1.0"),
        entry("html/index.html", "DOCUMENTATION", to="NVIDIA_GLX-1.0/html"),
        entry("supported-gpus/supported-gpus.json", "DOCUMENTATION", to="NVIDIA_GLX-1.0/supported-gpus"),
        entry(f"libcuda.so.{v}", "CUDA_LIB", arch="NATIVE", to="/"),
        entry("libcuda.so.1", "CUDA_SYMLINK", arch="NATIVE", to="/", target=f"libcuda.so.{v}"),
        entry("libcuda.so", "CUDA_SYMLINK", arch="NATIVE", to="/", target="libcuda.so.1"),
        entry(f"32/libcuda.so.{v}", "CUDA_LIB", arch="COMPAT32", to="/"),
        entry("libcuda.so.1", "CUDA_SYMLINK", arch="COMPAT32", to="/", target=f"libcuda.so.{v}"),
        entry(f"32/libGLX_nvidia.so.{v}", "GLX_CLIENT_LIB", arch="COMPAT32"),
        entry("libGLX_nvidia.so.0", "GLX_CLIENT_SYMLINK", arch="COMPAT32", target=f"libGLX_nvidia.so.{v}"),
        entry("32/libGL.so.1.7.0", "GLVND_LIB", arch="COMPAT32"),
        entry(f"libnvidia-ml.so.{v}", "UTILITY_LIB", arch="NATIVE"),
        entry("libnvidia-ml.so.1", "UTILITY_LIB_SYMLINK", arch="NATIVE", target=f"libnvidia-ml.so.{v}"),
        entry(f"libnvidia-gtk3.so.{v}", "UTILITY_LIB", arch="NATIVE"),
        entry(f"libnvidia-opencl.so.{v}", "OPENCL_LIB", arch="NATIVE", to="/"),
        entry("libOpenCL.so.1.0.0", "OPENCL_WRAPPER_LIB", arch="NATIVE", to="/"),
        entry("nvidia.icd", "CUDA_ICD"),
        entry(f"libGLX_nvidia.so.{v}", "GLX_CLIENT_LIB", arch="NATIVE"),
        entry("libGLX_nvidia.so.0", "GLX_CLIENT_SYMLINK", arch="NATIVE", target=f"libGLX_nvidia.so.{v}"),
        entry("libGL.so.1.7.0", "GLVND_LIB", arch="NATIVE"),
        entry(f"libnvidia-tls.so.{v}", "TLS_LIB", arch="NATIVE", to="./"),
        entry(f"libvdpau_nvidia.so.{v}", "VDPAU_LIB", arch="NATIVE", to="vdpau"),
        entry("nvidia-drm_gbm.so", "GBM_BACKEND_LIB_SYMLINK", arch="NATIVE", target=f"libnvidia-allocator.so.{v}"),
        entry(f"libnvidia-allocator.so.{v}", "OPENGL_LIB", arch="NATIVE"),
        entry("10_nvidia.json", "GLVND_EGL_ICD_JSON"),
        entry("nvidia_icd.json", "VULKAN_ICD_JSON", to="icd.d"),
        entry("nvoptix.bin", "OPENGL_DATA", to="/usr/share/nvidia"),
        entry("nvidia_drv.so", "XMODULE_SHARED_LIB", to="drivers"),
        entry("nvidia-drm-outputclass.conf", "XORG_OUTPUTCLASS_CONFIG"),
        entry(f"nvidia-application-profiles-{v}-rc", "APPLICATION_PROFILE", to="/"),
        entry("nvidia-smi", "UTILITY_BINARY"),
        entry("nvidia-smi.1.gz", "MANPAGE", to="/"),
        entry("nvidia-bug-report.sh", "UTILITY_BINARY"),
        entry("nvidia-settings", "UTILITY_BINARY"),
        entry("nvidia-modprobe", "NVIDIA_MODPROBE", to="/usr/bin"),
        entry("systemd/system/nvidia-suspend.service", "SYSTEMD_UNIT"),
        entry("firmware/gsp_tu10x.bin", "FIRMWARE"),
    )


def sources(
    d: Driver = D535, entries: tuple[ManifestEntry, ...] | None = None, folder: Path | None = None
) -> DriverSources:
    def at(filename: str) -> SourceFile:
        return source(filename, folder / filename if folder else None)

    v = d.version
    return DriverSources(
        driver_version=v,
        arch="x86_64",
        kernel_trees=tuple((f, at(f"nvidia-kmod-{v}-{f.value}.tar.gz")) for f in d.flavors),
        objects=tuple((f, (kernel_object("nvidia", "1"), kernel_object("nvidia-modeset", "2"))) for f in d.flavors),
        userspace=at(f"nvidia-driver-{v}.tar.gz"),
        manifest=manifest(v) if entries is None else entries,
        source_date_epoch=EPOCH,
    )


def archive(kind: PackageKind, d: Driver = D535, folder: Path | None = None) -> DriverArchive:
    """What NVIDIA's archive of a kind holds, as its members are listed; ``folder`` is where it lies."""
    name = ARCHIVE_KINDS[kind]
    top = top_of(name, d.version)
    members = (ArchiveMember(path=p, target=t, executable=x) for p, t, x in members_of(name, d.version))
    filename = f"{top}.tar.xz"
    return DriverArchive(
        kind=name, file=source(filename, folder / filename if folder else None), top=top, members=tuple(members)
    )


def archive_sources(kind: PackageKind, d: Driver = D535, folder: Path | None = None) -> DriverSources:
    """A driver's sources as the packages of an archive are rendered from."""
    return replace(sources(d, folder=folder), archive=archive(kind, d, folder))
