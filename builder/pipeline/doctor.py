"""``repobuild doctor``: can this machine do what the matrix asks? Each check tries the real thing."""

from __future__ import annotations

import grp
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import metadata, util
from pathlib import Path

import builder
from builder.build.chroot import require_root
from builder.build.memory import spare_memory
from builder.build.mock import require_mock
from builder.build.mock_call import probe_database
from builder.errors import BuildrootError, DiskFullError, RepobuildError, SignError, ToolError, ToolMissingError
from builder.model.levels import Level, highest
from builder.model.machine import Examination, Finding, Fitness
from builder.model.matrix import Integrity
from builder.pipeline.configure import Configuration, configure
from builder.pipeline.integrity import open_signer
from builder.pipeline.schedule import first_guess_of_memory, gib, room
from builder.pipeline.settings import Settings
from builder.pipeline.signing import ModuleSigning
from builder.plan.levels import required_level
from builder.store import Store
from builder.tools.machine import available_memory, free_space, processors
from builder.tools.packages import install_command, package_hint
from builder.tools.probe import probe_mounts, user_namespaces
from builder.tools.qemu import find_qemu, find_secure_firmware
from builder.tools.rpmbuild import dbpath
from builder.tools.run import run, which

_TIMEOUT = 60.0  # seconds
_ALWAYS = ("rpm", "rpmbuild", "rpmsign", "rpmkeys", "rpm2cpio", "gpg", "gpg-agent", "zstd", "openssl", "setpriv")
_OLDEST_ZSTD = (1, 4, 5)  # the first that packs against another file as modules are packed
_NUMBER = re.compile(r"\d+(?:\.\d+)+")
_EPOCH = 1  # seconds: any date does for a signature nobody keeps


def examine(settings: Settings) -> Examination:
    """Look at this machine with the eyes of a run with these settings; changes nothing, builds nothing.

    Without a matrix.yaml only the machine is looked at. Raises ConfigError and SelectionError as every verb does.
    """
    configuration = configure(settings) if settings.config.is_file() else None
    level = _level(settings, configuration)
    findings = (
        *_matrix(settings, configuration, level),
        *_resources(settings, configuration),
        *_builders(_builder(settings), _databases(configuration)),
        *_programs(dnf=_builder(settings) != "host" or level is not Level.STATIC),
        *_level_findings(settings, level),
        _key(settings, configuration),
        _module_key(settings),
        _clock(settings),
    )
    wanted = [p for f in findings if f.fitness is Fitness.MISSING for p in f.programs]
    return Examination(findings=findings, install=install_command(dict.fromkeys(wanted)))


def _builder(settings: Settings) -> str:
    if settings.builder != "auto":
        return settings.builder
    return "chroot" if which("mock") is None else "mock"


def _level(settings: Settings, configuration: Configuration | None) -> Level:
    """The highest level that a selected cell must reach."""
    cells = [c for c in configuration.cells if c.id in configuration.selected] if configuration else []
    levels = (required_level(cell, configuration.matrix) for cell in cells) if configuration else ()
    return highest(settings.level or Level.STATIC, *levels)


def _checked(subject: str, check: Callable[[], str], *, needed: bool, programs: tuple[str, ...] = ()) -> Finding:
    """What a check says, or the failure it met."""
    try:
        return Finding(subject=subject, fitness=Fitness.OK, text=check())
    except RepobuildError as exc:
        fitness = Fitness.MISSING if needed else Fitness.ABSENT
        return Finding(subject=subject, fitness=fitness, text=exc.message, error=exc, programs=programs)


def _matrix(settings: Settings, configuration: Configuration | None, level: Level) -> Iterator[Finding]:
    if configuration is None:
        text = f"{settings.config} is not there: only this machine is looked at"
        yield Finding(subject="matrix", fitness=Fitness.WARNING, text=text)
        return
    selected = [c for c in configuration.cells if c.id in configuration.selected]
    text = f"{len(selected)} cells selected, builder {_builder(settings)}, level {level}"
    yield Finding(subject="matrix", fitness=Fitness.OK, text=text)
    machine = os.uname().machine
    for arch in sorted({c.arch for c in selected} - {machine}):
        text = f"this machine is {machine}: its cells must be built on such a machine, or left out with --skip"
        yield Finding(subject=f"cells of {arch}", fitness=Fitness.WARNING, text=text)


