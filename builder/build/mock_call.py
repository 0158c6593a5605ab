"""One call of mock: a scratch folder that has all of it, namespaces that end all of it."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import signal
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.errors import BuildrootError
from builder.model.matrix import Chroot
from builder.tools.confine import namespaces
from builder.tools.rpmbuild import dbpath, installed_query, last_macro_file
from builder.tools.run import run

CACHE = "cache"
LIB = "lib"
RESULT = "result"
PACKAGES = "installed_pkgs.log"
_CONFIG = "mock.cfg"
_MACROS = "rpm-macros"
_NOBODY = "nobody"  # who mock becomes where it was not called through sudo
_PROBE_TIMEOUT = 60.0  # seconds
# mock's unprivileged side could not enter a work folder below one that is closed to others, such as /root, so mock
# finds it elsewhere: in a folder that every system has, that mock does not need and that no repository lies in.
INSIDE = Path("/boot")
# The host's dnf fills the root, and the host's rpm has a place of its own for a database: Debian's ~/.rpmdb, Fedora's
# /usr/lib/sysimage/rpm. mock's `macros` do not reach that rpm, and its ~/.rpmmacros mock writes itself.
_IN_SCRATCH = (
    "sh",
    "-c",
    f'mount --bind "$1" {INSIDE} && mount --bind {INSIDE / _MACROS} "$2" && cd {INSIDE} && shift 2 && exec "$@"',
    "sh",
)
# Not mock's plugin: its mount ends with the mock that made it, before anybody could ask the root what is in it.
_IN_MEMORY = ("sh", "-c", f'mount -t tmpfs -o "$1" root {INSIDE / LIB} && shift && exec "$@"', "sh")


@dataclass(frozen=True, slots=True, kw_only=True)
class MockCall:
    """The folder that mock works in, which it sees as ``INSIDE``, and what it said."""

    scratch: Path
    log: Path

    @classmethod
    def new(cls, tmp: Path, chroot: Chroot, configuration: str, settings: Mapping[str, object]) -> MockCall:
        """A scratch folder below ``tmp``, with a configuration that keeps everything in it."""
        scratch = tmp / "mock"
        for folder in (scratch, *(scratch / name for name in (LIB, CACHE, RESULT))):
            folder.mkdir()
            give(folder)
        (scratch / _CONFIG).write_text(configuration + _overrides(chroot, settings))
        _write_macros(scratch, dbpath(chroot))
        return cls(scratch=scratch, log=tmp / "mock.log")

    def run(self, words: Sequence[str], *, network: bool, timeout: float, script: Sequence[str] = ("mock",)) -> int:
        """Run mock (or a script that does) in namespaces of its own; returns its exit code.

        Raises ToolTimeoutError, InterruptedRunError.
        """
        user = _user()
        environment = {"SUDO_UID": str(user.pw_uid), "SUDO_GID": str(user.pw_gid), "HOME": str(INSIDE)}
        argv = [*_in_scratch(self.scratch, network=network), *script]
        argv += ["-r", str(INSIDE / _CONFIG), "--resultdir", str(INSIDE / RESULT), *words]
        ok = (*range(256), -signal.SIGKILL)
        return run(argv, timeout=timeout, log=self.log, env=environment, ok=ok).returncode

    def keep(self, target: Path, names: Sequence[str]) -> None:
        """Copy these logs; those that mock did not come to are empty."""
        for name in names:
            log = self.scratch / RESULT / name
            if log.is_file():
                shutil.copyfile(log, target / name)
        for name in names:
            (target / name).touch()


def probe_database(place: str) -> None:
    """Raise BuildrootError where rpm, as mock's dnf will find it, has its database elsewhere than at ``place``."""
    with tempfile.TemporaryDirectory(prefix="repobuild-") as folder:
        scratch = Path(folder)
        _write_macros(scratch, place)
        argv = [*_in_scratch(scratch, network=False), "rpm", "--eval", "%_dbpath"]
        found = run(argv, timeout=_PROBE_TIMEOUT, env={"HOME": str(INSIDE)}).stdout.strip()
    if found != place:
        raise BuildrootError(
            f"this host's rpm would have the database of a root in {found}, not in {place}",
            details=[f"to mock {last_macro_file()} says {place}; another file of macros on this host comes after it"],
            hint="grep -r _dbpath /etc/rpm /usr/lib/rpm finds the file; take the line out of it",
        )


