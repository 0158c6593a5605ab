"""Which package brings a program, in Debian's family and in Fedora's and EL's."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _Package:
    debian: str
    redhat: str


_PACKAGES = {
    "rpm": _Package("rpm", "rpm"),
    "rpm2cpio": _Package("rpm", "rpm"),
    "rpmkeys": _Package("rpm", "rpm"),
    "rpmbuild": _Package("rpm", "rpm-build"),
    "rpmspec": _Package("rpm", "rpm-build"),
    "rpmsign": _Package("rpm", "rpm-sign"),
    "dnf": _Package("dnf dnf-plugins-core", "dnf dnf-plugins-core"),
    "gpg": _Package("gpg", "gnupg2"),
    "gpg-agent": _Package("gpg-agent", "gnupg2"),
    "gpg-connect-agent": _Package("gpg", "gnupg2"),
    "gpgconf": _Package("gpgconf", "gnupg2"),
    "mock": _Package("", "mock"),
    "unshare": _Package("util-linux", "util-linux"),
    "setpriv": _Package("util-linux", "util-linux"),
    "chroot": _Package("coreutils", "coreutils"),
    "cpio": _Package("cpio", "cpio"),
    "zstd": _Package("zstd", "zstd"),
    "openssl": _Package("openssl", "openssl"),
    "rsync": _Package("rsync", "rsync"),
    "ssh": _Package("openssh-client", "openssh-clients"),
    "qemu": _Package("qemu-system-x86", "qemu-kvm"),
    "firmware": _Package("ovmf", "edk2-ovmf"),
}


def package_hint(program: str) -> str:
    """The next step for somebody who lacks a program, by both names where they differ."""
    known = _PACKAGES.get(program, _Package(program, program))
    if not known.debian:
        return f"install {known.redhat} (Fedora, EPEL)"
    if known.debian == known.redhat:
        return f"install the package {known.debian}"
    return f"install {known.debian} (Debian) or {known.redhat} (EL)"


def install_command(programs: Iterable[str]) -> str | None:
    """What installs these programs on this machine; None where nothing is to be installed or nobody knows how."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return None
    family = {release.get("ID", ""), *release.get("ID_LIKE", "").split()}
    known = [_PACKAGES.get(program, _Package(program, program)) for program in programs]
    if "debian" in family:
        names, command = [p.debian for p in known], "apt-get install"
    elif family & {"fedora", "rhel", "centos"}:
        names, command = [p.redhat for p in known], "dnf install"
    else:
        return None
    wanted = sorted({word for name in names for word in name.split()})
    return f"{command} {' '.join(wanted)}" if wanted else None
