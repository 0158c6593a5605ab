"""The lock beside what was compiled: each package of the root's list, with what dnf said of it."""

from __future__ import annotations

import json
from pathlib import Path

from builder.model.sources import LockedRpm
from builder.store import write_root_lock
from tests.golden import sample

MD5 = "0123456789abcdef0123456789abcdef"
BASH = LockedRpm(nevra="bash-5.1.8-6.el9.x86_64", sha256="a" * 64, url="https://mirror.example/bash.rpm")
CHROOT = sample.EL9.chroots[0]


def lock(folder: Path, *lines: str) -> list[dict[str, str | None]]:
    (folder / "installed_pkgs.log").write_text("".join(f"{line}\n" for line in lines))
    write_root_lock(folder, CHROOT, [BASH])
    document = json.loads((folder / "buildroot_lock.json").read_text())
    assert document["version"] == "1.1.0"
    assert document["config"]["target_arch"] == "x86_64"
    rpms: list[dict[str, str | None]] = document["buildroot"]["rpms"]
    return rpms


def test_the_lists_of_both_builders_make_the_same_lock(tmp_path: Path) -> None:
    chroot = lock(tmp_path, f"bash-5.1.8-6.el9.x86_64 {MD5}")
    mock = lock(tmp_path, f"bash-5.1.8-6.el9.x86_64 1700000000 7738634 {MD5} installed")
    assert mock == chroot
    (bash,) = chroot
    assert bash == {
        "name": "bash",
        "epoch": None,
        "version": "5.1.8",
        "release": "6.el9",
        "arch": "x86_64",
        "sigmd5": MD5,
        "sha256": "a" * 64,
        "url": "https://mirror.example/bash.rpm",
    }


def test_an_epoch_is_said_and_keys_are_no_packages(tmp_path: Path) -> None:
    lines = (f"perl-libs-4:5.32.1-481.el9.x86_64 {MD5}", f"bash-0:5.1.8-6.el9.x86_64 {MD5}", "gpg-pubkey-fd431d51-4a x")
    bash, perl = lock(tmp_path, *lines)
    assert (bash["epoch"], bash["url"]) == (None, BASH.url)
    assert (perl["epoch"], perl["version"], perl["release"], perl["url"]) == ("4", "5.32.1", "481.el9", None)


def test_where_no_root_was_made_there_is_no_lock(tmp_path: Path) -> None:
    write_root_lock(tmp_path, CHROOT, [BASH])
    (tmp_path / "installed_pkgs.log").touch()
    write_root_lock(tmp_path, CHROOT, [])
    assert not (tmp_path / "buildroot_lock.json").exists()
