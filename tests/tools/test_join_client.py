"""Modules joined on a host of the lab: byte for byte, whatever is damaged, full, cut or killed on the way.

One repository is built and signed, hosts are copies of one root, and a test that harms the shared host leaves it whole:
that is why all these tests stand in one file.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builder.model.modules import split_signature
from builder.sign.modules import ModuleCertificate
from builder.tools.openssl import cms_fault
from builder.tools.rpms import extract_members
from builder.tools.run import run
from tests.conftest import PROGRAM, Job, make_job
from tests.lab.client import make_client
from tests.lab.distro import LabDistro
from tests.lab.light import make_light
from tests.lab.matrix import stream
from tests.need import need
from tests.tools.join_site import ANY, MODULES, NEW, OLD, PARTS, SECRET, Host, Images, Site, with_fd

STREAMS = (stream("r535", "535", "proprietary", default=True), stream("r550", "550", "proprietary"))
SIGNER = "modules of the lab"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, lab: LabDistro, keys: Path, whole: Job) -> Site:
    need("zstd", "openssl")
    folder = tmp_path_factory.mktemp("join")
    cert = folder / "keys/modules.pem"
    with_fd([PROGRAM, "key", "new-module", "--cert", cert, "--name", SIGNER, "--passphrase-fd", "{fd}"])
    first, later = [k for k in lab.kernels if k.variant == "generic"]
    releases = [first.release, later.release]
    drivers = make_light([OLD, NEW])
    unasked = [{"cells": f"r550*@{later.release}*", "reason": "no test asks for it"}]
    narrow: dict[str, Any] = {"kernels": releases, "flavors": ["proprietary"], "exclude": unasked}
    job = make_job(folder, lab, drivers, keys, streams=STREAMS, like=whole, **narrow)
    with_fd(job.argv("matrix", "--module-cert", str(cert), "--module-passphrase-fd", "{fd}"))
    return Site(job=job, lab=lab, certificate=ModuleCertificate.read(cert), first=first, later=later)


@pytest.fixture(scope="module")
def expected(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Images]:
    """The modules of a kernel and a driver."""
    known: dict[tuple[str, str], Images] = {}

    def images(release: str, version: str) -> Images:
        if (release, version) not in known:
            known[release, version] = site.images(release, version, tmp_path_factory.mktemp("objects"))
        return known[release, version]

    return images


@pytest.fixture(scope="module")
def bare(site: Site, lab: LabDistro, tmp_path_factory: pytest.TempPathFactory, expected: Callable[..., Images]) -> Host:
    """A root with its first kernel and no driver; nobody changes it."""
    kernel = f"{site.first.core.name}-{site.first.core.evr}"
    client = make_client(tmp_path_factory.mktemp("bare") / "root", lab, site.job.repo, [kernel, "mount"])
    client.use_published()
    return Host(client=client, release=site.first.release, expected=expected)


@pytest.fixture(scope="module")
def host(bare: Host, tmp_path_factory: pytest.TempPathFactory) -> Host:
    """The older driver, installed by dnf; each test leaves it so."""
    made = bare.copy(tmp_path_factory.mktemp("host") / "root")
    made.client.dnf("module", "install", "nvidia-driver:r535")
    return made


def flip(path: Path, offset: int = -40) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def test_the_passphrase_of_the_modules_key_is_in_no_file_of_the_run(site: Site) -> None:
    key = site.job.config.parent / "keys/modules.key"
    assert b"ENCRYPTED" in key.read_bytes()
    for path in site.job.config.parent.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert SECRET not in path.read_bytes(), path


def test_joined_modules_are_the_build_results_byte_for_byte(host: Host, site: Site) -> None:
    host.is_whole()
    for name in MODULES:
        assert host.client.module_field(host.release, "signer", name) == SIGNER
        image, signature = split_signature(host.installed()[name])
        assert signature is not None
        assert cms_fault(image, signature, site.certificate.pem) is None


def test_the_kernels_own_sign_file_signs_the_same_bytes_to_the_same_value(
    host: Host, site: Site, tmp_path: Path
) -> None:
    rpm = site.lab.repository / f"{site.first.devel.name}-{site.first.devel.evr}.{site.lab.arch}.rpm"
    member = f"{site.first.devel_path}/scripts/sign-file"
    program = tmp_path / "sign-file"
    program.write_bytes(extract_members(rpm, (member,))[member])
    program.chmod(0o755)
    signed = host.installed()["nvidia"]
    (tmp_path / "nvidia.ko").write_bytes(split_signature(signed)[0])
    keys = site.job.config.parent / "keys"
    argv: list[str | Path] = [program, "sha256", keys / "modules.key", keys / "modules.pem", tmp_path / "nvidia.ko"]
    run(argv, timeout=60, env={"KBUILD_SIGN_PIN": SECRET.decode()})
    image, theirs = split_signature((tmp_path / "nvidia.ko").read_bytes())
    ours = split_signature(signed)[1]
    assert image == split_signature(signed)[0]
    assert theirs is not None
    assert ours is not None
    # All that differs is how "no parameters" of SHA-256 are written (RFC 5754, 2: NULL or absent), 2 bytes in 2 places.
    assert len(ours) == len(theirs) + 2 * 2
    assert ours[-256:] == theirs[-256:]
    assert cms_fault(image, theirs, site.certificate.pem) is None


def test_joining_again_touches_nothing(host: Host) -> None:
    def stamps() -> dict[str, tuple[int, int]]:
        return {p.name: (p.stat().st_ino, p.stat().st_mtime_ns) for p in host.modules().iterdir()}

    before = stamps()
    assert host.join(host.release) == ""
    assert host.join() == ""
    assert host.join("--verify") == ""
    assert stamps() == before


def test_rpm_notices_a_flipped_byte_and_a_missing_module_and_joining_mends_them(host: Host) -> None:
    flip(host.modules() / "nvidia-uvm.ko")
    (host.modules() / "nvidia.ko").unlink()
    done = host.rpm_verify()
    said = done.stdout + done.stderr
    place = f"/lib/modules/{host.release}/extra/nvidia"
    assert done.returncode != 0
    assert f"{place}/nvidia-uvm.ko is not what was built and recorded (sha256 differs)" in said
    assert f"{place}/nvidia.ko is missing" in said
    assert f"way out: nvidia-kmod-join {host.release}" in said
    assert host.join("--verify", host.release, code=1).count("\n") == 3
    assert host.join(host.release) == ""
    host.is_whole()


def test_a_link_in_a_modules_place_is_replaced_and_what_it_points_to_is_left_alone(host: Host) -> None:
    path = host.modules() / "nvidia.ko"
    path.rename(host.path("/root/elsewhere.ko"))
    path.symlink_to("/root/elsewhere.ko")
    before = host.path("/root/elsewhere.ko").read_bytes()
    host.join(host.release)
    assert not path.is_symlink()
    assert host.path("/root/elsewhere.ko").read_bytes() == before
    host.is_whole()


OBJECT = f"{PARTS}/objects/{OLD}-proprietary/nv-kernel.o_binary"
LIST = f"{PARTS}/{{release}}/modules"


def cut_last_row(path: Path) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def cut_end(path: Path) -> None:
    path.write_text(path.read_text()[:-3])


DAMAGE: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "packed module": (f"{PARTS}/{{release}}/nvidia.ko.zst", flip, "{path} is damaged (rpm -V shows it)"),
    "packed module missing": (f"{PARTS}/{{release}}/nvidia-drm.ko.zst", Path.unlink, "{path} is damaged"),
    "packed module empty": (f"{PARTS}/{{release}}/nvidia-uvm.ko.zst", lambda p: p.write_text(""), "{path} is damaged"),
    "signature": (f"{PARTS}/{{release}}/nvidia.ko.sig", lambda p: flip(p, 200), "{path} or {parts}/modules is damaged"),
    "signature cut": (f"{PARTS}/{{release}}/nvidia.ko.sig", lambda p: p.write_bytes(p.read_bytes()[:-9]), "{path} is"),
    "signature missing": (f"{PARTS}/{{release}}/nvidia-uvm.ko.sig", Path.unlink, "{path} is damaged"),
    "object": (OBJECT, flip, "{path} is damaged: not what {parts}/modules says (rpm -V shows it)"),
    "object missing": (OBJECT, Path.unlink, "{path} is missing (package nvidia-kmod-objects)"),
    "decoder missing": ("/usr/libexec/nvidia-kmod-unpatch", Path.unlink, "nvidia.ko cannot be made on this host"),
    "list without its last row": (LIST, cut_last_row, "{path} is damaged (rpm -V): it does not name nvidia-uvm"),
    "list cut in a row": (LIST, cut_end, "{path} is damaged (rpm -V): it does not name nvidia-uvm"),
    "empty list": (LIST, lambda p: p.write_text(""), "{path} is damaged (rpm -V): it does not name nvidia"),
}


@pytest.mark.parametrize("what", sorted(DAMAGE))
def test_with_anything_damaged_the_former_modules_stay_and_the_way_out_works(what: str, host: Host) -> None:
    inside, harm, said = DAMAGE[what]
    inside = inside.format(release=host.release)
    kept, stamp = host.path(inside).read_bytes(), host.path(inside).stat().st_mtime_ns
    former = host.expected(host.release, NEW)
    host.put(former)
    harm(host.path(inside))
    told = host.join(host.release, code=1)
    expected = said.format(path=inside, parts=f"{PARTS}/{host.release}")
    assert f"nvidia-kmod-join: {host.release}: {expected}" in told
    assert f"{host.release}: the NVIDIA modules of this kernel are not (all) installed" in told
    assert host.installed() == former
    if what in ("object", "empty list", "decoder missing"):  # dnf takes its seconds: the rest is mended as a test may
        host.follow(told)
    else:
        host.path(inside).write_bytes(kept)
        os.utime(host.path(inside), ns=(stamp, stamp))
        host.join(host.release)
    host.is_whole()


def test_an_unknown_kernel_and_an_unknown_option_are_told(host: Host) -> None:
    assert host.join("9.9.9", code=1) == "nvidia-kmod-join: 9.9.9: no package kmod-nvidia of this kernel is installed\n"
    assert host.join("--force", code=2) == "nvidia-kmod-join: unknown option --force\n"
    assert "make the NVIDIA modules of a kernel from their parts" in host.client.run("nvidia-kmod-join", "-h").stdout


def test_on_a_full_disk_the_former_modules_stay_and_no_package_is_blamed(host: Host) -> None:
    script = """
    set -e
    mkdir /tmp/former; cp "$1"/*.ko /tmp/former
    mount -t tmpfs -o size=56k tmpfs "$1"
    for f in /tmp/former/*.ko; do echo former > "$1/${f##*/}"; done
    if nvidia-kmod-join "$2"; then exit 9; fi
    ls -A "$1" >&2
    cat "$1"/*.ko
    mount -o remount,size=1m "$1"
    nvidia-kmod-join "$2"
    for f in /tmp/former/*.ko; do cmp "$f" "$1/${f##*/}"; done
    rm -r /tmp/former
    """
    done = host.client.run("sh", "-c", script, "sh", f"/lib/modules/{host.release}/extra/nvidia", host.release)
    assert done.stdout == "former\n" * 5
    assert "No space left on device" in done.stderr
    assert re.search(rf"{re.escape(host.release)}: nvidia\S*\.ko cannot be (made|written)", done.stderr)
    assert "damaged" not in done.stderr
    assert set(done.stderr.splitlines()[-5:]) == {f"{name}.ko" for name in MODULES}
    host.join(host.release)
    host.is_whole()


def test_joins_at_the_same_time_wait_for_each_other(host: Host) -> None:
    host.put(host.expected(host.release, NEW))
    script = 'for i in 1 2 3 4; do nvidia-kmod-join & jobs="$jobs $!"; done; for j in $jobs; do wait $j || exit 1; done'
    done = host.client.run("sh", "-c", script)
    assert done.stderr == ""
    host.is_whole()


KILLS = [("sha256sum", n) for n in (1, 2, 4, 9)] + [("mv", n) for n in (1, 3, 5, 6, 8, 10)]
KILLS += [("tail", 2), ("chmod", 1), ("sync", 2), ("depmod", 1)]


def test_a_join_killed_anywhere_leaves_whole_modules_and_the_next_one_ends_it(host: Host, tmp_path: Path) -> None:
    victim = host.copy(tmp_path / "root")
    former, final = host.expected(host.release, NEW), host.expected(host.release, OLD)
    run(["ln", "-sf", "kmod", victim.path("/usr/bin/depmod")], timeout=10)  # found there before /usr/sbin
    mixed = 0
    for program, count in KILLS:
        victim.put(former)
        victim.set_killer(program, count)
        # Not by itself: it would be the first process of its namespace, which nobody in there can kill.
        done = victim.client.run("sh", "-c", f"nvidia-kmod-join {victim.release}; exit $?", ok=ANY)
        assert victim.killed(), (program, count)
        assert done.returncode == 128 + signal.SIGKILL, (program, count, done)
        found = victim.installed()
        for name in MODULES:
            assert found[name] in (former[name], final[name]), (program, count, name)
        mixed += found != former
        assert victim.join(victim.release) == ""
        assert victim.installed() == final, (program, count)
    assert mixed >= 3  # some were killed between two renames


def test_an_update_killed_in_its_scriptlet_keeps_the_old_driver_until_dnf_reinstalls_the_new(
    host: Host, tmp_path: Path
) -> None:
    updated = host.copy(tmp_path / "root")
    updated.set_killer("mv", 4)
    done = updated.client.dnf("module", "switch-to", "nvidia-driver:r550", ok=ANY)
    assert updated.killed()
    assert f"Error in POSTTRANS scriptlet in rpm package kmod-nvidia-{host.release}" in done.stdout + done.stderr
    kept = {name: image for name, image in updated.installed().items() if not name.startswith(".")}
    assert kept == host.expected(host.release, OLD)
    verified = updated.rpm_verify()
    assert verified.returncode != 0
    assert "nvidia.ko is not what was built and recorded" in verified.stdout + verified.stderr
    updated.client.dnf("reinstall", "kmod-nvidia-*", "nvidia-kmod-objects")
    updated.is_whole(NEW)


def test_power_cut_between_payload_and_scriptlet_is_mended_by_joining(bare: Host, tmp_path: Path) -> None:
    cut = bare.copy(tmp_path / "root")
    cut.client.dnf("--setopt=tsflags=noscripts", "module", "install", "nvidia-driver:r535")
    assert cut.installed() == {}
    assert cut.rpm_verify().returncode != 0
    cut.join()
    cut.is_whole()


def test_an_image_is_built_without_proc_and_without_a_running_kernel(bare: Host, site: Site, tmp_path: Path) -> None:
    image = bare.copy(tmp_path / "root")
    assert list(image.path("/proc").iterdir()) == []
    home = tmp_path / "home"
    home.mkdir()
    (home / ".rpmmacros").write_text("%_dbpath /var/lib/rpm\n")  # some hosts' rpm keeps its database elsewhere
    options = {
        "reposdir": "/dev/null", "cachedir": str(tmp_path / "cache"), "install_weak_deps": "0", "plugins": "0",
        "module_platform_id": image.client.distro.platform,
    }  # fmt: skip
    dnf: list[str | Path] = ["dnf", "-y", "--installroot", image.client.root, "--nogpgcheck"]
    dnf += ["--releasever", "9", *(f"--setopt={k}={v}" for k, v in options.items())]
    dnf += ["--repofrompath", f"lab,{image.client.distro.repository.as_uri()}"]
    dnf += ["--repofrompath", f"nvidia,{site.job.published.as_uri()}", "--repo", "lab,nvidia"]
    done = run([*dnf, "module", "install", "nvidia-driver:r535"], timeout=600, env={"HOME": str(home)})
    assert "scriptlet failed" not in done.stdout + done.stderr
    # Folders are dnf's, which has some in the image where they lie outside, below /dev/shm too.
    assert [path for path in image.path("/dev").iterdir() if not path.is_dir()] == [], "a null device that is none"
    image.is_whole()


def test_a_cut_rpm_is_refused_and_changes_nothing(host: Host, site: Site) -> None:
    whole = site.kmod(host.release, OLD).read_bytes()
    name = "/tmp/" + site.kmod(host.release, OLD).name
    for keep in (len(whole) - 1, len(whole) - 1000, len(whole) // 2, 200):
        host.path(name).write_bytes(whole[:keep])
        for argv in (("rpm", "-U", "--replacepkgs", name), ("dnf", "-y", "reinstall", name)):
            assert host.client.run(*argv, ok=ANY).returncode != 0, (keep, argv)
    host.path(name).unlink()
    host.is_whole()


LSINITRD = '#!/bin/sh\ncat "$1"\n'
DRACUT = '#!/bin/sh\necho "$*" >> /dracut.calls\necho "usr/lib/modules/$3/extra/nvidia/nvidia.ko" > "$2"\n'


def test_an_initramfs_that_holds_our_modules_is_made_anew_and_no_other(host: Host) -> None:
    image, calls = host.path(f"/boot/initramfs-{host.release}.img"), host.path("/dracut.calls")
    for name, text in (("lsinitrd", LSINITRD), ("dracut", DRACUT)):
        host.path(f"/usr/bin/{name}").write_text(text)
        host.path(f"/usr/bin/{name}").chmod(0o755)

    def joined_after(listing: str, *, age: int = 0) -> bool:
        """Was it made anew after a module was repaired; with ``age``, after nothing had to be?"""
        calls.unlink(missing_ok=True)
        image.write_text(listing)
        if age:
            os.utime(image, (1, 1))
        else:
            flip(host.modules() / "nvidia-uvm.ko")
        host.join(host.release)
        return calls.exists()

    ours = f"usr/lib/modules/{host.release}/extra/nvidia/nvidia.ko.xz\n"
    assert not joined_after("usr/lib/modules/x/kernel/drivers/gpu/drm/nouveau/nouveau.ko\n")
    assert joined_after(ours)
    assert calls.read_text() == f"-f /boot/initramfs-{host.release}.img {host.release}\n"
    assert joined_after(ours, age=1), "as after a power cut between the last rename and dracut"
    calls.unlink()
    host.join(host.release)
    assert not calls.exists(), "the image is newer than the modules"
    flip(host.modules() / "nvidia-uvm.ko")
    script = 'mount --bind /boot /boot; mount -o remount,bind,ro /boot; nvidia-kmod-join "$1"'
    done = host.client.run("sh", "-c", script, "sh", host.release)
    assert f"{host.release}: dracut failed; /boot/initramfs-{host.release}.img still holds the former" in done.stderr
    for path in (image, calls, host.path("/usr/bin/dracut"), host.path("/usr/bin/lsinitrd")):
        path.unlink()
    host.is_whole()


def test_depmod_that_fails_is_told_with_the_modules_in_their_place(host: Host, tmp_path: Path) -> None:
    flip(host.modules() / "nvidia.ko")
    script = 'mount --bind /bin/false "$(command -v depmod)"; nvidia-kmod-join "$1"'
    done = host.client.run("sh", "-c", script, "sh", host.release, ok=ANY)
    assert done.returncode != 0
    assert "the modules are in their place, but depmod failed" in done.stderr
    assert f"way out: depmod -a {host.release}" in done.stderr
    host.client.run("depmod", "-a", host.release)
    host.is_whole()


def test_kernels_come_and_go_and_nothing_stays_behind(host: Host, site: Site, tmp_path: Path) -> None:
    two = host.copy(tmp_path / "root")
    two.client.dnf("install", f"{site.later.core.name}-{site.later.core.evr}")
    for release in (site.first.release, site.later.release):
        two.is_whole(release=release)
    (two.modules() / ".nvidia.ko.new").write_text("left by a power cut")
    two.client.dnf("remove", f"{site.first.core.name}-{site.first.core.evr}")
    for folder in (f"/usr/lib/modules/{site.first.release}", f"{PARTS}/{site.first.release}"):
        assert not two.path(folder).exists()
    two.is_whole(release=site.later.release)
    two.client.dnf("remove", f"{site.later.core.name}-{site.later.core.evr}")
    two.client.dnf("autoremove")
    assert two.client.query("-a", "nvidia-kmod-objects", "kmod-nvidia-*") == []
    assert list(two.path("/usr/lib/modules").iterdir()) == []
    assert not two.path(PARTS).exists()
    assert not two.path("/usr/sbin/nvidia-kmod-join").exists()
