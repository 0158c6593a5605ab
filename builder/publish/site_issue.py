"""Sign the list of what lies at the top of a repository, when it changed or is to be renewed (ADR 0031)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from builder.errors import PublishError
from builder.publish.generations import Repository
from builder.publish.issue import RENEW, Sign
from builder.publish.manifest import (
    SITE,
    CurrentOne,
    ManifestFile,
    SiteManifest,
    Terms,
    at,
    is_of_manifest,
    list_bytes,
    read_list,
    signature_name,
    text_of,
)
from builder.publish.order import Role, role_of
from builder.publish.tree_files import root_files
from builder.store.files import sync_path, write_atomic
from builder.tools.rpms import file_sha256

_COUNTER = ".sequence-site"  # beside those of the publications


def issue_site(repo: Path, *, key: str, sign: Sign, terms: Terms) -> bool:
    """Write and sign ``site-manifest.json`` where the one that is there does not say what is there now, or less than
    half of its lifetime is left; whether it was. ``key`` is the fingerprint that ``sign`` signs with.

    The number is spent before it is used. Raises PublishError and LockedError, and what ``sign`` raises.
    """
    repository = Repository(repo)
    with repository.writing():
        former = _read(repository.root)
        files = list(_listed(repository.root, former))
        current = [CurrentOne(path=path, publication=digest) for path, digest in _current(repository)]
        last = max(_spent(repository), former.sequence if former else 0)
        if former is not None and _holds(former, files, current, key, terms, last):
            return False
        number = max(last + 1, terms.sequence)
        data = list_bytes(
            {
                "schema": 1,
                "key": key,
                "sequence": number,
                "issued": text_of(terms.now),
                "expires": text_of(terms.now + terms.lifetime),
                "files": [file.model_dump() for file in files],
                "publications": [one.model_dump() for one in current],
            }
        )
        write_atomic(repository.generations / _COUNTER, f"{number}\n".encode())
        _write(repository, data, sign)
        return True


def _write(repository: Repository, data: bytes, sign: Sign) -> None:
    """The signature first, then the list by one rename; of signatures that of the list before stays for its readers."""
    root = repository.root
    kept = {signature_name(data, SITE)}
    if (root / SITE).is_file():
        kept.add(signature_name((root / SITE).read_bytes(), SITE))
    fresh = repository.generations / f".{SITE}"
    try:
        fresh.write_bytes(data)
        write_atomic(root / signature_name(data, SITE), sign(fresh))
    finally:
        fresh.unlink(missing_ok=True)
    write_atomic(root / SITE, data)
    for path in root.glob(f"{SITE.removesuffix('json')}*.asc"):
        if path.name not in kept:
            path.unlink()
    sync_path(root)


def _holds(
    former: SiteManifest, files: list[ManifestFile], current: list[CurrentOne], key: str, terms: Terms, last: int
) -> bool:
    left = at(former.expires) - terms.now
    fresh = left * RENEW >= terms.lifetime and left <= terms.lifetime
    same = (former.files, former.publications, former.key) == (files, current, key)
    return same and fresh and last == former.sequence >= terms.sequence


def _listed(root: Path, former: SiteManifest | None) -> Iterator[ManifestFile]:
    """Every file but the list and its signatures. Logs, which may be gigabytes, are read once: those that were not
    written to since the former list have the digest that it says.
    """
    known = {file.path: file for file in former.files} if former else {}
    since = (root / SITE).stat().st_mtime_ns if former else 0
    for name, path in sorted(root_files(root).items()):
        if is_of_manifest(name, SITE):
            continue
        state, row = path.stat(), known.get(name)
        read = role_of(name) is not Role.LOG or row is None or state.st_mtime_ns >= since or state.st_size != row.size
        sha256 = file_sha256(path) if read or row is None else row.sha256
        yield ManifestFile(path=name, sha256=sha256, size=state.st_size)


def _current(repository: Repository) -> Iterator[tuple[str, str]]:
    for link in sorted(repository.root.glob("*/*")):
        if link.is_symlink() and link.readlink().parent.name == repository.generations.name:
            yield f"{link.parent.name}/{link.name}", link.readlink().name


def _read(root: Path) -> SiteManifest | None:
    """The list that is there; None where there is none that can be used."""
    try:
        data = (root / SITE).read_bytes()
        return read_list(SiteManifest, data) if (root / signature_name(data, SITE)).is_file() else None
    except (OSError, ValueError):
        return None


def _spent(repository: Repository) -> int:
    counter = repository.generations / _COUNTER
    try:
        return int(counter.read_text())
    except FileNotFoundError:
        return 0
    except ValueError as exc:
        raise PublishError(
            f"{counter}: damaged: not a number", hint="write the highest number into it that clients have seen"
        ) from exc
