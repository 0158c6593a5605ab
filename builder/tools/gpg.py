"""gpg: keys, detached signatures and their verification, each in a private home that leaves no agent behind.

Every call works in a fresh home below /tmp that links to the secret keys of the given GNUPGHOME: its gpg-agent is ours
alone (no agent of the user is used or stopped, two runs never share one), its socket path is short enough (108 bytes),
and it ends with the call, also when repobuild is killed: ``gpg-agent --daemon -- program`` watches its program.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from builder.errors import InterruptedRunError, SignError, ToolError
from builder.tools.run import Completed, run

_TIMEOUT = 300.0  # seconds
_RSA = "1"  # OpenPGP's public key algorithm number (RFC 4880 §9.1)
# Of the given home: written or read by gpg-agent itself, so linked; the public keyring is copied.
_LINKED = ("private-keys-v1.d", "openpgp-revocs.d", "public-keys.d", "common.conf", "gpg-agent.conf", "scdaemon.conf")
_COPIED = ("pubring.kbx", "pubring.gpg")
FOREIGN = "signed by another key"
# The user's gpg.conf must not change a byte of a signature.
_QUIET = ("--no-options", "--batch", "--no-tty", "--trust-model", "always", "--no-emit-version", "--no-comments")


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretKey:
    """A key that can sign, as ``--list-secret-keys`` shows it."""

    fingerprint: str  # of the primary key
    signing: str  # fingerprint of the key or subkey that signs
    created: int  # seconds since the epoch, of the signing key
    algorithm: str  # OpenPGP number
    bits: int
    validity: str  # one letter, "" when gpg says nothing
    on_card: bool = False  # on a smart card, which serves one agent at a time

    @property
    def rsa(self) -> bool:
        """EL8's rpm verifies no other kind."""
        return self.algorithm == _RSA


@dataclass(frozen=True, slots=True, kw_only=True)
class Passphrase:
    """A passphrase in memory; it leaves this process over file descriptors only."""

    secret: bytes = field(repr=False)

    @classmethod
    def read(cls, fd: int) -> Passphrase:
        """The first line that a file descriptor yields; it is read to its end, not closed."""
        data = b""
        while chunk := os.read(fd, 4096):
            data += chunk
        return cls(secret=data.split(b"\n", 1)[0])

    @contextmanager
    def options(self) -> Iterator[tuple[tuple[str, ...], tuple[int, ...]]]:
        """Options for gpg and the descriptors they need.

        A file in memory, opened anew by each gpg: one rpmsign starts many, and a shared pipe would serve the first.
        """
        fd = os.memfd_create("passphrase")
        try:
            os.write(fd, self.secret + b"\n")
            yield ("--pinentry-mode", "loopback", "--passphrase-file", f"/proc/self/fd/{fd}"), (fd,)
        finally:
            os.close(fd)


@contextmanager
def private_home(gnupghome: Path | None = None) -> Iterator[Path]:
    """A short, private home with the keys of ``gnupghome`` (or none); its agent is stopped and it is removed."""
    base = "/tmp" if Path("/tmp").is_dir() else None  # noqa: S108  short on purpose; mkdtemp makes it 0700
    home = Path(tempfile.mkdtemp(prefix="rb-gpg-", dir=base))
    try:
        if gnupghome is not None:
            for name in _LINKED:
                if (gnupghome / name).exists():
                    (home / name).symlink_to(gnupghome.absolute() / name)
            for name in _COPIED:
                if (gnupghome / name).exists():
                    shutil.copyfile(gnupghome / name, home / name)
        yield home
    finally:
        with suppress(ToolError, InterruptedRunError):  # an agent ends with its program anyway
            stop_agent(home)
        shutil.rmtree(home, ignore_errors=True)


def stop_agent(home: Path) -> None:
    """Ask the home's agent to end and see it gone, so that no process outlives the call."""
    connect = ("gpg-connect-agent", "--homedir", home, "--no-autostart")
    asked = run((*connect, "GETINFO pid", "KILLAGENT", "/bye"), timeout=30, ok=(0, 2))
    found = re.search(r"^D (\d+)$", asked.stdout, re.MULTILINE)
    deadline = time.monotonic() + 5.0
    while found and _lives(found[1]) and time.monotonic() < deadline:
        time.sleep(0.01)
    if os.access(f"/run/user/{os.geteuid()}/gnupg", os.X_OK):  # where gpg puts sockets on hosts with login sessions
        run(("gpgconf", "--homedir", home, "--remove-socketdir"), timeout=30, ok=range(256))


def _lives(pid: str) -> bool:
    """Does a process live? /proc/<pid>/exe would not tell root of a user namespace: agents are not dumpable."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in ("Z", "X")


def with_agent(home: Path, argv: tuple[str | Path, ...]) -> tuple[str | Path, ...]:
    """The command with an agent of its own in ``home`` that ends with it."""
    return ("gpg-agent", "--homedir", home, "--quiet", "--daemon", "--", *argv)


def _gpg(home: Path, *words: str | Path, agent: bool = False, pass_fds: tuple[int, ...] = ()) -> Completed:
    argv: tuple[str | Path, ...] = ("gpg", "--homedir", home, *_QUIET, *words)
    argv = with_agent(home, argv) if agent else argv
    return run(argv, timeout=_TIMEOUT, env={"GNUPGHOME": str(home)}, pass_fds=pass_fds)


def secret_keys(home: Path) -> tuple[SecretKey, ...]:
    """All keys of a (private) home that have their secret part and can sign, in gpg's order."""
    listed = _gpg(home, "--with-colons", "--list-secret-keys", agent=True)
    keys: list[SecretKey] = []
    primary, record = "", [""]
    for fields in (line.split(":") for line in listed.stdout.splitlines()):
        if fields[0] in ("sec", "ssb"):
            record = fields
        elif fields[0] == "fpr":
            primary = fields[9] if record[0] == "sec" else primary
            # Field 12 holds what this very key can do in lower case; field 15 is "#" where the secret part is absent,
            # "+" where it is there, else the serial number of its card.
            if "s" in record[11] and record[14] != "#":
                keys.append(
                    SecretKey(
                        fingerprint=primary,
                        signing=fields[9],
                        created=int(record[5]),
                        algorithm=record[3],
                        bits=int(record[2]),
                        validity=record[1],
                        on_card=record[14] not in ("", "+"),
                    )
                )
    return tuple(keys)


