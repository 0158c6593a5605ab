"""Relocation tables are arranged so that what is arranged can always be put back."""

from __future__ import annotations

import random

import pytest

from builder.tools.relocations import arrange, restore
from tests.elf_tables import SHT_RELA, elf_file, module_with_tables


@pytest.mark.parametrize("rows", [2, 3, 2000])
def test_what_is_arranged_is_restored(rows: int) -> None:
    image = module_with_tables(rows)
    arranged = arrange(image)
    assert arranged is not None
    assert arranged != image
    assert len(arranged) == len(image)
    assert restore(arranged) == image


def test_words_that_fall_and_wrap_around_are_restored() -> None:
    size = 24 * 50
    for seed in range(20):
        image = elf_file([(SHT_RELA, 64, size)], size)
        image[64 : 64 + size] = random.Random(seed).randbytes(size)
        arranged = arrange(bytes(image))
        assert arranged is not None
        assert restore(arranged) == image


@pytest.mark.parametrize(
    "image",
    [
        b"",
        b"\x7fELF\x02\x01",
        b"a plain file" * 50,
        bytes(elf_file([], 100)),
        bytes(elf_file([(SHT_RELA, 64, 0)], 100)),
        bytes(elf_file([(SHT_RELA, 64, 25)], 100)),
        bytes(elf_file([(SHT_RELA, 1 << 40, 24)], 100)),
        bytes(elf_file([(SHT_RELA, 64, 24)], 100, shoff=1 << 40)),
        bytes(elf_file([(SHT_RELA, 64, 48), (SHT_RELA, 88, 24)], 100)),
        bytes(elf_file([(SHT_RELA, 40, 24)], 100)),
        bytes(elf_file([(SHT_RELA, 164, 24)], 100)),
    ],
    ids=[
        "empty",
        "cut",
        "no ELF",
        "no section",
        "empty table",
        "half a row",
        "outside",
        "headers outside",
        "two overlap",
        "in the header",
        "in the section headers",
    ],
)
def test_what_could_not_be_found_again_is_left_as_it_is(image: bytes) -> None:
    assert arrange(image) is None
