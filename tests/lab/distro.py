"""The lab distribution ``lab9``: one repository of converted packages, real kernels and a small CUDA toolkit."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import json
import os
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from builder.tools.run import run
from tests.lab.archive import CACHE, Archive
from tests.lab.convert import ALIAS, DIST, DROP, FORMAT, Package, alternatives, cached, convert, requirements
from tests.lab.deb import read_deb
from tests.lab.kernels import LabKernel, choose, make_kernels
from tests.lab.uses import hold, prune

RELEASEVER = "9"
PLATFORM = "platform:lab9"
# What a buildroot's base holds; the names are the archive's.
BASE = (
    "bash", "coreutils", "findutils", "tar", "gzip", "bzip2", "xz-utils", "zstd", "make", "gcc", "gcc-12", "binutils",
    "patch", "sed", "gawk", "grep", "diffutils", "file", "kmod", "rpm", "libelf-dev", "perl", "bc", "dwarves",
    "debugedit", "elfutils", "cpio", "util-linux", "hostname", "debianutils", "libc6-dev",
)  # fmt: skip
CLIENT = (
    "bash", "coreutils", "findutils", "sed", "grep", "gawk", "gzip", "xz-utils", "zstd", "kmod", "rpm", "dnf",
    "python3-dnf", "dnf-plugins-core", "ca-certificates", "gnupg", "util-linux", "procps", "debianutils", "diffutils",
)  # fmt: skip
EXTRA = ("dkms", "libcudart11.0", "libc-bin", "libzstd-dev", "mount", "g++")
STATES, DAYS = 6, 3.0  # of the repository, that are kept; what was used in so many days stays in any case
CUDA = "cuda-toolkit-11-8"
_PROFILE = "export PATH=/usr/bin:/bin:/usr/sbin:/sbin\nexport LANG=C.UTF-8\n"
_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/bash\nbin:x:1:1:bin:/bin:/usr/sbin/nologin\n"
    "nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n",
    "etc/group": "root:x:0:\nbin:x:1:\ntty:x:5:\ndisk:x:6:\nmail:x:8:\nnogroup:x:65534:\n",
    "etc/shadow": "root:*:19000:0:99999:7:::\n",
    "etc/gshadow": "root:*::\n",
    "etc/shells": "/bin/bash\n",
    "etc/profile": _PROFILE,
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "etc/login.defs": "UID_MIN 1000\nGID_MIN 1000\nCREATE_HOME no\n",
    "etc/os-release": f'ID=lab\nNAME="Lab"\nVERSION_ID={RELEASEVER}\nPRETTY_NAME="Lab {RELEASEVER}"\n'
    f'PLATFORM_ID="{PLATFORM}"\n',
    "etc/ld.so.conf.d/lib64.conf": "/usr/lib64\n",
    "etc/rpm/macros.lab": f"%_dbpath /var/lib/rpm\n%dist {DIST}\n%lab {RELEASEVER}\n%_build_id_links none\n"
    "%_enable_debug_packages 0\n%_debugsource_packages 0\n%_binary_payload w3.zstdio\n",
}
_FOLDERS = (
    "usr/bin usr/sbin usr/lib usr/lib64 usr/lib32 usr/include usr/libexec usr/share usr/src/kernels usr/local/bin "
    "etc/rpm etc/profile.d etc/ld.so.conf.d etc/modprobe.d etc/dnf/vars etc/yum.repos.d etc/pki/rpm-gpg "
    "var/lib/rpm var/log var/cache var/tmp tmp run root home opt srv mnt media boot dev proc sys builddir"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabDistro:
    """Where the repository lies and what it holds."""

    repository: Path
    kernels: tuple[LabKernel, ...]
    base_packages: tuple[str, ...]
    client_packages: tuple[str, ...]
    releasever: str = RELEASEVER
    platform: str = PLATFORM
    arch: str = "x86_64"


@functools.cache  # a look at each of the archive's packages takes seconds
def make_distro(cache: Path = CACHE, *, series: tuple[str, ...] = ()) -> LabDistro:
    """Make or refresh the distribution under ``<cache>/lab``, once in a process; only what changed is built again.

    ``series`` adds the newest kernel of further series, e.g. ("6.12", "6.12/trixie").
    """
    rpms = cache / "lab/rpms"
    rpms.mkdir(parents=True, exist_ok=True)
    with (cache / "lab/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes want it at once: the first makes it
        return _make(cache, rpms, series)


def _make(cache: Path, rpms: Path, series: Sequence[str]) -> LabDistro:
    archive = Archive(cache)
    archive.update()
    choices = choose(archive, series)
    own = {c.compiler for c in choices if c.suite == archive.suite}
    debs = archive.download_closure(sorted({*BASE, *CLIENT, *EXTRA, *own}))
    for choice in choices:
        if choice.suite != archive.suite:  # its compiler needs a newer libc, which all of the host's release runs on
            newer = archive.download_closure([choice.compiler, "libc6-dev", "pahole"], choice.suite)
            debs = sorted({*debs, *without_renamed(newer, debs)})
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        kernels = pool.submit(make_kernels, archive, choices, rpms)
        files = _convert_all(debs, rpms, pool)
        files += [cached([f"filesystem {FORMAT}", repr(_FILES), _FOLDERS], _filesystem, rpms)]
        files += [cached([f"cuda {FORMAT}", name], fill, rpms) for name, fill in _CUDA.items()]
        described, kernel_files = kernels.result()
    repository = hold(_repository(cache / "lab/distro", [*files, *kernel_files]))
    prune(cache / "lab/distro", keep=STATES, days=DAYS)
    _remove_unlinked(rpms)
    return LabDistro(repository=repository, kernels=tuple(described), base_packages=BASE, client_packages=CLIENT)


def _remove_unlinked(rpms: Path) -> None:
    """Packages that no state of the repository has any more: it would link to them."""
    old = time.time() - DAYS * 86400
    for rpm in rpms.glob("*/*.rpm"):
        if rpm.stat().st_nlink == 1 and rpm.stat().st_ctime < old:
            shutil.rmtree(rpm.parent)


def without_renamed(newer: Sequence[Path], debs: Sequence[Path]) -> list[Path]:
    """Leave out what only has a new name for a library that ``debs`` has (libelf1t64): both would own its soname."""
    have = {deb.name.partition("_")[0] for deb in debs}
    names = {deb: deb.name.partition("_")[0] for deb in newer}
    return [deb for deb, name in names.items() if not name.endswith("t64") or name.removesuffix("t64") not in have]


def _convert_all(debs: Sequence[Path], output: Path, pool: ThreadPoolExecutor) -> list[Path]:
    found = list(pool.map(lambda deb: read_deb(deb, output.parent / "debs"), debs))
    have = {deb.fields["Package"] for deb in found}
    provided = {g[0] for deb in found for g in alternatives(deb.fields.get("Provides", ""))}
    provided |= {alias for aliases in ALIAS.values() for alias in aliases}
    tasks = [
        pool.submit(convert, deb, requirements(deb.fields, have, provided), output)
        for deb in found
        if deb.fields["Package"] not in DROP
    ]
    return [task.result() for task in tasks]


def _filesystem(root: Path) -> Package:
    for folder in _FOLDERS.split():
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name in ("bin", "sbin", "lib", "lib64", "lib32"):
        (root / name).symlink_to(f"usr/{name}")
    (root / "var/run").symlink_to("../run")
    for name, text in _FILES.items():
        (root / name).write_text(text)
    for name in ("tmp", "var/tmp"):
        (root / name).chmod(0o1777)
    return Package(
        name="filesystem",
        version=RELEASEVER,
        release=f"1{DIST}",
        summary="Base directories and accounts of the lab distribution",
        root=root,
        provides=[*sorted(DROP), f"system-release = {RELEASEVER}", f"lab-release = {RELEASEVER}"],
    )


def _cuda_toolkit(root: Path) -> Package:
    folder = root / "usr/local/cuda-11.8"
    folder.mkdir(parents=True)
    (folder / "version.json").write_text(json.dumps({"cuda": {"name": "CUDA SDK", "version": "11.8"}}) + "\n")
    return Package(
        name=CUDA,
        version="11.8.0",
        release=f"1{DIST}",
        summary="CUDA toolkit 11.8: the archive's CUDA runtime and its version file",
        root=root,
        requires=["filesystem", "libcudart11.0"],
    )


def _cuda_meta(root: Path) -> Package:
    (root / "usr/share/cuda").mkdir(parents=True)
    return Package(
        name="cuda", version="11.8.0", release=f"1{DIST}", summary="CUDA", root=root, requires=[f"{CUDA} = 11.8.0"]
    )


_CUDA = {CUDA: _cuda_toolkit, "cuda": _cuda_meta}


def _repository(folder: Path, rpms: Sequence[Path]) -> Path:
    """A folder of links to these RPMs with metadata, named by what is in it; ``current`` points to it."""
    digest = hashlib.sha256("\n".join(sorted(str(p) for p in rpms)).encode()).hexdigest()[:16]
    place = folder / digest
    if not place.is_dir():
        new = folder / f"{digest}.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        for rpm in rpms:
            os.link(rpm, new / rpm.name)
        run(["createrepo_c", "--quiet", "--no-database", "--compress-type=gz", "--revision=1", new], timeout=600)
        new.rename(place)
    current = folder / "current.new"
    current.unlink(missing_ok=True)
    current.symlink_to(digest)
    current.rename(folder / "current")
    return place


def describe(distro: LabDistro) -> dict[str, object]:
    """As JSON."""
    return {**asdict(distro), "repository": str(distro.repository)}
