"""Flags that a kernel's Makefiles found the compiler to know are remembered, and nothing that could be otherwise."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from builder.tools.run import run
from tests.lab.make_tree import SHIM
from tests.need import need

# As scripts/Makefile.compiler of kernel 6.1 has them, and try-run of other kernels.
TRY_6_1 = r"""
TMPOUT = $(if $(KBUILD_EXTMOD),$(firstword $(KBUILD_EXTMOD))/).tmp_$$$$
try-run = $(shell set -e; TMP=$(TMPOUT)/tmp; trap "rm -rf $(TMPOUT)" EXIT; mkdir -p $(TMPOUT); \
	if ($(1)) >/dev/null 2>&1; then echo "$(2)"; else echo "$(3)"; fi)
"""
TRY_4_18 = r"""
TMPOUT := ./
try-run = $(shell set -e; TMP="$(TMPOUT).$$$$.tmp"; TMPO="$(TMPOUT).$$$$.o"; \
	if ($(1)) >/dev/null 2>&1; then echo "$(2)"; else echo "$(3)"; fi; rm -f "$$TMP" "$$TMPO")
"""
TRY_6_12 = TRY_6_1.replace("TMP=$(TMPOUT)/tmp;", "TMP=$(TMPOUT)/tmp; RUSTC_BOOTSTRAP=1;")
MAKEFILE = r"""
comma := ,
KBUILD_CPPFLAGS := -D__KERNEL__
KBUILD_CFLAGS := -Wall -std=gnu11 -fmacro-prefix-map=./= -ffile-prefix-map=$(CURDIR)=.
as-option = $(call try-run,$(CC) -Werror $(1) -c -x assembler-with-cpp /dev/null -o "$$TMP",$(1),$(2))
as-instr = $(call try-run,printf "%b\n" "$(1)" | $(CC) -Werror -c -x assembler-with-cpp -o "$$TMP" -,$(2),$(3))
rustc-option = $(call try-run,test "$$RUSTC_BOOTSTRAP" = 1 && test -n "$$TMP",$(1),$(2))
__cc-option = $(call try-run,$(1) -Werror $(2) $(3) -c -x c /dev/null -o "$$TMP",$(3),$(4))
cc-option = $(call __cc-option, $(CC),$(KBUILD_CPPFLAGS) $(KBUILD_CFLAGS),$(1),$(2))
cc-option-yn = $(call try-run,$(CC) -Werror $(KBUILD_CPPFLAGS) $(KBUILD_CFLAGS) $(1) -c -x c /dev/null -o "$$TMP",y,n)
cc-disable-warning = $(call try-run,\
	$(CC) -Werror $(KBUILD_CFLAGS) -W$(strip $(1)) -c -x c /dev/null -o "$$TMP",-Wno-$(strip $(1)))

part = $(word $(1),$(subst :, ,$(question)))
$(foreach question,$(QUESTIONS),$(info [$(call $(call part,1),$(call part,2),instead)]))
all:;@:
"""


class Kernel:
    """A makefile that asks as a kernel's does, and a compiler that says when it was asked."""

    def __init__(self, folder: Path, rules: str = TRY_6_1, name: str = "Makefile.compiler") -> None:
        self.folder, self.answers = folder, b""
        self.told = self.said = ""  # by the shim, before and after
        self.place = folder / "tree"
        self.place.mkdir()
        (self.place / "Kbuild").write_text("obj-m :=\n")
        (self.place / "scripts").mkdir()
        (self.place / "scripts" / name).write_text(rules)
        (self.place / "Makefile").write_text(f"include scripts/{name}\n{MAKEFILE}")
        (self.place / "empty.h").touch()
        self.cc = folder / "gcc-12.3"
        self.compiler('exec gcc "$@"')

    def compiler(self, command: str) -> None:
        line = f'case " $* " in *" -c "*) echo "$*" >>{self.folder}/calls ;; esac'
        self.cc.write_text(f"#!/bin/sh\n{line}\n{command}\n")
        self.cc.chmod(0o755)

    def ask(self, *questions: str, remember: bool = True) -> tuple[list[str], int]:
        """What make was told for each question, and how often the compiler was started."""
        state, given, output, calls = (self.folder / n for n in ("state", "given", "output", "calls"))
        given.write_bytes(self.answers)
        env = {"PATH": os.environ["PATH"]}
        if remember:
            argv: list[str | Path] = ["sh", SHIM, "prepare", state, ".", self.place, self.place, self.cc, given]
            self.told = run(argv, cwd=self.place, timeout=60).stdout
            env["MAKEFILES"] = f"{state}/flags.mk"
        calls.unlink(missing_ok=True)
        words = [f"CC={self.cc}", f"QUESTIONS={' '.join(questions)}"]
        told = run(["make", "-s", *words], cwd=self.place, timeout=60, env=env).stdout.splitlines()
        asked = len(calls.read_text().splitlines()) if calls.exists() else 0
        if remember:
            self.said = run(["sh", SHIM, "collect", state, output], timeout=60).stdout
            self.answers = output.read_bytes()
        return told, asked


@pytest.fixture(autouse=True)
def _tools() -> None:
    need("gcc", "make", "awk", "readelf")


