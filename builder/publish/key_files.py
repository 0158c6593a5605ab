"""The public keys beside the publications, and when another one may sign (ADR 0026)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from builder.errors import PublishError
from builder.publish.clients import KEY_FILE
from builder.publish.generations import Repository
from builder.tools.gpg import fingerprint_of


def key_files(public_key: bytes, others: Sequence[bytes] = ()) -> dict[str, bytes]:
    """The key files of a repository: name → armored key, in the order in which clients are told of them.

    ``others`` are the declared keys, oldest first, the signing one among them or not. The oldest has the plain name;
    each other one its fingerprint's end behind it. So a name stands for one key as long as that is declared.
    """
    by_fingerprint = {fingerprint_of(key): key for key in others}
    by_fingerprint.setdefault(fingerprint_of(public_key), public_key)
    return {
        KEY_FILE if number == 0 else f"{KEY_FILE}-{fingerprint[-16:]}": key
        for number, (fingerprint, key) in enumerate(by_fingerprint.items())
    }


def told_keys(repository: Repository) -> tuple[bytes, ...]:
    """The keys that clients of a repository are told of: the oldest first, the others by their files' names."""
    paths = [path for path in sorted(repository.root.glob(f"{KEY_FILE}*")) if path.is_file()]
    return each_once(path.read_bytes() for path in paths)


def each_once(keys: Iterable[bytes]) -> tuple[bytes, ...]:
    """Public keys by their fingerprints, the first of each."""
    found: dict[str, bytes] = {}
    for key in keys:
        found.setdefault(fingerprint_of(key), key)
    return tuple(found.values())


def check_key(repository: Repository, fingerprint: str, subject: str) -> None:
    """Clients trust the keys that they were told of: PublishError when the signing key is none of those.

    A repository where nothing is current has told nobody anything.
    """
    if not repository.linked():
        return
    told = [path for path in sorted(repository.root.glob(f"{KEY_FILE}*")) if path.is_file()]
    if told and fingerprint not in {fingerprint_of(path.read_bytes()) for path in told}:
        raise PublishError(
            f"{subject}: {told[0]} holds another key than the one that signs now, {fingerprint}",
            hint="sign with that key, and let clients know the new one first (`integrity.keys` in matrix.yaml); "
            "or publish to another --repo",
        )
