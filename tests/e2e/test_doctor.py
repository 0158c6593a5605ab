"""``repobuild doctor`` on this machine as it is, with programs hidden, and with keys that nobody should sign with."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from builder.tools.run import which
from tests.conftest import OPEN_STREAMS, PROGRAM
from tests.lab.distro import LabDistro
from tests.lab.matrix import write_lab_matrix
from tests.lab.runfile import LabDriver
from tests.need import need, need_root
from tests.tools.qualifying import need_qemu

HIDDEN = 'for program in $1; do mount --bind /dev/null "$program"; done; shift; exec "$@"'


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, lab: LabDistro, light: list[LabDriver]) -> Path:
    """A matrix that no run has touched."""
    folder = tmp_path_factory.mktemp("doctor")
    return write_lab_matrix(folder, lab, light, OPEN_STREAMS)


def doctor(config: Path, *more: str, code: int = 0, hide: str = "", host: Sequence[str] = ()) -> dict[str, Any]:
    """What doctor says as JSON; in a mount namespace that ``host`` changes, where these programs cannot be executed."""
    argv = [str(PROGRAM), "doctor", "--json", "--config", str(config), "--work", str(config.parent / "work"), *more]
    if hide:
        host = ("sh", "-c", HIDDEN, "sh", hide)
    if host:
        argv = ["unshare", "-m", "--propagation", "private", *host, *argv]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == code, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    assert document["exit_code"] == code
    assert document["ready"] == (code == 0)
    return document


def finding(document: dict[str, Any], subject: str) -> dict[str, Any]:
    (found,) = [f for f in document["findings"] if f["subject"] == subject]
    return dict(found)


def test_a_machine_that_builds_the_lab_is_ready(config: Path, keys: Path) -> None:
    document = doctor(config, "--gnupghome", str(keys), "--builder", "chroot")
    assert document["install"] is None
    assert finding(document, "builder chroot")["text"] == "root, namespaces, overlayfs, tmpfs"
    assert "signs" in finding(document, "signing key")["text"]
    assert finding(document, "module key")["fitness"] == "absent"
    for program in ("dnf", "rpmbuild", "rpmsign", "gpg", "zstd"):
        assert finding(document, program)["text"][0].isdigit()
    assert not (config.parent / "work").exists()


def test_for_people_it_is_one_line_a_finding(config: Path) -> None:
    argv = [str(PROGRAM), "doctor", "--config", str(config), "--builder", "chroot"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert any(line.split()[:2] == ["ok", "matrix"] and "builder chroot, level static" in line for line in lines)
    assert any(line.startswith("absent ") and "signing key" in line for line in lines)


def test_hidden_programs_are_named_with_the_packages_that_bring_them(config: Path) -> None:
    need_root()
    need("rpmsign", "dnf", "apt-get")
    document = doctor(config, "--builder", "chroot", code=6, hide="/usr/bin/rpmsign /usr/bin/dnf")
    assert finding(document, "rpmsign")["fitness"] == "missing"
    assert finding(document, "rpmsign")["hint"] == "install rpm (Debian) or rpm-sign (EL)"
    assert finding(document, "builder chroot")["code"] == "tool-missing"
    assert finding(document, "rpmbuild")["fitness"] == "ok"
    assert document["install"] == "apt-get install dnf dnf-plugins-core rpm"


def test_a_builder_that_is_asked_for_and_not_there_is_what_is_missing(config: Path) -> None:
    document = doctor(config, "--builder", "mock", code=6, hide=str(which("mock") or ""))
    assert finding(document, "builder mock")["fitness"] == "missing"
    assert finding(document, "builder chroot")["fitness"] == "ok"


@pytest.mark.skipif(which("mock") is None, reason="mock is not installed: Fedora and EPEL have it")
def test_mock_is_tried_with_the_rpm_of_this_host(config: Path, tmp_path: Path) -> None:
    """A file of macros for this platform alone comes after those where the database's place is said to mock."""
    need_root()
    assert finding(doctor(config, "--builder", "mock"), "builder mock")["fitness"] == "ok"
    platform = subprocess.run(
        ["rpm", "--eval", "%{_target}"], capture_output=True, text=True, check=True
    ).stdout.strip()
    macros = tmp_path / "rpm" / platform / "macros"
    macros.parent.mkdir(parents=True)
    macros.write_text("%_dbpath /var/lib/rpm-of-this-host\n")
    over = f'mount -t overlay -o lowerdir={tmp_path}:/etc overlay /etc && exec "$@"'
    document = doctor(config, "--builder", "mock", code=24, host=("sh", "-c", over, "sh"))
    assert "would have the database of a root in /var/lib/rpm-of-this-host" in finding(document, "builder mock")["text"]


def test_levels_of_the_matrix_decide_what_is_needed(config: Path) -> None:
    need_qemu()
    qemu = "/usr/bin/qemu-system-x86_64"
    assert finding(doctor(config, "--builder", "chroot", hide=qemu), "QEMU")["fitness"] == "absent"
    document = doctor(config, "--builder", "chroot", "--level", "boot", hide=qemu, code=6)
    assert finding(document, "QEMU")["fitness"] == "missing"
    assert "level boot" in finding(document, "matrix")["text"]


def test_secureboot_needs_somebody_who_signs(config: Path) -> None:
    need_qemu(secure=True)
    document = doctor(config, "--builder", "chroot", "--level", "secureboot", code=40)
    assert finding(document, "level secureboot")["hint"] == "give --module-cert"


def test_a_key_that_others_can_read_is_refused(config: Path, keys: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    subprocess.run(["cp", "-a", keys, home], check=True)
    home.chmod(0o755)
    document = doctor(config, "--gnupghome", str(home), code=40)
    assert "mode 0755 lets others at the secret key" in finding(document, "signing key")["text"]
    certificate = tmp_path / "modules.pem"
    subprocess.run([PROGRAM, "key", "new-module", "--cert", certificate, "--name", "throw-away"], check=True)
    assert "'throw-away' signs" in finding(doctor(config, "--module-cert", str(certificate)), "module key")["text"]
    certificate.with_suffix(".key").chmod(0o644)
    document = doctor(config, "--module-cert", str(certificate), code=40)
    assert "lets others at the module signing key" in finding(document, "module key")["text"]


def test_too_little_room_is_exit_code_23(config: Path) -> None:
    document = doctor(config, "--builder", "chroot", "--min-free", "999999", code=23)
    assert "a run with everything to do needs 999999.0 GiB" in finding(document, "disk")["text"]


def test_without_a_matrix_only_the_machine_is_looked_at(tmp_path: Path) -> None:
    document = doctor(tmp_path / "nothing.yaml", "--builder", "chroot")
    assert "only this machine is looked at" in finding(document, "matrix")["text"]


def test_a_broken_matrix_is_a_mistake_in_it(config: Path, tmp_path: Path) -> None:
    broken = tmp_path / "matrix.yaml"
    broken.write_text(yaml.safe_dump({"schema": 1}))
    argv = [str(PROGRAM), "doctor", "--config", str(broken)]
    assert subprocess.run(argv, capture_output=True, check=False).returncode == 3
