"""A client root of the lab distribution: installed by dnf, entered by chroot, running its own dnf and scriptlets.

The lab's repository and the published one are bound into it as /srv/lab and /srv/repobuild; it has no network.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from builder.tools.run import Completed, run
from tests.lab.distro import LabDistro

BASE_URL = "file:///srv/repobuild"  # what the published .repo file must say for clients made here
_DNF_CONF = "[main]\ngpgcheck=1\nbest=1\ninstallonly_limit=3\ninstall_weak_deps=0\nclean_requirements_on_remove=1\n"
_LAB_REPO = "[lab]\nname=Lab\nbaseurl=file:///srv/lab\ngpgcheck=0\nmetadata_expire=0\n"
_ENTER = """
set -e
root=$1 lab=$2 repo=$3; shift 3
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 dev "$root/dev"
cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty "$root/dev"
ln -s /proc/self/fd "$root/dev/fd"
mkdir -p "$root/srv/lab" "$root/srv/repobuild"
mount --bind "$lab" "$root/srv/lab"
mount --bind "$repo" "$root/srv/repobuild"
exec chroot "$root" /usr/bin/env -i HOME=/root PATH=/usr/bin:/bin:/usr/sbin:/sbin LC_ALL=C TERM=dumb "$@"
"""


def let_time_pass(cache: Path) -> None:
    """Metadata below this folder were loaded a minute ago.

    dnf compares whole seconds: what it loaded in this one is fresh for it even with metadata_expire=0, and tests
    publish and ask again within one.
    """
    then = time.time() - 60
    for path in cache.glob("**/repodata/*"):
        os.utime(path, (then, then))


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledModule:
    """What ``modinfo -k RELEASE nvidia`` says."""

    release: str
    version: str
    vermagic: str
    license: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """An installed root."""

    root: Path
    distro: LabDistro
    repo: Path  # folder of the publications

    def run(self, *argv: str, ok: Collection[int] = (0,), timeout: float = 600) -> Completed:
        """Run a program inside, in mount, process and network namespaces of its own."""
        let_time_pass(self.root / "var/cache")
        spaces = ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "--propagation", "private"]
        enter: list[str | Path] = ["sh", "-c", _ENTER, "enter", self.root, self.distro.repository, self.repo]
        return run([*spaces, "--", *enter, *argv], timeout=timeout, ok=ok)

    def dnf(self, *argv: str, ok: Collection[int] = (0,)) -> Completed:
        """The client's own dnf, answering yes."""
        return self.run("dnf", "-y", *argv, ok=ok)

    def query(self, *argv: str) -> list[str]:
        """``rpm -q`` lines, sorted."""
        return sorted(self.run("rpm", "-q", *argv, ok=(0, 1)).stdout.splitlines())

    def install_time(self, package: str) -> str:
        """Install time and transaction id of a package: both change when it is touched."""
        return self.install_times(package)[package]

    def install_times(self, *packages: str) -> dict[str, str]:
        """``install_time`` of packages of which there is one version each, by name."""
        lines = self.run("rpm", "-q", "--qf", "%{NAME} %{INSTALLTIME} %{INSTALLTID}\n", *packages).stdout.splitlines()
        found = {name: stamp for name, _, stamp in (line.partition(" ") for line in lines)}
        assert len(lines) == len(found) == len(packages), lines
        return found

    def module(self, release: str, name: str = "nvidia") -> InstalledModule | None:
        """The module that this kernel would load, None when it has none."""
        return self.modules(release, name)[name]

    def modules(self, release: str, *names: str) -> dict[str, InstalledModule | None]:
        """``module`` for each of these names."""
        done = self.run("modinfo", "-k", release, *names, ok=(0, 1))
        if done.returncode and len(names) > 1:  # it ends at the first that there is not
            return {name: self.module(release, name) for name in names}
        found: dict[str, InstalledModule | None] = dict.fromkeys(names)
        for text in re.split(r"^(?=filename:)", done.stdout, flags=re.MULTILINE)[1:]:
            fields = dict(re.findall(r"^(\w+):\s+(.*)$", text, re.MULTILINE))
            file = PurePath(fields["filename"]).name.partition(".ko")[0]  # not all have a field that says their name
            (name,) = [n for n in names if n.replace("-", "_") == file.replace("-", "_")]
            found[name] = InstalledModule(
                release=release,
                version=fields["version"],
                vermagic=fields["vermagic"].split()[0],
                license=fields["license"],
            )
        assert (None in found.values()) == bool(done.returncode), done.stdout + done.stderr
        return found

    def module_field(self, release: str, field: str, name: str = "nvidia") -> str:
        """One field of ``modinfo -k RELEASE``, empty when the module has none."""
        return self.run("modinfo", "-k", release, "-F", field, name).stdout.strip()

    def module_files(self) -> list[str]:
        """Every file below /lib/modules whose name says NVIDIA, and every link, relative to that folder."""
        top = self.root / "usr/lib/modules"
        return sorted(str(p.relative_to(top)) for p in top.rglob("nvidia*") if p.is_symlink() or not p.is_dir())

    def make_own_kernel(self, base: str, release: str, config: str = "") -> None:
        """An admin's own kernel, of which no package knows: a copy of ``base`` and its build tree under another name.

        ``config`` is a line added to what every compilation for it sees.
        """
        sources, modules = self.root / "usr/src/kernels", self.root / "usr/lib/modules"
        run(["cp", "-a", sources / base, sources / release], timeout=300)
        run(["cp", "-a", modules / base, modules / release], timeout=300)
        for added in ("extra", "updates"):  # what somebody built for the kernel that is copied
            shutil.rmtree(modules / release / added, ignore_errors=True)
        (modules / release / "build").unlink()
        (modules / release / "build").symlink_to(f"/usr/src/kernels/{release}")
        (sources / release / "include/config/kernel.release").write_text(f"{release}\n")
        (sources / release / "include/generated/utsrelease.h").write_text(f'#define UTS_RELEASE "{release}"\n')
        with (sources / release / "include/generated/autoconf.h").open("a") as header:
            header.write(f"{config}\n")
        self.run("depmod", "-a", release)

    def use_published(self, distribution: str = "lab9") -> None:
        """Enable the published repository by its own .repo file."""
        shutil.copyfile(
            self.repo / f"{distribution}.repo", self.root / "etc/yum.repos.d" / f"{distribution}-nvidia.repo"
        )


