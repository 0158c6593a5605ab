"""Read what must be known of a kernel from its own devel package, once for each state of the repositories.

And what else a buildroot gets to compile for it: a kernel-devel package brings more than itself, and all of that can
change what is compiled.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict
from pathlib import Path

from builder.build import dependency_failure
from builder.errors import BuildDependencyError, ToolError
from builder.model.matrix import Kernel
from builder.model.sources import Buildroot, KernelDevel, LockedRpm
from builder.render import modules_requirements
from builder.store import Store
from builder.tools.dnf import Dnf, resolves
from builder.tools.rpms import extract_members, file_sha256

_CONFIG_TEXT = re.compile(r'^CONFIG_CC_VERSION_TEXT="(?P<text>.*)"$', re.MULTILINE)
_ROOT = "root.json"
_SOLVE_TIMEOUT = 600.0  # seconds: metadata may still have to be downloaded
_ECDSA = re.compile(r"^CONFIG_CRYPTO_ECDSA=[ym]$", re.MULTILINE)


def kernel_key(kernel: Kernel, buildroot: Buildroot) -> str:
    """Names what is kept of a kernel: what it was read from may be another when this is."""
    wanted = "\n".join((buildroot.identity, *modules_requirements(kernel)))
    over = hashlib.sha256(wanted.encode()).hexdigest()
    state = f"{buildroot.repositories[:16]}-{over[:16]}"
    return f"kernel3-{kernel.release}-{kernel.devel.evr}-{state}".replace(":", "_")


def requirements_digest(devel: KernelDevel) -> str:
    """Digest of what comes over a buildroot to compile for a kernel: another when a package of it is another."""
    lines = (f"{package.nevra} {package.sha256}\n" for package in devel.requirements)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def find_kernel_devel(kernel: Kernel, buildroot: Buildroot, store: Store) -> KernelDevel | None:
    """What was read before for this state of the repositories, None when nothing was."""
    folder = store.folder("prepared", kernel_key(kernel, buildroot))
    if folder is None:
        return None
    document = json.loads((folder / "kernel.json").read_text())
    return KernelDevel(
        release=kernel.release,
        sha256=document["sha256"],
        symvers=folder / "Module.symvers",
        compiler_text=document["compiler"],
        ecdsa=document["ecdsa"],
        requirements=tuple(LockedRpm(**row) for row in document["requirements"]),
        root=folder / _ROOT if (folder / _ROOT).is_file() else None,
    )


def read_kernel_devel(kernel: Kernel, buildroot: Buildroot, store: Store) -> KernelDevel:
    """Download a kernel's devel package from the buildroot's repositories and read it; reuses what was read before.

    Raises BuildDependencyError when no repository has the package, or it is not the tree matrix.yaml describes, and
    RepositoryError when one does not answer.
    """
    found = find_kernel_devel(kernel, buildroot, store)
    if found is not None:
        return found
    where = f"{kernel.devel} (for {kernel.release})"

    def fill(folder: Path) -> None:
        with store.tmp() as tmp:
            (tmp / "dnf").mkdir()
            dnf = Dnf(buildroot.chroot, tmp / "dnf")
            try:
                rpm = dnf.download(f"{kernel.devel.name}-{kernel.devel.evr}.{kernel.arch}", kernel.arch, tmp)
            except ToolError as exc:
                raise BuildDependencyError(
                    f"{where}: not in the repositories of {buildroot.chroot.name}",
                    details=exc.details,
                    hint="add the repository that has it to the distribution's buildroot in matrix.yaml",
                    log=exc.log,
                ) from exc
            symvers, config = (f"{kernel.devel_path}/{name}" for name in ("Module.symvers", ".config"))
            members = extract_members(rpm, (symvers, config))
            if symvers not in members:
                raise BuildDependencyError(
                    f"{where}: {rpm.name} has no {symvers}",
                    hint="correct devel.path of this kernel in matrix.yaml",
                )
            (folder / "Module.symvers").write_bytes(members[symvers])
            settings = members.get(config, b"").decode(errors="replace")
            text = _CONFIG_TEXT.search(settings)
            document = {
                "sha256": file_sha256(rpm),
                "compiler": text["text"] if text else None,
                "ecdsa": bool(_ECDSA.search(settings)) if settings else None,
                "requirements": [asdict(package) for package in _over(folder, buildroot, kernel, dnf, where)],
            }
            (folder / "kernel.json").write_text(json.dumps(document))

    store.put_folder("prepared", kernel_key(kernel, buildroot), fill)
    made = find_kernel_devel(kernel, buildroot, store)
    assert made is not None  # noqa: S101  put_folder made it
    return made


def read_root(devel: KernelDevel) -> tuple[LockedRpm, ...]:
    """Every package that a root to compile for a kernel gets, as dnf resolved it; none where no root is made."""
    if devel.root is None:
        return ()
    return tuple(LockedRpm(**row) for row in json.loads(devel.root.read_text()))


def _over(folder: Path, buildroot: Buildroot, kernel: Kernel, dnf: Dnf, where: str) -> tuple[LockedRpm, ...]:
    """What dnf would install over a buildroot to compile for a kernel, beside its devel package; sorted by NEVRA.

    ``folder`` gets the list of the whole root.
    """
    if buildroot.path is None:  # the host as it is: nothing gets installed there
        return ()
    if not resolves():
        return ()
    base = {line.split()[0].replace("-0:", "-") for line in buildroot.packages}  # rpm prints an epoch of 0 that is set
    try:
        solved = dnf.solve([*sorted(base), *modules_requirements(kernel)], timeout=_SOLVE_TIMEOUT)
    except ToolError as exc:
        failure = dependency_failure(where, folder / _ROOT, exc.details)
        if not isinstance(failure, BuildDependencyError):  # a repository that does not answer: tried again
            failure.log = exc.log  # dnf's words are in the details: there is no log of it beside
            raise failure from exc
        return ()  # no cell of this kernel is built: its builder, or who compares compilers before, says best why
    (folder / _ROOT).write_text(json.dumps([asdict(package) for package in solved]))
    devel = f"{kernel.devel.name}-{kernel.devel.evr}."
    return tuple(p for p in solved if p.nevra not in base and not p.nevra.startswith(devel))
