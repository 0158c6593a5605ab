"""Driver sources made ready for packaging, and what a builder is handed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from builder.model.matrix import Chroot, Flavor


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A file that goes into an SRPM; its sha256 is its identity."""

    filename: str  # as the spec names it
    path: Path  # absolute
    sha256: str
    size: int  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestEntry:
    """One line of the ``.manifest`` of a .run (format: nvidia-installer's manifest parser)."""

    path: str  # relative to the archive's top
    mode: int
    type: str  # CUDA_LIB, OPENGL_SYMLINK, FIRMWARE, UTILITY_BINARY …
    arch: str | None  # NATIVE, COMPAT32 or None where the type carries none
    destination: str | None  # relative folder some types carry ("./", "extensions")
    target: str | None  # of a symlink
    module: str | None  # installer module, e.g. "opengl" of MODULE:opengl


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelObject:
    """A kernel-independent object of a driver as its archive has it, linked into one of its modules."""

    module: str  # nvidia, nvidia-modeset
    filename: str  # nv-kernel.o_binary
    path: Path  # absolute
    sha256: str
    size: int  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A GPU that a driver's list of supported ones names."""

    device: str  # PCI device id of vendor 10de, four lower-case hex digits
    name: str
    open: bool  # the open modules drive it
    last_branch: str | None  # "470": the last branch that drives it, not this one; None: this one does


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveMember:
    """A file or symlink of an archive."""

    path: str  # relative to the archive's one top folder
    target: str  # of a symlink, else ""
    executable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverArchive:
    """What NVIDIA publishes of a driver beside its .run: fabric manager, NSCQ, IMEX."""

    kind: str  # of its source in matrix.yaml
    file: SourceFile  # as it was fetched
    top: str  # its one top folder
    members: tuple[ArchiveMember, ...]  # sorted by path, folders left out


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverSources:
    """What one .run yields: a tarball for each kernel tree, its objects, one for the rest, and its manifest.

    Tarballs are deterministic ``.tar.gz`` (sorted, fixed owner and times), so every rpm can unpack them.
    """

    driver_version: str
    arch: str
    kernel_trees: tuple[tuple[Flavor, SourceFile], ...]  # top folder: nvidia-kmod-<version>-<flavor>/
    objects: tuple[tuple[Flavor, tuple[KernelObject, ...]], ...]  # sorted by module
    userspace: SourceFile  # top folder: nvidia-driver-<version>/
    manifest: tuple[ManifestEntry, ...]  # in file order; kernel trees left out
    source_date_epoch: int = 0  # seconds: newest modification time inside the archive, so that no clock is needed
    gpus: tuple[Gpu, ...] = ()  # sorted by device; none where its archive has no list of them
    archive: DriverArchive | None = None  # what the unit they are for is made of, where that is not the .run

    def kernel_tree(self, flavor: Flavor) -> SourceFile:
        """The tarball of one flavor; raises KeyError where the archive has none."""
        return dict(self.kernel_trees)[flavor]

    def kernel_objects(self, flavor: Flavor) -> tuple[KernelObject, ...]:
        """The objects of one flavor's modules, sorted by module; none where the archive has none."""
        return dict(self.objects).get(flavor, ())


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecFile:
    """A rendered spec with the sources it names."""

    filename: str  # e.g. kmod-nvidia-6.1.0-56-amd64.spec
    text: str
    sources: tuple[SourceFile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedRpm:
    """A package that a root gets, as dnf resolved it."""

    nevra: str  # as rpm prints it, without an epoch of 0
    sha256: str  # of the RPM, as its repository's metadata say
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Buildroot:
    """A base root that is ready for builds."""

    chroot: Chroot
    identity: str  # digest over its package list: changes when any package of the base changes
    packages: tuple[str, ...]  # sorted "NEVRA sigmd5-or-sha256" lines
    path: Path | None  # absolute; None for builders that keep no root of their own
    repositories: str = ""  # digest over the repomd.xml of every repository: the state everything was installed from


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """One build: SRPM and chroot description in, resultdir out."""

    unit_id: str
    srpm: Path
    buildroot: Buildroot
    resultdir: Path  # fresh and empty; gets RPMs, SRPM, build.log, root.log, state.log, installed_pkgs.log
    arch: str  # RPM architecture of what is built, rpmbuild's --target
    source_date_epoch: int  # seconds
    timeout: float  # seconds
    jobs: int  # make -j inside the build
    memory: int | None = None  # bytes of memory to work in; None: half of what is available; 0: the disk


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelDevel:
    """What a kernel's own devel package says: the ground truth for building and qualifying."""

    release: str
    sha256: str  # of the devel RPM
    symvers: Path  # Module.symvers, absolute
    compiler_text: str | None  # CONFIG_CC_VERSION_TEXT of its .config
    ecdsa: bool | None = None  # CONFIG_CRYPTO_ECDSA: it can verify modules signed with an EC key; None: not recorded
    requirements: tuple[LockedRpm, ...] = ()  # what else comes over the buildroot to compile for it, sorted by NEVRA
    root: Path | None = None  # JSON of every LockedRpm of a root to compile for it; None: no root is made