def _resources(settings: Settings, configuration: Configuration | None) -> Iterator[Finding]:
    text = f"{processors()}; cells at the same time: {settings.workers}, a lone one has all processors"
    yield Finding(subject="processors", fitness=Fitness.OK, text=text)
    need, have = first_guess_of_memory(settings.make_jobs) * settings.workers, available_memory()
    spare = spare_memory(settings.workers)
    where = f"builds work in {gib(spare)} of it each" if spare else "builds work on the disk"
    enough = have >= need
    text = f"{gib(have)} available, first guess of what cells need {gib(need)}; {where}"
    text += "" if enough else ": fewer run at the same time"
    yield Finding(subject="memory", fitness=Fitness.OK if enough else Fitness.WARNING, text=text)
    yield _disk(settings, configuration)


def _disk(settings: Settings, configuration: Configuration | None) -> Finding:
    roots, sources = 0, 0
    if configuration is not None:
        with Store.open(settings.work, exclusive=False) if settings.work.is_dir() else Store.open_empty() as store:
            pins = [p for p in configuration.lock.pins if not store.source_path(p.sha256, "").is_dir()]
            made = any((store.work / "store/roots").iterdir())
        sources = sum(pin.size for pin in pins)
        wanted = {u.distribution.chroot(u.arch).name for u in configuration.units if u.id in configuration.selected}
        roots = 0 if made else len(wanted)
    parts = room(settings, builds=settings.workers, roots=roots, sources=sources)
    need, free = sum(size for _, size in parts), free_space(settings.work.absolute())
    text = f"{gib(free)} free in {settings.work}, a run with everything to do needs {gib(need)}"
    if free >= need:
        return Finding(subject="disk", fitness=Fitness.OK, text=text)
    details = [f"{gib(size)} {what}" for what, size in parts]
    error = DiskFullError(text, details=details, hint="free space, or say what is enough (--min-free GIB)")
    return Finding(subject="disk", fitness=Fitness.MISSING, text=text, error=error)


def _databases(configuration: Configuration | None) -> list[str]:
    """Where the selected roots have their rpm databases."""
    units = [u for u in configuration.units if u.id in configuration.selected] if configuration else []
    return sorted({dbpath(u.distribution.chroot(u.arch)) for u in units})


def _builders(selected: str, databases: Sequence[str]) -> Iterator[Finding]:
    yield _checked("builder mock", partial(_mock, databases), needed=selected == "mock", programs=("mock",))
    tools = tuple(p for p in ("unshare", "setpriv", "chroot", "dnf", "rpm") if which(p) is None)
    yield _checked("builder chroot", _chroot, needed=selected == "chroot", programs=tools)
    yield _checked("user namespaces", _rootless, needed=False)
    kvm = os.access("/dev/kvm", os.R_OK | os.W_OK)
    text = "usable" if kvm else "not here"
    text += "; not used: QEMU emulates, so that boots are the same everywhere"
    yield Finding(subject="KVM", fitness=Fitness.OK if kvm else Fitness.ABSENT, text=text)


def _mock(databases: Sequence[str]) -> str:
    require_mock()
    for place in databases:
        probe_database(place)
    version = _version("mock")
    try:
        members = ", ".join(grp.getgrnam("mock").gr_mem) or "nobody"
    except KeyError:
        members = "there is no such group"
    return f"{version}; group mock: {members} (repobuild runs as root and needs no membership)"


def _chroot() -> str:
    require_root()
    with tempfile.TemporaryDirectory(prefix="repobuild-") as folder:
        try:
            faults = probe_mounts(Path(folder))
        except ToolMissingError:
            raise
        except ToolError as exc:
            raise BuildrootError(
                "the chroot builder cannot have namespaces of its own here",
                details=exc.details,
                hint="in a container: run it privileged, or with CAP_SYS_ADMIN and without seccomp's default profile",
            ) from exc
    if "overlayfs" in faults:
        raise BuildrootError(f"the chroot builder cannot mount overlayfs: {faults['overlayfs']}")
    memory = f"tmpfs cannot be mounted: {faults['tmpfs']}" if "tmpfs" in faults else "tmpfs"
    return f"root, namespaces, overlayfs, {memory}"


def _rootless() -> str:
    fault = user_namespaces()
    if fault is not None:
        raise BuildrootError(f"an unprivileged user cannot have one: {fault}")
    return "an unprivileged user can have one"


