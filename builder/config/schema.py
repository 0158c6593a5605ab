"""The shape of matrix.yaml, streams/*.yaml and matrix.lock.yaml: one schema for the checks and for docs/schema/.

Only what one value says about itself is checked here; what two values say about each other is in ``checks``. Values are
strict: nothing is converted, unknown keys are mistakes.

It stays whole though it is long: it reads as the files do, and what a pattern allows stands once.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from builder.model.errata import Severity
from builder.model.levels import Level
from builder.model.matrix import CELL_TIMEOUT, LIFETIME_DAYS, Delivery, Dnf, Flavor, Kmods

STANDARD_MODULES = ("nvidia", "nvidia-uvm", "nvidia-modeset", "nvidia-drm", "nvidia-peermem")

# What a pattern allows, in words: mistakes are read by people who do not read regular expressions.
PATTERNS = {
    r"^[a-z][a-z0-9_.-]*$": "lower-case letters, digits, '.', '_' and '-', a letter first",
    r"^[0-9]+$": 'digits only, as in "535"',
    r"^[0-9]+(\.[0-9]+)+$": 'numbers joined by dots, as in "535.288.01"',
    r"^[0-9]{4}(-(0[1-9]|1[0-2]))?$": '"YYYY-MM" or "YYYY"',
    r"^[0-9]+\.[0-9]+$": 'two numbers joined by a dot, as in "12.2"',
    r"^([0-9]+:)?[^-:\s]+-[^-:\s]+$": "[epoch:]version-release, as in 5.14.0-503.11.1.el9_5",
    r"^[A-Za-z0-9][A-Za-z0-9._+~^-]*$": "letters, digits and . _ + ~ ^ -, without spaces",
    r"^/[^\s]*$": "an absolute path without spaces",
    r"^(\.[A-Za-z0-9_.]+)$": "a dot and letters, as in .el9",
    r"^[A-Za-z0-9._-]+\.cfg\.j2$": "the name of a file below mock-configs/ that ends in .cfg.j2",
    r"^w[0-9]+\.(gzdio|bzdio|xzdio|zstdio)$": "w<level>.gzdio, .bzdio, .xzdio or .zstdio, as in w19.zstdio",
    r"^[0-9a-f]{64}$": "64 lower-case hexadecimal digits",
    r"^([0-9]+:)?[^-:\s]+(-[^-:\s]+)?$": "[epoch:]version[-release], as in 6.12 or 5.14.0-503.11.1.el9_5",
    r"^([^\s]*/)?[A-Za-z0-9][A-Za-z0-9._+-]*\.patch$": "a file name of letters, digits and . _ + - that ends in .patch",
    r"^(/[A-Za-z0-9._/+-]*/)?[A-Za-z0-9][A-Za-z0-9._+-]*$": "a program's name or its absolute path",
    r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$": '"YYYY-MM-DD"',
    r"^[0-9]{4}(-(0[1-9]|1[0-2])(-[0-9]{2})?)?$": '"YYYY-MM-DD", "YYYY-MM" or "YYYY"',
    r"^CVE-[0-9]{4}-[0-9]{4,}$": "a CVE's name, as in CVE-2025-23277",
    r"^https?://[^\s]+$": "a URL that begins with https:// or http://",
    r"^[A-Z_][A-Z0-9_]*$": "the name of an environment variable: capital letters, digits and _",
}
_NAME, _BRANCH, _VERSION, _EOL, _CUDA, _EVR, _RELEASE, _PATH, _DIST_TAG, _TEMPLATE, *_MORE = PATTERNS
_PAYLOAD, _SHA256, BOUND, PATCH, _PROGRAM, DAY, UNTIL, CVE, _URL, _VARIABLE = _MORE

Text = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(pattern=_NAME)]
PackageName = Annotated[str, Field(pattern=_RELEASE)]
Arch = Literal["x86_64", "aarch64", "ppc64le"]
AnyFlavor = Annotated[Flavor, Field(strict=False)]
AnyLevel = Annotated[Level, Field(strict=False)]

TIME = r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]Z$"
PATTERNS[TIME] = 'a time in UTC, as in "2025-05-20T13:05Z"'


class _File(BaseModel):
    model_config = ConfigDict(defer_build=True, extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class RepositoryEntry(_File):
    """A dnf repository that buildroots are made from."""

    id: Name
    baseurl: Text
    """URL, or a path that starts at matrix.yaml; dnf expands $releasever and $basearch."""
    gpgcheck: bool = True
    gpgkey: Text | None = None
    """URL or path of the public key; needed where gpgcheck is on."""


class BuildrootEntry(_File):
    """What packages of a distribution are built in."""

    template: Annotated[str, Field(pattern=_TEMPLATE)]
    """The mock configuration template below mock-configs/."""
    releasever: Text
    packages: Annotated[list[PackageName], Field(min_length=1)]
    """What the base root holds before build requirements."""
    macros: dict[str, str] = {}
    """rpm macros of the distribution."""
    repositories: Annotated[list[RepositoryEntry], Field(min_length=1)]


class DistributionEntry(_File):
    """One target distribution."""

    title: Text
    platform: Name
    """The modulemd platform stream."""
    dist_tag: Annotated[str, Field(pattern=_DIST_TAG)]
    delivery: Annotated[Delivery, Field(strict=False)]
    """modular: module streams; branch-packages: the branch in package names; branch-repos: a repository a stream."""
    arches: Annotated[list[Arch], Field(min_length=1)]
    payload: Annotated[str, Field(pattern=_PAYLOAD)] = "w3.zstdio"
    """%_binary_payload: what this distribution's rpm reads."""
    other_kernels: list[Name] = []
    """Packages that own vmlinuz of kernels that this matrix has none of: kept out as those without a module are."""
    dnf: list[Annotated[Dnf, Field(strict=False)]] = [Dnf.DNF4]
    """Whose plugin, which holds kernels back one by one, is built: dnf4, dnf5; what its hosts and buildroot have."""
    buildroot: BuildrootEntry


