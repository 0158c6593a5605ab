"""Every mistake a person can make in matrix.yaml and streams/*.yaml is told once, on its line, in words."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from builder.config import load_matrix
from builder.errors import ConfigError, Mistake

ASSETS = Path(__file__).parent.parent / "assets" / "config"
TEN = ASSETS / "ten-mistakes"


def mistakes_of(folder: Path) -> tuple[Mistake, ...]:
    with pytest.raises(ConfigError) as caught:
        load_matrix(folder / "matrix.yaml")
    return caught.value.mistakes


def copy_of_good(tmp_path: Path) -> Path:
    return shutil.copytree(ASSETS / "good", tmp_path / "config")


def edit(path: Path, old: str, new: str) -> int:
    """Replace the one place of ``old``; the line it starts on."""
    text = path.read_text()
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {path.name}"
    path.write_text(text.replace(old, new))
    start = text.index(old)
    common = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    return text.count("\n", 0, start) + old.count("\n", 0, common) + 1


EXPECTED_TEN = {
    1: "epoch: 'three' stands here, a whole number is wanted",
    2: "distributions.lab9.payloda: unknown key, did you mean 'payload'? (allowed: title, platform, "
    "dist_tag, delivery, arches, payload, other_kernels, dnf, buildroot)",
    3: "kernels[1].distribution: no distribution 'lab8', did you mean 'lab9'? (allowed: lab9)",
    4: "kernels: '6.1.0-56-amd64' stands here a second time; first on line 22 (cell ids must be unique)",
    5: 'branches.535.eol: \'June 2026\' is not "YYYY-MM" or "YYYY"',
    6: 'branches.535.max_cuda: 12.2 is not text to YAML: quote it ("12.2")',
    7: "branches.535: driver 535.261.03: url: unknown placeholder {verison}, did you mean '{version}'? "
    "(allowed: {version}, {arch}, {branch})",
    8: "branches.550: driver 550.163.01: no source of kind run: nothing can be built",
    9: "exclude[0].cells: 'r470@*' matches no cell (repobuild cells lists them)",
    10: "branch: no branch '525', did you mean '535'? (allowed: 535, 550, newest-complete)",
}


def test_ten_planted_mistakes_are_all_told_in_one_pass_with_file_and_line() -> None:
    planted = {}
    for path in (TEN / "matrix.yaml", TEN / "streams" / "r535-open.yaml"):
        for line, text in enumerate(path.read_text().splitlines(), start=1):
            number = re.search(r"# (\d+)$", text)
            if number:
                planted[int(number[1])] = (str(path), line)
    assert sorted(planted) == list(range(1, 11))

    found = {(m.file, m.line): m.message for m in mistakes_of(TEN)}

    assert found == {planted[number]: message for number, message in EXPECTED_TEN.items()}


def test_a_configuration_error_shows_file_and_line_of_each_mistake_in_its_details() -> None:
    with pytest.raises(ConfigError, match="10 mistakes in the configuration") as caught:
        load_matrix(TEN / "matrix.yaml")
    assert caught.value.details[0].startswith(f"{TEN}/matrix.yaml:4: epoch")
    assert caught.value.exit_code == 3


RUN = '[{kind: run, arch: x86_64, url: "https://example.org/{version}.run"}]'
IN_MATRIX = [
    # shape
    ("schema: 1", "schema: 2", "schema: unknown value '2' (allowed: 1)"),
    ("epoch: 3\n", "", "the key 'epoch' is missing"),
    ("epoch: 3", "epoch: -1", "epoch: '-1' is too small (at least 0)"),
    ("vendor: tests", "vendor:", "vendor: nothing stands here, text is wanted"),
    ("vendor: tests", 'vendor: ""', "vendor: empty text"),
    ("vendor: tests", "vendor: [a]", "vendor: a list stands here, text is wanted"),
    ("vendor: tests", "vendor: yes", 'vendor: yes is not text to YAML: quote it ("yes")'),
    ("vendor: tests", "vendor: 2026-11-21", 'vendor: 2026-11-21 is not text to YAML: quote it ("2026-11-21")'),
    ("vendor: tests", "vendor: t\nvendor: u", "'vendor' stands here a second time; first on line 4"),
    (
        "vendor: tests",
        "vendro: tests",
        re.compile(r"vendro: unknown key, did you mean 'vendor'\? \(allowed: schema, .*\)"),
    ),
    (
        "delivery: modular",
        "delivery: moduler",
        (
            "distributions.lab9.delivery: unknown value 'moduler', did you mean "
            "'modular'? (allowed: modular, branch-packages, branch-repos)"
        ),
    ),
    (
        "payload: w6.gzdio",
        "payload: fast",
        "distributions.lab7.payload: 'fast' is not w<level>.gzdio, .bzdio, .xzdio or .zstdio, as in w19.zstdio",
    ),
    (
        "payload: w6.gzdio",
        "payload: w3.zstdio",
        "distributions.lab7.payload: delivery branch-packages is for an rpm that reads no zstd: write w6.xzdio",
    ),
    (
        "packages: [rpm-build, gcc-12]",
        "packages: []",
        "distributions.lab9.buildroot.packages: empty; at least one is needed",
    ),
    ("live: false", "live: no", None),
    ("live: false", "built: 2025-05-20T13:05Z\n    live: false", None),
    (
        "live: false",
        "built: May 2025\n    live: false",
        "kernels[4].built: 'May 2025' is not a time in UTC, as in \"2025-05-20T13:05Z\"",
    ),
    (
        "live: false",
        "published: 2025-05-20T13:05:00Z\n    live: false",
        'kernels[4].published: 2025-05-20T13:05:00Z is not text to YAML: quote it ("2025-05-20T13:05:00Z")',
    ),
    ("live: false", "live: 0", "kernels[4].live: '0' stands here, true or false is wanted"),
    ("dist_tag: .lab9", "dist_tag: lab9", "distributions.lab9.dist_tag: 'lab9' is not a dot and letters, as in .el9"),
    (
        'compiler: {package: gcc-12, command: gcc-12, version_text: "gcc-12 12.2.0"}',
        "compiler: {package: gcc-12, command: /usr/bin/gcc-12}",
        None,
    ),
    (
        'compiler: {package: gcc-12, command: gcc-12, version_text: "gcc-12 12.2.0"}',
        "compiler: {package: gcc-12, command: gcc -m64}",
        "kernels[2].compiler.command: 'gcc -m64' is not a program's name or its absolute path",
    ),
    (
        'version_text: "gcc-12 12.2.0"',
        'version_text: "gcc-14 (Debian 14.2.0-19) 14.2.0"',
        "kernels[2].compiler.command: 'gcc-12' is not what version_text says: 'gcc-14 (Debian 14.2.0-19) 14.2.0'",
    ),
    (
        "core: {name: kernel-cloud-core, evr: 6.1.0-56.lab9}",
        "core: {name: kernel-cloud-core, evr: 6.1.0}",
        "kernels[2].core.evr: '6.1.0' is not [epoch:]version-release, as in 5.14.0-503.11.1.el9_5",
    ),
    (
        "path: /usr/src/kernels/6.1.0-9-amd64",
        "path: usr/src",
        "kernels[1].devel.path: 'usr/src' is not an absolute path without spaces",
    ),
    (
        'version: "430.64"',
        "version: 430.64",
        'branches.430.drivers[0].version: 430.64 is not text to YAML: quote it ("430.64")',
    ),
    (
        'version: "430.64"',
        "version: 430.10",
        'branches.430.drivers[0].version: 430.10 is not text to YAML: quote it ("430.10")',
    ),
    ('"430":', "430:", 'the key 430 is not text to YAML: quote it ("430")'),
    # between values of matrix.yaml
    (
        'template: lab9.cfg.j2\n      releasever: "9"',
        'template: lab8.cfg.j2\n      releasever: "9"',
        (
            "distributions.lab9.buildroot.template: no file 'lab8.cfg.j2' in mock-configs/, did you mean "
            "'lab9.cfg.j2'? (allowed: lab9.cfg.j2)"
        ),
    ),
    (
        "          gpgkey: keys/LAB\n",
        "",
        (
            "distributions.lab9.buildroot.repositories[0]: gpgcheck is on and no gpgkey is "
            "given: name the key, or write gpgcheck: false"
        ),
    ),
    (
        "baseurl: https://example.org/$releasever/",
        "baseurl: ftp://example.org/",
        (
            "distributions.lab9.buildroot.repositories[1].baseurl: unknown scheme in 'ftp://example.org/' "
            "(allowed: https://, http://, file://), or a path"
        ),
    ),
    (
        "        - id: extra",
        "        - id: lab",
        "distributions.lab9.buildroot.repositories: 'lab' stands here a second time; first on line 18",
    ),
    (
        "release: 6.1.0-9-amd64\n    arch: x86_64",
        "release: 6.1.0-9-amd64\n    arch: aarch64",
        "kernels[1].arch: lab9 has no arch 'aarch64' (allowed: x86_64)",
    ),
    (
        "core: {name: kernel-core, evr: 6.1.0-9.lab9}",
        "core: {name: kernel-core, evr: 6.1.0-56.lab9}",
        "kernels[1].core: kernel-core = 6.1.0-56.lab9 is the package of 6.1.0-56-amd64 already (line 38)",
    ),
    (
        "flavors: [proprietary, open]",
        "flavors: [proprietary, proprietary]",
        "branches.535: driver 535.261.03: flavors: 'proprietary' stands here a second time; first on line 105",
    ),
    (
        'version: "535.99.01"',
        'version: "550.99.01"',
        "branches.535: driver 550.99.01: does not belong to branch 535 (its versions are 535.…)",
    ),
    (
        'version: "535.99.01"',
        'version: "535.261.03"',
        "branches: '535.261.03' stands here a second time; first on line 104 (one entry a version)",
    ),
    ("sources: " + RUN, "sources: []", "branches.535: driver 535.99.01: no source of kind run: nothing can be built"),
    (
        "sources: " + RUN,
        "sources: " + RUN.replace("x86_64", "aarch64"),
        "branches.535: driver 535.99.01: no distribution has arch 'aarch64' (allowed: x86_64)",
    ),
    (
        "sources: " + RUN,
        "sources: " + RUN.replace("x86_64", "noarch"),
        "branches.535: driver 535.99.01: a source of kind run is for one arch, not noarch (allowed: x86_64)",
    ),
    (
        '"drivers/NVIDIA-Linux-{arch}-{version}.run"}]',
        '"drivers/NVIDIA-Linux-{arch}-{version}.run"}, {kind: imex, arch: noarch, url: x}]',
        "branches.535: driver 535.261.03: a source of kind imex is for one arch, not noarch (allowed: x86_64)",
    ),
    (
        "sources: " + RUN,
        "sources: " + RUN[:-1] + ", " + RUN[1:],
        "branches.535: driver 535.99.01: a second run source for x86_64; first on line 111",
    ),
    (
        "sources: " + RUN,
        "sources: " + RUN.replace("{version}", "{version"),
        (
            "branches.535: driver 535.99.01: url: "
            "'https://example.org/{version.run' is no template: expected '}' before end of string "
            "(allowed: {version}, {arch}, {branch})"
        ),
    ),
    (
        "sources: " + RUN,
        "sources: " + RUN.replace("{version}", "{version!r}"),
        "branches.535: driver 535.99.01: url: unknown placeholder {version!r} (allowed: {version}, {arch}, {branch})",
    ),
    (
        'cells: "r535*@*cloud*"',
        'cells: "r535@6.1.0-56-clod-amd64"',
        (
            "exclude[0].cells: 'r535@6.1.0-56-clod-amd64' "
            "matches no cell, did you mean 'r535@6.1.0-56-cloud-amd64'? (repobuild cells lists them)"
        ),
    ),
    # integrity: any file that is there stands for a key
    (
        "vendor: tests",
        "vendor: tests\nintegrity: {lifetime_days: 0}",
        "integrity.lifetime_days: '0' is too small (at least 1)",
    ),
    ("vendor: tests", "vendor: tests\nintegrity: {keys: [{file: a.asc}]}", "integrity.keys[0].file: no file 'a.asc'"),
    (
        "vendor: tests",
        'vendor: tests\nintegrity: {keys: [{file: matrix.yaml, from: "2027-01-01"}]}',
        "integrity.keys[0].from: the first key signs from the beginning",
    ),
    (
        "vendor: tests",
        "vendor: tests\nintegrity: {keys: [{file: matrix.yaml}, {file: matrix.yaml}]}",
        "integrity.keys[1]: since which day does it sign? Give `from`",
    ),
    (
        "vendor: tests",
        'vendor: tests\nintegrity: {keys: [{file: matrix.yaml}, {file: matrix.yaml, from: "2027-1-1"}]}',
        "integrity.keys[1].from: '2027-1-1' is not \"YYYY-MM-DD\"",
    ),
    (
        "vendor: tests",
        (
            "vendor: tests\nintegrity: {keys: [{file: matrix.yaml}, {file: matrix.yaml, from: '2027-02-01'}, "
            "{file: matrix.yaml, from: '2027-01-01'}]}"
        ),
        "integrity.keys[2].from: '2027-01-01' is not after '2027-02-01': keys stand here oldest first",
    ),
]


@pytest.mark.parametrize(
    ("old", "new", "message"), IN_MATRIX, ids=[f"{n}-{m[1][:30]}" for n, m in enumerate(IN_MATRIX)]
)
def test_each_mistake_of_matrix_yaml_is_told_once_on_its_line(
    tmp_path: Path, old: str, new: str, message: str | re.Pattern[str] | None
) -> None:
    folder = copy_of_good(tmp_path)
    line = edit(folder / "matrix.yaml", old, new)
    if message is None:
        load_matrix(folder / "matrix.yaml")
        return
    (mistake,) = mistakes_of(folder)
    if isinstance(message, re.Pattern):
        assert message.fullmatch(mistake.message)
    else:
        assert mistake.message == message
    if "is missing" not in mistake.message and "no gpgkey" not in mistake.message:
        assert mistake.line == line + ("second time" in mistake.message and "vendor" in old) + ("integrity" in new)
    assert mistake.file == str(folder / "matrix.yaml")


IN_STREAMS = [
    ("r535.yaml", "stream: r535", "stream: r536",
     "stream: 'r536' stands in a file named for 'r535': both must be the same"),
    ("r535.yaml", 'branch: "535"', "branch: 535", 'branch: 535 is not text to YAML: quote it ("535")'),
    ("r430.yaml", 'branch: "430"', 'branch: "535"', "branch: '535' in a stream named 'r430': its name says '430'"),
    ("r535.yaml", "flavor: proprietary", "flavor: open", ("flavor: 'open' in a stream named 'r535': its name says "
     "'proprietary'")),
    ("r535.yaml", "flavor: proprietary", "flavor: closed",
     "flavor: unknown value 'closed' (allowed: proprietary, open)"),
    ("r535.yaml", "kmods: precompiled", "kmods: dkms", ("kmods: 'dkms' in a stream named 'r535': its name says "
     "'precompiled'")),
    ("r535.yaml", "kmods: precompiled", "kmods: precompiled\ndefault: true",
     "default: lab9 has the default stream 'latest' already"),
    ("r535.yaml", "kmods: precompiled", "kmods: precompiled\ndefault_instead_of: [latest]",
     "default_instead_of: this stream is no default: write default: true, or take default_instead_of out"),
    ("latest.yaml", "default: true", "default: true\ndefault_instead_of: [latest]",
     "default_instead_of: 'latest' is this stream itself: name the former default"),
    ("latest.yaml", "default: true", "default: true\ndefault_instead_of: [r535, r535]",
     "default_instead_of: 'r535' stands here a second time"),
    ("latest-dkms.yaml", "[lab9]", "[lab8]", ("distributions: no distribution 'lab8', did you mean 'lab9'? "
     "(allowed: lab9, lab7)")),
    ("latest-dkms.yaml", "default_profile: small", "default_profile: smal",
     "default_profile: no profile 'smal', did you mean 'small'? (allowed: small)"),
    ("r535.yaml", "{default: {", "{defualt: {", ("default_profile: no profile 'default', did you mean 'defualt'? "
     "(allowed: defualt)")),
    ("latest.yaml", "nvidia-driver-cuda,", "nvidia-driver-cdua,", re.compile(
        r"profiles\.default\.packages: 'nvidia-driver-cdua' is no user-facing package, did you mean "
        r"'nvidia-driver-cuda'\? \(allowed: nvidia-driver, .*, nvidia-open, nvidia-open-kernel-source\)")),
    ("latest.yaml", "[nvidia-driver]}", "[nvidia-driver, nvidia-driver]}",
     "profiles.ks.packages: 'nvidia-driver' stands here a second time"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("file", "old", "new", "message"), IN_STREAMS, ids=[f"{n}-{m[2][:30]}" for n, m in enumerate(IN_STREAMS)]
)
def test_each_mistake_of_a_stream_is_told_once_on_its_line(
    tmp_path: Path, file: str, old: str, new: str, message: str | re.Pattern[str]
) -> None:
    folder = copy_of_good(tmp_path)
    line = edit(folder / "streams" / file, old, new)
    (mistake,) = mistakes_of(folder)
    if isinstance(message, re.Pattern):
        assert message.fullmatch(mistake.message)
    else:
        assert mistake.message == message
    assert (mistake.file, mistake.line) == (str(folder / "streams" / file), line + new.count("\n"))


def test_a_driver_without_the_archive_that_an_older_one_of_its_branch_has_is_a_mistake(tmp_path: Path) -> None:
    folder = copy_of_good(tmp_path)
    more = '[{kind: fabricmanager, arch: x86_64, url: "https://example.org/fm-{version}.tar.xz"}, '
    edit(folder / "matrix.yaml", RUN, more + RUN[1:])
    (mistake,) = mistakes_of(folder)
    assert mistake.message == (
        "branches.535: driver 535.261.03: no fabricmanager source for x86_64, which 535.99.01 has: "
        "hosts with its packages could not upgrade"
    )


def test_a_package_of_another_branch_is_no_package_of_this_stream(tmp_path: Path) -> None:
    folder = copy_of_good(tmp_path)
    edit(folder / "streams" / "r535.yaml", "cuda-drivers-535", "cuda-drivers-550")
    (mistake,) = mistakes_of(folder)
    assert mistake.message.startswith("profiles.default.packages: 'cuda-drivers-550' is no user-facing package")


def test_nvidia_open_is_no_package_of_a_proprietary_stream(tmp_path: Path) -> None:
    folder = copy_of_good(tmp_path)
    edit(folder / "streams" / "r535.yaml", "cuda-drivers-535", "nvidia-open")
    (mistake,) = mistakes_of(folder)
    assert "'nvidia-open' is no user-facing package" in mistake.message


def test_a_stream_of_a_flavor_that_no_driver_of_its_branch_has_is_a_mistake(tmp_path: Path) -> None:
    folder = copy_of_good(tmp_path)
    stream = (folder / "streams" / "r535.yaml").read_text()
    stream = stream.replace("r535", "r430-open").replace('"535"', '"430"').replace("proprietary", "open")
    (folder / "streams" / "r430-open.yaml").write_text(stream.replace("cuda-drivers-535", "cuda-drivers"))
    (mistake,) = mistakes_of(folder)
    assert mistake.message == "flavor: no driver of branch 430 has flavor open (allowed: proprietary)"
    assert mistake.line == 3


def test_a_distribution_without_default_stream_is_a_mistake_of_the_matrix(tmp_path: Path) -> None:
    folder = copy_of_good(tmp_path)
    edit(folder / "streams" / "latest.yaml", "default: true", "distributions: [lab9]\ndefault: true")
    (mistake,) = mistakes_of(folder)
    assert (mistake.file, mistake.line) == (str(folder / "matrix.yaml"), 24)
    assert mistake.message == (
        "distributions.lab7: no default stream: write default: true in one of its streams (allowed: r430, r535)"
    )


def test_names_of_distributions_and_branches_have_a_shape(tmp_path: Path) -> None:
    folder = copy_of_good(tmp_path)
    edit(folder / "matrix.yaml", "  lab7:\n", "  Lab 7:\n")
    edit(folder / "matrix.yaml", '  "430":\n', "  r430:\n")
    found = [m.message for m in mistakes_of(folder)]
    assert "distributions.Lab 7: 'Lab 7' is not lower-case letters, digits, '.', '_' and '-', a letter first" in found
    assert "branches.r430: 'r430' is not digits only, as in \"535\"" in found


def test_a_misspelt_required_key_is_one_mistake_not_two(tmp_path: Path) -> None:
    folder = copy_of_good(tmp_path)
    edit(folder / "streams" / "r430.yaml", "summary: R430", "sumary: R430")
    (mistake,) = mistakes_of(folder)
    assert mistake.message.startswith("sumary: unknown key, did you mean 'summary'?")


def test_one_broken_kernel_does_not_hide_a_broken_stream_nor_invent_mistakes(tmp_path: Path) -> None:
    folder = copy_of_good(tmp_path)
    edit(folder / "matrix.yaml", "distribution: lab9\n    release: 6.1.0-9-amd64", "distribution: 9\n    release: [x]")
    edit(folder / "streams" / "latest-dkms.yaml", "flavor: proprietary", "flavour: proprietary")
    assert [m.message.split(":")[0] for m in mistakes_of(folder)] == [
        "kernels[1].distribution",
        "kernels[1].release",
        "flavour",
    ]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "the file is empty"),
        ("- a\n", 1, "a mapping is wanted, a list stands here"),
        ("a: 1\nb: [1\nc: 2\n", 3, "not YAML: while parsing a flow sequence did not find expected ',' or ']'"),
        (
            "a: 1\n\tb: 2\n",
            2,
            "not YAML: while scanning a plain scalar found a tab character that violates indentation",
        ),
        ("a: \x01\n", 1, "not YAML: control characters are not allowed"),
        ("a: 1\n---\nb: 1\n", 2, "not YAML: expected a single document in the stream but found another document"),
        ("a: &x [*x]\n", 1, "an alias (*name) that holds itself, or far too many of them: write the values out"),
        ("b: &x {c: 1}\na:\n  <<: *x\n", 3, "merge keys (<<) are not supported: write the entries out"),
        (
            "a: !!python/name:os.system x\n",
            1,
            "tag tag:yaml.org,2002:python/name:os.system is not supported: write a plain value",
        ),
        ("? [a]\n: 1\n", 1, "a list cannot be a key: a name is wanted"),
    ],
)
def test_what_is_not_yaml_is_told_with_its_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    folder = copy_of_good(tmp_path)
    path = folder / "streams" / "r430.yaml"
    path.write_text(text)
    assert (line, message) in {(m.line, m.message) for m in mistakes_of(folder) if m.file == str(path)}


def test_bytes_that_are_not_utf8_are_told_with_their_line(tmp_path: Path) -> None:
    folder = copy_of_good(tmp_path)
    path = folder / "streams" / "r430.yaml"
    path.write_bytes(b"stream: r430\nsummary: \xff\n")
    (mistake,) = mistakes_of(folder)
    assert (mistake.line, mistake.message) == (2, "byte 0xff is not UTF-8 text")


def test_an_alias_bomb_ends_as_a_mistake(tmp_path: Path) -> None:
    folder = copy_of_good(tmp_path)
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    (folder / "streams" / "r430.yaml").write_text("\n".join(lines))
    assert any("far too many of them" in m.message for m in mistakes_of(folder))


def test_a_matrix_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    folder = copy_of_good(tmp_path)
    (folder / "matrix.yaml").unlink()
    assert [str(m) for m in mistakes_of(folder)] == [
        f"{folder}/matrix.yaml:0: cannot be read: No such file or directory"
    ]


def test_a_stream_file_with_another_ending_is_told_not_passed_over(tmp_path: Path) -> None:
    folder = copy_of_good(tmp_path)
    (folder / "streams" / "r535.yaml").rename(folder / "streams" / "r535.yml")
    found = [m.message for m in mistakes_of(folder)]
    assert "not read: a stream's file is named r535.yaml" in found


def test_a_folder_without_streams_is_a_mistake(tmp_path: Path) -> None:
    folder = copy_of_good(tmp_path)
    shutil.rmtree(folder / "streams")
    assert "no stream file (<stream>.yaml) in this folder" in [m.message for m in mistakes_of(folder)]


def test_two_streams_of_one_name_in_package_names_are_a_mistake_where_names_tell_them_apart(tmp_path: Path) -> None:
    folder = copy_of_good(tmp_path)
    again = folder / "streams" / "again.yaml"
    again.write_text((folder / "streams" / "r535.yaml").read_text().replace("stream: r535", "stream: again"))
    (mistake,) = mistakes_of(folder)
    label = "branch-535"
    assert mistake.message == (
        f"stream: on lab7 its packages would be called nvidia-driver-{label}, as those of 'again':"
        " leave lab7 out of one's distributions"
    )
    assert mistake.file == str(folder / "streams" / "r535.yaml")
    edit(again, "stream: again", "distributions: [lab9]\nstream: again")
    load_matrix(folder / "matrix.yaml")
