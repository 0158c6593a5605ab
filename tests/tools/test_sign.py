"""Signing with real gpg and real rpm: what is signed, by whom, and that nothing is left behind."""

from __future__ import annotations

import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from builder.errors import InterruptedRunError, SignError
from builder.model.cells import Artifact
from builder.sign import Signer, new_key
from builder.sign import signer as signer_module
from builder.tools import rpmsign
from builder.tools.gpg import detached_fault, private_home
from builder.tools.rpms import file_sha256
from builder.tools.rpmsign import checksig_fault, signature_faults
from builder.tools.run import cancel_all, reset_cancelled, run
from tests.need import need
from tests.tools.publishing import EPOCH, Shop, make_rpms


@pytest.fixture
def home(shop: Shop) -> Path:
    return shop.home


@pytest.fixture
def foreign(shop: Shop) -> Path:
    return shop.foreign_home


@pytest.fixture(scope="module")
def rpms(tmp_path_factory: pytest.TempPathFactory) -> list[Artifact]:
    need("rpmbuild")
    folder = tmp_path_factory.mktemp("rpms")
    return list(make_rpms(folder, [("one", "3", "1", "1"), ("two", "0", "2", "1")]).values())


def test_signed_copies_verify_and_the_originals_stay_as_they_were(
    home: Path, rpms: list[Artifact], tmp_path: Path
) -> None:
    signer = Signer.open(home)
    copies = signer.sign_rpms(rpms, tmp_path, epoch=EPOCH)
    assert [c.nevra for c in copies] == [r.nevra for r in rpms]
    assert [file_sha256(r.path) for r in rpms] == [r.sha256 for r in rpms]
    assert [file_sha256(c.path) for c in copies] == [c.sha256 for c in copies]
    aside = tmp_path / "aside"
    aside.mkdir()
    assert signature_faults([c.path for c in copies], [signer.public_key()], aside) == {}
    assert set(signature_faults([r.path for r in rpms], [signer.public_key()], aside).values()) == {"not signed"}


