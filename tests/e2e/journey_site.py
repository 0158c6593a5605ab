"""What an admin's journey is walked on: publications that follow each other, a repository of kernels, one host.

The host's kernels come from two places, as on EL: those it was installed with from the distribution, later ones from a
repository that the distribution adds to. Everything the admin types is kept, so that the guide can be compared with it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, TypeVar

from builder.store.store import KINDS
from builder.tools.run import Completed, run
from tests.conftest import PROGRAM, Job, job_in
from tests.lab.client import Client, make_client
from tests.lab.convert import DIST, Package, build
from tests.lab.distro import CUDA, LabDistro
from tests.lab.kernels import LabKernel
from tests.lab.light import make_light
from tests.lab.light_archives import with_archives
from tests.lab.matrix import stream, write_lab_matrix
from tests.lab.runfile import LabDriver

R430, R470, R535, R570 = "430.64", "470.256.02", "535.261.03", "570.211.01"
SUITE = "bookworm"
LATER = (f"6.1/{SUITE}-security", "6.12")  # kernels that come after those the host was installed with
OPEN = "Dual MIT/GPL"
BOTH, PROPRIETARY, ONLY_OPEN = ("proprietary", "open"), ("proprietary",), ("open",)
FIRST_DRIVERS = {R430: PROPRIETARY, R470: PROPRIETARY, R535: BOTH}
DRIVERS = {**FIRST_DRIVERS, R570: ONLY_OPEN}
STREAMS = (
    stream("r430", "430", "proprietary"),
    stream("r470", "470", "proprietary"),
    stream("r535", "535", "proprietary"),
    stream("r535-open", "535", "open"),
    stream("latest", "newest-complete", "open", default=True),
    stream("latest-dkms", "newest-complete", "open", kmods="dkms"),
)
PAYLOAD = "w6.xzdio"  # what every delivery can have: so that they share what is built
MODULES = ("nvidia", "nvidia-uvm")  # of five: what is told here is told by two as well, in half the time
SIGNER = "kernel modules of the journey"
OURS = ("nvidia-", "libnvidia-", "kmod-nvidia-", "cuda-drivers", "dkms-nvidia", "dnf-plugin-nvidia")
BESIDE = {"dnf-plugin-nvidia", "nvidia-kmod-certificate"}  # what works with any driver; never of a DKMS stream
BYSTANDER = "site-tools"  # a package that has nothing to do with all this and has an update of its own
UPDATES = "srv/updates"
RELEASE = "nvidia-driver-release"
KEY = "/srv/repobuild/RPM-GPG-KEY-repobuild"
_USER_SPACE = {
    "cuda-drivers", "nvidia-driver", "nvidia-driver-cuda", "nvidia-driver-cuda-libs", "nvidia-kmod-common",
}  # fmt: skip


def without(kernels: Sequence[LabKernel]) -> list[str]:
    """Cells that no step asks for: each takes its seconds."""
    first, later, last = kernels[0].release, kernels[2:], kernels[3:]
    unasked = [f"r470@{first}", f"r535@{first}", *(f"r430@{k.release}" for k in later)]
    return [*unasked, *(f"r535-open*@{k.release}" for k in last)]


def said(done: Completed) -> str:
    """What a program printed, in one line."""
    return " ".join((done.stdout + done.stderr).split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a host must have of a driver, on each of its kernels."""

    version: str
    license: str = "Proprietary"
    dkms: bool = False
    stream: str = ""  # where there are no modules: which one the host says it has
    more: frozenset[str] = frozenset()  # packages that were asked for besides

    @property
    def open(self) -> bool:
        """Modules of the open flavor."""
        return self.license != "Proprietary"


