"""updateinfo.xml through createrepo_c's own classes: written whole, read back for what was issued before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import createrepo_c

from builder.errors import ToolError
from builder.model.errata import Advisory, AdvisoryCollection, AdvisoryKind, ModuleId
from builder.model.nevra import Evr, Nevra

_CVE_PAGE = "https://www.cve.org/CVERecord?id="


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedAdvisory:
    """What an updateinfo.xml says of an advisory that later ones must not contradict."""

    id: str
    issued: int  # seconds since the epoch
    collections: tuple[AdvisoryCollection, ...]


def updateinfo_xml(advisories: Sequence[Advisory]) -> bytes:
    """All advisories as one document, by id; equal values give equal bytes."""
    document = createrepo_c.UpdateInfo()
    for advisory in sorted(advisories, key=lambda a: a.id):
        document.append(_record(advisory))
    return str(document.xml_dump()).encode()


def _record(advisory: Advisory) -> createrepo_c.UpdateRecord:
    record = createrepo_c.UpdateRecord()
    record.id = advisory.id
    record.fromstr = advisory.vendor
    record.status = "final"
    record.type = advisory.type
    record.version = "1"
    record.title = advisory.title
    record.issued_date = datetime.fromtimestamp(advisory.issued, UTC).replace(tzinfo=None)
    record.updated_date = record.issued_date
    record.release = advisory.release
    record.severity = advisory.severity.value if advisory.severity else "None"
    record.summary = advisory.title
    record.description = advisory.description
    record.reboot_suggested = advisory.kind is AdvisoryKind.DRIVER  # what is loaded stays loaded
    for cve in advisory.cves:
        record.append_reference(_reference(f"{_CVE_PAGE}{cve}", "cve", cve))
    for url in advisory.references:
        record.append_reference(_reference(url, "other", url))
    for collection in advisory.collections:
        record.append_collection(_collection(collection, reboot=record.reboot_suggested))
    return record


def _reference(href: str, kind: str, name: str) -> createrepo_c.UpdateReference:
    reference = createrepo_c.UpdateReference()
    reference.href, reference.type, reference.id, reference.title = href, kind, name, name
    return reference


def _collection(collection: AdvisoryCollection, *, reboot: bool) -> createrepo_c.UpdateCollection:
    written = createrepo_c.UpdateCollection()
    written.shortname = written.name = collection.stream
    if collection.module is not None:
        module = createrepo_c.UpdateCollectionModule()
        module.name, module.stream = collection.module.name, collection.module.stream
        module.version, module.context = collection.module.version, collection.module.context
        module.arch = collection.module.arch
        written.module = module
    for nevra in collection.packages:
        package = createrepo_c.UpdateCollectionPackage()
        package.name, package.arch, package.filename = nevra.name, nevra.arch, nevra.filename
        package.epoch = str(nevra.evr.epoch)
        package.version, package.release = nevra.evr.version, nevra.evr.release
        package.reboot_suggested = reboot
        written.append(package)
    return written


def read_updateinfo(path: Path) -> tuple[IssuedAdvisory, ...]:
    """The advisories of an updateinfo.xml[.gz], in its order; raises ToolError when it is none."""
    try:
        updates = createrepo_c.UpdateInfo(str(path)).updates
        return tuple(
            IssuedAdvisory(
                id=str(update.id),
                issued=int(update.issued_date.replace(tzinfo=UTC).timestamp()) if update.issued_date else 0,
                collections=tuple(_read_collection(collection) for collection in update.collections),
            )
            for update in updates
        )
    except (createrepo_c.CreaterepoCError, OSError, ValueError, TypeError, AttributeError) as exc:
        raise ToolError(f"{path.name}: not an updateinfo.xml: {exc}") from exc


def _read_collection(collection: createrepo_c.UpdateCollection) -> AdvisoryCollection:
    module = collection.module
    return AdvisoryCollection(
        stream=str(module.stream if module else collection.name),
        packages=tuple(
            Nevra(
                name=p.name,
                evr=Evr(epoch=int(p.epoch or 0), version=p.version, release=p.release),
                arch=p.arch,
            )
            for p in collection.packages
        ),
        module=None
        if module is None
        else ModuleId(
            name=module.name,
            stream=module.stream,
            version=int(module.version),
            context=module.context or "",
            arch=module.arch,
        ),
    )
