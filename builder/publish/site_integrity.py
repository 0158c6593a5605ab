"""Is what lies at the top of a repository what its publisher put there, and of what is current there? (ADR 0031)"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.errors import ContentsError, MixedError, UntrustedError, VerifyError
from builder.publish.faults import Fault, verify_error, within
from builder.publish.integrity import IntegrityReport, verify_integrity
from builder.publish.location import Location
from builder.publish.looking import Look, look_until_still
from builder.publish.manifest import MANIFEST, SITE, SiteManifest, is_of_manifest
from builder.publish.order import Role, role_of
from builder.publish.seen import SeenFile
from builder.publish.tree_files import root_files

_OF = "site"
_REPOMD = "repodata/repomd.xml"


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteReport:
    """What the top of a repository was found to be."""

    location: str
    manifest: SiteManifest
    publications: tuple[IntegrityReport, ...]  # in the order of the manifest


def is_site(location: str, tmp: Path) -> bool:
    """Whether a place is the top of a repository with a signed list, and no publication."""
    place = Location(location, tmp)
    return not place.holds(MANIFEST) and not place.holds(_REPOMD) and place.holds(SITE)


def verify_site(
    location: str,
    keys: Sequence[bytes],
    tmp: Path,
    *,
    now: int,
    seen: SeenFile | None = None,
    quick: bool = False,
    with_repos: Sequence[str] = (),
) -> SiteReport:
    """Everything of a repository: its signed list, each file that stands there, each publication that is current.

    Arguments and failures are those of ``verify_integrity``, which looks at the publications. ``quick`` reads no logs.
    """

    def run(look: _Look) -> SiteReport:
        return look.run(now=now, seen=seen, quick=quick, with_repos=with_repos)

    return look_until_still(tmp, lambda folder: _Look(SITE, SiteManifest, location, tuple(keys), folder), run)


class _Look(Look[SiteManifest]):
    """One look at one repository."""

    def run(self, *, now: int, seen: SeenFile | None, quick: bool, with_repos: Sequence[str]) -> SiteReport:
        """All checks; nothing that is not signed is read."""
        signed = self.signed()
        if signed is None:
            raise verify_error(self.location.name, self.faults)
        manifest = signed.manifest
        self.faults.extend(self._place_faults(manifest))
        self.faults.extend(self.age_faults(signed, _OF, now, seen))
        for file in manifest.files:
            if quick and role_of(file.path) is Role.LOG:
                self.faults.extend(self.size_faults(file))
            else:
                self.faults.extend(self.file_faults(file))
        self.faults.extend(self._extra(manifest))
        found = []
        for number, current in enumerate(manifest.publications):
            folder = self.tmp / f"publication-{number}"
            folder.mkdir()
            place = f"{self.location.name.rstrip('/')}/{current.path}"
            try:
                report = verify_integrity(
                    place, self.keys, folder, now=now, seen=seen, quick=quick, with_repos=with_repos
                )
            except VerifyError as exc:
                self.faults.extend(within(current.path, fault) for fault in exc.details or (exc.message,))
                continue
            found.append(report)
            of = f"{report.manifest.distribution}/{report.manifest.arch}"
            if report.manifest.publication != current.publication or of != current.path:
                text = f"{current.path}: is not the publication that {SITE} (number {manifest.sequence}) speaks of"
                self.faults.append(Fault(text, MixedError))
        if self.faults:
            raise verify_error(self.location.name, self.faults)
        return SiteReport(location=self.location.name, manifest=manifest, publications=tuple(found))

    def _place_faults(self, manifest: SiteManifest) -> Iterator[str]:
        """Somebody could copy a whole repository to where one of its publications is looked for."""
        here = self.location.name.rstrip("/")
        for current in manifest.publications:
            if here.endswith(f"/{current.path}"):
                yield Fault(f"{SITE}: is of a repository; a publication is looked for here", UntrustedError)

    def _extra(self, manifest: SiteManifest) -> Iterator[str]:
        """In a folder, what nobody signed."""
        listed = {file.path for file in manifest.files}
        if self.location.folder is not None:
            for name in root_files(self.location.folder):
                if name not in listed and not is_of_manifest(name, SITE):
                    yield Fault(f"{name}: is not in {SITE}", ContentsError)
