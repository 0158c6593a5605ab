"""What an admin types to see, install or switch streams, as each delivery wants it. Pure."""

from __future__ import annotations

from builder.model.matrix import Delivery
from builder.model.naming import RELEASE_FILE, stream_package
from builder.model.report import SupportFacts, SupportStream

PLACE = "REPOSITORY"  # stands for the repository's address, which a publication does not know


def see_command(facts: SupportFacts) -> str | None:
    """Lists the streams that a host can have; None where its package manager has no such command."""
    if facts.delivery == Delivery.BRANCH_PACKAGES.value:
        return "yum list 'nvidia-driver-*-release'"
    return None if facts.delivery == Delivery.BRANCH_REPOS.value else f"dnf module list {facts.module}"


def begin_commands(facts: SupportFacts) -> list[str]:
    """Once, on a host that does not know the repository; none where that takes copying a .repo file."""
    keys = [f"rpm --import {PLACE}/{name}" for name in facts.key_names]
    if facts.delivery == Delivery.BRANCH_REPOS.value:
        return keys  # a stream's own release package is the first of what installs it
    if not facts.brings_repository:
        return []
    # dnf looks at the signature of a package named by its address only when told to.
    release = f"{PLACE}/{facts.distribution}/{facts.arch}/{RELEASE_FILE}"
    return [*keys, f"dnf --setopt=localpkg_gpgcheck=1 install {release}"]


def install_commands(facts: SupportFacts, stream: SupportStream) -> list[str]:
    """On a host that knows the repository and has no stream yet."""
    if facts.delivery == Delivery.BRANCH_PACKAGES.value:
        return [f"yum install {stream_package('nvidia-driver', stream.label)}"]
    if facts.delivery == Delivery.BRANCH_REPOS.value:
        place = f"{PLACE}/{facts.distribution}/{facts.arch}/streams/{stream.name}"
        return [f"dnf install {place}/{RELEASE_FILE}", f"dnf install {facts.module} cuda-drivers"]
    return [f"dnf module install {facts.module}:{stream.name}"]


def switch_commands(facts: SupportFacts, stream: SupportStream, former: SupportStream | None = None) -> list[str]:
    """On a host that has another stream; ``former`` is that one, where it has to be named."""
    if facts.delivery == Delivery.BRANCH_PACKAGES.value:
        old = stream_package("nvidia-driver", former.label if former else "FORMER")
        return [f"yum swap {old}-release {stream_package('nvidia-driver', stream.label)}"]
    if facts.delivery == Delivery.BRANCH_REPOS.value:
        return [f"nvidia-driver-stream {stream.name}"]
    return [f"dnf module switch-to {facts.module}:{stream.name}"]


def example_commands(facts: SupportFacts) -> list[str]:
    """To see, to install, to switch; with streams that are there, the default first."""
    offered = [s for s in sorted(facts.streams, key=lambda s: (not s.default, s.name)) if s.driver_versions]
    see = see_command(facts)
    install = [line for stream in offered[:1] for line in install_commands(facts, stream)]
    switch = [line for stream in offered[1:2] for line in switch_commands(facts, stream, offered[0])]
    return [*([see] if see else []), *install, *switch]
