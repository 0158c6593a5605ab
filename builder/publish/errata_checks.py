"""Whether an updateinfo.xml can be believed: what it asks for must be there for hosts of its streams."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from builder.errors import ToolError
from builder.publish.errata import fulfilled_by, newest_of, read_issued
from builder.publish.module_checks import ModuleIndex
from builder.tools.createrepo import ListedPackage


def errata_faults(path: Path, index: ModuleIndex, packages: Sequence[ListedPackage]) -> Iterator[str]:
    """Faults of an updateinfo.xml[.gz] beside these streams and packages, each beginning with the advisory."""
    try:
        advisories = read_issued(path)
    except ToolError as exc:
        yield f"updateinfo: {exc.message}"
        return
    yield from (
        f"{name}: stands there more than once" for name, n in Counter(a.id for a in advisories).items() if n > 1
    )
    streams = {stream.name: stream.artifacts for stream in index.streams}
    nevras = {package.nevra.artifact: package.nevra for package in packages}
    newest = {name: newest_of(nevras[a] for a in own if a in nevras) for name, own in streams.items()}
    for advisory in advisories:
        for collection in advisory.collections:
            if collection.stream not in streams:
                yield f"{advisory.id}: is about stream {collection.stream}, which is not there"
            elif not fulfilled_by(collection.packages, newest[collection.stream]):
                yield f"{advisory.id}: asks for packages that stream {collection.stream} does not have, nor newer ones"