TRIES = {
    "4.18": (TRY_4_18, "Kbuild.include"),
    "6.1": (TRY_6_1, "Makefile.compiler"),
    "6.12": (TRY_6_12, "Makefile.compiler"),
}


@pytest.fixture(params=TRIES)
def kernel(tmp_path: Path, request: pytest.FixtureRequest) -> Kernel:
    return Kernel(tmp_path, *TRIES[request.param])


ALL = (
    "cc-option:-falign-jumps=1", "cc-option:-fno-such-thing", "cc-option-yn:-fno-stack-check", "cc-option-yn:--no-such",
    "cc-disable-warning:unused-but-set-variable", "cc-disable-warning:such-a-warning", "as-option:-Wa$(comma)--64",
    "as-option:-Wa$(comma)--none", "as-instr:nop", "as-instr:nopes",
)  # fmt: skip


def test_every_answer_is_what_the_makefile_itself_finds_out(kernel: Kernel) -> None:
    plain, asked = kernel.ask(*ALL, remember=False)
    assert asked == len(ALL)
    assert plain[:4] == ["[-falign-jumps=1]", "[instead]", "[y]", "[n]"]
    assert kernel.ask(*ALL) == (plain, len(ALL))
    assert b"-Wa,--64@S" in kernel.answers
    told, asked = kernel.ask(*ALL)
    assert told == plain
    assert asked == 6  # four refusals, which may have been a full disk's, and what is not a question of a flag


def test_a_build_leaves_the_same_answers_whether_it_asked_or_not(kernel: Kernel) -> None:
    kernel.ask(*ALL)
    before = kernel.answers
    assert before.count(b"\n") == 6  # format, identity, four flags
    kernel.ask(*ALL)
    assert kernel.answers == before
    assert "4 flags" in kernel.said


def test_where_the_tree_lies_is_no_part_of_a_question(tmp_path: Path) -> None:
    here = Kernel(tmp_path)
    here.ask("cc-option:-falign-jumps=1")
    here.place = here.place.rename(tmp_path / "elsewhere")
    assert here.ask("cc-option:-falign-jumps=1") == (["[-falign-jumps=1]"], 0)


@pytest.mark.parametrize("flag", ["-I/tmp", "-include$(CURDIR)/empty.h", "@/dev/null", "-fplugin=./none.so"])
def test_a_flag_that_names_a_file_is_asked_each_time(tmp_path: Path, flag: str) -> None:
    kernel = Kernel(tmp_path)
    plain = kernel.ask(f"cc-option:{flag}", remember=False)
    assert [kernel.ask(f"cc-option:{flag}") for _ in range(2)] == [plain, plain]
    assert plain[1] == 1


def test_another_compiler_is_asked(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path)
    kernel.ask("cc-option:-falign-jumps=1")
    kernel.compiler('case "$*" in *-falign*) exit 1 ;; esac; exec gcc "$@"')
    assert kernel.ask("cc-option:-falign-jumps=1") == (["[instead]"], 1)


def test_answers_that_no_build_left_are_no_makefile(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path)
    kernel.ask("cc-option:-falign-jumps=1")
    end = b'@S-c@S-x@Sc@S/dev/null@S-o@S"@DTMP"'
    for odd in (b"$(shell(touch,%s/made))", b"x:=$(error(odd))", b"a\n$(error(odd))"):
        kernel.answers += odd.replace(b"%s", bytes(tmp_path)) + end + b" 0\n"
    told, asked = kernel.ask("cc-option:-falign-jumps=1")
    assert (told, asked) == (["[-falign-jumps=1]"], 0)
    assert not (tmp_path / "made").exists()
    assert not [p for p in (tmp_path / "state").iterdir() if p.name.startswith("try.")]


def test_what_a_kernel_gives_its_questions_they_have(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, TRY_6_12)
    assert kernel.ask("rustc-option:-Zsome") == (["[-Zsome]"], 0)
    (tmp_path / "older").mkdir()
    assert Kernel(tmp_path / "older").ask("rustc-option:-Zsome") == (["[instead]"], 0)


@pytest.mark.parametrize("rules", ["", TRY_6_1.replace("try-run", "attempt"), TRY_6_1 + TRY_4_18])
def test_a_kernel_that_asks_in_another_way_is_left_alone(tmp_path: Path, rules: str) -> None:
    kernel = Kernel(tmp_path, TRY_6_1)
    (kernel.place / "scripts/Makefile.compiler").rename(kernel.place / "other")
    (kernel.place / "scripts/Makefile.compiler").write_text(rules)
    (kernel.place / "Makefile").write_text(f"include other\n{MAKEFILE}")
    for _ in range(2):
        assert kernel.ask("cc-option:-falign-jumps=1") == (["[-falign-jumps=1]"], 1)
    assert "flags off" in kernel.told


def test_answers_of_another_format_are_not_read_and_stop_nothing(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path)
    kernel.answers = b"repobuild-conftest 0\nanything\n"
    assert kernel.ask("cc-option:-falign-jumps=1") == (["[-falign-jumps=1]"], 1)
    assert kernel.told.count("of another format") == 1