class Publisher:
    """The release engineer: one work folder, a publication for each state of matrix.yaml.

    What ``like`` has built is taken over.
    """

    def __init__(
        self, folder: Path, distro: LabDistro, keys: Path, *, like: Publisher | None = None, delivery: str = "modular"
    ) -> None:
        self.folder, self.distro, self.delivery = folder, distro, delivery
        self.job = job_in(folder, keys)
        if like is not None:
            self.job = like.job.copy(folder, kinds=[kind for kind in KINDS if kind != "signed"], done=False)
        self.certificate = folder / "modules.pem"
        if not self.certificate.is_file():
            self.job.config.parent.mkdir(parents=True, exist_ok=True)
            run([PROGRAM, "key", "new-module", "--cert", self.certificate, "--name", SIGNER], timeout=120)
        self.drivers = {driver.version: driver for driver in make_light((R430, R470, R535, R570))}
        self.drivers[R570] = with_archives(self.drivers[R570], folder / "archives", ("fabricmanager",))

    def write(self, kernels: Sequence[LabKernel], drivers: Mapping[str, Sequence[str]]) -> None:
        """A matrix of these kernels × drivers (flavors by version), as far as steps ask for it; its sources pinned."""
        chosen: list[LabDriver] = [replace(self.drivers[v], flavors=tuple(f)) for v, f in drivers.items()]
        write_lab_matrix(
            self.folder,
            self.distro,
            chosen,
            STREAMS,
            kernels=[kernel.release for kernel in kernels],
            modules=MODULES,
            exclude=[{"cells": cells, "reason": "no step asks for it"} for cells in without(kernels)],
            delivery=self.delivery,
            payload=PAYLOAD,
        )
        self.job.run("pin")

    def build(self, kernels: Sequence[LabKernel]) -> None:
        """All that any step asks for, without a publication."""
        self.write(kernels, DRIVERS)
        self.job.run("fetch")
        self.job.run("build", "--jobs", "2", "--module-cert", str(self.certificate))
        self.job.run("qualify", "--module-cert", str(self.certificate))

    def publish(self, kernels: Sequence[LabKernel], drivers: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        """Publish what ``write`` writes; drivers by stream."""
        self.write(kernels, drivers)
        document = self.job.json("matrix", "--jobs", "2", "--module-cert", str(self.certificate))
        (distribution,) = document["distributions"]
        return {s["stream"]: s["drivers"] for s in distribution["streams"]}


@dataclass(slots=True, kw_only=True)
class Host:
    """The admin's host: its client root, what it must have, what was typed."""

    client: Client
    distro: LabDistro  # of all kernels
    kernels: list[LabKernel]  # that are installed, oldest first
    without: tuple[LabKernel, ...] = ()  # of these, those that the admin let in without a module
    expected: Expected | None = None
    kept: dict[str, str] = field(default_factory=dict)  # install time and transaction by package, never to change
    typed: list[str] = field(default_factory=list)
    transcript: Path
    beside: ClassVar[Collection[str]] = BESIDE  # packages of ours that have versions of their own

    def dnf(self, *argv: str, ok: Sequence[int] = (0,)) -> Completed:
        """What the admin types, without ``-y``; output and errors are kept for the guide."""
        line = " ".join(["dnf", *(f"'{word}'" if re.search(r"[*<>() ]", word) else word for word in argv)])
        self.typed.append(line)
        done = self.client.dnf(*argv, ok=(0, 1))
        with self.transcript.open("a") as log:
            log.write(f"# {line}\n{done.stdout}{done.stderr}(exit code {done.returncode})\n\n")
        assert done.returncode in ok, f"{line}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def shell(self, line: str) -> str:
        """Another command; what it prints."""
        self.typed.append(line)
        done = self.client.run("sh", "-c", line)
        with self.transcript.open("a") as log:
            log.write(f"# {line}\n{done.stdout}{done.stderr}\n")
        return done.stdout.strip()

    def offer(self, *rpms: Path) -> None:
        """The distribution publishes these packages."""
        folder = self.client.root / UPDATES
        folder.mkdir(parents=True, exist_ok=True)
        for rpm in rpms:
            run(["cp", rpm, folder], timeout=60)
        run(["createrepo_c", "-q", "--no-database", "--compress-type=gz", folder], timeout=120)
        config = self.client.root / "etc/yum.repos.d/updates.repo"
        config.write_text(f"[updates]\nname=Updates\nbaseurl=file:///{UPDATES}\ngpgcheck=0\nmetadata_expire=0\n")

    def kernel_rpms(self, kernel: LabKernel) -> list[Path]:
        """kernel-core, kernel-devel and kernel of one kernel."""
        names = [kernel.core.name, kernel.devel.name, kernel.core.name.removesuffix("-core")]
        return [self.distro.repository / f"{name}-{kernel.core.evr}.{self.distro.arch}.rpm" for name in names]

    def packages(self) -> dict[str, list[str]]:
        """Version-releases by name of everything installed."""
        found: dict[str, list[str]] = {}
        for line in self.client.query("-a", "--qf", "%{NAME} %{VERSION}-%{RELEASE}\n"):
            name, evr = line.split()
            found.setdefault(name, []).append(evr)
        return found

    def add_repository(self) -> None:
        """What an admin installs first where streams are module streams; nothing may touch it from then on."""
        self.shell(f"rpm --import {KEY}")
        self.dnf("--setopt=localpkg_gpgcheck=1", "install", f"/srv/repobuild/lab9/x86_64/{RELEASE}.rpm")
        self.keep(RELEASE)

    def keep(self, *names: str) -> None:
        """From now on these packages must stay untouched."""
        self.kept |= self.client.install_times(*names)

    def check(self) -> None:
        """Each kernel has its modules and no other; nothing of another driver is left; what is kept was not touched."""
        packages = self.packages()
        assert sorted(packages.get("kernel-core", [])) == sorted(k.core.evr for k in self.kernels)
        self._check_modules()
        ours = {n: evrs for n, evrs in packages.items() if n.startswith(OURS) and n not in self.kept}
        assert set(ours) == self._names(set(ours)), ours
        for name, evrs in ours.items():
            if name in self.beside:
                continue
            assert self.expected is not None
            assert [evr.partition("-")[0] for evr in evrs] == [self.expected.version], (name, evrs)
            if name.startswith(("kmod-nvidia-", "nvidia-kmod-objects", "dkms-nvidia")):
                serial = evrs[0].removeprefix(f"{self.expected.version}-").removesuffix(f"{self._tag()}{DIST}")
                assert serial.isdigit(), (name, evrs)
        if self.kept:
            assert self.client.install_times(*self.kept) == self.kept

    def _tag(self) -> str:
        """Of the release of what is built for one flavor."""
        return ".open" if self.expected is not None and self.expected.open else ""

    def _names(self, found: set[str]) -> set[str]:
        """Names of our packages that a host has; what weak dependencies may bring is as it was found."""
        if self.expected is None:
            return set()
        names = _USER_SPACE | (found & BESIDE) | self.expected.more
        if self.expected.open:
            names.add("nvidia-firmware")
        else:
            names |= found & {"nvidia-firmware"}
        if self.expected.dkms:
            return (names | {"dkms-nvidia"}) - BESIDE
        served = (k.release.removesuffix(".x86_64") for k in self.kernels if k not in self.without)
        return names | {"nvidia-kmod-objects"} | {f"kmod-nvidia-{release}" for release in served}

    def _check_modules(self) -> None:
        """Version and vermagic of each module of each kernel; and no other file, of no other kernel."""
        expected = self.expected
        for kernel in self.kernels:
            for module in self.client.modules(kernel.release, *MODULES).values():
                if expected is None or kernel in self.without:
                    assert module is None, module
                    continue
                assert module is not None, f"{kernel.release}: no module"
                found = (module.version, module.vermagic, module.license)
                assert found == (expected.version, kernel.release, expected.license), (kernel.release, found)
        files = {path for path in self.client.module_files() if path.endswith((".ko", ".ko.xz", ".ko.zst", ".ko.gz"))}
        wanted = 0 if expected is None else len(MODULES) * (len(self.kernels) - len(self.without))
        assert len(files) == wanted, files
        assert {path.partition("/")[0] for path in files} <= {kernel.release for kernel in self.kernels}
        gone = {p.name for p in (self.client.root / "usr/lib/modules").iterdir()} - {k.release for k in self.kernels}
        assert not gone, f"{gone} of removed kernels"


AnyHost = TypeVar("AnyHost", bound=Host)


def make_host(
    folder: Path, base: LabDistro, whole: LabDistro, job: Job, kernels: Sequence[LabKernel], kind: type[AnyHost]
) -> AnyHost:
    """A fresh host with these kernels and a CUDA toolkit; ``base`` is what its distribution has at first."""
    packages = [f"{k.core.name}-{k.core.evr}" for k in kernels]
    client = make_client(folder / "root", base, job.repo, [*packages, CUDA])
    host = kind(client=client, distro=whole, kernels=list(kernels), transcript=folder / "transcript")
    host.keep(CUDA)
    return host


def bystander(folder: Path, version: str) -> Path:
    """The RPM of a package that nothing depends on."""
    work = folder / f"{BYSTANDER}-{version}"
    (work / "root/usr/share" / BYSTANDER).mkdir(parents=True)
    return build(
        Package(
            name=BYSTANDER,
            version=version,
            release=f"1{DIST}",
            summary="Something of the site",
            root=work / "root",
            requires=["filesystem"],
        ),
        work,
    )
