"""buildroot_lock.json: each RPM of the root that a cell was compiled in, beside what was compiled.

The names are those of mock's ``--calculate-build-dependencies`` (its plugin buildroot_lock, version 1.1.0), so that
``mock-hermetic-repo --lockfile`` collects the same RPMs again; licences and signatures are left out, digests added.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from builder.model.matrix import Chroot
from builder.model.nevra import Evr
from builder.model.sources import LockedRpm

LOCK_FILE = "buildroot_lock.json"
_INSTALLED = "installed_pkgs.log"  # a line a package: NEVRA, then among others the MD5 that rpm keeps of it
_MD5 = re.compile(r"[0-9a-f]{32}")


def read_installed(folder: Path) -> dict[str, str | None]:
    """What a root had, from the list beside a build's logs: NEVRA, without an epoch of 0, and the MD5 rpm keeps of it.

    None where a list (of mock, as earlier versions kept it) has no MD5. Raises OSError where there is no list.
    """
    return _read_list((folder / _INSTALLED).read_text())


def _read_list(text: str) -> dict[str, str | None]:
    found = {}
    for line in text.splitlines():
        name, *words = line.split()
        if not name.startswith("gpg-pubkey-"):
            found[name.replace("-0:", "-")] = next((word for word in words if _MD5.fullmatch(word)), None)
    return found


def write_root_lock(folder: Path, chroot: Chroot, solved: Sequence[LockedRpm]) -> None:
    """Write the lock of the root that ``folder``'s installed_pkgs.log tells of, with where dnf found each RPM.

    Where that log is not there, nothing is known of the root (a build on the host) and nothing is written. A package
    that dnf did not say has no URL.
    """
    if not (folder / _INSTALLED).is_file() or not solved:
        return
    (folder / LOCK_FILE).write_text(_lock((folder / _INSTALLED).read_text(), chroot, tuple(solved)))


@lru_cache(maxsize=16)
def _lock(installed: str, chroot: Chroot, solved: tuple[LockedRpm, ...]) -> str:
    """The lock as text; all cells of a kernel have the same."""
    known = {package.nevra: package for package in solved}
    rpms = []
    for nevra, md5 in _read_list(installed).items():
        found = known.get(nevra)
        package, evr, arch = _split(nevra)
        rpms.append(
            {
                "name": package,
                "epoch": str(evr.epoch) if evr.epoch else None,
                "version": evr.version,
                "release": evr.release,
                "arch": arch,
                "sigmd5": md5,
                "sha256": found.sha256 if found else None,
                "url": found.url if found else None,
            }
        )
    document = {
        "version": "1.1.0",
        "buildroot": {"rpms": sorted(rpms, key=lambda rpm: (str(rpm["name"]), str(rpm["arch"])))},
        "config": {"target_arch": chroot.arch, "macros": {f"%{name}": value for name, value in chroot.macros}},
    }
    return json.dumps(document, indent=4, sort_keys=True) + "\n"


def read_root_lock(folder: Path) -> tuple[LockedRpm, ...] | None:
    """The packages that the lock in ``folder`` names, None where there is none.

    ``sha256`` and ``url`` are empty for a package that dnf did not say.
    """
    try:
        rows = json.loads((folder / LOCK_FILE).read_text())["buildroot"]["rpms"]
    except FileNotFoundError:
        return None
    return tuple(LockedRpm(nevra=_nevra(row), sha256=row["sha256"] or "", url=row["url"] or "") for row in rows)


def _nevra(row: dict[str, str | None]) -> str:
    epoch = f"{row['epoch']}:" if row["epoch"] else ""
    return f"{row['name']}-{epoch}{row['version']}-{row['release']}.{row['arch']}"


def _split(nevra: str) -> tuple[str, Evr, str]:
    """Name, EVR and architecture of a line of rpm's: neither version nor release has a dash, no architecture a dot."""
    rest, _, arch = nevra.rpartition(".")
    name, version, release = rest.rsplit("-", 2)
    return name, Evr.parse(f"{version}-{release}"), arch
