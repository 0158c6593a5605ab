"""Several modules to one zstd: the same bytes as one by one, whichever share a process, and a damaged one is named."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from builder.errors import ToolError
from builder.tools.zstd import pack_files, unpack_files
from tests.elf_tables import module_with_tables
from tests.need import need

CHOICE = random.Random(2)
WORDS = [CHOICE.randbytes(CHOICE.randrange(3, 40)) for _ in range(5000)]
CONTENTS = {
    "empty": b"",
    "small": b"a module\n" * 9,
    "tables": module_with_tables(),  # its relocation tables are arranged
    "middle": b"".join(CHOICE.choices(WORDS, k=8_000)),
    "large": b"".join(CHOICE.choices(WORDS, k=90_000)),
}


@pytest.fixture
def plain(tmp_path: Path) -> dict[str, Path]:
    need("zstd")
    for name, content in CONTENTS.items():
        (tmp_path / f"{name}.ko").write_bytes(content)
    return {name: tmp_path / f"{name}.ko" for name in CONTENTS}


def packed(plain: dict[str, Path], folder: Path, *lots: tuple[str, ...]) -> dict[str, bytes]:
    folder.mkdir()
    for lot in lots:
        pack_files([(plain[name], folder / f"{name}.ko.zst") for name in lot], None)
    return {name: (folder / f"{name}.ko.zst").read_bytes() for name in CONTENTS}


def test_who_shares_a_process_changes_no_byte(plain: dict[str, Path], tmp_path: Path) -> None:
    """Else a machine with more processors would make other packages."""
    names = tuple(CONTENTS)
    alone = packed(plain, tmp_path / "alone", *((name,) for name in names))
    assert packed(plain, tmp_path / "all", names) == alone
    assert packed(plain, tmp_path / "reverse", names[::-1]) == alone
    assert packed(plain, tmp_path / "two", names[::2], names[1::2]) == alone


def test_what_was_packed_together_is_unpacked_together(plain: dict[str, Path], tmp_path: Path) -> None:
    packed(plain, tmp_path / "all", tuple(CONTENTS))
    again = [(tmp_path / f"all/{name}.ko.zst", tmp_path / f"{name}.again") for name in CONTENTS]
    unpack_files(again, None)
    assert {name: (tmp_path / f"{name}.again").read_bytes() for name in CONTENTS} == CONTENTS
    assert not list(tmp_path.glob(".zstd-*"))


def test_a_damaged_one_is_named(plain: dict[str, Path], tmp_path: Path) -> None:
    packed(plain, tmp_path / "all", tuple(CONTENTS))
    bad = tmp_path / "all/middle.ko.zst"
    data = bytearray(bad.read_bytes())
    data[len(data) // 2] ^= 1
    bad.write_bytes(data)
    with pytest.raises(ToolError, match=r"zstd cannot unpack it: .*middle\.ko\.zst") as caught:
        unpack_files([(tmp_path / f"all/{name}.ko.zst", tmp_path / f"{name}.again") for name in CONTENTS], None)
    assert "large.ko.zst :" not in caught.value.message
    assert not list(tmp_path.glob("*.again"))