class AdvisoryEntry(_File):
    """What hosts are told of a driver or kernel release beside that it is there."""

    issued: Annotated[str, Field(pattern=DAY)] | None = None
    """When it came out; unless given the date of the driver's archive."""
    severity: Annotated[Severity, Field(strict=False)] | None = None
    """Needed where there are CVEs."""
    cves: list[Annotated[str, Field(pattern=CVE)]] = []
    """What it fixes."""
    references: list[Annotated[str, Field(pattern=_URL)]] = []
    """Where to read more: release notes, security bulletins."""
    text: Text | None = None
    """What it is about, in some sentences."""


class CoreEntry(_File):
    """The package that owns vmlinuz."""

    name: PackageName
    evr: Annotated[str, Field(pattern=_EVR)]


class DevelEntry(CoreEntry):
    """The package that owns the build tree, and where that tree lies once it is installed."""

    path: Annotated[str, Field(pattern=_PATH)]


class CompilerEntry(_File):
    """The toolchain that built a kernel."""

    package: PackageName
    command: Annotated[str, Field(pattern=_PROGRAM)]
    """What CC is: a name, or the path of a compiler that is not on PATH (/opt/rh/gcc-toolset-13/root/usr/bin/gcc)."""
    version_text: Text | None = None
    """CONFIG_CC_VERSION_TEXT, when it was read."""


class KernelEntry(_File):
    """One kernel, as its own RPMs describe it; nothing is derived from its name."""

    distribution: Text
    release: Annotated[str, Field(pattern=_RELEASE)]
    """Exactly `uname -r`."""
    arch: Arch
    variant: Name
    """generic, rt, 64k, cloud, uek …"""
    core: CoreEntry
    devel: DevelEntry
    compiler: CompilerEntry
    read: Text
    """Where this kernel was read: URL, repository/path, or the RPM."""
    built: Annotated[str, Field(pattern=TIME)] | None = None
    """When its own package was built, as its header says: freshness counts from here where `published` is unknown."""
    published: Annotated[str, Field(pattern=TIME)] | None = None
    """When its distribution published it: freshness counts from here."""
    live: bool = True
    """false: kept for its history, no longer built."""
    eol: Annotated[str, Field(pattern=UNTIL)] | None = None
    """The last day of its lifetime; until then all its modules stay published. Without one `prune` never takes it."""
    advisory: AdvisoryEntry | None = None


