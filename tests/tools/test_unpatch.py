"""The decoder that hosts join modules with: it restores what zstd packed, or says why not and leaves nothing."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from pathlib import Path

import pytest

from builder.render.templates import template_folder
from builder.tools.run import Completed, run
from builder.tools.zstd import pack_files, unpack_files
from tests.elf_tables import SHT_RELA, elf_file, module_with_tables
from tests.need import need, need_header

DAMAGED, HOST = 1, 2  # exit codes: the patch or the object is to blame, or the host
CHOICE = random.Random(1)
OBJECT = b"\x7fELF" + CHOICE.randbytes(300_000)
MODULE = OBJECT[:100_000] + CHOICE.randbytes(3_000) + OBJECT[100_000:] + b"tail" * 1000
# Exit code and most memory (KiB) of a program that a small one starts: Linux counts the starter's memory, too.
PEAK = """
import os, sys
pid = os.spawnv(os.P_NOWAIT, sys.argv[1], sys.argv[1:])
_, status, used = os.wait4(pid, 0)
print(os.waitstatus_to_exitcode(status), used.ru_maxrss)
"""
BUILDS = {"plain": ("-O2",), "sanitized": ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")}


@pytest.fixture(scope="module", params=sorted(BUILDS))
def decoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("gcc", "zstd")
    need_header("zstd.h")
    program = tmp_path_factory.mktemp("decoder") / "unpatch"
    source = template_folder("specs") / "nvidia-kmod-unpatch.c"
    flags = ("-std=gnu11", "-Wall", "-Wextra", "-Werror", *BUILDS[request.param])
    run(["gcc", *flags, "-o", program, source, "-lzstd"], timeout=120)
    return program


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """object, module and the patch between them."""
    (tmp_path / "object").write_bytes(OBJECT)
    (tmp_path / "module").write_bytes(MODULE)
    pack_files([(tmp_path / "module", tmp_path / "patch")], tmp_path / "object")
    return tmp_path


def unpatch(decoder: Path, patch: Path, against: Path | str, out: Path) -> Completed:
    return run([decoder, patch, against, out], timeout=120, ok=range(-64, 256))


def refused(decoder: Path, patch: Path, against: Path | str, code: int = DAMAGED) -> str:
    """What it says; nothing is left behind."""
    out = patch.parent / "refused"
    done = unpatch(decoder, patch, against, out)
    assert done.returncode == code, done.stderr
    assert not out.exists()
    assert done.stderr.startswith("nvidia-kmod-unpatch: ")
    assert done.stderr.count("\n") == 1
    return done.stderr.removeprefix("nvidia-kmod-unpatch: ").strip()


def test_what_the_builder_packs_is_restored(decoder: Path, work: Path) -> None:
    unpatch(decoder, work / "patch", work / "object", work / "out")
    assert (work / "out").read_bytes() == MODULE
    assert (work / "out").stat().st_mode & 0o777 == 0o644
    assert (work / "patch").stat().st_size < len(MODULE) // 20


@pytest.mark.parametrize("level", ["--fast=3", "-1", "-3", "-12", "-19", "--ultra -22"])
def test_patches_of_every_level_are_restored(level: str, decoder: Path, work: Path) -> None:
    how = ["-q", *level.split(), "--long=27", f"--patch-from={work}/object", "-f", str(work / "module")]
    run(["zstd", *how, "-o", work / "patch"], timeout=120)
    unpatch(decoder, work / "patch", work / "object", work / "out")
    assert (work / "out").read_bytes() == MODULE


def test_a_module_without_an_object_is_restored(decoder: Path, work: Path) -> None:
    pack_files([(work / "module", work / "alone")], None)
    unpatch(decoder, work / "alone", "-", work / "out")
    assert (work / "out").read_bytes() == MODULE
    assert "Dictionary" in refused(decoder, work / "patch", "-") or "corruption" in refused(
        decoder, work / "patch", "-"
    )


@pytest.mark.parametrize("size", [1, 2, 100, 131072, 131073])
def test_sizes_around_a_block_are_restored(size: int, decoder: Path, work: Path) -> None:
    (work / "module").write_bytes(MODULE[:size])
    pack_files([(work / "module", work / "patch")], work / "object")
    unpatch(decoder, work / "patch", work / "object", work / "out")
    assert (work / "out").read_bytes() == MODULE[:size]


def test_an_empty_file_a_folder_and_a_missing_one_are_refused(decoder: Path, work: Path) -> None:
    (work / "empty").touch()
    for bad, said in (("empty", "empty, or not a file"), (".", "empty, or not a file"), ("none", "No such file")):
        assert refused(decoder, work / "patch", work / bad).startswith(f"{work / bad}: {said}")
        done = unpatch(decoder, work / bad, work / "object", work / "out")
        assert done.returncode == DAMAGED
        assert said in done.stderr
    assert not (work / "out").exists()


def test_a_patch_cut_anywhere_is_refused(decoder: Path, work: Path) -> None:
    whole = (work / "patch").read_bytes()
    for keep in {1, 3, 4, 5, 8, 12, 17, len(whole) // 2, len(whole) - 4, len(whole) - 1}:
        (work / "cut").write_bytes(whole[:keep])
        assert refused(decoder, work / "cut", work / "object").startswith(f"{work}/cut: ")


def test_a_patch_with_something_behind_it_is_refused(decoder: Path, work: Path) -> None:
    whole = (work / "patch").read_bytes()
    for more in (b"\0", b"\0" * 100, whole):
        (work / "long").write_bytes(whole + more)
        refused(decoder, work / "long", work / "object")


def test_one_flipped_byte_anywhere_restores_nothing_else(decoder: Path, work: Path) -> None:
    """A flip in a spare bit of the header may be harmless; it must never give another module."""
    whole = (work / "patch").read_bytes()
    step = max(1, len(whole) // 40)
    for offset in {*range(20), *range(20, len(whole), step), len(whole) - 1}:
        altered = bytearray(whole)
        altered[offset] ^= 1 << offset % 8
        (work / "altered").write_bytes(altered)
        out = work / f"out{offset}"
        done = unpatch(decoder, work / "altered", work / "object", out)
        assert done.returncode in (0, DAMAGED, HOST), (offset, done)
        assert out.exists() == (done.returncode == 0)
        if done.returncode == 0:
            assert out.read_bytes() == MODULE


def test_another_object_is_refused(decoder: Path, work: Path) -> None:
    (work / "other").write_bytes(CHOICE.randbytes(len(OBJECT)))
    refused(decoder, work / "patch", work / "other")
    flipped = bytearray(OBJECT)
    flipped[50_000] ^= 1
    (work / "flipped").write_bytes(flipped)
    refused(decoder, work / "patch", work / "flipped")
    (work / "short").write_bytes(OBJECT[:-1])
    refused(decoder, work / "patch", work / "short")


def test_a_patch_that_does_not_say_its_size_is_refused(decoder: Path, work: Path) -> None:
    with (work / "module").open("rb") as source, (work / "stream").open("wb") as target:
        subprocess.run(["zstd", "-q", "-c"], stdin=source, stdout=target, check=True)
    assert refused(decoder, work / "stream", work / "object").endswith(": not a patch")
    assert refused(decoder, work / "object", work / "object").endswith(": not a patch")


@pytest.mark.parametrize(("size", "code"), [((1 << 32) - 1, (DAMAGED, HOST)), (1 << 32, (1,)), ((1 << 64) - 3, (1,))])
def test_a_size_that_is_only_claimed_fills_neither_disk_nor_memory(
    size: int, code: tuple[int, ...], decoder: Path, work: Path
) -> None:
    # Frame header (RFC 8878, 3.1.1.1): magic, descriptor "8 byte content size, single segment", size; a raw last block.
    lie = b"\x28\xb5\x2f\xfd" + b"\xe0" + size.to_bytes(8, "little") + b"\x09\x00\x00" + b"x"
    (work / "lie").write_bytes(lie)
    argv: list[str | Path] = [sys.executable, "-c", PEAK, decoder, work / "lie", work / "object", work / "out"]
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    returncode, peak = map(int, done.stdout.split())
    assert returncode in code
    assert not (work / "out").exists()
    assert peak < 300_000  # KiB


def test_what_is_there_is_not_overwritten(decoder: Path, work: Path) -> None:
    (work / "out").write_text("mine")
    (work / "link").symlink_to(work / "elsewhere")
    for name in ("out", "link"):
        done = unpatch(decoder, work / "patch", work / "object", work / name)
        assert (done.returncode, done.stderr) == (HOST, f"nvidia-kmod-unpatch: {work / name}: File exists\n")
    assert (work / "out").read_text() == "mine"
    assert not (work / "elsewhere").exists()


def test_an_output_that_cannot_be_written_is_told_and_the_host_is_to_blame(decoder: Path, work: Path) -> None:
    done = unpatch(decoder, work / "patch", work / "object", work / "none/out")
    assert (done.returncode, done.stderr.split(": ")[-1].strip()) == (HOST, "No such file or directory")


def test_a_file_that_cannot_grow_is_not_left_half_written(decoder: Path, work: Path) -> None:
    limited = ["prlimit", f"--fsize={len(MODULE) // 2}", "--", "sh", "-c", 'trap "" XFSZ; exec "$@"', "sh"]
    argv: list[str | Path] = [*limited, decoder, work / "patch", work / "object", work / "out"]
    done = run(argv, timeout=120, ok=range(256))
    assert (done.returncode, done.stderr.split(": ")[-1].strip()) == (HOST, "File too large")
    assert not (work / "out").exists()


ARRANGED = b"\x5e\x2a\x4d\x18" + (8).to_bytes(4, "little") + b"RELA v1\0"


@pytest.mark.parametrize("against", ["object", None])
def test_relocation_tables_are_restored_and_pack_small(against: str | None, decoder: Path, work: Path) -> None:
    image = module_with_tables()
    (work / "module").write_bytes(image)
    run(["zstd", "-q", "-19", "-f", work / "module", "-o", work / "as-it-is"], timeout=120)
    pack_files([(work / "module", work / "patch")], work / against if against else None)
    assert (work / "patch").read_bytes().startswith(ARRANGED)
    assert (work / "patch").stat().st_size * 2 < (work / "as-it-is").stat().st_size
    assert not list(work.glob("*.arranged"))
    unpatch(decoder, work / "patch", work / against if against else "-", work / "out")
    assert (work / "out").read_bytes() == image
    unpack_files([(work / "patch", work / "by-the-builder")], work / against if against else None)
    assert (work / "by-the-builder").read_bytes() == image


def test_one_flipped_byte_of_a_module_with_tables_restores_nothing_else(decoder: Path, work: Path) -> None:
    image = module_with_tables()
    (work / "module").write_bytes(image)
    pack_files([(work / "module", work / "patch")], None)
    whole = (work / "patch").read_bytes()
    for offset in range(0, len(whole), max(1, len(whole) // 60)):
        altered = bytearray(whole)
        altered[offset] ^= 1 << offset % 8
        (work / "altered").write_bytes(altered)
        out = work / f"out{offset}"
        if unpatch(decoder, work / "altered", "-", out).returncode == 0:
            assert out.read_bytes() == image


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (b"x", "not a module"),
        (bytes(elf_file([(SHT_RELA, 64, 24)], 100, shoff=1 << 40)), "shorter than its section headers say"),
        (bytes(elf_file([(SHT_RELA, 64, 24)], 100, shoff=165)), "shorter than its section headers say"),
        (bytes(elf_file([(SHT_RELA, 1 << 63, 24)], 100)), "shorter than its relocations say"),
        (bytes(elf_file([(SHT_RELA, 64, (1 << 64) - 16)], 100)), "shorter than its relocations say"),
        (bytes(elf_file([(SHT_RELA, 64, 25)], 100)), "shorter than its relocations say"),
    ],
)
def test_tables_that_lie_about_themselves_are_refused(image: bytes, said: str, decoder: Path, work: Path) -> None:
    (work / "module").write_bytes(image)
    run(["zstd", "-q", "--check", "-f", work / "module", "-o", work / "frame"], timeout=60)
    (work / "lie").write_bytes(ARRANGED + (work / "frame").read_bytes())
    assert refused(decoder, work / "lie", "-").endswith(f": {said}")


def test_wrong_usage_is_told(decoder: Path, work: Path) -> None:
    done = run([decoder, work / "patch"], timeout=60, ok=range(256))
    assert done.returncode == HOST
    assert done.stderr == "nvidia-kmod-unpatch: usage: PATCH OBJECT|- OUT\n"


def test_restoring_twice_gives_the_same(decoder: Path, work: Path) -> None:
    for name in ("a", "b"):
        unpatch(decoder, work / "patch", work / "object", work / name)
    assert hashlib.sha256((work / "a").read_bytes()).digest() == hashlib.sha256((work / "b").read_bytes()).digest()