def test_signing_twice_gives_the_same_bytes_in_any_number_of_calls(
    home: Path, rpms: list[Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = []
    for name, at_once in (("first", len(rpms)), ("second", 1)):
        monkeypatch.setattr(rpmsign, "_BATCH", at_once)
        (tmp_path / name).mkdir()
        signer = Signer.open(home)
        runs.append(signer.sign_rpms(rpms, tmp_path / name, epoch=EPOCH))
    assert [a.sha256 for a in runs[0]] == [a.sha256 for a in runs[1]]
    data = tmp_path / "data"
    data.write_text("repomd")
    assert Signer.open(home).sign_detached(data, epoch=EPOCH) == Signer.open(home).sign_detached(data, epoch=EPOCH)


def test_signatures_carry_the_time_they_were_told_but_never_one_before_their_key(
    home: Path, rpms: list[Artifact], tmp_path: Path
) -> None:
    signer = Signer.open(home)
    data, signature = tmp_path / "data", tmp_path / "data.asc"
    data.write_text("repomd")
    made = signer.signature_time(0)
    assert made > EPOCH
    for epoch in (0, made + 1_000_000):
        expected = max(made, epoch)
        assert signer.signature_time(epoch) == expected
        signature.write_bytes(signer.sign_detached(data, epoch=epoch))
        packets = run(("gpg", "--homedir", home, "--list-packets", signature), timeout=60).stdout
        assert f"created {expected}," in packets
        (tmp_path / str(epoch)).mkdir()
        (copy,) = signer.sign_rpms(rpms[:1], tmp_path / str(epoch), epoch=epoch)
        query = ("rpm", "-qp", "--nosignature", "--qf", "%{RSAHEADER:pgpsig}", copy.path)
        shown = run(query, timeout=60, env={"TZ": "UTC"}).stdout
        assert datetime.fromtimestamp(expected, UTC).strftime("%a %b %e %H:%M:%S %Y") in shown


def test_a_foreign_signature_and_an_altered_file_are_told_apart(
    home: Path, foreign: Path, rpms: list[Artifact], tmp_path: Path
) -> None:
    theirs = Signer.open(foreign).sign_rpms(rpms, tmp_path, epoch=EPOCH)
    ours = Signer.open(home)
    flipped = tmp_path / "flipped.rpm"
    data = bytearray(theirs[0].path.read_bytes())
    data[-20] ^= 1
    flipped.write_bytes(data)
    garbage = tmp_path / "garbage.rpm"
    garbage.write_bytes(b"no rpm at all")
    aside = tmp_path / "aside"
    aside.mkdir()
    found = signature_faults([theirs[1].path, flipped, garbage], [ours.public_key()], aside)
    assert found[theirs[1].path] == "signed by another key"
    assert found[flipped].startswith("altered:")
    assert garbage in found


def test_a_file_that_rpmsign_left_unsigned_is_a_named_error(
    home: Path, rpms: list[Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As rpmsign does with Debian's macro on some releases: nothing signed, exit code 0.
    monkeypatch.setattr(signer_module, "add_signatures", lambda *_files, **_key: None)
    with pytest.raises(SignError, match=r"^one-1-1\.x86_64\.rpm: not signed by .* \(2 files are not\)") as caught:
        Signer.open(home).sign_rpms(rpms, tmp_path, epoch=EPOCH)
    assert caught.value.details == ("one-1-1.x86_64.rpm: not signed", "two-2-1.x86_64.rpm: not signed")


def test_a_detached_signature_is_judged_with_the_public_key_only(home: Path, foreign: Path, tmp_path: Path) -> None:
    signer = Signer.open(home)
    data, signature = tmp_path / "repomd.xml", tmp_path / "repomd.xml.asc"
    data.write_text("repomd")
    signature.write_bytes(signer.sign_detached(data, epoch=EPOCH))
    assert detached_fault(signer.public_key(), data, signature) is None
    assert detached_fault(Signer.open(foreign).public_key(), data, signature) == "signed by another key"
    data.write_text("repomd, altered")
    assert detached_fault(signer.public_key(), data, signature) == "the signed bytes were altered"
    signature.write_text("nothing")
    assert detached_fault(signer.public_key(), data, signature) == "no signature"


def _fd_of(secret: bytes) -> int:
    reading, writing = os.pipe()
    os.write(writing, secret + b"\n")
    os.close(writing)
    return reading


def test_a_passphrase_comes_from_a_descriptor_and_serves_many_files(rpms: list[Artifact], tmp_path: Path) -> None:
    need("gpg", "gpg-agent", "rpmsign", "rpmkeys")
    home, out = tmp_path / "home", tmp_path / "out"
    out.mkdir()
    new_key(home, "Locked", passphrase_fd=_fd_of(b"open sesame"))
    signer = Signer.open(home, None, _fd_of(b"open sesame"))
    assert "sesame" not in repr(vars(signer))
    assert len(signer.sign_rpms(rpms, out, epoch=EPOCH)) == 2
    wrong = Signer.open(home, None, _fd_of(b"guess"))
    (tmp_path / "other").mkdir()
    with pytest.raises(SignError) as caught:
        wrong.sign_rpms(rpms, tmp_path / "other", epoch=EPOCH)
    assert caught.value.hint == "a key with a passphrase needs --passphrase-fd"
    assert not any("guess" in line for line in caught.value.details)


def test_a_home_of_any_path_length_works_and_no_agent_or_folder_stays(rpms: list[Artifact], tmp_path: Path) -> None:
    need("gpg", "gpg-agent", "rpmsign", "rpmkeys")
    home = tmp_path / ("long" * 30) / ("longer" * 20) / "home"
    fingerprint = new_key(home, "Deep")
    signer = Signer.open(home, fingerprint[-16:])
    with private_home(home) as private:
        ours = str(private)
    out = tmp_path / "out"
    out.mkdir()
    signer.sign_rpms(rpms, out, epoch=EPOCH)
    assert signer.fingerprint == fingerprint
    assert not Path(ours).exists()
    assert sorted(p.name for p in out.iterdir()) == sorted(r.nevra.filename for r in rpms)
    agents = [p for p in _command_lines() if "gpg-agent" in p and str(home) in p]
    assert agents == []
    assert not any(path.is_socket() for path in home.rglob("*"))


def _command_lines() -> list[str]:
    lines = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(entry.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return lines


def test_a_home_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    with pytest.raises(SignError, match="mode 0755") as caught:
        Signer.open(home)
    assert caught.value.hint == f"chmod 700 {home}"


def test_a_home_without_a_key_says_how_to_make_one(tmp_path: Path) -> None:
    need("gpg", "gpg-agent")
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    with pytest.raises(SignError, match="no secret key that can sign") as caught:
        Signer.open(home)
    assert caught.value.hint == f"repobuild key new --gnupghome {home} makes one"


def test_two_keys_in_a_home_need_a_choice_and_other_kinds_are_refused(tmp_path: Path) -> None:
    need("gpg", "gpg-agent")
    home = tmp_path / "home"
    first = new_key(home, "First")
    second = new_key(home, "Second")
    with pytest.raises(SignError, match="2 keys can sign") as caught:
        Signer.open(home)
    assert sorted(caught.value.details) == sorted((first, second))
    assert Signer.open(home, second).fingerprint == second
    edwards = tmp_path / "edwards"
    edwards.mkdir(mode=0o700)
    (edwards / "private-keys-v1.d").mkdir(mode=0o700)
    with private_home(edwards) as private:
        words = ("--batch", "--pinentry-mode", "loopback", "--passphrase", "", "--quick-generate-key", "E", "ed25519")
        run(("gpg", "--homedir", private, *words), timeout=60)
        (edwards / "pubring.kbx").write_bytes((private / "pubring.kbx").read_bytes())
    with pytest.raises(SignError, match="not RSA"):
        Signer.open(edwards)


FINGERPRINT = "771b18d3d7baa28734333c424344591e1964c5fc"
DIGESTS = [
    "    Header SHA256 digest: OK",
    "    Header SHA1 digest: OK",
    "    Payload SHA256 digest: OK",
    "    MD5 digest: OK",
]
RPM4 = "    Header V4 RSA/SHA256 Signature, key ID 1964c5fc: OK"
RPM6 = f"    Header OpenPGP V4 RSA/SHA256 signature, key fingerprint: {FINGERPRINT}: OK"


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ([RPM4, *DIGESTS], None),
        ([RPM6, *DIGESTS], None),
        ([], "not an RPM"),
        (DIGESTS, "not signed"),
        ([RPM4.replace("1964c5fc", "1964c5fd"), *DIGESTS], f"no RSA/SHA256 header signature of {FINGERPRINT}"),
        ([RPM4.replace("SHA256", "SHA1"), *DIGESTS], f"no RSA/SHA256 header signature of {FINGERPRINT}"),
        ([RPM4.replace("RSA", "EdDSA"), *DIGESTS], f"no RSA/SHA256 header signature of {FINGERPRINT}"),
        ([RPM4.replace(": OK", ": NOKEY"), *DIGESTS], "signed by another key"),
        (
            [RPM4.replace(": OK", ": BAD"), *DIGESTS],
            "bad signature: Header V4 RSA/SHA256 Signature, key ID 1964c5fc: BAD",
        ),
        ([RPM4, RPM4.replace("1964c5fc", "00000000"), *DIGESTS], f"no RSA/SHA256 header signature of {FINGERPRINT}"),
        ([RPM4, *DIGESTS[:2]], "without Payload SHA256 digest: OK"),
        ([RPM4, DIGESTS[0], "    Payload SHA256 digest: BAD"], "altered: Payload SHA256 digest: BAD"),
    ],
)
def test_the_verdict_of_rpmkeys_is_read_strictly(lines: list[str], fault: str | None) -> None:
    assert checksig_fault(lines, [FINGERPRINT]) == fault


def test_an_interrupted_run_leaves_no_private_home(
    home: Path, rpms: list[Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer = Signer.open(home)
    made: list[str] = []
    real = tempfile.mkdtemp

    def remember(*words: Any, **named: Any) -> str:
        made.append(real(*words, **named))
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", remember)
    cancel_all()
    try:
        with pytest.raises(InterruptedRunError):
            signer.sign_rpms(rpms, tmp_path, epoch=EPOCH)
    finally:
        reset_cancelled()
    assert any("rb-gpg-" in folder for folder in made)
    assert [folder for folder in made if Path(folder).exists()] == []