def export_public(home: Path, fingerprint: str) -> bytes:
    """The public key, armored, without other people's signatures."""
    done = _gpg(home, "--armor", "--export-options", "export-minimal", "--export", fingerprint)
    return done.stdout.encode()


def frozen_clock(epoch: int) -> tuple[str, str]:
    """gpg options that make every signature's time ``epoch``: RSA PKCS#1 v1.5 has no other variable."""
    return "--faked-system-time", f"{epoch}!"


def detach_sign(home: Path, key: SecretKey, data: Path, *, epoch: int, passphrase: Passphrase) -> bytes:
    """A detached, armored SHA256 signature over a file."""
    words = ("--armor", "--digest-algo", "SHA256", "--local-user", f"{key.signing}!", "--output", "-", "--detach-sign")
    with passphrase.options() as (options, fds):
        done = _gpg(home, *frozen_clock(epoch), *options, *words, data, agent=True, pass_fds=fds)
    return done.stdout.encode()


def generate_key(home: Path, name: str, passphrase: Passphrase) -> str:
    """An RSA4096 signing key that does not expire; returns its fingerprint."""
    with passphrase.options() as (options, fds):
        words = ("--status-fd", "1", "--quick-generate-key", name, "rsa4096", "sign", "0")
        done = _gpg(home, *options, *words, agent=True, pass_fds=fds)
    created = re.search(r"^\[GNUPG:\] KEY_CREATED \w ([0-9A-F]{40})", done.stdout, re.MULTILINE)
    if created is None:
        raise SignError(f"gpg made no key {name!r}", details=(done.stdout + done.stderr).splitlines()[-10:])
    return created[1]


def keep_keyring(home: Path, gnupghome: Path) -> None:
    """Give the public keyring of a private home back to the home it was copied from, by one rename."""
    for name in _COPIED:
        if (home / name).exists():
            shutil.copyfile(home / name, gnupghome / f".{name}.new")
            (gnupghome / f".{name}.new").replace(gnupghome / name)


def fingerprint_of(public_key: bytes) -> str:
    """The primary fingerprint of the one public key in these bytes; SignError when there is not exactly one."""
    return _look_at(public_key)[0]


def made_on(public_key: bytes) -> int:
    """When that key was made, in seconds; SignError as ``fingerprint_of``."""
    return _look_at(public_key)[1]


@lru_cache(maxsize=64)
def _look_at(public_key: bytes) -> tuple[str, int]:
    with private_home() as home:
        words = (*_QUIET, "--no-autostart", "--with-colons", "--show-keys")
        try:
            shown = run(("gpg", "--homedir", home, *words), timeout=_TIMEOUT, stdin=public_key).stdout
        except ToolError as exc:
            raise SignError("the public key cannot be read", details=exc.details) from exc
    rows = [line.split(":") for line in shown.splitlines()]
    found = [
        (after[9], int(row[5])) for row, after in itertools.pairwise(rows) if row[0] == "pub" and after[0] == "fpr"
    ]
    if len(found) != 1:
        raise SignError(f"{len(found)} public keys where exactly one is needed")
    return found[0]


def trusted_fault(public_keys: Sequence[bytes], data: Path, signature: Path) -> str | None:
    """As ``detached_fault`` for someone who has several keys, each good on its own; says what is plainest."""
    faults = []
    for key in public_keys:
        fault = detached_fault(key, data, signature)
        if fault is None:
            return None
        faults.append(fault)
    return next((fault for fault in faults if fault != FOREIGN), faults[0])


def detached_fault(public_key: bytes, data: Path, signature: Path) -> str | None:
    """What is wrong with a detached signature in the eyes of someone who has only this public key; None: good."""
    fingerprint = fingerprint_of(public_key)
    with private_home() as home:
        keyring = home / "trusted.gpg"
        words: tuple[str | Path, ...] = (*_QUIET, "--no-autostart", "--output", keyring, "--dearmor")
        run(("gpg", "--homedir", home, *words), timeout=_TIMEOUT, stdin=public_key)
        words = (*_QUIET, "--no-autostart", "--no-default-keyring", "--keyring", keyring)
        words = (*words, "--status-fd", "1", "--verify", signature, data)
        done = run(("gpg", "--homedir", home, *words), timeout=_TIMEOUT, ok=range(256))
    rows = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("[GNUPG:] ")]
    verdicts = [row[0] for row in rows if row[0] in ("GOODSIG", "BADSIG", "ERRSIG", "EXPSIG", "EXPKEYSIG", "REVKEYSIG")]
    signers = [row[-1] for row in rows if row[0] == "VALIDSIG"]  # its last field is the primary key's fingerprint
    if verdicts == ["GOODSIG"] and signers == [fingerprint] and done.returncode == 0:
        return None
    words_of = {"BADSIG": "the signed bytes were altered", "ERRSIG": FOREIGN}
    said = ", ".join(words_of.get(v, v) for v in verdicts) or "no signature"
    return said if verdicts != ["GOODSIG"] else f"signed by {', '.join(signers) or 'an unknown key'}"
