"""A signed publication, hosts of the lab that install from it, and what every module on them must be, byte for byte."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from builder.qualify.joined import join_package
from builder.sign.modules import ModuleCertificate
from builder.tools.rpms import extract_members, file_sha256, read_header
from builder.tools.run import Completed, run
from tests.conftest import Job
from tests.lab.client import Client
from tests.lab.distro import LabDistro
from tests.lab.kernels import LabKernel
from tests.tools.listed import listed_rpms

OLD, NEW = "535.261.03", "550.163.01"
MODULES = ("nvidia", "nvidia-drm", "nvidia-modeset", "nvidia-peermem", "nvidia-uvm")
SECRET = b"a passphrase nobody shall see"
ANY = range(256)
PARTS = "/usr/lib/nvidia-kmod"
Images = dict[str, bytes]

# In the place of a program: the n-th call kills the join that made it, as a power cut would, and everything it started.
KILLER = """#!/bin/bash
if [ -f /killer.count ]; then
    n=$(($(cat /killer.count) - 1)); echo "$n" > /killer.count
    if [ "$n" = 0 ]; then
        rm /killer.count
        for ((p = PPID; p > 1; p = $(cut -d ' ' -f 4 "/proc/$p/stat"))); do
            tr '\\0' ' ' < "/proc/$p/cmdline" | grep -q '^/bin/sh .*nvidia-kmod-join' && victims="$victims $p"
        done
        kill -9 $victims; exit 1
    fi
fi
exec -a "$0" "${0%/*}/.${0##*/}.real" "$@"
"""


def with_fd(argv: Sequence[str | Path]) -> None:
    """Run a program that reads the passphrase from the descriptor {fd}."""
    read, write = os.pipe()
    os.write(write, SECRET + b"\n")
    os.close(write)
    words = [str(word).replace("{fd}", str(read)) for word in argv]
    done = subprocess.run(words, capture_output=True, pass_fds=(read,), timeout=1200, check=False)
    os.close(read)
    assert done.returncode == 0, done.stderr.decode()[-4000:]
    assert SECRET not in done.stdout + done.stderr


@dataclass(frozen=True)
class Site:
    """The publication, and what a host must get from it."""

    job: Job
    lab: LabDistro
    certificate: ModuleCertificate
    first: LabKernel
    later: LabKernel

    def rpm(self, name: str, version: str) -> Path:
        (found,) = listed_rpms(self.job.published, f"{name}-{version}-")
        return found

    def kmod(self, release: str, version: str) -> Path:
        return self.rpm(f"kmod-nvidia-{release}", version)

    def images(self, release: str, version: str, scratch: Path) -> Images:
        """The modules as the builder joins them, from the published packages."""
        rpm = self.rpm("nvidia-kmod-objects", version)
        members = extract_members(rpm, {f for f in read_header(rpm).files if f.endswith(".o_binary")})
        objects = {}
        for path, content in members.items():
            file = scratch / Path(path).name
            file.write_bytes(content)
            objects[file_sha256(file)] = file
        joined = join_package(self.kmod(release, version), f"{PARTS}/{release}", objects)
        assert joined.faults == []
        assert sorted(joined.images) == list(MODULES)
        return joined.images


@dataclass(frozen=True)
class Host:
    """A client root and the kernel that most tests look at."""

    client: Client
    release: str
    expected: Callable[[str, str], Images]

    def path(self, inside: str) -> Path:
        return self.client.root / inside.lstrip("/")

    def modules(self, release: str | None = None) -> Path:
        return self.path(f"/usr/lib/modules/{release or self.release}/extra/nvidia")

    def installed(self, release: str | None = None) -> Images:
        """All files in the modules' folder, hidden ones too, by name without .ko."""
        folder = self.modules(release)
        return {p.name.removesuffix(".ko"): p.read_bytes() for p in sorted(folder.iterdir())}

    def put(self, images: Images) -> None:
        for name, content in images.items():
            (self.modules() / f"{name}.ko").write_bytes(content)

    def join(self, *argv: str, code: int = 0) -> str:
        """Run nvidia-kmod-join; what it says."""
        done = self.client.run("nvidia-kmod-join", *argv, ok=ANY)
        assert done.returncode == code, done.stderr
        assert done.stdout == ""
        return done.stderr

    def rpm_verify(self) -> Completed:
        return self.client.run("rpm", "-V", f"kmod-nvidia-{self.release}", ok=ANY)

    def is_whole(self, version: str = OLD, release: str | None = None) -> None:
        """The modules are the build results, nothing else is there, and rpm and modprobe agree."""
        release = release or self.release
        assert self.installed(release) == self.expected(release, version)
        assert {p.stat().st_mode & 0o777 for p in self.modules(release).iterdir()} == {0o644}
        verified = self.client.run("rpm", "-V", f"kmod-nvidia-{release}", "nvidia-kmod-objects", ok=ANY)
        assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")
        self.client.run("modprobe", "--show-depends", "-S", release, "nvidia-drm")

    def follow(self, said: str) -> None:
        """Do what a failure told to do."""
        (way,) = re.findall(rf"^nvidia-kmod-join: {re.escape(self.release)}: way out: (.*)$", said, re.MULTILINE)
        command, _, then = way.partition(", then: ")
        assert command.startswith("dnf reinstall ")
        self.client.run("sh", "-ec", f"{command.replace('dnf', 'dnf -y', 1)}; {then}")

    def set_killer(self, program: str, count: int) -> None:
        """Let the n-th call of a program be the last thing that happens."""
        place = self.path(f"/usr/bin/{program}")
        real = place.with_name(f".{program}.real")
        if not real.is_symlink() and not real.exists():
            place.rename(real)
            place.write_text(KILLER)
            place.chmod(0o755)
        self.path("/killer.count").write_text(f"{count}\n")

    def killed(self) -> bool:
        return not self.path("/killer.count").exists()

    def copy(self, root: Path) -> Host:
        run(["cp", "-a", "--reflink=auto", self.client.root, root], timeout=300)
        return replace(self, client=replace(self.client, root=root))
