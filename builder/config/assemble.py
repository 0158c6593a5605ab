"""Checked file values → model values: sorted, URLs expanded, relative paths made absolute."""

from __future__ import annotations

import hashlib
from functools import cmp_to_key
from pathlib import Path

from builder.config.cell_ids import NEWEST
from builder.config.fileset import FileSet
from builder.config.schema import (
    BranchEntry,
    DistributionEntry,
    DriverEntry,
    KernelEntry,
    KernelRuleEntry,
    MatrixFile,
    PatchEntry,
    QualificationEntry,
    RangeEntry,
    RepositoryEntry,
    SourceEntry,
    StreamFile,
)
from builder.model.matrix import (
    Branch,
    Chroot,
    Compiler,
    DeclaredKey,
    Distribution,
    Driver,
    Exclude,
    Integrity,
    Kernel,
    Matrix,
    PackageRef,
    Profile,
    RepositoryRef,
    Source,
    Stream,
)
from builder.model.nevra import Evr, compare_evr
from builder.model.patches import ANY_VERSION, KernelRule, Patch, VersionRange


def assemble(matrix: MatrixFile, streams: list[StreamFile], files: FileSet) -> Matrix:
    """The model of a file set without mistakes."""
    kernels = [(entry.distribution, _kernel(entry)) for entry in matrix.kernels]
    return Matrix(
        module=matrix.module,
        epoch=matrix.epoch,
        vendor=matrix.vendor,
        distributions=tuple(
            _distribution(name, entry, [kernel for place, kernel in kernels if place == name], files)
            for name, entry in matrix.distributions.items()
        ),
        branches=tuple(
            _branch(name, entry, files.folder)
            for name, entry in sorted(matrix.branches.items(), key=lambda item: int(item[0]))
        ),
        excludes=tuple(Exclude(cells=rule.cells, reason=rule.reason) for rule in matrix.exclude),
        streams=tuple(
            _stream(entry, matrix.qualification) for entry in sorted(streams, key=lambda entry: entry.stream)
        ),
        cell_timeout=float(matrix.cell_timeout),
        integrity=Integrity(
            lifetime=matrix.integrity.lifetime_days * 86400,
            keys=tuple(
                DeclaredKey(name=key.file, data=(files.folder / key.file).read_bytes(), start=key.from_)
                for key in matrix.integrity.keys
            ),
        ),
    )


def _distribution(name: str, entry: DistributionEntry, kernels: list[Kernel], files: FileSet) -> Distribution:
    buildroot = entry.buildroot
    chroots = tuple(
        Chroot(
            name=f"{name}-{arch}",
            template=buildroot.template,
            template_text=files.templates[buildroot.template].read_text(encoding="utf-8"),
            arch=arch,
            releasever=buildroot.releasever,
            packages=tuple(buildroot.packages),
            repositories=tuple(_repository(repository, files.folder) for repository in buildroot.repositories),
            macros=tuple(sorted(buildroot.macros.items())),
        )
        for arch in entry.arches
    )
    return Distribution(
        name=name,
        title=entry.title,
        platform=entry.platform,
        dist_tag=entry.dist_tag,
        delivery=entry.delivery,
        arches=tuple(entry.arches),
        chroots=chroots,
        kernels=tuple(sorted(kernels, key=lambda k: (k.variant, k.core.evr, k.release))),
        payload=entry.payload,
        other_kernels=tuple(sorted(set(entry.other_kernels))),
        dnf=tuple(sorted(set(entry.dnf))),
    )


def _repository(entry: RepositoryEntry, folder: Path) -> RepositoryRef:
    key = _dnf_url(entry.gpgkey, folder) if entry.gpgkey else None
    return RepositoryRef(id=entry.id, baseurl=_dnf_url(entry.baseurl, folder), gpgcheck=entry.gpgcheck, gpgkey=key)


def _dnf_url(text: str, folder: Path) -> str:
    """dnf takes URLs only; ``$releasever`` and ``$basearch`` stay as they are."""
    return text if "://" in text else f"file://{(folder / text).as_posix()}"


def _kernel(entry: KernelEntry) -> Kernel:
    return Kernel(
        release=entry.release,
        arch=entry.arch,
        variant=entry.variant,
        core=PackageRef(name=entry.core.name, evr=Evr.parse(entry.core.evr)),
        devel=PackageRef(name=entry.devel.name, evr=Evr.parse(entry.devel.evr)),
        devel_path=entry.devel.path,
        compiler=Compiler(
            package=entry.compiler.package,
            command=entry.compiler.command,
            version_text=entry.compiler.version_text,
        ),
        read_from=entry.read,
        built=entry.built,
        published=entry.published,
        live=entry.live,
    )


def _branch(name: str, entry: BranchEntry, folder: Path) -> Branch:
    drivers = sorted(entry.drivers, key=lambda d: cmp_to_key(compare_evr)(d.version))
    patches = [(_range(patch.drivers), _patch(patch, folder)) for patch in entry.patches]
    return Branch(
        name=name,
        type=entry.type,
        eol=entry.eol,
        max_cuda=entry.max_cuda,
        gpus=tuple(entry.gpus),
        drivers=tuple(_driver(name, driver, folder, patches) for driver in drivers),
        note=entry.note,
    )


def _driver(branch: str, entry: DriverEntry, folder: Path, patches: list[tuple[VersionRange, Patch]]) -> Driver:
    return Driver(
        version=entry.version,
        branch=branch,
        flavors=tuple(entry.flavors),
        sources=tuple(_source(source, branch, entry.version, folder) for source in entry.sources),
        read_from=entry.read,
        modules=tuple(entry.modules),
        patches=tuple(patch for versions, patch in patches if entry.version in versions),
    )


def _range(entry: RangeEntry | None) -> VersionRange:
    return VersionRange(start=entry.from_, before=entry.before) if entry else ANY_VERSION


def _patch(entry: PatchEntry, folder: Path) -> Patch:
    path = folder / entry.file
    data = path.read_bytes()
    return Patch(
        name=path.name,
        path=path,
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        reason=" ".join(entry.reason.split()),
        upstream=entry.upstream,
        kernels=tuple(_kernel_rule(rule) for rule in entry.kernels or ()),
        flavors=tuple(entry.flavors or ()),
    )


def _kernel_rule(entry: KernelRuleEntry) -> KernelRule:
    return KernelRule(
        distribution=entry.distribution, variant=entry.variant, release=entry.release, versions=_range(entry)
    )


def _source(entry: SourceEntry, branch: str, version: str, folder: Path) -> Source:
    url = entry.url.format(version=version, arch=entry.arch, branch=branch)
    return Source(kind=entry.kind, arch=entry.arch, url=url if "://" in url else str(folder / url))


def _stream(entry: StreamFile, qualification: QualificationEntry) -> Stream:
    return Stream(
        name=entry.stream,
        branch=None if entry.branch == NEWEST else entry.branch,
        flavor=entry.flavor,
        kmods=entry.kmods,
        default=entry.default,
        summary=entry.summary,
        description=entry.description.strip(),
        profiles=tuple(
            Profile(name=name, packages=tuple(profile.packages), description=profile.description)
            for name, profile in entry.profiles.items()
        ),
        default_profile=entry.default_profile,
        distributions=tuple(entry.distributions),
        default_instead_of=tuple(entry.default_instead_of),
        level=qualification.streams.get(entry.stream, qualification.level),
    )
