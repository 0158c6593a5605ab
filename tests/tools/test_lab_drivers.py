"""The lab's drivers with real tools: same bytes twice, unpacking by the production code, modules that compile."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from builder.errors import ToolError
from builder.fetch.manifest import parse_manifest
from builder.tools.rpms import file_sha256
from builder.tools.run import run
from builder.tools.runfile import extract_runfile
from tests.lab.distro import LabDistro, make_distro
from tests.lab.drivers import make_real
from tests.lab.installer import read_manifest
from tests.lab.light import make_light
from tests.lab.runfile import MODULES, LabDriver
from tests.need import need, need_root

V = "535.261.03"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("makeself", "zstd", "gcc", "readelf", "tar")
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module")
def light(cache: Path) -> LabDriver:
    return make_light([V], cache=cache)[0]


@pytest.fixture(scope="module")
def tree(light: LabDriver, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The light driver as the production code unpacks it."""
    return extract_runfile(light.run, tmp_path_factory.mktemp("tree"))


def check_manifest(tree: Path, version: str) -> None:
    """Production's parser and the installer's rules read the same, and every file is there."""
    text = (tree / ".manifest").read_text()
    parsed = parse_manifest(text, "test")
    header, lines = read_manifest(text)
    assert (parsed.version, header[1]) == (version, version)
    assert parsed.kernel_modules == tuple(MODULES.split())
    assert [(e.path, e.mode, e.type) for e in parsed.entries] == [(x.path, x.mode, x.type) for x in lines]
    files = {p.relative_to(tree).as_posix() for p in tree.rglob("*") if p.is_file()} - {".manifest"}
    assert {e.path for e in parsed.entries if e.target is None} == files
    names = {e.path for e in parsed.entries}
    assert all(e.target in names for e in parsed.entries if e.target is not None)


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.glob("*.ko"))}


def test_the_same_driver_is_the_same_bytes_in_another_place_and_time(light: LabDriver, tmp_path: Path) -> None:
    again = make_light([V], cache=tmp_path / "a longer name")[0]
    assert again.run != light.run
    assert again.sha256 == light.sha256 == file_sha256(again.run)


def test_a_driver_is_taken_from_the_cache(light: LabDriver, cache: Path) -> None:
    before = light.run.stat().st_mtime_ns
    assert make_light([V], cache=cache) == [light]
    assert light.run.stat().st_mtime_ns == before


def test_versions_are_different_bytes_and_old_branches_have_no_open_modules(light: LabDriver, cache: Path) -> None:
    newer, old = make_light(["535.274.02", "470.256.02"], cache=cache)
    assert (newer.branch, newer.flavors) == ("535", ("proprietary", "open"))
    assert (old.branch, old.flavors) == ("470", ("proprietary",))
    assert len({light.sha256, newer.sha256, old.sha256}) == 3


def test_the_production_code_unpacks_it_and_the_manifest_is_true(tree: Path) -> None:
    check_manifest(tree, V)
    assert "not NVIDIA software" in (tree / "LICENSE").read_text()


def test_its_nvidia_smi_opens_its_libnvidia_ml(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "libnvidia-ml.so.1").symlink_to(tree / f"libnvidia-ml.so.{V}")
    environment = {"LD_LIBRARY_PATH": str(tmp_path)}
    assert run([tree / "nvidia-smi"], timeout=10, env=environment).stdout.count(V) == 2


def test_without_target_it_unpacks_below_the_current_folder(light: LabDriver, tmp_path: Path) -> None:
    run(["sh", light.run, "-x"], timeout=60, cwd=tmp_path)
    assert (tmp_path / f"NVIDIA-Linux-x86_64-{V}/.manifest").is_file()


def test_it_leaves_a_folder_that_exists_alone(light: LabDriver, tmp_path: Path) -> None:
    with pytest.raises(ToolError) as caught:
        run(["sh", light.run, "--extract-only", "--target", tmp_path], timeout=60)
    assert "already exists" in "\n".join(caught.value.details)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["truncated", "one byte"])
def test_a_damaged_archive_unpacks_nothing(light: LabDriver, tmp_path: Path, damage: str) -> None:
    content = bytearray(light.run.read_bytes())
    if damage == "truncated":
        del content[-100:]
    else:
        content[-100] ^= 1
    (tmp_path / "damaged.run").write_bytes(content)
    with pytest.raises(ToolError) as caught:
        run(["sh", "damaged.run", "--extract-only", "--target", "there"], timeout=60, cwd=tmp_path)
    assert "check sums" in "\n".join(caught.value.details)
    assert not (tmp_path / "there").exists()


@pytest.fixture(scope="module")
def distro() -> LabDistro:
    need("dnf", "rpmbuild", "createrepo_c", "apt-get", "bsdtar", "make")
    need_root()
    return make_distro()