class SourceEntry(_File):
    """One downloadable file of a driver; its digest lives in matrix.lock.yaml."""

    kind: Literal["run", "open-source", "fabricmanager", "nscq", "imex"]
    """run: the installer; open-source: the open modules' source; the others: NVIDIA's archives of that name."""
    arch: Arch | Literal["noarch"]
    url: Text
    """Template: {version}, {arch} and {branch} are replaced; a relative path starts at matrix.yaml."""


class DriverEntry(_File):
    """One driver version of a branch."""

    version: Annotated[str, Field(pattern=_VERSION)]
    flavors: Annotated[list[AnyFlavor], Field(min_length=1)]
    modules: Annotated[list[Name], Field(min_length=1)] = list(STANDARD_MODULES)
    """Kernel modules that a cell must yield."""
    read: Text
    """Where this version was read."""
    sources: list[SourceEntry]
    advisory: AdvisoryEntry | None = None


class RangeEntry(_File):
    """Versions as rpm orders them; at least one end is wanted."""

    from_: Annotated[str, Field(pattern=BOUND)] | None = Field(default=None, alias="from")
    """The first that is in it."""
    before: Annotated[str, Field(pattern=BOUND)] | None = None
    """The first that is not."""


class KernelRuleEntry(RangeEntry):
    """A choice of kernels: whatever is given must hold; `from` and `before` bound the EVR of the core package."""

    distribution: Text | None = None
    variant: Name | None = None
    release: Text | None = None
    """Glob over `uname -r`."""


class PatchEntry(_File):
    """A patch to the kernel tree of a branch's drivers, applied with `patch -p1 --fuzz=0` in the order given."""

    file: Annotated[str, Field(pattern=PATCH)]
    """A relative path starts at matrix.yaml."""
    reason: Text
    upstream: Text | None = None
    """Where it comes from, or the kernel's change that asks for it."""
    kernels: Annotated[list[KernelRuleEntry], Field(min_length=1)] | None = None
    """A kernel that any of these chooses; every kernel unless given."""
    flavors: Annotated[list[AnyFlavor], Field(min_length=1)] | None = None
    """Every flavor unless given."""
    drivers: RangeEntry | None = None
    """Every driver of the branch unless given."""


class BranchEntry(_File):
    """A driver branch with its lifetime."""

    type: Literal["LTS", "PB", "NFB", "preview"]
    eol: Annotated[str, Field(pattern=_EOL)] | None = None
    max_cuda: Annotated[str, Field(pattern=_CUDA)] | None = None
    gpus: list[Name]
    """GPU generations, oldest first."""
    note: Text | None = None
    patches: list[PatchEntry] = []
    drivers: list[DriverEntry]


class ExcludeEntry(_File):
    """A rule that takes cells out of the matrix."""

    cells: Text
    """Glob over cell ids, as in r535*@*rt*."""
    reason: Text


class QualificationEntry(_File):
    """How far cells are tried before they are published; the most careful stream of a cell decides."""

    level: AnyLevel = Level.STATIC
    """static: looked at; install: installed beside their kernel; boot: that kernel inserts them; secureboot."""
    streams: dict[str, AnyLevel] = {}
    """For these streams another level."""


class KeyEntry(_File):
    """A public key that signs, will sign or did sign what is published."""

    file: Text
    """Armored OpenPGP key; a relative path starts at matrix.yaml."""
    from_: Annotated[str, Field(pattern=DAY)] | None = Field(default=None, alias="from")
    """The day (UTC) from which on it signs instead of the one before it; only the first key has none."""


class IntegrityEntry(_File):
    """What hosts and mirrors may believe of a publication, and for how long."""

    lifetime_days: Annotated[int, Field(ge=1, le=3650)] = LIFETIME_DAYS
    """After so many days without a new or renewed publication, `verify` calls it expired."""
    keys: list[KeyEntry] = []
    """Keys that hosts are told of, oldest first; needed only while one follows another."""


class RetentionEntry(_File):
    """When what is at the end of its lifetime leaves the publications, and what is kept for clients meanwhile."""

    grace_days: Annotated[int, Field(ge=0)] = 0
    """How long after its last day a kernel or branch is still published."""
    notice_days: Annotated[int, Field(ge=0)] = 90
    """How long before it leaves that must have been announced in the publications."""
    newest_kernels: Annotated[int, Field(ge=1)] = 3
    """So many newest kernels of a variant stay whatever their lifetime: hosts have them (dnf's installonly_limit)."""
    former_generations: Annotated[int, Field(ge=0)] = 3
    """Files of so many generations before stay at their addresses: a client may have read their index already."""
    early: Literal["warn", "refuse"] = "warn"
    """What becomes of a publication that takes away what is in its lifetime."""


