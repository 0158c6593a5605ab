"""rpm's own signer and verifier. The signer's exit code proves nothing, so every signature is read back.

Debian's macro ``__gpg`` names a gpg2 that does not exist; rpmsign then leaves files unsigned and exits with 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from builder.errors import ToolMissingError
from builder.tools.gpg import Passphrase, SecretKey, fingerprint_of, frozen_clock, stop_agent, with_agent
from builder.tools.packages import package_hint
from builder.tools.run import run, which

_BATCH = 400  # files in one call: far below the kernel's limit for arguments
_SECONDS_EACH = 60.0  # timeout for one file; a 300 MB RPM takes about 5 s
# rpm 4: "Header V4 RSA/SHA256 Signature, key ID 1964c5fc: OK"; rpm 6: "Header OpenPGP V4 …, key fingerprint: …: OK"
_SIGNATURE = re.compile(
    r"\s*Header (?:OpenPGP )?V\d RSA/SHA256 signature, key (?:ID|fingerprint):? (?P<id>[0-9a-f]{8,40}): OK",
    re.IGNORECASE,
)
_DIGESTS = ("Header SHA256 digest: OK", "Payload SHA256 digest: OK")


def add_signatures(
    paths: Sequence[Path], home: Path, key: SecretKey, *, epoch: int, passphrase: Passphrase, log: Path
) -> None:
    """Sign files in place with the key of a private home; many files a call. What it did is not yet proved."""
    gpg = which("gpg")
    if gpg is None:
        raise ToolMissingError("gpg is not installed", hint=package_hint("gpg"))
    for number, some in enumerate(_batches(paths)):
        if number:  # an agent outlives its program by up to a minute, and refuses a second one beside it
            stop_agent(home)
        with passphrase.options() as (options, fds):
            extra = ("--no-options", "--batch", "--no-tty", "--trust-model", "always", *frozen_clock(epoch), *options)
            macros = {
                "__gpg": str(gpg),
                "_gpg_path": str(home),
                "_gpg_name": f"{key.signing}!",
                "_gpg_digest_algo": "sha256",
                "_gpg_sign_cmd_extra_args": " ".join(extra),
            }
            defines = [word for name, value in macros.items() for word in ("--define", f"{name} {value}")]
            run(
                with_agent(home, ("rpmsign", *defines, "--addsign", *some)),
                timeout=_SECONDS_EACH * (1 + len(some)),
                env={"GNUPGHOME": str(home)},
                log=log,
                pass_fds=fds,
            )


def signature_faults(paths: Sequence[Path], public_keys: Sequence[bytes], tmp: Path) -> dict[Path, str]:
    """Files whose signature is not good in the eyes of someone who has only these public keys, each with the reason.

    ``tmp`` gets an rpm database of its own with those keys. Raises SignError when one cannot be read.
    """
    fingerprints = [fingerprint_of(key).lower() for key in public_keys]
    dbpath = tmp / "rpmdb"
    dbpath.mkdir(exist_ok=True)
    own = ("rpmkeys", "--dbpath", dbpath)
    for number, key in enumerate(public_keys):
        keyfile = tmp / f"key-{number}.asc"
        keyfile.write_bytes(key)
        run((*own, "--import", keyfile), timeout=_SECONDS_EACH)
    faults: dict[Path, str] = {}
    for some in _batches(paths):
        checked = run((*own, "--checksig", "--verbose", *some), timeout=_SECONDS_EACH * (1 + len(some)), ok=range(128))
        said = _by_file(checked.stdout, some)
        for path in some:
            fault = checksig_fault(said[path], fingerprints)
            if fault is not None:
                faults[path] = fault
    return faults


def _by_file(output: str, paths: Sequence[Path]) -> dict[Path, list[str]]:
    """rpmkeys' lines, by the file whose heading they follow."""
    headings = {f"{path}:": path for path in paths}
    said: dict[Path, list[str]] = {path: [] for path in paths}
    current: list[str] = []
    for line in output.splitlines():
        if line in headings:
            current = said[headings[line]]
        elif line.strip():
            current.append(line)
    return said


def checksig_fault(lines: Sequence[str], fingerprints: Sequence[str]) -> str | None:
    """Why ``rpmkeys --checksig --verbose`` gives no reason to trust a file; None when rpm vouches for its header's and
    payload's digests and for an RSA/SHA256 signature of one of these (lower-case) fingerprints.
    """
    if not lines:
        return "not an RPM"
    signatures = [line for line in lines if "signature" in line.lower()]
    wrong = [line.strip() for line in lines if line not in signatures and not line.endswith(": OK")]
    if wrong:
        return f"altered: {'; '.join(wrong)}"
    if not signatures:
        return "not signed"
    bad = [line.strip() for line in signatures if not line.endswith(": OK")]
    if bad:
        return "signed by another key" if any("NOKEY" in line for line in bad) else f"bad signature: {'; '.join(bad)}"
    signers = [match["id"].lower() for line in signatures if (match := _SIGNATURE.fullmatch(line))]
    if not signers or not all(any(known.endswith(signer) for known in fingerprints) for signer in signers):
        return f"no RSA/SHA256 header signature of {' or '.join(fingerprints)}"
    missing = [digest for digest in _DIGESTS if not any(line.strip() == digest for line in lines)]
    return f"without {' and '.join(missing)}" if missing else None


def _batches(paths: Sequence[Path]) -> Iterator[Sequence[Path]]:
    for start in range(0, len(paths), _BATCH):
        yield paths[start : start + _BATCH]
