"""Signing and verifying RPMs: Signer.sign_rpms against one rpmsign and one rpmkeys call a file."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.harness import Benchmark, BenchmarkError, Clock, Sides, Target
from benchmarks.rpms import EPOCH, make_small_rpms
from builder.errors import ToolMissingError
from builder.model.cells import Artifact
from builder.sign import Signer, new_key
from builder.tools.rpmbuild import defines
from builder.tools.rpmsign import signature_faults
from builder.tools.run import run, which

COUNT = 100
_SIGNED = re.compile(r"(?P<nevra>\S+) (?P<digest>[0-9a-f]{64}) RSA/SHA256, .*, Key ID (?P<key>[0-9a-f]{16})")


def _prepare(tmp: Path, stack: ExitStack) -> Sides:
    artifacts = make_small_rpms(tmp, COUNT)
    home = tmp / "keys"
    new_key(home, "repobuild benchmark")
    signer = Signer.open(home)
    keyring = _peer_home(home, signer, tmp / "peer-keys", stack)

    def ours(folder: Path, clock: Clock) -> Collection[str]:
        with clock.timed():
            signed = signer.sign_rpms(artifacts, folder, epoch=EPOCH)
        return _signatures([artifact.path for artifact in signed], signer, folder)

    def peer(folder: Path, clock: Clock) -> Collection[str]:
        with clock.timed():
            paths = _sign_one_by_one(artifacts, folder, keyring, signer)
        return _signatures(paths, signer, folder)

    return Sides(ours=ours, peer=peer)


def _peer_home(home: Path, signer: Signer, place: Path, stack: ExitStack) -> Path:
    """A copy of the key's home; the agent that gpg starts for it is ended with the benchmark."""
    shutil.copytree(home, place, ignore=shutil.ignore_patterns("S.*"))
    place.chmod(0o700)
    (place.parent / "key.asc").write_bytes(signer.public_key())
    environment = {"GNUPGHOME": str(place)}
    stack.callback(run, ["gpgconf", "--kill", "gpg-agent"], timeout=60, env=environment, ok=range(256))
    return place


def _sign_one_by_one(artifacts: Sequence[Artifact], folder: Path, home: Path, signer: Signer) -> list[Path]:
    gpg = which("gpg")
    if gpg is None:
        raise ToolMissingError("gpg is not installed", hint="install the package gpg or gnupg2")
    macros = defines(
        {
            "__gpg": str(gpg),
            "_gpg_path": str(home),
            "_gpg_name": signer.fingerprint,
            "_gpg_digest_algo": "sha256",
            "_gpg_sign_cmd_extra_args": "--batch --no-tty",
        }
    )
    own: list[str | Path] = ["rpmkeys", "--dbpath", folder / "rpmdb"]
    run([*own, "--import", home.parent / "key.asc"], timeout=60)
    paths = []
    for artifact in artifacts:
        copy = folder / artifact.path.name
        shutil.copyfile(artifact.path, copy)
        run(["rpmsign", *macros, "--addsign", copy], timeout=60, env={"GNUPGHOME": str(home)})
        run([*own, "--checksig", copy], timeout=60)
        paths.append(copy)
    return paths


def _signatures(paths: Sequence[Path], signer: Signer, folder: Path) -> list[str]:
    """NEVRA, header digest and signing key of each file; BenchmarkError for one whose signature is not good."""
    check = folder / "check"
    check.mkdir()
    faults = signature_faults(paths, [signer.public_key()], check)
    if faults:
        raise BenchmarkError("not every file is signed", details=[f"{p.name}: {f}" for p, f in faults.items()])
    query = "%{NEVRA} %{SHA256HEADER} %{RSAHEADER:pgpsig}\\n"
    said = run(["rpm", "-qp", "--nosignature", "--qf", query, *paths], timeout=120, env={"HOME": str(folder)}).stdout
    found = [_SIGNED.fullmatch(line) for line in said.splitlines()]
    return [f"{match['nevra']} {match['digest']} {match['key']}" for match in found if match]


SIGNING = Benchmark(
    name="signing",
    work=f"{COUNT} small RPMs copied, signed with RSA4096 and verified with the public key only",
    peer="rpmsign, rpmkeys a file",
    note="Both start rpm's own programs: repobuild once for all files, the peer once a file. repobuild also starts a "
    "private agent, reads every verdict line instead of the exit code and hashes the signed files.",
    prepare=_prepare,
    target=Target(ratio=1 / 1.5),
)
