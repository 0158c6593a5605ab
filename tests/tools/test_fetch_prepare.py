"""Driver archives: run confined, checked, packed deterministically, refused with their own words."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from builder.errors import SourceError
from builder.fetch import find_prepared, parse_manifest, prepare_driver
from builder.model.matrix import Driver, Flavor
from builder.model.sources import DriverSources
from builder.store import Store
from builder.tools.rpms import file_sha256
from builder.tools.run import run
from tests.need import need, need_root

VERSION = "535.261.03"
# As NVIDIA's: a script that checks its payload, then unpacks what stands behind its last line.
SCRIPT = """#!/bin/sh
lines={lines}
size={size}
while [ $# -gt 0 ]; do
    case "$1" in
        --extract-only) only=y ;;
        --target) target=$2; shift ;;
    esac
    shift
done
[ "$only" = y ] || exit 9
if [ "$(tail -n +$((lines + 1)) "$0" | wc -c)" -ne "$size" ]; then
    echo "Error in check sums: the archive is damaged" >&2
    exit 1
fi
mkdir -p "$target" && tail -n +$((lines + 1)) "$0" | tar -xzf - -C "$target" || exit 1
{extra}
exit 0
"""
MANIFEST = f"""NVIDIA Accelerated Graphics Driver for Linux-x86_64
{VERSION}
nvidia.ko
nvidia nvidia-uvm
unused
unused
kernel
precompiled
nvidia-smi 0755 UTILITY_BINARY MODULE:cuda
libcuda.so.{VERSION} 0755 CUDA_LIB NATIVE ./ MODULE:cuda
libcuda.so.1 0000 CUDA_SYMLINK NATIVE ./ libcuda.so.{VERSION} MODULE:cuda
firmware/gsp_tu10x.bin 0644 FIRMWARE INHERIT_PATH_DEPTH:1 MODULE:gsp
kernel/nvidia/nv.c 0644 KERNEL_MODULE_SRC INHERIT_PATH_DEPTH:1 MODULE:kernel
kernel-open/nvidia/nv.c 0644 KERNEL_MODULE_SRC INHERIT_PATH_DEPTH:1 MODULE:kernel
"""
NEWEST = 1_700_000_000


def driver(version: str = VERSION) -> Driver:
    flavors = (Flavor.PROPRIETARY, Flavor.OPEN)
    return Driver(version=version, branch="535", flavors=flavors, sources=(), read_from="a test", modules=("nvidia",))


def make_tree(top: Path) -> Path:
    for name in ("kernel/nvidia", "kernel-open/nvidia", "firmware"):
        (top / name).mkdir(parents=True)
    (top / ".manifest").write_text(MANIFEST)
    (top / "nvidia-smi").write_text("#!/bin/sh\n")
    (top / "nvidia-smi").chmod(0o700)
    (top / f"libcuda.so.{VERSION}").write_bytes(b"\x7fELF" * 1000)
    (top / "firmware/gsp_tu10x.bin").write_bytes(os.urandom(1000))
    for flavor in ("kernel", "kernel-open"):
        (top / flavor / "nvidia/nv.c").write_text(f"/* {flavor} */\n")
    (top / "kernel/nvidia.c").symlink_to("nvidia/nv.c")
    for path in top.rglob("*"):
        os.utime(path, (NEWEST, NEWEST), follow_symlinks=False)
    return top


def make_run(tree: Path, target: Path, extra: str = "") -> Path:
    payload = target.with_suffix(".tar.gz")
    run(["tar", "--owner=0", "--group=0", "-czf", payload, "-C", tree, "."], timeout=60)
    size = payload.stat().st_size
    lines = SCRIPT.format(lines=0, size=size, extra=extra).count("\n")
    target.write_bytes(SCRIPT.format(lines=lines, size=size, extra=extra).encode() + payload.read_bytes())
    return target


@pytest.fixture(autouse=True)
def _tools() -> None:
    need("tar", "unshare")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "work") as opened:
        yield opened


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "tree")


Prepare = Callable[..., DriverSources]


@pytest.fixture
def prepare(tmp_path: Path, tree: Path, store: Store) -> Prepare:
    """Make a .run of the tree and prepare it."""

    def go(wanted: Driver | None = None, extra: str = "") -> DriverSources:
        archive = make_run(tree, tmp_path / "NVIDIA.run", extra)
        return prepare_driver(wanted or driver(), "x86_64", archive, file_sha256(archive), store)

    return go


def members(path: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(path) as archive:
        return {m.name: m for m in archive}


def test_kernel_trees_and_the_rest_become_a_tarball_each(prepare: Prepare) -> None:
    sources = prepare()
    assert sources.kernel_tree(Flavor.OPEN).filename == f"nvidia-kmod-{VERSION}-open-x86_64.tar.gz"
    assert f"nvidia-kmod-{VERSION}-open/nvidia/nv.c" in members(sources.kernel_tree(Flavor.OPEN).path)
    assert f"nvidia-kmod-{VERSION}-proprietary/nvidia.c" in members(sources.kernel_tree(Flavor.PROPRIETARY).path)
    rest = members(sources.userspace.path)
    top = f"nvidia-driver-{VERSION}"
    assert set(rest) == {
        top,
        f"{top}/.manifest",
        f"{top}/firmware",
        f"{top}/firmware/gsp_tu10x.bin",
        f"{top}/libcuda.so.{VERSION}",
        f"{top}/nvidia-smi",
    }
    for file in (sources.userspace, *dict(sources.kernel_trees).values()):
        assert (file_sha256(file.path), file.path.stat().st_size) == (file.sha256, file.size)


def test_the_drivers_list_of_gpus_is_kept_and_one_of_another_shape_refused(
    prepare: Prepare, tree: Path, store: Store, tmp_path: Path
) -> None:
    assert prepare().gpus == ()
    (tree / "supported-gpus").mkdir()
    (tree / "supported-gpus/supported-gpus.json").write_text('{"chips": [{"devid": "0x1E04", "name": "RTX 2080 Ti"}]}')
    sources = prepare()
    assert [(gpu.device, gpu.name) for gpu in sources.gpus] == [("1e04", "RTX 2080 Ti")]
    assert find_prepared(driver(), "x86_64", file_sha256(tmp_path / "NVIDIA.run"), store) == sources
    (tree / "supported-gpus/supported-gpus.json").write_text("{}")
    with pytest.raises(SourceError, match=r"supported-gpus\.json cannot be read"):
        prepare()


def test_owner_modes_and_times_are_the_same_for_everybody(prepare: Prepare) -> None:
    sources = prepare()
    found = members(sources.userspace.path)
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in found.values()} == {(0, 0, "root", "root", NEWEST)}
    assert found[f"nvidia-driver-{VERSION}/nvidia-smi"].mode == 0o755
    assert found[f"nvidia-driver-{VERSION}/.manifest"].mode == 0o644
    assert sources.source_date_epoch == NEWEST
    link = members(sources.kernel_tree(Flavor.PROPRIETARY).path)[f"nvidia-kmod-{VERSION}-proprietary/nvidia.c"]
    assert (link.issym(), link.linkname) == (True, "nvidia/nv.c")


def test_the_same_archive_gives_the_same_bytes_in_another_store(prepare: Prepare, tmp_path: Path, store: Store) -> None:
    first = prepare()
    archive = tmp_path / "NVIDIA.run"
    with Store.open(tmp_path / "other") as other:
        second = prepare_driver(driver(), "x86_64", archive, file_sha256(archive), other)
    assert [f.sha256 for _flavor, f in first.kernel_trees] == [f.sha256 for _flavor, f in second.kernel_trees]
    assert first.userspace.sha256 == second.userspace.sha256


def test_a_prepared_driver_is_read_and_not_unpacked_again(prepare: Prepare, tmp_path: Path, store: Store) -> None:
    first = prepare()
    archive = tmp_path / "NVIDIA.run"
    sha256 = file_sha256(archive)
    archive.write_text("gone")
    assert prepare_driver(driver(), "x86_64", archive, sha256, store) == first
    assert find_prepared(driver(), "x86_64", sha256, store) == first
    assert find_prepared(driver("550.1"), "x86_64", sha256, store) is None
    with pytest.raises(SourceError, match="another driver is inside"):
        prepare_driver(driver("550.1"), "x86_64", archive, sha256, store)


def test_the_manifest_comes_without_kernel_trees(prepare: Prepare) -> None:
    entries = {e.path: e for e in prepare().manifest}
    assert list(entries) == ["nvidia-smi", f"libcuda.so.{VERSION}", "libcuda.so.1", "firmware/gsp_tu10x.bin"]
    link = entries["libcuda.so.1"]
    assert (link.arch, link.destination, link.target, link.module) == ("NATIVE", "./", f"libcuda.so.{VERSION}", "cuda")
    assert entries["firmware/gsp_tu10x.bin"].destination == "./"


def test_a_truncated_archive_fails_with_its_own_words(tmp_path: Path, tree: Path, store: Store) -> None:
    archive = make_run(tree, tmp_path / "NVIDIA.run")
    os.truncate(archive, archive.stat().st_size - 100)
    with pytest.raises(SourceError, match="does not unpack") as caught:
        prepare_driver(driver(), "x86_64", archive, file_sha256(archive), store)
    assert "Error in check sums: the archive is damaged" in caught.value.details
    assert list((tmp_path / "work/store/prepared").iterdir()) == []


@pytest.mark.parametrize("content", [b"<!DOCTYPE html><title>404</title>", b"\x7fELF\x02\x01", b""])
def test_what_is_no_script_is_refused_without_running_it(content: bytes, tmp_path: Path, store: Store) -> None:
    (tmp_path / "NVIDIA.run").write_bytes(content)
    with pytest.raises(SourceError, match="not a driver archive"):
        prepare_driver(driver(), "x86_64", tmp_path / "NVIDIA.run", hashlib.sha256(content).hexdigest(), store)


def test_an_archive_of_something_else_is_no_driver(prepare: Prepare, tree: Path) -> None:
    (tree / ".manifest").unlink()
    with pytest.raises(SourceError, match=r"is no NVIDIA driver \(it has no .manifest\)"):
        prepare()


def test_another_version_inside_is_refused(prepare: Prepare) -> None:
    with pytest.raises(SourceError, match="another driver is inside") as caught:
        prepare(driver("535.274.02"))
    assert caught.value.details[0].startswith(f"inside: {VERSION} (NVIDIA Accelerated")


def test_a_file_of_the_manifest_that_is_missing_is_named(prepare: Prepare, tree: Path) -> None:
    (tree / "nvidia-smi").unlink()
    with pytest.raises(SourceError, match=r"1 of 6 files of its \.manifest") as caught:
        prepare()
    assert caught.value.details == ("nvidia-smi",)


def test_a_missing_kernel_tree_of_a_wanted_flavor_is_refused(prepare: Prepare, tree: Path) -> None:
    shutil.rmtree(tree / "kernel-open")
    text = (tree / ".manifest").read_text()
    (tree / ".manifest").write_text("\n".join(x for x in text.splitlines() if "kernel-open" not in x))
    with pytest.raises(SourceError, match="has no kernel-open/, so no open modules"):
        prepare()


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "nvidia/../../../outside"])
def test_a_symlink_that_leads_out_is_refused(target: str, prepare: Prepare, tree: Path) -> None:
    (tree / "kernel/evil").symlink_to(target)
    with pytest.raises(SourceError, match="a symlink that leads out of the archive"):
        prepare()


def test_a_kernel_tree_that_is_a_symlink_to_our_files_is_refused(prepare: Prepare) -> None:
    with pytest.raises(SourceError, match=r"has no kernel/|files of its .manifest"):
        prepare(extra='rm -r "$target/kernel"; ln -s /etc "$target/kernel"')


def test_a_pipe_in_an_archive_is_refused(prepare: Prepare) -> None:
    with pytest.raises(SourceError, match="neither a file, a folder nor a symlink"):
        prepare(extra='mkfifo "$target/pipe"')


def test_the_archive_runs_as_nobody_without_network_in_a_folder_of_its_own(prepare: Prepare) -> None:
    need_root()
    sources = prepare(
        extra='id -u > "$target/uid"; id -G >> "$target/uid"; cat /proc/net/dev | wc -l > "$target/net"; '
        'ls /tmp > "$target/tmp"; grep NoNewPrivs /proc/self/status > "$target/nnp"; '
        'touch /etc/repobuild-test 2> "$target/touch"; (sleep 1000 &)'
    )
    with tarfile.open(sources.userspace.path) as archive:
        top = f"nvidia-driver-{VERSION}"

        def said(name: str) -> str:
            file = archive.extractfile(f"{top}/{name}")
            assert file is not None
            return file.read().decode()

        assert said("uid").split() == ["65534", "65534"]
        assert said("net").strip() == "3"  # two lines of heading and lo
        assert said("tmp").split() == ["work"]
        assert said("nnp").split() == ["NoNewPrivs:", "1"]
        assert "Permission denied" in said("touch")


def test_a_store_that_nobody_can_enter_is_no_hindrance(tmp_path: Path, tree: Path) -> None:
    need_root()
    closed = tmp_path / "closed"
    closed.mkdir(mode=stat.S_IRWXU)
    archive = make_run(tree, closed / "NVIDIA.run")
    archive.chmod(0o600)
    with Store.open(closed / "work") as store:
        assert prepare_driver(driver(), "x86_64", archive, file_sha256(archive), store).manifest


def test_a_manifest_line_that_is_no_entry_is_named() -> None:
    with pytest.raises(SourceError, match="line 10 is not an entry") as caught:
        parse_manifest(MANIFEST.replace(f"libcuda.so.{VERSION} 0755", "/etc/passwd 0755"), "x.run")
    assert caught.value.details[0].startswith("/etc/passwd")


def test_tls_classes_of_old_manifests_are_no_folders() -> None:
    text = MANIFEST + "libnvidia-tls.so.418 0755 TLS_LIB NATIVE NEW /tls/\nx 0000 TLS_SYMLINK NATIVE CLASSIC ./ y\n"
    lib, link = parse_manifest(text, "x.run").entries[-2:]
    assert (lib.destination, lib.target) == ("/tls/", None)
    assert (link.destination, link.target) == ("./", "y")
