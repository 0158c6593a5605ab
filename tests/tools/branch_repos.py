"""Streams without modules: a signed publication of the real specs' small RPMs, a tree a stream, and its hosts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from builder.errors import ToolError
from builder.model.cells import Artifact, PackageKind
from builder.model.matrix import Delivery, Driver
from builder.model.publication import Publication, PublicationContent, StreamContent
from builder.publish import client_repository, publish
from builder.render import render_release
from builder.render.templates import spec_source
from builder.sign import Signer
from builder.tools.rpms import read_artifact
from builder.tools.run import Completed, run
from tests.golden import sample
from tests.lab.client import let_time_pass
from tests.tools import publishing
from tests.tools.rpm_building import build
from tests.tools.stream_repository import STREAMS, STUBS, Repository

EL10 = sample.distribution("el10", delivery=Delivery.BRANCH_REPOS)
PROFILE = ("cuda-drivers", "nvidia-driver")
EPOCH = publishing.EPOCH


class BranchRepos:
    """Signs every package once; publishes what ``latest`` carries first, and then something newer."""

    def __init__(self, top: Path, signer: Signer, built: Repository) -> None:
        self.top = top
        self.signer = signer
        self.repo = top / "published"
        self.streams: dict[str, list[Artifact]] = {}
        self.base = top / "base"  # what the distribution brings: not ours, not signed
        self.base.mkdir()
        for name in (*STUBS, "kernel-core"):
            for rpm in built.folder.glob(f"{name}-[0-9]*.rpm"):
                (self.base / rpm.name).hardlink_to(rpm)
        run(["createrepo_c", "-q", "--compress-type", "gz", self.base], timeout=120)
        everything = {a.path.name: read_artifact(a.path) for one in built.streams.values() for a in one}
        for name, (driver, _, _) in STREAMS.items():
            self.streams[name] = [everything[a.path.name] for a in built.streams[name]]
            self.streams[name].append(self.release(name, driver))
        for stream, like in (("latest", "r535-open"), ("latest-next", "r550-open")):
            own_release = self.release("latest", STREAMS[like][0])
            self.streams[stream] = [*(a for a in self.streams[like] if a.nevra.name != own_release.nevra.name)]
            self.streams[stream].append(own_release)
        self.sign()

    def release(self, stream: str, driver: Driver) -> Artifact:
        unit = replace(sample.unit(PackageKind.RELEASE, driver, dist=EL10), stream=stream)
        of = client_repository("nvidia-driver", "el10", Delivery.BRANCH_REPOS, self.repo.as_uri())
        (rpm,) = build(render_release(unit, sample.MATRIX, of), self.top / "releases")
        kept = self.top / rpm.path.name
        rpm.path.rename(kept)
        return read_artifact(kept)

    def sign(self) -> None:
        unsigned = {a.path.name: a for artifacts in self.streams.values() for a in artifacts}
        (self.top / "signed").mkdir()
        copies = self.signer.sign_rpms(list(unsigned.values()), self.top / "signed", epoch=EPOCH)
        signed = dict(zip(unsigned, copies, strict=True))
        for name, artifacts in self.streams.items():
            self.streams[name] = [signed[a.path.name] for a in artifacts]

    def content(
        self, streams: dict[str, list[Artifact]], *, default: str = "latest", instead_of: tuple[str, ...] = ()
    ) -> PublicationContent:
        parts = []
        for name, artifacts in sorted(streams.items()):
            stream = publishing.stream(name, default=name == default, packages=PROFILE)
            if name == default:
                stream = replace(stream, default_instead_of=instead_of)
            versions = sorted({a.nevra.evr.version for a in artifacts})
            ordered = tuple(sorted(artifacts, key=lambda a: str(a.nevra)))
            parts.append(StreamContent(stream=stream, driver_versions=tuple(versions), artifacts=ordered))
        return publishing.content_without_modules("el10", Delivery.BRANCH_REPOS, parts)

    def publish(self, latest: str = "latest", repo: Path | None = None) -> Publication:
        """Make a publication current in which ``latest`` carries the content of that name."""
        streams = {**{name: self.streams[name] for name in STREAMS}, "latest": self.streams[latest]}
        return publish(
            self.content(streams),
            repo or self.repo,
            public_key=self.signer.public_key(),
            sign=partial(self.signer.sign_detached, epoch=EPOCH),
            epoch=EPOCH,
            terms=publishing.TERMS,
            base_url=self.repo.as_uri(),
        )


# Programs of the host that act on a root; the second form enters another root first, where dnf5 is.
_ENTER = """
set -e
root=$1 shared=$2; shift 2
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mkdir -p "$root$shared"  # may lie below /dev
mount --bind "$shared" "$root$shared"
exec chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin LC_ALL=C TERM=dumb "$@"
"""


@dataclass(frozen=True)
class Host:
    """A root with the distribution's stubs; ``tools`` is the root that has dnf5, None for this machine's dnf."""

    folder: Path
    shared: Path  # everything of the test lies below it
    tools: Path | None = None
    script: str = "nvidia-driver-stream"  # of specs/: the program that switches

    @property
    def root(self) -> Path:
        return self.folder / "root"

    def prepare(self, base: Path, signer: Signer, kernels: Sequence[str], *, best: bool = True) -> None:
        """``base`` is the distribution's repository, ``signer`` whose packages are trusted."""
        self.configure(base, best=best)
        # The script that is installed, at this root's paths.
        script = spec_source(self.script).path.read_text()
        for place in ("/usr/share/nvidia-driver-release", "/etc/dnf/vars"):
            script = script.replace(place, f"{self.root}{place}")
        self._program("nvidia-driver-stream", script)
        self.run("dnf", "-y", "install", *(f"kernel-core-{evr}" for evr in kernels))
        key = self.folder / "key.asc"
        key.write_bytes(signer.public_key())
        self.run("rpm", "--import", str(key))

    def configure(self, base: Path, **more: object) -> None:
        """An empty root with one unsigned repository; ``more`` is for dnf.conf."""
        for path in ("root/etc/yum.repos.d", "root/etc/dnf/vars", "home", "bin"):
            (self.folder / path).mkdir(parents=True)
        (self.folder / "home/.rpmmacros").write_text("%_dbpath /var/lib/rpm\n")
        (self.root / "etc/yum.repos.d/base.repo").write_text(
            f"[base]\nname=base\nbaseurl={base.as_uri()}\ngpgcheck=0\n"
        )
        options: dict[str, object] = {
            "gpgcheck": 1,
            "pkg_gpgcheck": 1,  # dnf5's word
            "localpkg_gpgcheck": 1,
            "tsflags": "noscripts",
            "plugins": 0,
            "reposdir": self.root / "etc/yum.repos.d",
            "varsdir": self.root / "etc/dnf/vars",
            "cachedir": self.folder / "cache",
            "system_cachedir": self.folder / "cache",
            "persistdir": self.folder / "persist",
            "logdir": self.folder,
            **more,
        }
        texts = ((name, int(value) if isinstance(value, bool) else value) for name, value in options.items())
        lines = ["[main]", *(f"{name}={text}" for name, text in texts), ""]
        (self.folder / "dnf.conf").write_text("\n".join(lines))
        dnf: list[str | Path] = ["-c", self.folder / "dnf.conf", "--installroot", self.root, "--releasever", "10"]
        self._wrap("dnf", ["dnf5", "--use-host-config", *dnf] if self.tools else ["dnf", *dnf])
        self._wrap("rpm", ["rpm", "--root", self.root])

    def _wrap(self, name: str, argv: Sequence[str | Path]) -> None:
        words = " ".join(str(word) for word in argv)
        self._program(name, f'#!/bin/sh\nexec /usr/bin/{words} "$@"\n')

    def _program(self, name: str, text: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    def run(self, *argv: str, ok: Sequence[int] = (0,)) -> Completed:
        """A program with dnf and rpm acting on the root."""
        let_time_pass(self.folder)  # with --installroot dnf 4 has its cache below the root
        path = f"{self.folder}/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        inside: list[str | Path] = ["/usr/bin/env", f"PATH={path}", f"HOME={self.folder}/home", *argv]
        if self.tools is not None:
            enter: list[str | Path] = ["sh", "-c", _ENTER, "enter", self.tools, self.shared]
            inside = ["unshare", "--mount", "--propagation", "private", "--", *enter, *inside]
        try:
            return run(inside, timeout=180, ok=ok)
        except ToolError as exc:
            exc.add_note("\n".join(exc.details))
            raise

    def installed(self) -> dict[str, str]:
        """Version-release by name, stubs left out."""
        rows = self.run("rpm", "-qa", "--qf", "%{NAME} %{VERSION}-%{RELEASE}\\n").stdout.splitlines()
        pairs = (row.split() for row in rows)
        return {name: evr for name, evr in pairs if name not in STUBS and name not in ("gpg-pubkey", "kernel-core")}

    def kernels(self) -> list[str]:
        return sorted(self.run("rpm", "-q", "kernel-core", "--qf", "%{VERSION}-%{RELEASE}\\n").stdout.split())

    def stamp(self) -> str:
        """Install time and transaction of CUDA: both change when it is touched."""
        return self.run("rpm", "-q", "cuda-toolkit", "--qf", "%{INSTALLTIME} %{INSTALLTID}").stdout

    def close(self) -> None:
        """End the gpg-agents that dnf's library starts beside its cache and leaves behind."""
        for home in self.folder.glob("cache/*/pubring"):
            run(
                ("gpg-connect-agent", "--homedir", home, "--no-autostart", "KILLAGENT", "/bye"),
                timeout=30,
                ok=tuple(range(256)),
            )
