"""Hosts that walk the journey where there are no module streams, and what an admin types on them instead."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import ClassVar

from tests.e2e.journey_site import BESIDE, KEY, OPEN, R430, R470, R535, R570, RELEASE, Expected, Host, said

TREES = "/srv/repobuild/lab9/x86_64/streams"
# What a host has, from step to step.
START = Expected(version=R430, stream="r430")
LATEST = Expected(version=R535, license=OPEN, stream="latest")
NEWEST = Expected(version=R570, license=OPEN, stream="latest")
DKMS = Expected(version=R570, license=OPEN, stream="latest-dkms", dkms=True)
OPEN_BRANCH = Expected(version=R535, license=OPEN, stream="r535-open")
BRANCH = Expected(version=R535, stream="r535")
OLDER = Expected(version=R470, stream="r470")
# What the first publication carries.
FIRST = {e.stream: e.version for e in (START, LATEST, OPEN_BRANCH, BRANCH, OLDER)} | {DKMS.stream: R535}


@dataclass(slots=True, kw_only=True)
class StreamHost(Host):
    """A host whose stream is chosen by a package and changed by the program in it."""

    def trust(self) -> None:
        """What comes before everything else."""
        self.shell(f"rpm --import {KEY}")

    def label(self, stream: str) -> str:
        """What the host calls it."""
        return stream

    def install(self, expected: Expected) -> None:
        """The driver of a stream, on a host that has none."""
        raise NotImplementedError

    def ask_for_another(self, stream: str) -> None:
        """What happens to an admin who forgets that a host has one stream; it is as it was afterwards."""
        raise NotImplementedError

    def called(self, package: str) -> str:
        """The name that a package has on this host."""
        return package

    def downgrade(self, version: str) -> None:
        """To another driver of the stream."""
        assert self.expected is not None
        self.dnf("downgrade", f"{self.called('nvidia-driver')}-{version}")
        self.expected = replace(self.expected, version=version)

    def add_fabric_manager(self) -> None:
        """What a host with NVSwitch asks for besides."""
        assert self.expected is not None
        name = self.called("nvidia-fabricmanager")
        self.dnf("install", name)
        self.expected = replace(self.expected, more=frozenset([name]))

    def remove(self) -> None:
        """Everything away."""
        raise NotImplementedError

    def switch(self, expected: Expected) -> None:
        """To another stream, with one command."""
        self.shell(f"nvidia-driver-stream {expected.stream} -y")
        self.expected = expected

    def check(self) -> None:
        """And the host says which stream it has."""
        Host.check(self)
        if self.expected is not None:
            assert self.shell("nvidia-driver-stream") == self.label(self.expected.stream)


@dataclass(slots=True, kw_only=True)
class TreeHost(StreamHost):
    """``delivery: branch-repos``: a repository a stream."""

    beside: ClassVar[Collection[str]] = {*BESIDE, RELEASE}

    def install(self, expected: Expected) -> None:
        self.dnf("install", f"{TREES}/{expected.stream}/{RELEASE}.rpm")
        self.dnf("install", "nvidia-driver", "nvidia-driver-cuda", "cuda-drivers")
        self.expected = expected

    def ask_for_another(self, stream: str) -> None:
        """Its release package takes the place of the one that is there. The driver waits for the whole switch."""
        former = self.expected
        assert former is not None
        self.dnf("install", f"{TREES}/{stream}/{RELEASE}.rpm")
        self.expected = replace(former, stream=stream)
        self.check()
        self.switch(former)

    def remove(self) -> None:
        self.dnf("remove", "nvidia-driver*")

    def _names(self, found: set[str]) -> set[str]:
        names = Host._names(self, found)
        return names | {RELEASE} if names else names


@dataclass(slots=True, kw_only=True)
class NameHost(StreamHost):
    """``delivery: branch-packages``: the stream stands in package names."""

    def label(self, stream: str) -> str:
        return re.sub(r"^r(?=\d)", "branch-", stream)

    def trust(self) -> None:
        StreamHost.trust(self)
        self.client.use_published()

    def install(self, expected: Expected) -> None:
        self.dnf("install", f"nvidia-driver-{self.label(expected.stream)}")
        self.expected = expected

    def ask_for_another(self, stream: str) -> None:
        """Refused, with the reason."""
        assert self.expected is not None
        refused = said(self.dnf("install", f"nvidia-driver-{self.label(stream)}", ok=(1,)))
        assert "conflicts with nvidia-driver-stream" in refused
        assert f"nvidia-driver-{self.label(self.expected.stream)}-release" in refused

    def called(self, package: str) -> str:
        assert self.expected is not None
        return f"{package}-{self.label(self.expected.stream)}"

    def remove(self) -> None:
        assert self.expected is not None
        self.dnf("remove", f"nvidia-driver-{self.label(self.expected.stream)}-release")

    def _tag(self) -> str:
        return ""  # the flavor is in the stream

    def _names(self, found: set[str]) -> set[str]:
        if self.expected is None:
            return set()
        driver, firmware = self.called("nvidia-driver"), self.called("nvidia-firmware")
        names = {driver, *(f"{driver}-{part}" for part in ("cuda", "cuda-libs", "release"))}
        names |= {self.called(name) for name in ("kmod-nvidia", "nvidia-kmod-common")} | self.expected.more
        names |= {firmware} if self.expected.open else found & {firmware}
        precompiled = {self.called(name) for name in ("nvidia-kmod-objects", "nvidia-kmod-certificate")}
        return names if self.expected.dkms else names | precompiled
