"""rpm and rpmbuild: macros that make the same input give the same bytes, queries of a root's database."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from builder.errors import ToolMissingError
from builder.model.chroots import Chroot
from builder.tools.packages import package_hint
from builder.tools.run import run

_DBPATH = "/var/lib/rpm"
_QUERY_TIMEOUT = 300.0  # seconds
_RPM, _ADMINS = Path("/usr/lib/rpm"), Path("/etc/rpm")
_NOT_READ = ("~", ".rpmnew", ".rpmorig", ".rpmsave")
BUILD_HOST = "repobuild"  # instead of the machine's name, which would stand in every header


def reproducible_macros() -> dict[str, str]:
    """Macros that keep clock and host name out of RPM headers (rpm's docs/manual/buildprocess, macros.in)."""
    return {
        "_buildhost": BUILD_HOST,
        "clamp_mtime_to_source_date_epoch": "1",
        "source_date_epoch_from_changelog": "0",
        "use_source_date_epoch_as_buildtime": "1",
    }


def defines(macros: Mapping[str, str]) -> list[str]:
    """``--define`` words for rpm's command line."""
    return [word for name, value in macros.items() for word in ("--define", f"{name} {value}")]


def macro_file(macros: Mapping[str, str]) -> str:
    """The text of an rpm macro file."""
    return "".join(f"%{name} {value}\n" for name, value in macros.items())


def last_macro_file() -> Path:
    """Of the host's files of macros the one that rpm reads last: what it says holds against the others.

    Raises ToolMissingError without rpm.
    """
    # The order of rpm --showrc's "Macro path", without what is of one platform only; */macros is a vendor's.
    vendors = ("macros", "macros.d/macros.*", "*/macros")
    order = [path for glob in vendors for path in sorted(_RPM.glob(glob))]
    order += [path for glob in ("macros.*", "macros") for path in sorted(_ADMINS.glob(glob))]
    read = [path for path in order if path.is_file() and not path.name.endswith(_NOT_READ)]
    if not read:
        raise ToolMissingError("rpm is not installed", hint=package_hint("rpm"))
    return read[-1]


def dbpath(chroot: Chroot) -> str:
    """Where a root's rpm database lies: EL's place unless the chroot's macros say another (Fedora's differs)."""
    return dict(chroot.macros).get("_dbpath", _DBPATH)


def installed_packages(root: Path | None, dbpath: str | None) -> tuple[str, ...]:
    """``NEVRA sigmd5`` of every package in a root's database (the host's for None), sorted; keys are no packages."""
    return listed_packages(run(installed_query(root, dbpath), timeout=_QUERY_TIMEOUT).stdout)


def installed_query(root: Path | None, dbpath: str | None) -> list[str]:
    """The argv that prints what ``listed_packages`` reads."""
    place = ["--root", str(root)] if root else []
    base = ["--dbpath", dbpath] if dbpath else []
    return ["rpm", *place, *base, "-qa", "--qf", "%{NEVRA} %{SIGMD5}\\n"]


def listed_packages(text: str) -> tuple[str, ...]:
    """The lines of packages, sorted."""
    return tuple(sorted(line for line in text.splitlines() if not line.startswith("gpg-pubkey-")))


def owned(root: Path, dbpath: str, path: Path) -> bool:
    """Whether a package of a root owns a path (given as seen from outside)."""
    inside = f"/{path.relative_to(root)}"
    argv: list[str | Path] = ["rpm", "--root", root, "--dbpath", dbpath, "-q", "--file", inside]
    return run(argv, timeout=_QUERY_TIMEOUT, ok=(0, 1)).returncode == 0


def build_source(spec: str, folder: Path, *, macros: Mapping[str, str], source_date_epoch: int) -> None:
    """``rpmbuild -bs`` of ``folder``/spec with the sources in ``folder``/sources; raises ToolError with rpm's words.

    Every path is relative: rpm 4.18 keeps the parsed spec in the header of a source package, expanded paths included.
    """
    places = {"_topdir": ".", "_sourcedir": "sources", "_srcrpmdir": "."}
    argv = ["rpmbuild", "-bs", "--nodeps", *defines({**places, **macros}), spec]
    environment = {"SOURCE_DATE_EPOCH": str(source_date_epoch), "HOME": str(folder)}
    run(argv, cwd=folder, timeout=_QUERY_TIMEOUT, env=environment)
