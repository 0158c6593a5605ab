"""Keys, certificates and signatures of kernel modules: what is signed, and every key that is refused by its name."""

from __future__ import annotations

import datetime as dt
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from builder.errors import SignError
from builder.model.modules import MARKER, JoinRow, join_list, read_join_list, signature_tail, split_signature
from builder.sign.modules import ModuleCertificate, ModuleSigner, new_module_key
from builder.tools.openssl import cms_fault
from builder.tools.run import run
from tests.descriptors import fd_of
from tests.need import need

IMAGE = b"\x7fELF" + bytes(range(256)) * 40
SECRET = b"correct horse"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """rsa and ec, each with its certificate; locked.key is encrypted. Nobody changes them."""
    need("openssl")
    made = tmp_path_factory.mktemp("keys")
    new_module_key(made / "rsa.pem", made / "rsa.key", "rsa of a test")
    new_module_key(made / "ec.pem", made / "ec.key", "ec of a test", ecdsa=True)
    new_module_key(made / "locked.pem", made / "locked.key", "locked", passphrase_fd=fd_of(SECRET))
    return made


def certificate(folder: Path, name: str) -> ModuleCertificate:
    return ModuleCertificate.read(folder / f"{name}.pem")


def opened(folder: Path, name: str, key: str | None = None, passphrase: bytes | None = None) -> ModuleSigner:
    path = folder / f"{key or name}.key"
    return ModuleSigner.open(certificate(folder, name), str(path), None if passphrase is None else fd_of(passphrase))


