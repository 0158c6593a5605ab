"""What a run is asked to do; the command line fills it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from builder.model.levels import Level
from builder.model.matrix import CELL_TIMEOUT
from builder.tools.attempts import RETRIES
from builder.tools.machine import fitting_builds, make_jobs

WEBHOOK_SECRET = "REPOBUILD_WEBHOOK_SECRET"  # noqa: S105  the name of a variable


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Paths and policies of one run."""

    config: Path  # matrix.yaml
    streams: Path | None = None  # folder of streams/*.yaml; None: beside matrix.yaml
    lock: Path | None = None  # matrix.lock.yaml; None: beside matrix.yaml
    work: Path = Path("repobuild-work")
    repo: Path | None = None  # where publications lie; None: <work>/repo
    store: str | None = None  # URL of a store that machines share; None: what this machine made is all there is
    store_required: bool = False  # fail where that store cannot be reached, instead of going on without it
    select: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    only_streams: tuple[str, ...] = ()  # cells of these streams; empty: of all
    jobs: int = 0  # builds at the same time; 0: as many as these processors suit
    builder: str = "auto"
    executor: str | None = None  # what compiles: "local", "dask"; None: dask where a scheduler is named
    scheduler: str | None = None  # address of Dask's; None: a cluster on this machine
    worker_wait: float = 60.0  # seconds that a cell waits for a worker that can take it
    cell_timeout: float | None = None  # seconds for a cell or package, all its attempts; None: as matrix.yaml says
    retries: int = RETRIES  # of what may pass by itself: a server that does not answer, a lost mirror
    min_free: int | None = None  # GiB that must be free before anything is started; None: what is thought to be needed
    gnupghome: Path | None = None
    least_sequence: int = 1  # of a publication's manifest: where a lost repository is made anew
    signing_key: str | None = None  # fingerprint; None: the only secret key of gnupghome
    passphrase_fd: int | None = None
    module_cert: Path | None = None  # X.509 certificate of who signs the kernel modules; None: they stay unsigned
    module_key: str | None = None  # its key: a PEM file or a pkcs11: URI; None: <certificate without suffix>.key
    module_passphrase_fd: int | None = None
    publish_logs: bool = False  # copy build logs of cells beside the publications; the support matrix links to them
    base_url: str | None = None  # of the published repository, for the .repo file and package; None: file://<repo>
    webhook: tuple[str, ...] = ()  # URLs to tell of publications, beside those of matrix.yaml
    fail_fast: bool = False
    compile: bool = True  # False: what was compiled before is packed and signed, nothing new is compiled
    level: Level | None = None  # qualify every cell at least so far, whatever its streams ask

    @property
    def webhook_secret_env(self) -> str | None:
        """The variable with the secret of ``webhook``, None where it is not set: these are told unsigned."""
        return WEBHOOK_SECRET if WEBHOOK_SECRET in os.environ else None

    @property
    def lock_path(self) -> Path:
        """matrix.lock.yaml of this configuration."""
        return self.lock or self.config.parent / "matrix.lock.yaml"

    @property
    def retired_path(self) -> Path:
        """matrix.retired.yaml of this configuration."""
        return self.config.parent / "matrix.retired.yaml"

    @property
    def repo_path(self) -> Path:
        """Absolute folder of the publications."""
        return (self.repo or self.work / "repo").absolute()

    @property
    def published_at(self) -> str:
        """Where clients find the publications."""
        return self.base_url or self.repo_path.as_uri()

    @property
    def farmed(self) -> bool:
        """Are cells compiled by Dask workers?"""
        return (self.executor or ("dask" if self.scheduler else "local")) == "dask"

    @property
    def workers(self) -> int:
        """Builds at the same time on this machine; --jobs is of the workers' where cells are compiled by them."""
        return (0 if self.farmed else self.jobs) or fitting_builds()

    @property
    def make_jobs(self) -> int:
        """Processes inside each build, so that all together keep every processor busy, while nobody shares better."""
        return make_jobs(self.workers)

    @property
    def build_timeout(self) -> float:
        """Seconds for one build outside of the worker pool, which has a deadline for the whole cell."""
        return CELL_TIMEOUT if self.cell_timeout is None else self.cell_timeout