def make_client(root: Path, distro: LabDistro, repo: Path, packages: Sequence[str]) -> Client:
    """Install a fresh client root with these packages on top of the minimal set."""
    shutil.rmtree(root, ignore_errors=True)
    (root / "etc/yum.repos.d").mkdir(parents=True)
    (root / "etc/dnf").mkdir()
    home = root.parent / f".{root.name}-home"
    home.mkdir(exist_ok=True)
    (home / ".rpmmacros").write_text("%_dbpath /var/lib/rpm\n")  # some hosts' rpm keeps its database elsewhere
    (home / "dnf.conf").write_text(_DNF_CONF)
    options = {
        "reposdir": "/dev/null",
        "cachedir": str(home / "cache"),
        "logdir": "/var/log",
        "install_weak_deps": "0",
        "module_platform_id": distro.platform,
        "keepcache": "0",
    }
    dnf: list[str | Path] = ["dnf", "-y", "-q", "-c", home / "dnf.conf", "--installroot", root]
    dnf += ["--releasever", distro.releasever, *(f"--setopt={k}={v}" for k, v in options.items())]
    dnf += ["--repofrompath", f"lab,{distro.repository.as_uri()}", "--repo", "lab", "--nogpgcheck"]
    run([*dnf, "install", *distro.client_packages, *packages], timeout=900, env={"HOME": str(home)})
    (root / "etc/dnf/dnf.conf").write_text(_DNF_CONF)
    (root / "etc/yum.repos.d/lab.repo").write_text(_LAB_REPO)
    # The host archive's dnf keeps a local repository of what it installs and wants createrepo_c for it; EL's does not.
    (root / "etc/dnf/plugins").mkdir(exist_ok=True)
    (root / "etc/dnf/plugins/local.conf").write_text("[main]\nenabled=0\n")
    return Client(root=root, distro=distro, repo=repo)
