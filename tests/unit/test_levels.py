"""Levels of qualification without a kernel: which one a cell needs, mistakes in asking, who can verify a signature."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from builder.config import load_matrix
from builder.errors import ConfigError, SignError
from builder.model.levels import Level, highest
from builder.model.matrix import Flavor, Kmods, Matrix, Profile, Stream
from builder.model.sources import KernelDevel
from builder.pipeline.settings import Settings
from builder.pipeline.signing import UNSIGNED, ModuleSigning
from builder.plan.levels import required_level
from builder.sign.modules import new_module_key
from tests.golden import sample

GOOD = Path(__file__).parent.parent / "assets/config/good"


def stream(
    name: str,
    branch: str | None,
    level: Level,
    *,
    flavor: Flavor = Flavor.OPEN,
    kmods: Kmods = Kmods.PRECOMPILED,
    distributions: tuple[str, ...] = (),
) -> Stream:
    return Stream(
        name=name,
        branch=branch,
        flavor=flavor,
        kmods=kmods,
        default=False,
        summary=name,
        description=name,
        profiles=(Profile(name="default", packages=("nvidia-driver",)),),
        default_profile="default",
        distributions=distributions,
        level=level,
    )


def matrix(*streams: Stream) -> Matrix:
    return replace(sample.MATRIX, streams=streams)


CELL = sample.cell()  # 535, open, el9


def test_each_level_includes_those_before_it() -> None:
    assert [level for rank in range(4) for level in Level if level.rank == rank] == [
        "static",
        "install",
        "boot",
        "secureboot",
    ]
    assert highest(Level.BOOT, Level.INSTALL) is Level.BOOT
    assert highest() is Level.STATIC


def test_the_most_careful_stream_that_may_carry_a_cell_decides_whatever_their_order() -> None:
    streams = (stream("r535-open", "535", Level.INSTALL), stream("latest", None, Level.BOOT))
    assert required_level(CELL, matrix(*streams)) is Level.BOOT
    assert required_level(CELL, matrix(*reversed(streams))) is Level.BOOT


@pytest.mark.parametrize(
    "other",
    [
        stream("r550-open", "550", Level.SECUREBOOT),
        stream("r535", "535", Level.SECUREBOOT, flavor=Flavor.PROPRIETARY),
        stream("r535-open-dkms", "535", Level.SECUREBOOT, kmods=Kmods.DKMS),
        stream("r535-open", "535", Level.SECUREBOOT, distributions=("el8",)),
    ],
    ids=["branch", "flavor", "dkms", "distribution"],
)
def test_a_stream_that_cannot_carry_a_cell_asks_nothing_of_it(other: Stream) -> None:
    assert required_level(CELL, matrix(other)) is Level.STATIC
    assert required_level(CELL, matrix(other, stream("latest", None, Level.INSTALL))) is Level.INSTALL


def configured(tmp_path: Path, text: str) -> tuple[Path, int]:
    """The good configuration with these lines at its end, and the number of the first of them."""
    config = shutil.copytree(GOOD, tmp_path / "config") / "matrix.yaml"
    before = config.read_text()
    config.write_text(before + text)
    return config, before.count("\n") + 1


def test_streams_without_a_level_of_their_own_need_the_common_one(tmp_path: Path) -> None:
    config, _ = configured(tmp_path, "qualification:\n  level: install\n  streams: {latest: secureboot}\n")
    levels = {s.name: s.level for s in load_matrix(config).streams}
    assert levels.pop("latest") is Level.SECUREBOOT
    assert set(levels.values()) == {Level.INSTALL}
    assert {s.level for s in load_matrix(GOOD / "matrix.yaml").streams} == {Level.STATIC}


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (
            "qualification:\n  level: boot\n  streams:\n    latest: boot\n    lates: boot\n",
            4,
            "qualification.streams: no stream 'lates', did you mean 'latest'? (allowed: latest, ",
        ),
        ("qualification:\n  level: bot\n", 1, "qualification.level: unknown value 'bot', did you mean 'boot'?"),
        (
            "qualification:\n  streams: {latest: secure-boot}\n",
            1,
            "qualification.streams.latest: unknown value 'secure-boot', did you mean 'secureboot'?",
        ),
        ("qualification:\n  levle: boot\n", 1, "qualification.levle: unknown key, did you mean 'level'?"),
    ],
)
def test_a_mistake_in_qualification_is_told_with_its_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    config, first = configured(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_matrix(config)
    (mistake,) = caught.value.mistakes
    assert (mistake.file, mistake.line) == (str(config), first + line)
    assert mistake.message.startswith(words)


def devel(*, ecdsa: bool | None) -> KernelDevel:
    return KernelDevel(release="6.1.0-x", sha256="0" * 64, symvers=Path("/none"), compiler_text=None, ecdsa=ecdsa)


def signing(folder: Path, *, ecdsa: bool) -> ModuleSigning:
    new_module_key(folder / "m.pem", folder / "m.key", "of a test", ecdsa=ecdsa)
    return ModuleSigning(Settings(config=folder / "matrix.yaml", module_cert=folder / "m.pem"))


def test_an_ec_certificate_is_refused_for_a_kernel_that_cannot_verify_it_and_for_no_other(tmp_path: Path) -> None:
    found = signing(tmp_path, ecdsa=True)
    assert found.fault(devel(ecdsa=False)) == (
        "kernel 6.1.0-x cannot verify ECDSA signatures (CONFIG_CRYPTO_ECDSA is off)"
    )
    assert found.fault(devel(ecdsa=True)) is None
    assert found.fault(devel(ecdsa=None)) is None  # not recorded: qualification finds out


def test_an_rsa_certificate_is_good_for_every_kernel(tmp_path: Path) -> None:
    found = signing(tmp_path, ecdsa=False)
    assert [found.fault(devel(ecdsa=e)) for e in (True, False, None)] == [None, None, None]


def test_a_run_without_certificate_signs_nothing_and_asks_for_no_key(tmp_path: Path) -> None:
    nobody = ModuleSigning(Settings(config=tmp_path / "matrix.yaml"))
    assert (nobody.identity, nobody.name, nobody.signer()) == (UNSIGNED, None, None)
    assert nobody.fault(devel(ecdsa=False)) is None


def test_a_key_without_certificate_and_a_certificate_without_key_are_told_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(SignError, match="a module signing key needs its certificate") as caught:
        ModuleSigning(Settings(config=tmp_path / "matrix.yaml", module_key="pkcs11:x"))
    assert caught.value.hint is not None
    assert "--module-cert" in caught.value.hint
    found = signing(tmp_path, ecdsa=False)
    (tmp_path / "m.key").unlink()
    with pytest.raises(SignError, match=r"m\.pem: its key is needed to sign modules") as caught:
        found.signer()
    assert caught.value.hint is not None
    assert str(tmp_path / "m.key") in caught.value.hint


def test_signers_are_told_apart_by_certificate_not_by_name(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    first, second = (signing(tmp_path / name, ecdsa=False) for name in ("a", "b"))
    assert first.name == second.name
    assert first.identity != second.identity
