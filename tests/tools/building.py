"""A little package to build, and a chroot of the lab distribution to build it in."""

from __future__ import annotations

from pathlib import Path

from builder.build import Builder, make_srpm
from builder.model.matrix import Chroot, Delivery, Distribution, RepositoryRef
from builder.model.sources import BuildRequest, Buildroot, SourceFile, SpecFile
from builder.tools.rpms import file_sha256
from tests.lab.distro import LabDistro

SMALL = ("bash", "coreutils", "findutils", "tar", "gzip", "diffutils", "file", "sed", "grep", "gawk", "cpio", "rpm")
EPOCH = 1_700_000_000
C_SOURCE = r"""#include <stdio.h>
int main(void) { puts("made " __DATE__ " " __TIME__); return 0; }
"""
SPEC = """Name: hello
Version: 1
Release: 1%{?dist}
Summary: A test
License: MIT
Source0: hello.c
BuildRequires: gcc
@requires@
%description
A test.
%prep
%setup -qcT
cp -p %{SOURCE0} .
%build
@before@
gcc -O2 -g hello.c -o hello
@after@
%install
install -D hello %{buildroot}/usr/bin/hello
%files
/usr/bin/hello
%clean
@clean@
"""


def spec(
    folder: Path, *, requires: str = "", before: str = "", after: str = "", clean: str = "", source: str = C_SOURCE
) -> SpecFile:
    """A C package; ``before`` and ``after`` are shell lines around the compiler."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "hello.c"
    file.write_text(source)
    text = SPEC
    for name, value in (("requires", requires), ("before", before), ("after", after), ("clean", clean)):
        text = text.replace(f"@{name}@", value)
    made = SourceFile(filename=file.name, path=file, sha256=file_sha256(file), size=file.stat().st_size)
    return SpecFile(filename="hello.spec", text=text, sources=(made,))


def lab_chroot(distro: LabDistro, *more: RepositoryRef, packages: tuple[str, ...] | None = None) -> Chroot:
    """The lab distribution as a buildroot."""
    lab = RepositoryRef(id="lab", baseurl=str(distro.repository), gpgcheck=False)
    return Chroot(
        name="lab-x86_64",
        template="lab.cfg.j2",
        arch=distro.arch,
        releasever=distro.releasever,
        packages=distro.base_packages if packages is None else packages,
        repositories=(lab, *more),
        macros=(("packager", "lab"),),
    )


def distribution(chroot: Chroot) -> Distribution:
    """A distribution around a chroot."""
    return Distribution(
        name="lab9",
        title="Lab",
        platform="lab9",
        dist_tag=".lab9",
        delivery=Delivery.MODULAR,
        arches=(chroot.arch,),
        chroots=(chroot,),
        kernels=(),
    )


def request_for(spec_file: SpecFile, buildroot: Buildroot, folder: Path, *, timeout: float = 120.0) -> BuildRequest:
    """An SRPM of the spec and a request to build it; ``folder`` is fresh."""
    folder.mkdir(parents=True)
    srpm = make_srpm(spec_file, folder, dist=distribution(buildroot.chroot), source_date_epoch=EPOCH)
    resultdir = folder / "result"
    resultdir.mkdir()
    return BuildRequest(
        unit_id="hello@lab9",
        srpm=srpm,
        buildroot=buildroot,
        resultdir=resultdir,
        arch=buildroot.chroot.arch,
        source_date_epoch=EPOCH,
        timeout=timeout,
        jobs=2,
    )


def build(builder: Builder, spec_file: SpecFile, buildroot: Buildroot, folder: Path, *, timeout: float = 120.0) -> Path:
    """Build; returns the resultdir."""
    request = request_for(spec_file, buildroot, folder, timeout=timeout)
    builder.build(request)
    return request.resultdir


def digests(resultdir: Path) -> dict[str, str]:
    """sha256 of each RPM of a resultdir."""
    return {p.name: file_sha256(p) for p in sorted(resultdir.glob("*.rpm"))}
