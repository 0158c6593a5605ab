"""Tiny RPMs of any NEVRA, made by the host's rpmbuild, and a key: what signing and publishing tests work on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from builder.model.cells import Artifact
from builder.model.matrix import Delivery, Flavor, Kmods, Profile, Stream
from builder.model.publication import PublicationContent, StreamContent
from builder.publish import Terms, publish
from builder.sign import Signer
from builder.tools.rpms import read_artifact
from builder.tools.run import run

EPOCH = 1_700_000_000
TERMS = Terms(now=EPOCH, lifetime=30 * 86400)  # of manifests: no clock in the tests


def make_rpms(
    folder: Path, packages: Sequence[tuple[str, str, str, str]], *, requires: dict[str, str] | None = None
) -> dict[str, Artifact]:
    """One RPM for each (name, epoch, version, release); a file of its own each. Keys: ``name-version-release``."""
    folder.mkdir(parents=True, exist_ok=True)
    made: dict[str, Artifact] = {}
    for name, epoch, version, release in packages:
        nvr = f"{name}-{version}-{release}"
        need = f"Requires: {requires[name]}\n" if requires and name in requires else ""
        spec = folder / f"{nvr}.spec"
        spec.write_text(
            f"Name: {name}\nEpoch: {epoch}\nVersion: {version}\nRelease: {release}\nSummary: Test package {name}\n"
            f"License: MIT\n{need}\n%description\nTest.\n\n%install\nmkdir -p %{{buildroot}}/opt/lab/{name}\n"
            f"echo {version}-{release} > %{{buildroot}}/opt/lab/{name}/release\n\n%files\n/opt/lab/{name}\n"
        )
        defines = {
            "_topdir": str(folder / "rpmbuild"),
            "source_date_epoch_from_changelog": "0",
            "use_source_date_epoch_as_buildtime": "1",
            "clamp_mtime_to_source_date_epoch": "1",
            "_buildhost": "reproducible",
            "debug_package": "%{nil}",
            "_build_id_links": "none",
        }
        words = [word for key, value in defines.items() for word in ("--define", f"{key} {value}")]
        run(
            ["rpmbuild", "-bb", *words, "--target", "x86_64", spec],
            timeout=120,
            env={"SOURCE_DATE_EPOCH": str(EPOCH)},
        )
        made[nvr] = read_artifact(folder / "rpmbuild/RPMS/x86_64" / f"{nvr}.x86_64.rpm")
    return made


def stream(name: str, *, default: bool = False, packages: Sequence[str] = ("nvidia-driver",)) -> Stream:
    """A stream with one profile."""
    return Stream(
        name=name,
        branch=None if name.startswith("latest") else name[1:4],
        flavor=Flavor.OPEN if "open" in name else Flavor.PROPRIETARY,
        kmods=Kmods.DKMS if "dkms" in name else Kmods.PRECOMPILED,
        default=default,
        summary=f"Test stream {name}",
        description=f"Test stream {name}: yes, no and 1.10 stay text.",
        profiles=(Profile(name="default", packages=tuple(packages), description="All"),),
        default_profile="default",
    )


def content_of(
    streams: Sequence[tuple[Stream, Sequence[str], Sequence[Artifact]]],
    *,
    files: tuple[tuple[str, bytes], ...] = (("support-matrix.json", b"{}\n"),),
) -> PublicationContent:
    """A publication of lab9/x86_64 from (stream, driver versions, artifacts)."""
    contents = [
        StreamContent(
            stream=one,
            driver_versions=tuple(versions),
            artifacts=tuple(sorted(artifacts, key=lambda a: str(a.nevra))),
        )
        for one, versions, artifacts in streams
    ]
    return PublicationContent(
        module="nvidia-driver",
        distribution="lab9",
        platform="lab9",
        arch="x86_64",
        streams=tuple(sorted(contents, key=lambda c: c.stream.name)),
        sources=(),
        files=files,
    )


def content_without_modules(
    distribution: str, delivery: Delivery, parts: Sequence[StreamContent]
) -> PublicationContent:
    """What a distribution that knows no modules publishes of these streams."""
    return PublicationContent(
        module="nvidia-driver",
        distribution=distribution,
        platform=distribution,
        arch="x86_64",
        streams=tuple(parts),
        sources=(),
        files=(("support-matrix.json", b"{}\n"),),
        delivery=delivery,
    )


PACKAGES = (
    ("nvidia-driver", "3", "535.261.03", "1.lab9"),
    ("nvidia-kmod-common", "3", "535.261.03", "7.open.lab9"),
    ("nvidia-driver", "3", "550.163.01", "1.lab9"),
    ("nvidia-kmod-common", "3", "550.163.01", "2.open.lab9"),
)
REQUIRES = {"nvidia-driver": "nvidia-kmod-common = %{epoch}:%{version}"}


def two_streams(rpms: dict[str, Artifact]) -> PublicationContent:
    """r535-open and latest (550, the default) of ``PACKAGES``."""
    old = [a for a in rpms.values() if a.nevra.evr.version.startswith("535")]
    new = [a for a in rpms.values() if a.nevra.evr.version.startswith("550")]
    return content_of(
        [
            (replace(stream("latest", default=True), default_instead_of=("r535-open",)), ["550.163.01"], new),
            (stream("r535-open"), ["535.261.03"], old),
        ]
    )


def sign_all(signer: Signer, rpms: dict[str, Artifact], folder: Path) -> dict[str, Artifact]:
    """Signed copies under the same keys."""
    folder.mkdir(parents=True, exist_ok=True)
    signed = signer.sign_rpms(list(rpms.values()), folder, epoch=EPOCH)
    return dict(zip(rpms, signed, strict=True))


class Shop(NamedTuple):
    """What the session's fixture ``shop`` holds."""

    home: Path
    signer: Signer
    foreign_home: Path
    foreign: Signer
    unsigned: dict[str, Artifact]
    rpms: dict[str, Artifact]  # signed
    published: Path  # a whole generation; copied before it is harmed


def put_path(shop: Shop, content: PublicationContent, repo: Path) -> Path:
    """Publish and return the generation's folder."""
    sign = partial(shop.signer.sign_detached, epoch=EPOCH)
    return publish(content, repo, public_key=shop.signer.public_key(), sign=sign, epoch=EPOCH, terms=TERMS).path
