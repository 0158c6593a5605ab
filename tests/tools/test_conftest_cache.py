"""What is asked of the compiler about a kernel is remembered exactly as long as nothing can change the answer."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.lab.distro import LabDistro
from tests.lab.drivers import make_real
from tests.lab.make_tree import SHIM, driver_trees, kernel_tree, make_modules
from tests.need import need

KBUILD = """NV_CONFTEST_SCRIPT := $(src)/conftest.sh
NV_CONFTEST_CMD := /bin/sh $(NV_CONFTEST_SCRIPT) "$(strip $(CC))" $(ARCH)
NV_CONFTEST_CFLAGS = -O2
"""
PREAMBLE = '#include "conftest/headers.h"\n'
FUNCTION = "#include <linux/f.h>\nvoid t(void) { f(1); }\n"


@dataclass(kw_only=True)
class Probe:
    """A driver's tree and a kernel's headers, both small, and the compiler as conftest.sh is given it."""

    folder: Path
    answers: bytes = b""
    shell: str = "sh"
    cc: str = "gcc"
    flags: list[str] = field(default_factory=list)
    number: int = 0
    said: str = ""

    @property
    def tree(self) -> Path:
        return self.folder / "tree"

    @property
    def devel(self) -> Path:
        return self.folder / "devel"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def shim(self, *words: str | Path, given: str = "") -> subprocess.CompletedProcess[str]:
        argv = [self.shell, str(SHIM), *map(str, words)]
        return subprocess.run(argv, cwd=self.tree, input=given, capture_output=True, text=True, timeout=60, check=False)

    def ask(self, text: str, *flags: str) -> tuple[int, bool, bool]:
        """Prepare, compile one test, collect: exit status, whether an object came, whether the compiler was asked."""
        self.number += 1
        remembered = self.folder / "answers"
        remembered.write_bytes(self.answers)
        self.write("tree/Kbuild", KBUILD)
        self.said = self.shim("prepare", self.state, ".", self.devel, self.devel, self.cc, remembered).stdout
        name = f"conftest{self.number}"
        (self.tree / f"{name}.c").write_text(text)
        tree, devel = self.tree, self.devel
        words = [f'-DKBUILD_BASENAME="#conftest{self.number}"', "-nostdinc", "-O2", f"-I{devel}/include"]
        words += ["-include", f"{devel}/include/generated/autoconf.h", f"-I{tree}/common/inc", f"-I{tree}"]
        done = self.shim("cc", self.state, *words, *self.flags, *flags, "-c", f"{name}.c")
        output = self.folder / "output"
        self.shim("collect", self.state, output)
        self.answers = output.read_bytes()
        made = (self.tree / f"{name}.o").exists()
        (self.tree / f"{name}.o").unlink(missing_ok=True)
        return done.returncode, made, (self.state / "asked").exists()

    def asks_again(self, text: str, *flags: str) -> bool:
        return self.ask(text, *flags)[2]


@pytest.fixture
def probe(tmp_path: Path) -> Probe:
    need("gcc", "awk", "sha256sum", "ldd")
    made = Probe(folder=tmp_path)
    made.write("devel/include/generated/autoconf.h", "/* made */\n#define CONFIG_X 1\n")
    made.write("devel/include/linux/f.h", "int f(int);\n")
    made.write("devel/include/linux/g.h", '#include "sub/h.h"\n')
    made.write("tree/common/inc/nv.h", "int nv(void);\n")
    made.write("tree/conftest/headers.h", "#define NV_LINUX_F_H_PRESENT\n#undef NV_ASM_G_H_PRESENT\n")
    return made


@pytest.mark.parametrize("shell", ["sh", "bash", "dash"])
def test_an_answer_is_remembered_with_its_object(probe: Probe, shell: str) -> None:
    need(shell)
    probe.shell = shell
    assert probe.ask(FUNCTION) == (0, True, True)
    assert probe.ask(FUNCTION) == (0, True, False)


def test_a_refusal_of_the_compiler_is_remembered(probe: Probe) -> None:
    wrong = "#include <linux/f.h>\nvoid t(void) { f(); }\n"
    assert probe.ask(wrong) == (1, False, True)
    assert probe.ask(wrong) == (1, False, False)


def test_a_missing_header_is_remembered(probe: Probe) -> None:
    assert probe.ask("#include <linux/none.h>\n") == (1, False, True)
    assert probe.ask("#include <linux/none.h>\n") == (1, False, False)


def test_a_build_leaves_the_same_answers_whether_it_asked_or_not(probe: Probe) -> None:
    probe.ask(FUNCTION)
    asked = probe.answers
    assert asked.count(b"\n") == 3
    assert not probe.asks_again(FUNCTION)
    assert probe.answers == asked


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda p: p.write("devel/include/linux/unrelated.h", "int u;\n"), "the kernel has a header more"),
        (lambda p: p.write("devel/include/linux/f.h", "int f(int );\n"), "a header of the kernel differs"),
        (lambda p: p.write("devel/include/generated/autoconf.h", "#define CONFIG_X 2\n"), "its configuration differs"),
        (lambda p: p.flags.append("-DMODULE"), "a flag more"),
        (lambda p: p.flags.append("-O1"), "another flag"),
        (lambda p: p.write("tree/sub/h.h", "\n"), "a header of the kernel could reach into the driver's tree"),
        (lambda p: p.write("tree/linux/f.h", "int f(void);\n"), "the driver has a file of the name asked for"),
    ],
)
def test_whatever_can_change_an_answer_asks_again(probe: Probe, change: Callable[[Probe], None], why: str) -> None:
    probe.ask(FUNCTION)
    change(probe)
    assert probe.asks_again(FUNCTION), why


def test_another_compiler_is_asked(probe: Probe) -> None:
    probe.ask(FUNCTION)
    cc = probe.folder / "gcc-copy"
    cc.write_text(f'#!/bin/sh\nexec {shutil.which("gcc")} "$@"\n')
    cc.chmod(0o755)
    probe.cc = str(cc)
    assert probe.asks_again(FUNCTION)


def test_what_differs_between_drivers_and_cannot_matter_does_not_ask_again(probe: Probe) -> None:
    probe.flags = ["-DNV_VERSION_STRING=1", "-std=gnu11"]
    text = PREAMBLE + FUNCTION
    probe.ask(text)
    shutil.move(probe.tree, probe.folder / "elsewhere")
    shutil.copytree(probe.folder / "elsewhere", probe.tree)
    probe.flags = ["-DNV_VERSION_STRING=2", "-std=gnu11", "-std=gnu11", "-Wno-error"]
    probe.write("tree/conftest/headers.h", "#define NV_OTHER_H_PRESENT\n#define NV_LINUX_F_H_PRESENT\n")
    probe.write("tree/common/inc/nv.h", "int nv(int);\n")
    probe.write("tree/nvidia/other.h", "int other;\n")
    assert not probe.asks_again(text)


def test_a_text_that_names_the_version_asks_again(probe: Probe) -> None:
    text = "int i = NV_VERSION_STRING;\n"
    probe.ask(text, "-DNV_VERSION_STRING=1")
    assert probe.asks_again(text, "-DNV_VERSION_STRING=x")


def test_no_error_matters_after_error(probe: Probe) -> None:
    probe.ask(FUNCTION, "-Werror")
    assert probe.asks_again(FUNCTION, "-Werror", "-Wno-error")


CONDITIONAL = PREAMBLE + (
    "#if defined(NV_LINUX_F_H_PRESENT)\n  #include <linux/f.h>\n#if defined(CONFIG_X)\nint x;\n#else\nint y;\n#endif\n"
    "#else\n#include <linux/none.h>\n#endif\n#include <generated/autoconf.h>\nvoid t(void) { f(x); }\n"
)


def test_what_the_driver_found_decides_the_text(probe: Probe) -> None:
    assert probe.ask(CONDITIONAL) == (0, True, True)
    same = PREAMBLE + "#include <linux/f.h>\n\n#if defined(CONFIG_X)\nint x;\n#else\nint y;\n#endif\n"
    same += "#include <generated/autoconf.h>\nvoid t(void) { f(x); }\n"
    assert probe.ask(same) == (0, True, False)
    probe.write("tree/conftest/headers.h", "#undef NV_LINUX_F_H_PRESENT\n")
    assert probe.ask(CONDITIONAL) == (1, False, True)


def test_the_configuration_read_first_is_not_read_again(probe: Probe) -> None:
    early = PREAMBLE + "#if defined(CONFIG_X)\nint x;\n#endif\n#include <generated/autoconf.h>\n" + FUNCTION
    late = PREAMBLE + "#include <generated/autoconf.h>\n#if defined(CONFIG_X)\nint x;\n#endif\n" + FUNCTION
    probe.ask(early)
    assert not probe.asks_again(late)
    probe.write("devel/include/generated/autoconf.h", "#define CONFIG_X 1\n#undef CONFIG_Y\n")
    assert probe.asks_again(early)
    assert probe.asks_again(late), "it holds more than definitions"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('#include "nv.h"\n', "a file of the driver's tree"),
        ('#define NAME "nv.h"\n#include NAME\n', "a name made by a macro"),
        ("#if __has_include(<nv.h>)\n#endif\nint i;\n", "a question about files"),
        ('#include "../devel/include/linux/../../../tree/common/inc/nv.h"\n', "a file of the driver's tree by detours"),
    ],
)
def test_a_text_that_reads_the_drivers_tree_is_always_asked(probe: Probe, text: str, why: str) -> None:
    assert probe.asks_again(text)
    assert probe.asks_again(text), why


def test_a_compiler_that_dies_said_nothing(probe: Probe) -> None:
    cc = probe.folder / "dying"
    real = shutil.which("gcc")
    cc.write_text(
        f'#!/bin/sh\ncase " $* " in *" -c "*) echo "gcc: fatal error: Killed signal terminated program cc1" >&2; '
        f'exit 1 ;; esac\nexec {real} "$@"\n'
    )
    cc.chmod(0o755)
    probe.cc = str(cc)
    assert probe.ask(FUNCTION) == (1, False, True)
    assert probe.asks_again(FUNCTION)


def test_a_header_is_looked_for_once(probe: Probe) -> None:
    probe.ask(FUNCTION)
    words = ["-E", "-M", "-nostdinc", f"-I{probe.devel}/include", "-"]
    for name, status in (("linux/f.h", 0), ("linux/none.h", 1)):
        for asked in (True, False):
            (probe.state / "asked").unlink(missing_ok=True)
            done = probe.shim("cc", probe.state, *words, given=f"#include <{name}>\n")
            assert (done.returncode, (probe.state / "asked").exists()) == (status, asked)
            for line in (probe.state / "used").read_text().splitlines():
                (probe.state / "answers" / line.split()[0]).write_text(line.split()[1])


def test_everything_else_goes_to_the_compiler(probe: Probe) -> None:
    probe.ask(FUNCTION)
    assert probe.shim("cc", probe.state, "-print-file-name=include").stdout.strip().endswith("/include")


def test_a_tree_without_that_conftest_is_built_as_it_is(probe: Probe) -> None:
    (probe.tree / "Kbuild").write_text("obj-m += nvidia.o\n")
    done = probe.shim("prepare", probe.state, ".", probe.devel, probe.devel, "gcc", "")
    assert (done.returncode, (probe.tree / "Kbuild").read_text()) == (0, "obj-m += nvidia.o\n")
    assert "off: this tree's Kbuild has no conftest of the kind known here" in done.stdout
    assert probe.shim("collect", probe.state, probe.folder / "output").returncode == 0
    assert (probe.folder / "output").read_text() == "repobuild-conftest 1\n"


def make(probe: Probe, call: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Make a Kbuild that prints how it would call conftest.sh, after the tree was prepared."""
    need("make")
    (probe.tree / "Kbuild").write_text(
        KBUILD.replace('"$(strip $(CC))"', call) + "all:\n\t@echo '$(NV_CONFTEST_CMD)'\n"
    )
    probe.shim("prepare", probe.state, ".", probe.devel, probe.devel, "gcc", "")
    argv = ["make", "-f", "Kbuild", "CC=gcc", "ARCH=x86_64", *words, "all"]
    return subprocess.run(argv, cwd=probe.tree, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("call", ['"$(strip $(CC))"', '"$(CC)"'])
def test_the_calls_of_every_branch_are_known(probe: Probe, call: str) -> None:
    done = make(probe, call, f"REPOBUILD_CONFTEST={probe.state}/conftest.mk")
    assert f'/conftest.sh "/bin/sh {SHIM} cc {probe.state}" x86_64' in done.stdout


def test_a_kbuild_that_calls_conftest_otherwise_fails_loudly(probe: Probe) -> None:
    assert make(probe, "'$(CC)'").returncode == 0, "without the variable nothing changes"
    done = make(probe, "'$(CC)'", f"REPOBUILD_CONFTEST={probe.state}/conftest.mk")
    assert done.returncode == 2
    assert "Kbuild calls conftest.sh in an unknown way" in done.stderr


TIED = """
NV_OBJECTS_DEPEND_ON_CONFTEST += one.o
NV_CONFTEST_HEADERS := $(obj)/made/headers.h
$(addprefix $(obj)/,$(NV_OBJECTS_DEPEND_ON_CONFTEST)): | $(NV_CONFTEST_HEADERS)
$(obj)/made/headers.h:
\t@mkdir made && { $(HEADER); } > $@
$(obj)/one.o:
\tcp made/headers.h $@
all: $(obj)/one.o
\t@echo 'tied: $(NV_OBJECTS_DEPEND_ON_CONFTEST)'
"""


def make_tied(probe: Probe, header: str = "", text: str = TIED) -> subprocess.CompletedProcess[str]:
    """Make a Kbuild whose one object is tied to conftest's headers, as kbuild calls it."""
    (probe.tree / "Kbuild").write_text(KBUILD + text)
    probe.shim("prepare", probe.state, ".", probe.devel, probe.devel, "gcc", "", "-j2")
    return make_as_kbuild(probe, HEADER=header, REPOBUILD_CONFTEST=f"{probe.state}/conftest.mk")


def make_as_kbuild(probe: Probe, **more: str) -> subprocess.CompletedProcess[str]:
    """A make below another hands on in its environment what the command line of the first says, and so does this."""
    need("make")
    environment = {**os.environ, "build": "-f Kbuild obj", "src": ".", "CC": "gcc", "ARCH": "x86_64", **more}
    argv = ["make", "-j2", "-f", "Kbuild", "obj=.", "all"]
    return subprocess.run(
        argv, cwd=probe.tree, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_headers_are_made_before_the_objects_and_once(probe: Probe) -> None:
    done = make_tied(probe, "echo found; echo making >&2")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("making") == 1
    assert (probe.tree / "one.o").read_text() == "found\n"
    assert "tied: \n" in done.stdout, "make would walk every tie again for every part of the headers"


def test_headers_that_cannot_be_made_end_the_build_with_their_own_words(probe: Probe) -> None:
    done = make_tied(probe, "echo wrong kernel >&2; false")
    assert done.returncode == 2
    assert "wrong kernel" in done.stderr
    assert "repobuild: conftest's headers could not be made" in done.stderr
    assert not (probe.tree / "one.o").exists()


def test_objects_that_are_tied_otherwise_stay_so(probe: Probe) -> None:
    otherwise = TIED.replace("$(addprefix $(obj)/,$(NV_OBJECTS_DEPEND_ON_CONFTEST)):", "$(obj)/one.o:")
    done = make_tied(probe, "echo found", otherwise)
    assert (done.returncode, (probe.tree / "one.o").read_text()) == (0, "found\n")
    assert "tied: one.o\n" in done.stdout


# Rules as NVIDIA's Kbuild has them, by which the shim knows what a part is.
PARTS = """
NV_CONFTEST_CMD += /source /output
NV_CONFTEST_CFLAGS += -DNAME=\\"b\\"
NV_CONFTEST_HEADER := $(obj)/conftest/headers.h
NV_CONFTEST_FUNCTION_COMPILE_TESTS := one two three
NV_CONFTEST_TYPE_COMPILE_TESTS := four @more@
NV_HEADER_PRESENCE_TESTS := asm/a.h linux/sub/b.h
NV_OBJECTS_DEPEND_ON_CONFTEST += one.o
NV_CONFTEST_HEADERS := $(NV_CONFTEST_HEADER) $(obj)/conftest/functions.h $(obj)/conftest/types.h
$(obj)/conftest/compile-tests/%.h: $(NV_CONFTEST_SCRIPT) $(NV_CONFTEST_HEADER)
\t@mkdir -p $(obj)/conftest/compile-tests
\t@$(NV_CONFTEST_CMD) compile_tests '$(NV_CONFTEST_CFLAGS)' \\
\t $(notdir $*) > $@
NV_HEADER_PRESENCE_PART = $(addprefix $(obj)/conftest/header_presence/,$(addsuffix .part,$(1)))
define NV_HEADER_PRESENCE_CHECK
 $$(call NV_HEADER_PRESENCE_PART,$(1)): $$(NV_CONFTEST_SCRIPT) $(obj)/conftest/uts_release
\t@mkdir -p $$(dir $$@)
\t@$$(NV_CONFTEST_CMD) test_kernel_header '$$(NV_CONFTEST_CFLAGS)' '$(1)' > $$@
endef
$(foreach header,$(NV_HEADER_PRESENCE_TESTS),$(eval $(call NV_HEADER_PRESENCE_CHECK,$(header))))
$(obj)/conftest/headers.h: $(call NV_HEADER_PRESENCE_PART,$(NV_HEADER_PRESENCE_TESTS))
\t@cat $^ > $@
$(obj)/conftest/functions.h: $(NV_CONFTEST_FUNCTION_COMPILE_TESTS:%=$(obj)/conftest/compile-tests/%.h)
\t@cat $^ > $@
$(obj)/conftest/types.h: $(NV_CONFTEST_TYPE_COMPILE_TESTS:%=$(obj)/conftest/compile-tests/%.h)
\t@cat $^ > $@
$(obj)/conftest/uts_release:
\t@mkdir -p $(obj)/conftest; echo 6.1 > $@
$(addprefix $(obj)/,$(NV_OBJECTS_DEPEND_ON_CONFTEST)): | $(NV_CONFTEST_HEADERS)
$(obj)/one.o:
\t@cat conftest/headers.h conftest/functions.h conftest/types.h > $@
all: $(obj)/one.o
"""
CONFTEST = """#!/bin/sh
SCRIPTDIR=`dirname $0`
cd $SCRIPTDIR
CC="$1"
echo "$$" >>shells
case "$5" in
    test_kernel_header)
        echo "#define HAS $3 $4 $6 $7"
        exit $?
    ;;
    compile_tests)
        shift 5
        CFLAGS=$1
        shift
        for i in $*; do
            if [ "$i" = bad ]; then echo "$i is no test" >&2; exit 1; fi
            echo "int f(void);" >conftest$$.c
            $CC -nostdinc -c conftest$$.c && echo "#define DID $i $CFLAGS $UNSET"
        done
        exit 0
    ;;
esac
"""


def make_parts(probe: Probe, *, shim: bool, more: str = "") -> tuple[subprocess.CompletedProcess[str], int]:
    """Make a Kbuild of many parts; returns how many shells ran conftest.sh."""
    text = KBUILD + PARTS.replace("@more@", more)
    probe.write("tree/Kbuild", text)
    probe.write("tree/conftest.sh", CONFTEST)
    (probe.tree / "shells").unlink(missing_ok=True)
    shutil.rmtree(probe.tree / "conftest", ignore_errors=True)
    done = make_tied(probe, text=PARTS.replace("@more@", more)) if shim else make_as_kbuild(probe)
    return done, len(set((probe.tree / "shells").read_text().split()))


def test_parts_are_made_by_few_shells_as_their_rules_make_them(probe: Probe) -> None:
    plain, shells = make_parts(probe, shim=False)
    assert (plain.returncode, shells) == (0, 6), plain.stderr
    expected = (probe.tree / "one.o").read_bytes()
    assert expected.count(b"#define") == 6
    assert b"#define DID two -O2 -DNAME=" in expected
    (probe.tree / "one.o").unlink()
    done, shells = make_parts(probe, shim=True)
    assert (done.returncode, shells) == (0, 4), done.stderr  # two for the headers, two for the tests
    assert (probe.tree / "one.o").read_bytes() == expected


def test_a_part_that_fails_is_left_to_its_rule(probe: Probe) -> None:
    done, _ = make_parts(probe, shim=True, more="bad")
    assert done.returncode == 2
    assert "bad is no test" in done.stderr
    assert "conftest's headers could not be made" in done.stderr


@pytest.mark.slow
def test_a_real_driver_is_the_same_bytes_with_and_without_answers(tmp_path: Path, lab: LabDistro) -> None:
    kernel = next(k for k in lab.kernels if k.variant == "generic")
    need("make", kernel.compiler_command)
    (driver,) = make_real(["535"])
    devel = kernel_tree(lab, kernel, tmp_path / "kernel")
    trees = driver_trees(driver, tmp_path / "trees")
    modules, jobs = ("nvidia-peermem",), os.cpu_count() or 1
    plain = make_modules(trees["open"], devel, kernel, tmp_path / "plain", modules=modules, jobs=jobs)
    first = make_modules(trees["open"], devel, kernel, tmp_path / "first", modules=modules, jobs=jobs, answers=b"")
    again = make_modules(
        trees["open"], devel, kernel, tmp_path / "again", modules=modules, jobs=jobs, answers=first.answers
    )
    assert plain.digests == first.digests == again.digests
    assert plain.headers == first.headers == again.headers
    assert first.answers == again.answers
    assert again.asked == 0 < first.asked