def _programs(*, dnf: bool) -> Iterator[Finding]:
    yield _checked("dnf", lambda: _version("dnf"), needed=dnf, programs=("dnf",))
    for program in _ALWAYS:
        check = _zstd if program == "zstd" else partial(_version, program)
        yield _checked(program, check, needed=True, programs=(program,))
    yield Finding(subject="createrepo_c", fitness=Fitness.OK, text=f"{metadata.version('createrepo-c')} (library)")


def _zstd() -> str:
    version = _version("zstd")
    found = _NUMBER.search(version)
    if found and tuple(int(n) for n in found[0].split(".")) < _OLDEST_ZSTD:
        raise ToolError(f"zstd {version} is too old: modules are packed with 1.4.5 or newer")
    return version


def _version(program: str) -> str:
    """The version a program tells of itself; raises ToolMissingError."""
    path = which(program)
    if path is None:
        raise ToolMissingError(f"{program} is not installed", hint=package_hint(program))
    words = [program, "version"] if program == "openssl" else [program, "--version"]
    done = run(words, timeout=_TIMEOUT, ok=range(256))
    found = _NUMBER.search(done.stdout + done.stderr)
    return found[0] if found else str(path)


def _level_findings(settings: Settings, level: Level) -> Iterator[Finding]:
    if level.rank >= Level.INSTALL.rank:
        yield _checked("level install", _install_level, needed=True, programs=("dnf",))
    yield _checked("QEMU", _qemu, needed=level.rank >= Level.BOOT.rank, programs=("qemu",))
    yield _checked("Secure Boot firmware", _firmware, needed=level is Level.SECUREBOOT, programs=("firmware",))
    if level is Level.SECUREBOOT:
        yield _checked("level secureboot", lambda: _secureboot(settings), needed=True)


def _install_level() -> str:
    require_root()
    return "kernel and packages are installed with dnf into roots of their own"


def _qemu() -> str:
    program = find_qemu()
    return f"{_version(program)} ({program})"


def _firmware() -> str:
    return str(find_secure_firmware().code)


def _secureboot(settings: Settings) -> str:
    if util.find_spec("virt") is None:
        raise ToolMissingError("virt-firmware is not installed", hint="pip install 'repobuild[qualify]'")
    if settings.module_cert is None:
        raise SignError("streams ask for secureboot, and no modules are signed", hint="give --module-cert")
    return f"virt-firmware {metadata.version('virt-firmware')}, modules are signed"


def _key(settings: Settings, configuration: Configuration | None) -> Finding:
    if settings.gnupghome is None:
        text = "none given (--gnupghome): this run could build and qualify, not publish"
        return Finding(subject="signing key", fitness=Fitness.ABSENT, text=text)

    def check() -> str:
        signer = open_signer(settings, configuration.matrix.integrity if configuration else Integrity())
        with tempfile.TemporaryDirectory(prefix="repobuild-") as folder:
            data = Path(folder) / "data"
            data.write_bytes(b"doctor\n")
            signer.sign_detached(data, epoch=_EPOCH)
        return f"{signer.fingerprint[-16:]} signs; only its owner can read it"

    return _checked("signing key", check, needed=True)


def _module_key(settings: Settings) -> Finding:
    if settings.module_cert is None and settings.module_key is None:
        text = "none given (--module-cert): modules stay unsigned"
        return Finding(subject="module key", fitness=Fitness.ABSENT, text=text)

    def check() -> str:
        signer = ModuleSigning(settings).signer()
        assert signer is not None  # noqa: S101  there is a certificate
        signer.sign(b"doctor\n")
        return f"'{signer.certificate.name}' signs; only its owner can read it"

    return _checked("module key", check, needed=True)


def _clock(settings: Settings) -> Finding:
    """A clock that stands before what was written already: TLS and the dates of new keys would be refused."""
    now = time.time()
    known = [Path(builder.__file__), settings.config, settings.lock_path, settings.work / "ledger.sqlite"]
    newest = max((path.stat().st_mtime for path in known if path.is_file()), default=0.0)
    text = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    if now >= newest:
        return Finding(subject="clock", fitness=Fitness.OK, text=text)
    late = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(newest))
    text += f", before files of {late}: TLS may be refused; packages do not depend on the clock"
    return Finding(subject="clock", fitness=Fitness.WARNING, text=text)
