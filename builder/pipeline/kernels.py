"""Read what must be known of a kernel from its own devel package, once for each state of the repositories."""

from __future__ import annotations

import json
import re
from pathlib import Path

from builder.errors import BuildDependencyError, ToolError
from builder.model.matrix import Kernel
from builder.model.sources import Buildroot, KernelDevel
from builder.store import Store
from builder.tools.dnf import download_package
from builder.tools.rpms import extract_members, file_sha256

_CONFIG_TEXT = re.compile(r'^CONFIG_CC_VERSION_TEXT="(?P<text>.*)"$', re.MULTILINE)
_ECDSA = re.compile(r"^CONFIG_CRYPTO_ECDSA=[ym]$", re.MULTILINE)


def _key(kernel: Kernel, buildroot: Buildroot) -> str:
    return f"kernel2-{kernel.release}-{kernel.devel.evr}-{buildroot.repositories[:16]}".replace(":", "_")


def find_kernel_devel(kernel: Kernel, buildroot: Buildroot, store: Store) -> KernelDevel | None:
    """What was read before for this state of the repositories, None when nothing was."""
    folder = store.folder("prepared", _key(kernel, buildroot))
    if folder is None:
        return None
    document = json.loads((folder / "kernel.json").read_text())
    return KernelDevel(
        release=kernel.release,
        sha256=document["sha256"],
        symvers=folder / "Module.symvers",
        compiler_text=document["compiler"],
        ecdsa=document["ecdsa"],
    )


def read_kernel_devel(kernel: Kernel, buildroot: Buildroot, store: Store) -> KernelDevel:
    """Download a kernel's devel package from the buildroot's repositories and read it; reuses what was read before.

    Raises BuildDependencyError when no repository has the package or it is not the tree matrix.yaml describes.
    """
    found = find_kernel_devel(kernel, buildroot, store)
    if found is not None:
        return found
    where = f"{kernel.devel} (for {kernel.release})"

    def fill(folder: Path) -> None:
        with store.tmp() as tmp:
            try:
                rpm = download_package(buildroot.chroot, kernel.devel, kernel.arch, tmp)
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
            }
            (folder / "kernel.json").write_text(json.dumps(document))

    store.put_folder("prepared", _key(kernel, buildroot), fill)
    made = find_kernel_devel(kernel, buildroot, store)
    assert made is not None  # noqa: S101  put_folder made it
    return made