class WebhookEntry(_File):
    """Who is told of each publication by an HTTP POST."""

    url: Annotated[str, Field(pattern=_URL)]
    secret_file: Text | None = None
    """File with the secret that signs the request (HMAC-SHA256); a relative path starts at matrix.yaml."""
    secret_env: Annotated[str, Field(pattern=_VARIABLE)] | None = None
    """Environment variable with that secret."""


class MatrixFile(_File):
    """matrix.yaml: distributions × kernels × driver branches."""

    schema_: Literal[1] = Field(alias="schema")
    module: Name = "nvidia-driver"
    """Name of the dnf module."""
    epoch: Annotated[int, Field(ge=0)]
    """Of all driver packages."""
    vendor: Text
    mock_configs: Text | None = None
    """Folder of mock configuration templates; unless given mock-configs/ beside matrix.yaml or the program's own."""
    distributions: Annotated[dict[str, DistributionEntry], Field(min_length=1)]
    kernels: list[KernelEntry]
    branches: Annotated[dict[str, BranchEntry], Field(min_length=1)]
    exclude: list[ExcludeEntry] = []
    cell_timeout: Annotated[int, Field(ge=1)] = int(CELL_TIMEOUT)
    """Seconds a cell or package may take, all its attempts; then it is stopped. `--cell-timeout` is stronger."""
    qualification: QualificationEntry = QualificationEntry()
    integrity: IntegrityEntry = IntegrityEntry()
    advisory_prefix: PackageName = "NVIDIA"
    """What the ids of advisories begin with; it should say whose they are."""
    retention: RetentionEntry = RetentionEntry()
    webhooks: list[WebhookEntry] = []


class ProfileEntry(_File):
    """An install profile: user-facing packages only."""

    packages: Annotated[list[PackageName], Field(min_length=1)]
    description: str = ""


class StreamFile(_File):
    """streams/<stream>.yaml: one module stream."""

    stream: Annotated[str, Field(pattern=_NAME)]
    branch: Text
    """A branch of matrix.yaml, or newest-complete: the newest driver whose packages and modules are all there."""
    flavor: AnyFlavor
    kmods: Annotated[Kmods, Field(strict=False)]
    default: bool = False
    """Exactly one stream of a distribution is its default."""
    default_instead_of: list[Annotated[str, Field(pattern=_NAME)]] = []
    """Streams whose place as the default this one takes: without it, publishing a changed default is refused."""
    summary: Text
    description: Text
    profiles: Annotated[dict[str, ProfileEntry], Field(min_length=1)]
    default_profile: Text = "default"
    distributions: list[Text] = []
    """Where the stream is offered; everywhere unless given."""


class PinEntry(_File):
    """One source's really fetched bytes."""

    sha256: Annotated[str, Field(pattern=_SHA256)]
    size: Annotated[int, Field(ge=1)]
    """Bytes."""
    url: Text


class LockFile(_File):
    """matrix.lock.yaml: written by `repobuild pin`, never by hand."""

    schema_: Literal[1] = Field(alias="schema")
    pins: list[PinEntry]


class RetiredEntry(_File):
    """A kernel or branch at the end of its lifetime."""

    kind: Literal["kernel", "branch"]
    name: Text
    """`uname -r`, or the branch."""
    on: Annotated[str, Field(pattern=DAY)]
    """When it was retired."""
    reason: Text


class RetiredFile(_File):
    """matrix.retired.yaml: written by `repobuild prune`; what it names is built and published no more."""

    schema_: Literal[1] = Field(alias="schema")
    retired: list[RetiredEntry]


FILES: dict[str, type[BaseModel]] = {
    "matrix": MatrixFile,
    "stream": StreamFile,
    "lock": LockFile,
    "retired": RetiredFile,
}


def json_schemas() -> dict[str, dict[str, Any]]:
    """JSON Schema (2020-12) of each file: keys matrix, stream, lock, retired; checked in under docs/schema/."""
    schemas = {}
    for name, model in FILES.items():
        schema = model.model_json_schema(by_alias=True)
        schemas[name] = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    return schemas
