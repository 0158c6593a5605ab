"""``make demo``: real NVIDIA drivers for real kernels, published as signed module streams, and an admin using them.

Everything lies under .demo/: the matrix, its work folder, the current publication in .demo/repo/lab9/x86_64/, the
client root in .demo/client/. A second run reuses every cell.
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from pathlib import Path

import click
from rich.console import Console

from builder.cli import main as repobuild
from builder.tools.run import Completed
from tests.lab.client import BASE_URL, Client, make_client
from tests.lab.distro import CUDA, LabDistro, make_distro
from tests.lab.drivers import make_real
from tests.lab.matrix import demo_streams, write_lab_matrix

DEMO = Path(".demo")
BRANCHES = ("535", "550")
console = Console(highlight=False, soft_wrap=True)
_started = time.monotonic()


def say(text: str) -> None:
    """A headline with the time since the start."""
    console.print(f"\n[bold cyan]── {text}[/] [dim]({time.monotonic() - _started:.0f} s)[/]")


def call(*argv: str | Path) -> None:
    """Run one repobuild command in this terminal; its exit code ends the demo when it is not 0."""
    words = [str(word) for word in argv]
    console.print(f"[bold]$ repobuild {' '.join(shlex.quote(w) for w in words)}[/]")
    code = repobuild(words, standalone_mode=False)
    if code:
        sys.exit(int(code))


def show(done: Completed) -> None:
    """Print what a command in the client printed."""
    for line in done.stdout.splitlines():
        if line.strip():
            console.print(f"  {line}", markup=False)


def admin(client: Client, *argv: str) -> None:
    """Run a command as the client's admin and show it."""
    console.print(f"[bold]client# {' '.join(argv)}[/]")
    show(client.run(*argv))


def build(distro: LabDistro) -> None:
    """The release engineer's part: configuration, pins, key, the main job, the support matrix."""
    say("real NVIDIA drivers from the host's archive, as .run files")
    drivers = make_real(BRANCHES)
    kernels = [k.release for k in distro.kernels if k.variant == "generic"]
    config = write_lab_matrix(DEMO, distro, drivers, demo_streams(BRANCHES), kernels=kernels, flavors=["open"])
    for driver in drivers:
        console.print(f"  {driver.run.name}, {driver.run.stat().st_size / 1e6:.0f} MB, from {driver.origin}")
    say("the release engineer: lint, pin, key, matrix")
    common = ("--config", config, "--work", DEMO / "work")
    call("lint", "--config", config)
    call("pin", *common)
    if not (DEMO / "keys").is_dir():
        call("key", "new", "--gnupghome", DEMO / "keys", "--name", "repobuild demo")
    certificate = DEMO / "keys/modules.pem"
    if not certificate.is_file():
        call("key", "new-module", "--cert", certificate, "--name", "repobuild demo: kernel modules")
    signing = ("--module-cert", certificate, "--gnupghome", DEMO / "keys")
    call("matrix", *common, *signing, "--repo", DEMO / "repo", "--base-url", BASE_URL)
    say("what was published")
    call("report", *common, "--repo", DEMO / "repo")
    call("verify", DEMO / "repo/lab9/x86_64", "--key", DEMO / "repo/RPM-GPG-KEY-repobuild")


def use(distro: LabDistro) -> None:
    """The admin's part: a fresh client with two kernels and CUDA installs a stream and switches."""
    say("the admin: a fresh client of the lab distribution, two kernels, CUDA installed, gpgcheck=1 repo_gpgcheck=1")
    kernels = [k for k in distro.kernels if k.variant == "generic"]
    packages = [*(f"{k.core.name}-{k.core.evr}" for k in kernels), "cuda"]
    client = make_client(DEMO.absolute() / "client", distro, DEMO.absolute() / "repo", packages)
    admin(client, "rpm", "--import", "/srv/repobuild/RPM-GPG-KEY-repobuild")
    release = "/srv/repobuild/lab9/x86_64/nvidia-driver-release.rpm"
    admin(client, "dnf", "-y", "--setopt=localpkg_gpgcheck=1", "install", release)
    before = {name: client.install_time(name) for name in (CUDA, "cuda")}
    admin(client, "dnf", "-y", "module", "list")
    for verb, stream in (("install", "r535-open"), ("switch-to", "latest")):
        admin(client, "dnf", "-y", "module", verb, f"nvidia-driver:{stream}")
        expected = published_version(stream)
        for kernel in kernels:
            admin(client, "modinfo", "-k", kernel.release, "-F", "version", "nvidia")
            admin(client, "modinfo", "-k", kernel.release, "-F", "signer", "nvidia")
            module = client.module(kernel.release)
            if module is None or (module.version, module.vermagic) != (expected, kernel.release):
                sys.exit(f"kernel {kernel.release} has {module}, expected {expected}")
        admin(client, "nvidia-kmod-join", "--verify")
        for name, time_and_transaction in before.items():
            if client.install_time(name) != time_and_transaction:
                sys.exit(f"{name} was touched")
        console.print(f"[green]✔[/] each kernel has {expected}; {CUDA} and cuda were not touched ({before[CUDA]})")


def published_version(stream: str) -> str:
    """The newest driver of a stream, as the published support matrix says."""
    document = json.loads((DEMO / "repo/lab9/x86_64/support-matrix.json").read_text())
    return str(next(s["drivers"][-1] for s in document["streams"] if s["name"] == stream))


def main() -> None:
    """Run the demo in the current folder."""
    DEMO.mkdir(exist_ok=True)
    say("the lab distribution: the archive's packages as RPMs, two real kernels")
    distro = make_distro()
    for kernel in distro.kernels:
        console.print(f"  {kernel.release}: {kernel.core.name}-{kernel.core.evr}, {kernel.compiler_command}")
    build(distro)
    use(distro)
    say("done")
    for what, place in (
        ("repository", "repo/lab9/x86_64"),
        ("key", "repo/RPM-GPG-KEY-repobuild"),
        ("support matrix", "repo/lab9/x86_64/support-matrix.html"),
        ("client root", "client"),
        ("work folder", "work"),
    ):
        console.print(f"  {what:<15} {DEMO / place}")


if __name__ == "__main__":
    try:
        main()
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
