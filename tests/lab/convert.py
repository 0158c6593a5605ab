"""Turn Debian packages into RPMs of the lab distribution, one each, cached by content.

The result is a distribution in its own right: merged /usr, rpm database in /var/lib/rpm, capabilities by the names that
spec files of EL use. Maintainer scripts do not run; what they would do and a buildroot needs is done here.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.tools.run import run
from tests.lab.deb import Deb
from tests.memory import roomy_folder

DIST = ".lab9"
FORMAT = 2  # of the packages made here; a new number converts them again
EPOCH = 1_700_000_000  # seconds; SOURCE_DATE_EPOCH of the converted packages
# Packages that only make sense on Debian; the filesystem package provides their names.
DROP = ("base-files", "base-passwd", "usrmerge", "dpkg", "debconf", "init-system-helpers")
# Debian's name → what RPM spec files call it.
ALIAS: Mapping[str, Sequence[str]] = {
    "bash": ("/bin/sh", "/usr/bin/sh", "/bin/bash", "/usr/bin/bash"),
    "libc6": ("glibc = {version}", "glibc-common = {version}", "rtld(GNU_HASH)"),
    "libzstd-dev": ("libzstd-devel",),
    "g++": ("gcc-c++",),
    "libc6-dev": ("glibc-devel = {version}", "glibc-headers = {version}"),
    "libc-bin": ("/sbin/ldconfig", "/usr/sbin/ldconfig"),
    "linux-libc-dev": ("kernel-headers",),
    "xz-utils": ("xz",),
    "debianutils": ("which",),
    "passwd": ("shadow-utils",),
    "procps": ("procps-ng",),
    "coreutils": ("/usr/bin/env",),
    "perl": ("perl-interpreter", "perl-generators", "/usr/bin/perl"),
    "pkgconf": ("pkgconfig", "/usr/bin/pkg-config"),
    "rpm": ("rpm-build", "rpm-libs", "redhat-rpm-config", "system-rpm-config", "/usr/bin/rpmbuild"),
    "libelf-dev": ("elfutils-libelf-devel", "elfutils-devel", "libelf-devel"),
    "libssl-dev": ("openssl-devel",),
    "zlib1g-dev": ("zlib-devel",),
    "dnf-plugins-core": ("python3-dnf-plugins-core",),
    "python3": ("/usr/bin/python3",),
    "kmod": ("/usr/sbin/depmod", "/sbin/depmod", "/usr/sbin/modprobe"),
    "gawk": ("awk", "/usr/bin/awk"),
    "gnupg": ("gnupg2",),
}
# What Debian only recommends but RPM distributions require.
EXTRA: Mapping[str, Sequence[str]] = {
    "gcc": ("libc6-dev", "binutils"),
    "debugedit": ("elfutils",),
    "libc6": ("libc-bin",),
}
# What EL's package of that kind runs; libraries are found where EL has them (/usr/lib64) only through ldconfig.
SCRIPTLETS: Mapping[str, str] = {
    "libc-bin": "%transfiletriggerin -P 2000000 -- /usr/lib /usr/lib64\nldconfig || :\n"
    "%transfiletriggerpostun -P 2000000 -- /usr/lib /usr/lib64\nldconfig || :",
}
# Links that maintainer scripts (update-alternatives and the like) make.
LINKS: Mapping[str, Mapping[str, str]] = {
    "bash": {"usr/bin/sh": "bash"},  # dash, whose link this is on Debian, is not in the set
    "debianutils": {"usr/bin/which": "which.debianutils"},
    "gawk": {"usr/bin/awk": "gawk"},
    "gcc": {"usr/bin/cc": "gcc"},
}
_UNWANTED = ("doc", "man", "info", "locale", "lintian", "bug", "doc-base", "menu")
_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """Everything an RPM of the lab is made of; ``root`` is moved into it."""

    name: str
    version: str
    release: str
    summary: str
    root: Path
    epoch: int | None = None
    noarch: bool = False
    provides: Sequence[str] = ()
    requires: Sequence[str] = ()
    conflicts: Sequence[str] = ()
    scriptlets: str = ""  # %post … sections
    own: str = ""  # this folder and all below belong to the package and leave with it
    find_provides: bool = True  # let rpm look for sonames; slow on thousands of files that have none
    license: str = "as its Debian package says"


def split_version(version: str) -> tuple[int | None, str, str]:
    """Epoch, version, release of a Debian version, in characters that rpm allows."""
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "", version
    upstream, dash, revision = rest.rpartition("-")
    if not dash:
        upstream, revision = rest, "1"
    return int(epoch) if epoch else None, upstream.replace("-", "_"), revision


def alternatives(field: str) -> list[list[str]]:
    """``"a (>= 1) | b, c:any"`` → ``[["a", "b"], ["c"]]``."""
    return [
        [re.sub(r"[\s(:\[].*", "", alternative.strip()) for alternative in group.split("|")]
        for group in field.split(",")
        if group.strip()
    ]


def merge_usr(root: Path) -> None:
    """Fold /bin, /sbin and /lib* of an unpacked tree into /usr."""
    for name in _MERGED:
        top = root / name
        if top.is_dir() and not top.is_symlink():
            move_into(top, root / "usr" / name)


def move_into(source: Path, target: Path) -> None:
    """Move a tree to where another may be: folders become one, files take the place of those of their name."""
    if source.is_symlink() or not source.is_dir():
        source.replace(target)
    elif not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
    else:
        for item in source.iterdir():
            move_into(item, target / item.name)
        source.rmdir()


def requirements(fields: Mapping[str, str], have: Collection[str], provided: Collection[str]) -> list[str]:
    """Requires of a package: of each Depends group the first alternative that exists in the set."""
    name = fields["Package"]
    found = {"filesystem", *(r for r in EXTRA.get(name, ()) if r in have)}
    for field in ("Pre-Depends", "Depends"):
        for group in alternatives(fields.get(field, "")):
            usable = [a for a in group if a in have or a in provided]
            found.update(usable[:1])
    return sorted(found - {name})


def convert(deb: Deb, requires: Sequence[str], output: Path) -> Path:
    """Build the RPM of one .deb into ``output``; a cached one of the same input is taken."""
    fields = deb.fields
    name = fields["Package"]
    epoch, version, release = split_version(fields["Version"])
    provides = [group[0] for group in alternatives(fields.get("Provides", ""))]
    provides += [alias.format(version=version) for alias in ALIAS.get(name, ())]
    scriptlets = SCRIPTLETS.get(name, "")
    noarch = fields["Architecture"] == "all"
    made = [repr(LINKS.get(name)), scriptlets or "", *(["without sonames"] if noarch else [])]
    identity = [f"deb {FORMAT}", deb.sha256, *requires, *provides, *made]

    def fill(root: Path) -> Package:
        run(["dpkg-deb", "-x", deb.path, root], timeout=300)
        merge_usr(root)
        for folder in _UNWANTED:
            shutil.rmtree(root / "usr/share" / folder, ignore_errors=True)
        for library in root.glob("usr/lib*/**/*.so*"):
            if library.is_file() and not library.is_symlink():
                library.chmod(0o755)  # rpm's elfdeps looks only at executable files
        for link, target in LINKS.get(name, {}).items():
            (root / link).symlink_to(target)
        configs = [*root.glob("usr/lib/*/pkgconfig/*.pc"), *root.glob("usr/share/pkgconfig/*.pc")]
        pkgconfig = sorted(f"pkgconfig({p.stem})" for p in configs)
        return Package(
            name=name,
            epoch=epoch,
            version=version,
            release=release,
            summary=fields["Description"].splitlines()[0],
            root=root,
            noarch=noarch,
            find_provides=not noarch,
            provides=[p for p in dict.fromkeys([*provides, *pkgconfig]) if p != name],
            requires=requires,
            scriptlets=scriptlets,
        )

    return cached(identity, fill, output)


def cached(identity: Sequence[str], fill: object, output: Path) -> Path:
    """The RPM made by ``fill(root) -> Package``, named by the digest of ``identity``; built only when missing."""
    digest = hashlib.sha256("\n".join(identity).encode()).hexdigest()[:32]
    place = output / digest
    found = list(place.glob("*.rpm"))
    if found:
        return found[0]
    assert callable(fill)
    with roomy_folder(output) as tmp:
        root = tmp / "root"
        root.mkdir()
        rpm = build(fill(root), tmp)
        place.mkdir(exist_ok=True)
        new = Path(shutil.move(rpm, place / f"{rpm.name}.new"))  # from another file system, maybe: half there at times
        return new.rename(place / rpm.name)


def build(package: Package, work: Path) -> Path:
    """rpmbuild one package from its tree; the RPM lies in ``work/rpms``."""
    (work / "files").write_text("\n".join(_file_list(package.root, package.own)) + "\n")
    (work / "package.spec").write_text(_spec(package, work))
    macros = {
        "_topdir": work / "top",
        "_rpmdir": work / "rpms",
        "_dbpath": work / "db",
        "_rpmfilename": "%{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}.rpm",
        "debug_package": "%{nil}",
        "__spec_install_post": "%{nil}",
        "_build_id_links": "none",
        "_binary_payload": "w3.zstdio",
        "_unpackaged_files_terminate_build": "0",
        "use_source_date_epoch_as_buildtime": "1",
        "clamp_mtime_to_source_date_epoch": "1",
        "source_date_epoch_from_changelog": "0",
        "_buildhost": "lab",
    }
    defines = [word for name, value in macros.items() for word in ("--define", f"{name} {value}")]
    target = "noarch" if package.noarch else "x86_64"
    run(
        ["rpmbuild", "-bb", "--quiet", "--target", target, *defines, work / "package.spec"],
        timeout=900,
        env={"SOURCE_DATE_EPOCH": str(EPOCH), "HOME": str(work)},
    )
    (rpm,) = (work / "rpms").glob("*.rpm")
    return rpm


def _spec(package: Package, work: Path) -> str:
    lines = [
        f"Name: {package.name}",
        *([f"Epoch: {package.epoch}"] if package.epoch else []),
        f"Version: {package.version}",
        f"Release: {package.release}",
        f"Summary: {package.summary.replace('%', '%%')}",
        f"License: {package.license}",
        "AutoReq: no",
        f"AutoProv: {'yes' if package.find_provides else 'no'}",
        *(["BuildArch: noarch"] if package.noarch else []),
        *(f"Provides: {p}" for p in package.provides),
        *(f"Requires: {r}" for r in package.requires),
        *(f"Conflicts: {c}" for c in package.conflicts),
        f"%description\n{package.name} of the lab distribution.",
        f"%install\nrm -rf %{{buildroot}}\nmv {package.root} %{{buildroot}}",
        package.scriptlets,
        f"%files -f {work / 'files'}\n%defattr(-,root,root,-)",
    ]
    return "\n".join(lines) + "\n"


def _file_list(root: Path, own: str) -> list[str]:
    found: list[str] = []
    for top, folders, files in os.walk(root):
        folders.sort()
        here = top[len(str(root)) :]
        links = [f for f in folders if Path(top, f).is_symlink()]
        found.extend(f'"{here}/{name}"' for name in sorted(files + links))
        if here and ((not files and not folders) or (own and f"{here}/".startswith(f"{own}/"))):
            found.append(f'%dir "{here}"')
    return found
