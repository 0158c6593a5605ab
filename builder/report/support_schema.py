"""The shape of support-matrix.json, of a publication and of a repository; tests hold the documents to it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Time = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\dZ$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Day = Annotated[str, Field(pattern=r"^\d{4}(-\d\d)?$")]
Date = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d$")]
Cell = Literal["published", "held", "failed", "blocked", "excluded"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)


class Branch(_Part):
    """A driver branch that a cell or stream is of."""

    name: str
    type: str
    """LTS, PB, NFB, preview."""
    eol: Day | None
    """Month or year that support ends with; null: not announced."""
    leaves: Date | None = None
    """The day from which it may leave the publications; null: unknown."""
    max_cuda: str | None
    gpus: list[str]
    """GPU generations, oldest first."""
    open_gpus: list[str]
    """Those that its open modules drive."""
    proprietary_gpus: list[str]
    """Those that its proprietary modules drive."""
    note: str | None


class Signer(_Part):
    """Who signed the kernel modules."""

    name: str
    """Common name of the certificate."""
    sha256: Sha256
    """Of the certificate."""


class Held(_Part):
    """A driver that a stream would carry."""

    driver: str
    reason: str


class Undriven(_Part):
    """GPUs that a stream's newest driver does not drive."""

    last_branch: str | None
    """The last that drives them; null: this one's proprietary modules."""
    devices: int
    examples: list[str]


class Gpus(_Part):
    """By the list that comes with a stream's newest driver; supported-gpus.json names each."""

    driven: int
    not_driven: list[Undriven]


class Stream(_Part):
    """One stream, offered or held back."""

    name: str
    default: bool
    branch: str | None
    """Of its newest driver; null: held back."""
    follows_newest: bool
    """It changes branches, with the newest complete driver."""
    flavor: Literal["proprietary", "open"]
    kmods: Literal["precompiled", "dkms"]
    summary: str
    drivers: list[str]
    """Oldest first; empty: the stream is held back."""
    held: list[Held]
    profiles: list[str]
    gpus: Gpus | None
    """null: its driver comes without a list, or was not here."""
    install: list[str]
    """Commands for a host without a stream; REPOSITORY stands for the repository's address."""
    switch: list[str]
    """Commands for a host with another stream; FORMER stands for the label of that one."""


class Offer(_Part):
    """What a host with a kernel gets from a stream."""

    state: Literal["published", "dkms", "held", "failed", "blocked", "excluded", "none"]
    driver: str | None
    level: str | None
    reason: str


class Kernel(_Part):
    """One kernel of the distribution."""

    release: str
    """Exactly `uname -r`."""
    variant: str
    package: str
    live: bool
    """false: no longer built."""
    built: Time | None
    """When its own package was built; null: nobody wrote it down."""
    published: Time | None
    """When its distribution published it; likewise."""
    eol: str | None = None
    leaves: Date | None = None
    """The day from which it may leave the publications; null: unknown."""
    streams: dict[str, Offer]


class PublishedCell(_Part):
    """One driver × flavor × kernel."""

    id: str
    kernel: str
    variant: str
    branch: str
    driver: str
    flavor: Literal["proprietary", "open"]
    outcome: Cell
    level: str | None
    """How far it was qualified."""
    reason: str
    """Why it is not offered, or what is to be said of it; may be empty."""
    package: str | None
    """NEVRA of its kmod package; null: not built."""
    signer: Sha256 | None
    """Certificate that its modules are signed with; null: unsigned, or not built."""


class Leaving(_Part):
    """What may leave the publications, and from which day."""

    what: str
    """In words."""
    kind: str
    name: str
    leaves: Date
    why: str


class Retention(_Part):
    """How long before it leaves something is announced."""

    notice_days: int


class SupportMatrix(_Part):
    """support-matrix.json of a publication: what a distribution × arch supports. It holds no times."""

    schema_: Literal[1] = Field(alias="schema")
    module: str
    distribution: str
    title: str
    arch: str
    delivery: Literal["modular", "branch-packages", "branch-repos"]
    begin: list[str] = []
    """Once, on a host that does not know the repository: its keys, and the package that brings it."""
    commands: list[str]
    """Examples: to see, to install, to switch."""
    branches: list[Branch]
    retention: Retention | None = None
    leaving: list[Leaving] = []
    """The next first; readers compare with their own day."""
    signer: Signer | None
    streams: list[Stream]
    kernels: list[Kernel]
    cells: list[PublishedCell]


class Freshness(_Part):
    """Hours from a kernel's publication to its first module, of live kernels."""

    kernels: int
    known: int
    """Of how many both times are known; the others are in no figure."""
    median_hours: float | None
    longest_hours: float | None


class SiteKernel(Kernel):
    """A kernel with its freshness."""

    first_module: Time | None
    """The first publication here that had a module for it."""
    hours: float | None
    """From `published` (else `built`) to `first_module`; null: unknown."""


class SiteCell(PublishedCell):
    """A cell with its times."""

    built: Time | None
    """When the result was finished; null: not built, or not recorded where it was published."""
    available: Time | None
    """The first publication here that had a module of this driver for this kernel."""
    hours: float | None
    """From the kernel's `published` (else `built`) to `available`; null: unknown. A driver newer than its kernel counts
    from the kernel, too."""
    log: str | None
    """Its build log, relative to the repository."""
    no_log: str | None
    """Why there is none."""


class SitePublication(SupportMatrix):
    """A current publication's own document, and what is known besides it."""

    digest: Sha256 | None
    kernels: list[SiteKernel]  # type: ignore[assignment]  # narrower
    cells: list[SiteCell]  # type: ignore[assignment]
    freshness: Freshness


class SupportSite(_Part):
    """support-matrix.json at the top of a repository: all its current publications, written anew after each one."""

    schema_: Literal[1] = Field(alias="schema")
    place: str | None
    """The repository's address; null: not given with --base-url."""
    publications: list[SitePublication]
    freshness: Freshness
    """Of all publications together."""


def support_schemas() -> dict[str, dict[str, Any]]:
    """JSON Schemas (2020-12) by the name of their file below docs/schema/. Unknown keys are allowed: more will come."""
    draft = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    named: dict[str, type[BaseModel]] = {"support-matrix": SupportMatrix, "support-site": SupportSite}
    return {name: {**draft, **model.model_json_schema(by_alias=True)} for name, model in named.items()}