def give(folder: Path) -> None:
    """Make a folder that of mock's unprivileged side."""
    os.chown(folder, _user().pw_uid, -1)
    folder.chmod(0o755)


def root_name(chroot: Chroot) -> str:
    """The folder of a chroot's root below ``LIB``, without the extension of a build."""
    return f"repobuild-{chroot.name}"


def in_memory(size: int) -> tuple[str, ...]:
    """Words that run a program with the folder of the root in so many bytes of memory; none for the disk."""
    return (*_IN_MEMORY, f"size={size},mode=755,uid={_user().pw_uid}") if size else ()


def listing(chroot: Chroot, unique: str) -> tuple[str, ...]:
    """Words that run a program and, when it ended well, list the packages of the root that it left."""
    query = installed_query(INSIDE / LIB / f"{root_name(chroot)}-{unique}" / "root", dbpath(chroot))
    return ("sh", "-c", f'"$@" || exit; {shlex.join(query)} > {INSIDE / RESULT / PACKAGES}; exit 0', "sh")


def _in_scratch(scratch: Path, *, network: bool) -> list[str]:
    return [*namespaces(network=network), *_IN_SCRATCH, str(scratch), str(last_macro_file())]


def _write_macros(scratch: Path, place: str) -> None:
    """What the host's rpm reads last, and then where a root's database lies."""
    said = last_macro_file().read_bytes()
    macros = scratch / _MACROS
    macros.write_bytes(said + f"\n%_dbpath {place}\n".encode())
    macros.chmod(0o644)


def _user() -> pwd.struct_passwd:
    """Who mock becomes for all that needs no privilege: the caller of sudo, else nobody."""
    caller = os.environ.get("SUDO_UID", "0")
    try:
        return pwd.getpwuid(int(caller)) if caller.isdecimal() and int(caller) else pwd.getpwnam(_NOBODY)
    except KeyError:
        return pwd.getpwnam(_NOBODY)


def _overrides(chroot: Chroot, settings: Mapping[str, object]) -> str:
    """What this call sets whatever the distribution's template says, as mock reads it: Python."""
    lines = [
        "",
        "# Of this call.",
        f"config_opts['root'] = {root_name(chroot)!r}",
        f"config_opts['basedir'] = {str(INSIDE / LIB)!r}",
        f"config_opts['cache_topdir'] = {str(INSIDE / CACHE)!r}",
        "config_opts['isolation'] = 'simple'",  # systemd-nspawn wants a system manager; the namespaces are here already
        "config_opts['use_bootstrap'] = False",
        "config_opts['dnf_warning'] = False",  # with another dnf than the distribution's it would wait for a key
        "config_opts['rpmbuild_networking'] = False",
        "config_opts['update_before_build'] = False",  # the root is of the state that the key names
        "config_opts['cleanup_on_success'] = False",  # the root goes with its namespaces and with the scratch folder
        "config_opts['cleanup_on_failure'] = False",
        "config_opts['plugin_conf']['ccache_enable'] = False",
        "config_opts['plugin_conf']['root_cache_enable'] = True",
        "config_opts['plugin_conf']['root_cache_opts']['age_check'] = False",
        # Each build unpacks it; mock's own choice is pigz, or gzip where that is missing.
        "config_opts['plugin_conf']['root_cache_opts']['compress_program'] = 'zstd'",
        "config_opts['plugin_conf']['root_cache_opts']['decompress_program'] = None",
        "config_opts['plugin_conf']['root_cache_opts']['extension'] = '.zst'",
        "config_opts['plugin_conf']['package_state_enable'] = False",  # not every mock says which bytes a package has
        "config_opts['plugin_conf']['tmpfs_enable'] = False",
    ]
    for name, value in settings.items():
        if isinstance(value, dict):
            lines += [f"config_opts[{name!r}][{key!r}] = {inner!r}" for key, inner in value.items()]
        else:
            lines.append(f"config_opts[{name!r}] = {value!r}")
    return "\n".join(lines) + "\n"
