"""Modules signed by keys in a PKCS#11 token, here SoftHSM's; each mistake is told, and the PIN is seen nowhere."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from builder.errors import SignError, ToolMissingError
from builder.sign.modules import ModuleCertificate, ModuleSigner, new_module_key
from builder.tools.openssl import cms_fault
from builder.tools.run import run
from tests.descriptors import fd_of
from tests.need import need

IMAGE = b"\x7fELF" + bytes(range(256)) * 40
PIN = b"83710465"
LIBRARIES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so", "/usr/lib64/libsofthsm2.so")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The library by a path with a plus sign and a space, as a URI writes them: one is itself, one is escaped."""
    need("softhsm2-util", "openssl")
    pytest.importorskip("pkcs11", reason="not installed: python-pkcs11")
    found = [path for path in LIBRARIES if Path(path).is_file()]
    assert found, "softhsm2-util is installed, its library is in none of the known places"
    folder = tmp_path_factory.mktemp("library") / "c++ libs"
    folder.mkdir()
    (folder / "softhsm.so").symlink_to(found[0])
    return str(folder / "softhsm.so").replace(" ", "%20")


@pytest.fixture(scope="module")
def keys(library: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tokens rsa, ec and shy, each with its key, made before the library is first used: it reads its slots once."""
    folder = tmp_path_factory.mktemp("tokens")
    (folder / "tokens").mkdir()
    config = folder / "softhsm2.conf"
    config.write_text(f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n")
    os.environ["SOFTHSM2_CONF"] = str(config)  # the library reads it in this process, for as long as it lives
    for name in ("rsa", "ec", "shy"):
        new_module_key(folder / f"{name}.pem", folder / f"{name}.key", f"{name} of a test", ecdsa=name == "ec")
        pins = ("--so-pin", "11112222", "--pin", PIN.decode())
        env = {"SOFTHSM2_CONF": str(config)}
        run(("softhsm2-util", "--init-token", "--free", "--label", name, *pins), timeout=60, env=env)
        which = ("--token", name, "--label", "modules", "--id", "A1B2")
        run(("softhsm2-util", "--import", folder / f"{name}.key", *which, *pins[2:]), timeout=60, env=env)
    return folder


def uri(library: str, token: str, which: str = "object=modules") -> str:
    return f"pkcs11:token={token};{which}?module-path={library}"


def opened(keys: Path, name: str, where: str, pin: bytes | None = PIN) -> ModuleSigner:
    certificate = ModuleCertificate.read(keys / f"{name}.pem")
    return ModuleSigner.open(certificate, where, None if pin is None else fd_of(pin))


# First, while nobody is logged in: a login is the process's.
@pytest.mark.parametrize(("pin", "reason"), [(b"99999999", "PinIncorrect"), (b"\xff\xfe", "the PIN is not UTF-8 text")])
def test_a_wrong_pin_is_told_and_not_repeated(pin: bytes, reason: str, keys: Path, library: str) -> None:
    with pytest.raises(SignError, match=rf"^pkcs11:token=shy;object=modules: .*{reason}") as caught:
        opened(keys, "shy", uri(library, "shy"), pin)
    assert "9999" not in str(caught.value)
    assert "0xff" not in str(caught.value)


def test_without_a_pin_a_tokens_keys_are_not_seen(keys: Path, library: str) -> None:
    with pytest.raises(SignError, match="the token's key cannot be opened: NoSuchKey") as caught:
        opened(keys, "shy", uri(library, "shy"), None)
    assert "the PIN comes from --module-passphrase-fd" in str(caught.value.hint)


@pytest.mark.parametrize("which", ["object=modules", "id=%A1%B2", "object=modules;id=%a1%b2;type=private"])
@pytest.mark.parametrize("name", ["rsa", "ec"])
def test_a_token_signs_what_openssl_accepts(name: str, which: str, keys: Path, library: str) -> None:
    signer = opened(keys, name, uri(library, name, which))
    signature = signer.sign(IMAGE)
    assert cms_fault(IMAGE, signature, signer.certificate.pem) is None
    assert cms_fault(IMAGE[:-1] + b"x", signature, signer.certificate.pem) is not None


def test_an_rsa_token_signs_as_the_key_in_a_file_does(keys: Path, library: str) -> None:
    in_file = opened(keys, "rsa", str(keys / "rsa.key"), None)
    assert opened(keys, "rsa", uri(library, "rsa")).sign(IMAGE) == in_file.sign(IMAGE)


def test_the_pin_is_in_no_command_line_and_no_environment(
    keys: Path, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[object] = []
    original = subprocess.Popen

    def spy(*args: Any, **more: Any) -> Any:
        started.append((args, more))
        return original(*args, **more)

    monkeypatch.setattr(subprocess, "Popen", spy)
    signer = opened(keys, "rsa", uri(library, "rsa"))
    signer.sign(IMAGE)
    assert started, "openssl verifies each signature"
    assert PIN.decode() not in repr(started) + repr(vars(signer))


def test_workers_share_a_token(keys: Path, library: str) -> None:
    signer = opened(keys, "rsa", uri(library, "rsa"))
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(lambda _: signer.sign(IMAGE), range(12)))) == 1


@pytest.mark.parametrize(
    ("token", "which", "reason"),
    [
        ("rsa", "object=absent", "NoSuchKey"),
        ("rsa", "id=%00", "NoSuchKey"),
        ("absent", "object=modules", "NoSuchToken"),
    ],
)
def test_a_token_or_an_object_that_is_not_there_is_told(
    token: str, which: str, reason: str, keys: Path, library: str
) -> None:
    with pytest.raises(SignError, match=rf"^pkcs11:token={token};{which}: the token's key cannot be opened: {reason}"):
        opened(keys, "rsa", uri(library, token, which))


@pytest.mark.parametrize("path", ["/nonexistent/hsm.so", "/etc/passwd"])
def test_a_library_that_cannot_be_loaded_is_told(path: str, keys: Path) -> None:
    with pytest.raises(SignError, match=f"the token's key cannot be opened: .*{path}"):
        opened(keys, "rsa", uri(path, "rsa"))


def test_a_uri_without_a_library_or_with_a_pin_is_refused_and_the_pin_not_repeated(keys: Path, library: str) -> None:
    with pytest.raises(SignError, match=r"token=rsa: says no module-path") as caught:
        opened(keys, "rsa", "pkcs11:token=rsa")
    assert caught.value.hint is not None
    for where in (f"{uri(library, 'rsa')}&pin-value={PIN.decode()}", f"pkcs11:token=rsa;pin-value={PIN.decode()}"):
        with pytest.raises(SignError, match="a PIN does not belong into a URI: others see it") as caught:
            opened(keys, "rsa", where)
        assert PIN.decode() not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(("name", "token"), [("rsa", "ec"), ("ec", "rsa")])
def test_a_key_of_another_kind_than_the_certificates_signs_nothing(
    name: str, token: str, keys: Path, library: str
) -> None:
    with pytest.raises(SignError, match=f"token={token};object=modules: the token does not sign") as caught:
        opened(keys, name, uri(library, token)).sign(IMAGE)
    assert caught.value.hint == "is it the key of this certificate, is the token still there?"


def test_a_key_of_another_certificate_signs_nothing(keys: Path, library: str) -> None:
    signer = opened(keys, "shy", uri(library, "rsa"))
    with pytest.raises(SignError, match="'shy of a test' signed a module, but the signature does not verify"):
        signer.sign(IMAGE)


def test_without_the_extra_the_way_to_it_is_told(keys: Path, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    with pytest.raises(ToolMissingError, match="keys in tokens need python-pkcs11") as caught:
        opened(keys, "rsa", uri(library, "rsa"))
    assert caught.value.hint == "pip install 'repobuild[pkcs11]', or give a PEM file"