def self_signed(private: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "odd")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(private.public_key())
    builder = builder.serial_number(1).not_valid_before(dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
    builder = builder.not_valid_after(dt.datetime(2036, 1, 1, tzinfo=dt.UTC))
    return builder.sign(private, None if isinstance(private, ed25519.Ed25519PrivateKey) else hashes.SHA256())


@pytest.mark.parametrize("name", ["rsa", "ec"])
def test_openssl_accepts_a_signature_made_from_the_module_and_the_certificate_alone(
    name: str, folder: Path, tmp_path: Path
) -> None:
    signer = opened(folder, name)
    (tmp_path / "module").write_bytes(IMAGE)
    (tmp_path / "p7s").write_bytes(signer.sign(IMAGE))
    argv: list[str | Path] = [
        "openssl",
        "cms",
        "-verify",
        "-binary",
        "-inform",
        "DER",
        "-in",
        tmp_path / "p7s",
        "-content",
    ]
    argv += [tmp_path / "module", "-certfile", folder / f"{name}.pem", "-noverify", "-nointern", "-out", "/dev/null"]
    run(argv, timeout=60)
    assert signer.certificate.ecdsa == (name == "ec")


@pytest.mark.parametrize("name", ["rsa", "ec"])
def test_one_flipped_byte_in_the_module_is_refused_wherever_it_is(name: str, folder: Path) -> None:
    signer = opened(folder, name)
    signature = signer.sign(IMAGE)
    for offset in (0, len(IMAGE) // 2, len(IMAGE) - 1):
        image = bytearray(IMAGE)
        image[offset] ^= 1
        assert cms_fault(bytes(image), signature, signer.certificate.pem) is not None
    assert cms_fault(IMAGE[:-1], signature, signer.certificate.pem) is not None
    assert cms_fault(IMAGE + b"\0", signature, signer.certificate.pem) is not None


@pytest.mark.parametrize("name", ["rsa", "ec"])
def test_one_flipped_byte_in_the_signature_is_refused(name: str, folder: Path) -> None:
    signer = opened(folder, name)
    signature = signer.sign(IMAGE)
    for offset in (1, 10, len(signature) - 90, len(signature) - 40, len(signature) - 1):
        altered = bytearray(signature)
        altered[offset] ^= 1
        assert cms_fault(IMAGE, bytes(altered), signer.certificate.pem) is not None, offset
    for short in (b"", signature[:1], signature[:-1]):
        assert cms_fault(IMAGE, short, signer.certificate.pem) is not None


def test_a_signature_is_not_another_certificates(folder: Path) -> None:
    signature = opened(folder, "rsa").sign(IMAGE)
    assert cms_fault(IMAGE, signature, certificate(folder, "ec").pem) is not None


def test_an_rsa_signature_is_the_same_each_time_and_holds_no_certificate_and_no_time(folder: Path) -> None:
    first, second = opened(folder, "rsa").sign(IMAGE), opened(folder, "rsa").sign(IMAGE)
    assert first == second
    assert certificate(folder, "rsa").der not in first
    assert bytes.fromhex("2a864886f70d010905") not in first  # signingTime (RFC 5652, 11.3)


def test_an_encrypted_key_opens_with_its_passphrase_from_a_descriptor(folder: Path) -> None:
    assert b"ENCRYPTED" in (folder / "locked.key").read_bytes()
    signer = opened(folder, "locked", passphrase=SECRET)
    assert signer.sign(IMAGE) == opened(folder, "locked", passphrase=SECRET).sign(IMAGE)


def test_the_passphrase_is_in_no_command_line_and_no_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    original = subprocess.Popen

    def spy(*args: Any, **more: Any) -> Any:
        started.append((args, more))
        return original(*args, **more)

    monkeypatch.setattr(subprocess, "Popen", spy)
    signer = opened(folder, "locked", passphrase=SECRET)
    signer.sign(IMAGE)
    assert started, "openssl verifies each signature"
    assert SECRET.decode() not in repr(started)
    assert SECRET.decode() not in repr(vars(signer)) + repr(signer)


@pytest.mark.parametrize(
    ("name", "key", "passphrase", "message"),
    [
        ("locked", "locked", b"wrong", r"locked\.key: cannot be opened as a private key \(PEM\)"),
        ("locked", "locked", b"", r"locked\.key: Password was not given but private key is encrypted"),
        ("locked", "locked", None, r"locked\.key: Password was not given but private key is encrypted"),
        ("rsa", "rsa", SECRET, r"rsa\.key: Password was given but private key is not encrypted"),
        ("rsa", "ec", None, r"ec\.key: this key is not the one of certificate 'rsa of a test'"),
        ("ec", "rsa", None, r"rsa\.key: this key is not the one of certificate 'ec of a test'"),
        ("rsa", "locked", SECRET, r"locked\.key: this key is not the one of certificate 'rsa of a test'"),
        ("rsa", "missing", None, r"missing\.key: No such file or directory"),
    ],
)
def test_a_key_that_does_not_fit_is_refused_by_its_name(
    name: str, key: str, passphrase: bytes | None, message: str, folder: Path
) -> None:
    with pytest.raises(SignError, match=message) as caught:
        opened(folder, name, key, passphrase)
    assert passphrase is None or passphrase == b"" or passphrase.decode() not in str(caught.value)


@pytest.mark.parametrize(("mode", "shown"), [(0o644, "0644"), (0o640, "0640"), (0o602, "0602")])
def test_a_key_that_others_can_reach_is_refused(mode: int, shown: str, folder: Path, tmp_path: Path) -> None:
    key = tmp_path / "open.key"
    key.write_bytes((folder / "rsa.key").read_bytes())
    key.chmod(mode)
    with pytest.raises(SignError, match=rf"open\.key: mode {shown} lets others at the module signing key") as caught:
        ModuleSigner.open(certificate(folder, "rsa"), str(key))
    assert caught.value.hint == f"chmod 600 {key}"


@pytest.mark.parametrize("text", [b"", b"no key\n", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_file_that_is_no_key_is_refused(text: bytes, folder: Path, tmp_path: Path) -> None:
    key = tmp_path / "bad.key"
    key.write_bytes(text)
    key.chmod(0o600)
    with pytest.raises(SignError, match=r"bad\.key: cannot be opened as a private key"):
        ModuleSigner.open(certificate(folder, "rsa"), str(key))


def test_a_key_of_a_kind_that_no_kernel_verifies_is_refused(folder: Path, tmp_path: Path) -> None:
    key = tmp_path / "ed.key"
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    key.write_bytes(ed25519.Ed25519PrivateKey.generate().private_bytes(*plain))
    key.chmod(0o600)
    with pytest.raises(SignError, match=r"ed\.key: kernels verify RSA and ECDSA signatures of modules, no others"):
        ModuleSigner.open(certificate(folder, "rsa"), str(key))


def test_a_certificate_reads_the_same_from_pem_and_der(folder: Path, tmp_path: Path) -> None:
    pem = certificate(folder, "rsa")
    (tmp_path / "rsa.der").write_bytes(pem.der)
    assert ModuleCertificate.read(tmp_path / "rsa.der") == pem
    assert pem.name == "rsa of a test"


def test_certificates_that_no_kernel_verifies_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "odd.pem"
    path.write_bytes(self_signed(ed25519.Ed25519PrivateKey.generate()).public_bytes(serialization.Encoding.PEM))
    with pytest.raises(SignError, match=r"odd\.pem: kernels verify RSA and ECDSA signatures of modules, no others"):
        ModuleCertificate.read(path)
    path.write_bytes(self_signed(ec.generate_private_key(ec.SECP521R1())).public_bytes(serialization.Encoding.DER))
    with pytest.raises(SignError, match=r"odd\.pem: kernels do not verify curve secp521r1; use secp256r1 or secp384r1"):
        ModuleCertificate.read(path)


@pytest.mark.parametrize("text", [b"", b"nothing", b"-----BEGIN CERTIFICATE-----\n", b"\x30\x82\x01\x00"])
def test_a_file_that_is_no_certificate_is_refused(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.pem"
    path.write_bytes(text)
    with pytest.raises(SignError, match=r"bad\.pem: not an X\.509 certificate"):
        ModuleCertificate.read(path)


def test_a_certificate_that_cannot_be_read_is_a_named_error(tmp_path: Path) -> None:
    with pytest.raises(SignError, match="Is a directory") as caught:
        ModuleCertificate.read(tmp_path)
    assert caught.value.hint == "repobuild key new-module makes a key"
    with pytest.raises(SignError, match=r"none\.pem: No such file or directory"):
        ModuleCertificate.read(tmp_path / "none.pem")


def test_a_new_key_is_its_owners_alone_and_its_certificate_is_for_code_signing_only(folder: Path) -> None:
    assert (folder / "rsa.key").stat().st_mode & 0o777 == 0o600
    read = x509.load_der_x509_certificate(certificate(folder, "rsa").der)
    assert read.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    usage = read.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [u.dotted_string for u in usage] == ["1.3.6.1.5.5.7.3.3"]


def test_files_that_are_there_are_never_overwritten(folder: Path, tmp_path: Path) -> None:
    before = (folder / "rsa.key").read_bytes()
    with pytest.raises(SignError, match=r"rsa\.key: there is a file already"):
        new_module_key(tmp_path / "new.pem", folder / "rsa.key", "x")
    with pytest.raises(SignError, match=r"rsa\.pem: there is a file already"):
        new_module_key(folder / "rsa.pem", tmp_path / "new.key", "x")
    assert (folder / "rsa.key").read_bytes() == before
    assert list(tmp_path.iterdir()) == []


def test_a_certificate_does_not_overwrite_its_own_key(tmp_path: Path) -> None:
    with pytest.raises(SignError, match=r"one\.key: certificate and key would be one file"):
        new_module_key(tmp_path / "one.key", tmp_path / "one.key", "x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "x" * 65])
def test_a_name_that_no_certificate_can_carry_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(SignError, match=f"a certificate's name has 1 to 64 characters, this one has {len(name)}"):
        new_module_key(tmp_path / "a.pem", tmp_path / "a.key", name)
    assert list(tmp_path.iterdir()) == []


def test_a_passphrase_that_is_asked_for_and_not_given_makes_no_open_key(tmp_path: Path) -> None:
    with pytest.raises(SignError, match="the passphrase is empty"):
        new_module_key(tmp_path / "a.pem", tmp_path / "a.key", "x", passphrase_fd=fd_of(b""))
    with pytest.raises(SignError, match="file descriptor 987: no passphrase can be read: Bad file descriptor"):
        new_module_key(tmp_path / "a.pem", tmp_path / "a.key", "x", passphrase_fd=987)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("signature", [b"x", b"\x30" * 401, bytes(70000)])
def test_a_signature_comes_off_as_it_went_on(signature: bytes) -> None:
    assert split_signature(IMAGE + signature_tail(signature)) == (IMAGE, signature)


def test_a_module_signed_twice_loses_the_outer_signature_first() -> None:
    once = IMAGE + signature_tail(b"inner")
    assert split_signature(once + signature_tail(b"outer")) == (once, b"outer")
    assert split_signature(once) == (IMAGE, b"inner")


@pytest.mark.parametrize("image", [b"", IMAGE, MARKER[:-1], IMAGE + MARKER + b"\n"])
def test_a_module_without_the_marker_at_its_very_end_is_unsigned(image: bytes) -> None:
    assert split_signature(image) == (image, None)


def tail(size: int, row: bytes = b"\0\0\2\0\0\0\0\0") -> bytes:
    return row + size.to_bytes(4, "big") + MARKER


@pytest.mark.parametrize(
    "image",
    [
        MARKER,  # nothing before it
        b"short" + MARKER,  # not even the struct
        tail(0),  # a signature of nothing
        IMAGE + tail(len(IMAGE)),  # the signature would be all there is
        IMAGE + tail(len(IMAGE) + 1),  # more than there is
        IMAGE + tail(0xFFFFFFFF),
        IMAGE + tail(5, b"\0\0\1\0\0\0\0\0"),  # another kind of signature
        IMAGE + tail(5, b"\1\0\2\0\0\0\0\0"),  # an algorithm where PKCS#7 has none
        IMAGE + tail(5, b"\0\0\2\0\0\0\0\1"),  # padding that is none
    ],
)
def test_half_a_signature_is_refused(image: bytes) -> None:
    with pytest.raises(ValueError, match=r"what is appended to it is no PKCS#7 signature"):
        split_signature(image)


ROW = JoinRow(module="nvidia-uvm", sha256="ab" * 32, signed=True, object_path="/usr/lib/o", object_sha256="cd" * 32)
ROWS = [
    (),
    (ROW,),
    (ROW, replace(ROW, module="nvidia", object_path=None, object_sha256=None, signed=False)),
    (replace(ROW, module="a"), replace(ROW, module="b"), replace(ROW, module="a")),
]


@pytest.mark.parametrize("rows", ROWS)
def test_a_join_list_reads_back_as_it_was(rows: tuple[JoinRow, ...]) -> None:
    assert read_join_list(join_list(rows)) == rows


@pytest.mark.parametrize(
    "line",
    [
        "ab signed - - nvidia",  # no sha256
        f"{'ab' * 32} sealed - - nvidia",
        f"{'ab' * 32} signed - nvidia",  # four words
        f"{'ab' * 32} signed - - nvidia more",
        f"{'ab' * 32}  signed - - nvidia",
    ],
)
def test_a_row_that_is_none_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"row|unpack"):
        read_join_list(f"{join_list((ROW,))}{line}\n")
