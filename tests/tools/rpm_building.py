"""Build rendered specs with the host's rpmbuild, as a builder would inside its root."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from builder.model.cells import Artifact
from builder.model.nevra import Evr, Nevra
from builder.model.sources import SpecFile
from builder.tools.run import run
from tests.golden import sample

QUERY = "%{NAME}|%{EPOCHNUM}|%{VERSION}|%{RELEASE}|%{ARCH}\n"


def query(*argv: str | Path) -> list[Nevra]:
    found = []
    for line in run([*argv, "--qf", QUERY], timeout=60).stdout.splitlines():
        name, epoch, version, release, arch = line.split("|")
        found.append(Nevra(name=name, evr=Evr(epoch=int(epoch), version=version, release=release), arch=arch))
    return found


def build(spec: SpecFile, top: Path, *, target: str = "x86_64", env: Mapping[str, str] | None = None) -> list[Artifact]:
    """rpmbuild -bb in ``top``; returns the binary RPMs sorted by name. ToolError carries rpmbuild's last lines."""
    folder = top / "specs"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / spec.filename).write_text(spec.text)
    for file in spec.sources:
        if file.path != folder / file.filename:
            shutil.copy(file.path, folder / file.filename)
    rpms = top / "rpms"
    shutil.rmtree(rpms, ignore_errors=True)
    argv = [
        "rpmbuild",
        "-bb",
        "--nodeps",
        "--target",
        target,
        "-D",
        f"_topdir {top}",
        "-D",
        f"_sourcedir {folder}",
        "-D",
        f"_rpmdir {rpms}",
    ]
    argv += ["-D", "_rpmfilename %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm", "-D", "_dbpath /var/lib/rpm-none"]
    run([*argv, folder / spec.filename], timeout=120, env={"SOURCE_DATE_EPOCH": str(sample.EPOCH), **(env or {})})
    return [artifact(path) for path in sorted(rpms.glob("*.rpm"))]


def artifact(path: Path) -> Artifact:
    (nevra,) = query("rpm", "-qp", "--nosignature", path)
    return Artifact(nevra=nevra, path=path, size=path.stat().st_size, sha256="0" * 64)


def lines(rpm: Path, *options: str) -> list[str]:
    return run(["rpm", "-qp", "--nosignature", *options, rpm], timeout=60).stdout.splitlines()