@pytest.fixture(scope="module")
def kernel(distro: LabDistro, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An unpacked kernel-devel and the kernel's compiler."""
    newest = [k for k in distro.kernels if k.variant == "generic"][-1]
    need(newest.compiler_command)
    folder = tmp_path_factory.mktemp("kernel")
    rpm = next(distro.repository.glob(f"{newest.devel.name}-{newest.devel.evr}.*.rpm"))
    run(["bsdtar", "-xf", rpm, "-C", folder], timeout=300)
    return folder / newest.devel_path.lstrip("/"), newest.compiler_command


def compile_modules(source: Path, kernel: tuple[Path, str], folder: Path, *more: str) -> Path:
    """The command line that NVIDIA's trees take, in a fresh copy at ``folder``."""
    devel, compiler = kernel
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)
    options = [f"SYSSRC={devel}", f"SYSOUT={devel}", f"CC={compiler}", "IGNORE_CC_MISMATCH=1", *more]
    run(["make", "-s", *options, "modules"], timeout=300, cwd=folder)
    return folder


@pytest.mark.parametrize(("name", "license_"), [("kernel", "Proprietary"), ("kernel-open", "Dual MIT/GPL")])
def test_its_modules_compile_twice_to_the_same_bytes(
    tree: Path, kernel: tuple[Path, str], tmp_path: Path, name: str, license_: str
) -> None:
    first = digests(compile_modules(tree / name, kernel, tmp_path / "build"))
    assert sorted(first) == sorted(f"{m}.ko" for m in MODULES.split())
    built = compile_modules(tree / name, kernel, tmp_path / "build")
    assert digests(built) == first
    for module, depends in (("nvidia", ""), ("nvidia-uvm", "nvidia"), ("nvidia-drm", "nvidia-modeset,drm")):
        said = run(["modinfo", built / f"{module}.ko"], timeout=60).stdout
        fields = dict(line.split(":", 1) for line in said.splitlines() if ":" in line)
        assert {k: fields[k].strip() for k in ("version", "license")} == {"version": V, "license": license_}
        assert fields["depends"].strip() == depends
        assert fields["vermagic"].split()[0] == kernel[0].name


def test_modules_are_chosen_as_in_nvidias_trees(tree: Path, kernel: tuple[Path, str], tmp_path: Path) -> None:
    excluded = "NV_EXCLUDE_KERNEL_MODULES=nvidia-uvm nvidia-drm nvidia-modeset"
    built = compile_modules(tree / "kernel-open", kernel, tmp_path / "build", excluded)
    assert sorted(digests(built)) == ["nvidia-peermem.ko", "nvidia.ko"]
    built = compile_modules(tree / "kernel-open", kernel, tmp_path / "build", "NV_KERNEL_MODULES=nvidia")
    assert sorted(digests(built)) == ["nvidia.ko"]


@pytest.mark.parametrize(
    ("broken", "fails"),
    [(True, True), ({V: "defined(CONFIG_MODULES)"}, True), ({V: "defined(CONFIG_NO_SUCH)"}, False)],
    ids=["everywhere", "this kernel", "another kernel"],
)
def test_a_broken_one_fails_on_the_kernels_it_is_told_to(
    cache: Path, kernel: tuple[Path, str], tmp_path: Path, broken: bool | dict[str, str], fails: bool
) -> None:
    driver = make_light([V], cache=cache, broken=broken)[0]
    source = extract_runfile(driver.run, tmp_path) / "kernel-open"
    if not fails:
        assert digests(compile_modules(source, kernel, tmp_path / "build"))
        return
    with pytest.raises(ToolError) as caught:
        compile_modules(source, kernel, tmp_path / "build")
    assert "no support for such a kernel" in "\n".join(caught.value.details)


@pytest.mark.slow
@pytest.mark.parametrize("branch", ["535", "550"])
def test_real_drivers_have_nvidias_layout(branch: str, tmp_path: Path) -> None:
    need("apt-get", "makeself", "zstd", "strip", "dpkg-deb")
    driver = make_real([branch])[0]
    tree = extract_runfile(driver.run, tmp_path)
    check_manifest(tree, driver.version)
    for name in ("kernel", "kernel-open"):
        for blob in ("nvidia/nv-kernel.o_binary", "nvidia-modeset/nv-modeset-kernel.o_binary"):
            assert ".debug_info" not in run(["readelf", "-SW", tree / name / blob], timeout=60).stdout
        assert (tree / name / "conftest.sh").is_file()
    assert {p.name for p in (tree / "firmware").iterdir()} >= {"gsp_tu10x.bin", "gsp_ga10x.bin"}
    assert (tree / f"libcuda.so.{driver.version}").stat().st_size > 10_000_000
    shutil.rmtree(tree)
