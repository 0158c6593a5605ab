"""Options that every verb shares, and the settings made of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from builder.cli.completion import complete_cells, complete_streams
from builder.model.levels import Level
from builder.pipeline.settings import Settings
from builder.tools.attempts import RETRIES

F = TypeVar("F", bound=Callable[..., Any])

_CONFIG = [
    click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        default=Path("matrix.yaml"),
        show_default=True,
        envvar="REPOBUILD_CONFIG",
        help="The matrix; streams/ and matrix.lock.yaml lie beside it.",
    ),
    click.option("--json", "as_json", is_flag=True, help="Data on stdout as one JSON document."),
]
_WORK = [
    click.option(
        "--work",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path("repobuild-work"),
        show_default=True,
        envvar="REPOBUILD_WORK",
        help="Work folder: store, ledger, logs.",
    ),
    click.option(
        "--repo",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="REPOBUILD_REPO",
        help="Folder of the publications. [default: <work>/repo]",
    ),
    click.option(
        "--store",
        metavar="URL",
        envvar="REPOBUILD_STORE",
        help="Store that machines share: file:///folder or s3://bucket/prefix. [default: none]",
    ),
    click.option(
        "--store-required",
        is_flag=True,
        envvar="REPOBUILD_STORE_REQUIRED",
        help="Fail where that store cannot be reached, instead of going on without it.",
    ),
    click.option(
        "--builder",
        type=click.Choice(["auto", "chroot", "mock", "host"]),
        default="auto",
        show_default=True,
        envvar="REPOBUILD_BUILDER",
        help="What builds; host only when named.",
    ),
    click.option(
        "--module-cert",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="REPOBUILD_MODULE_CERT",
        help="X.509 certificate of who signs the kernel modules. [default: they stay unsigned]",
    ),
]
_SELECT = [
    click.option(
        "--select",
        multiple=True,
        metavar="GLOB",
        shell_complete=complete_cells,
        help="Only these cells (repeatable), e.g. 'r535-open@*'.",
    ),
    click.option(
        "--stream",
        "only_streams",
        multiple=True,
        metavar="NAME",
        shell_complete=complete_streams,
        help="Only the cells of this stream (repeatable).",
    ),
    click.option(
        "--skip",
        multiple=True,
        metavar="GLOB",
        shell_complete=complete_cells,
        help="Not these cells (repeatable).",
    ),
]
_MODULE_KEY = [
    click.option(
        "--module-key",
        metavar="FILE|URI",
        envvar="REPOBUILD_MODULE_KEY",
        help="Its key: a PEM file or a pkcs11: URI. [default: the certificate's path, ending in .key]",
    ),
    click.option(
        "--module-passphrase-fd",
        type=int,
        metavar="FD",
        help="File descriptor to read that key's passphrase (or the token's PIN) from.",
    ),
]
_RUN = [
    *_MODULE_KEY,
    click.option(
        "--jobs",
        type=click.IntRange(min=0),
        default=0,
        metavar="N",
        help="Builds at the same time, as far as memory allows. [default: half the processors, at least two]",
    ),
    click.option(
        "--executor",
        type=click.Choice(["local", "dask"]),
        envvar="REPOBUILD_EXECUTOR",
        help="Who compiles cells: this program, or Dask workers. [default: local; dask with --scheduler]",
    ),
    click.option(
        "--scheduler",
        metavar="URL",
        envvar="REPOBUILD_SCHEDULER",
        help="Dask's scheduler, tcp://HOST:PORT or tls://…; needs --store. [default: a cluster on this machine]",
    ),
    click.option(
        "--worker-wait",
        type=click.FloatRange(min=0),
        default=60.0,
        show_default=True,
        metavar="SECONDS",
        help="How long a cell waits for a Dask worker that can take it.",
    ),
    click.option(
        "--cell-timeout",
        type=click.FloatRange(min=1),
        metavar="SECONDS",
        help="Longest time of a cell or package, all its attempts. [default: cell_timeout of matrix.yaml, else 14400]",
    ),
    click.option(
        "--retries",
        type=click.IntRange(min=0),
        default=RETRIES,
        show_default=True,
        metavar="N",
        help="Further attempts where a server or mirror does not answer, with growing pauses.",
    ),
    click.option(
        "--min-free",
        type=click.IntRange(min=0),
        metavar="GIB",
        help="Free space without which nothing is started. [default: what the run is thought to need]",
    ),
    click.option(
        "--level",
        type=click.Choice([level.value for level in Level]),
        callback=lambda _context, _option, value: None if value is None else Level(value),
        help="Qualify cells at least so far, whatever their streams ask.",
    ),
    click.option(
        "--fail-fast/--keep-going",
        default=False,
        help="Start no further build after the first failure, or build whatever can be built. [default: keep-going]",
    ),
    click.option("--dry-run", is_flag=True, help="Say what would be done; change nothing."),
]
_WATCH = [
    click.option(
        "-v", "--verbose", is_flag=True, help="Print build logs while they are written, each line with its cell."
    ),
    click.option(
        "--events",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Append what happens to this file, as JSON lines (docs/schema/event.schema.json).",
    ),
    click.option(
        "--metrics",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Keep this file up to date for Prometheus (node_exporter's textfile collector).",
    ),
    click.option(
        "--summary",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Write what the run came to as Markdown, for CI systems.",
    ),
]
_SIGN = [
    click.option(
        "--gnupghome",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="REPOBUILD_GNUPGHOME",
        help="GnuPG home that holds the signing key.",
    ),
    click.option("--signing-key", metavar="FINGERPRINT", help="Which key of it. [default: its only secret key]"),
    click.option("--passphrase-fd", type=int, metavar="FD", help="File descriptor to read the passphrase from."),
    click.option(
        "--publish-logs",
        is_flag=True,
        envvar="REPOBUILD_PUBLISH_LOGS",
        help="Put the cells' build logs beside the publications; the support matrix links to them.",
    ),
    click.option(
        "--least-sequence",
        type=click.IntRange(min=1),
        default=1,
        metavar="N",
        help="Number the publication at least so: where a lost --repo is made anew.",
    ),
    click.option(
        "--base-url",
        metavar="URL",
        help="Where clients will find the repository. Without it module streams get no release package. "
        "[default: file://<repo>]",
    ),
    click.option(
        "--webhook",
        multiple=True,
        metavar="URL",
        help="POST each publication's event there, too (repeatable); $REPOBUILD_WEBHOOK_SECRET signs it.",
    ),
]


def _apply(options: Sequence[Callable[[Any], Any]], function: F) -> F:
    decorated: Any = function
    for option in reversed(options):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]  # click's decorators give a function back


def config_options(function: F) -> F:
    """--config, --json: verbs that read files only."""
    return _apply(_CONFIG, function)


def look_options(function: F) -> F:
    """The above, the work folder and the selection: verbs that look at work."""
    return _apply([*_CONFIG, *_WORK, *_SELECT], function)


def work_options(function: F) -> F:
    """Configuration and work folder: verbs about the work folder as a whole."""
    return _apply([*_CONFIG, *_WORK], function)


def run_options(function: F) -> F:
    """The above and how to build: verbs that work."""
    return _apply([*_CONFIG, *_WORK, *_SELECT, *_RUN, *_WATCH], function)


def rebuild_options(function: F) -> F:
    """Configuration, work folder and module key: verbs that build again what is there."""
    return _apply([*_CONFIG, *_WORK, *_MODULE_KEY], function)


def doctor_options(function: F) -> F:
    """Everything that a run depends on."""
    return _apply([*_CONFIG, *_WORK, *_SELECT, *_RUN, *_SIGN], function)


def repo_options(function: F) -> F:
    """--work, --repo and --json: verbs about publications alone; they get ``repo_path`` and ``as_json``."""

    @functools.wraps(function)
    def wrapper(*, work: Path, repo: Path | None, **options: Any) -> Any:
        return function(repo_path=(repo or work / "repo").absolute(), **options)

    return _apply([*_WORK[:2], _CONFIG[1]], wrapper)  # type: ignore[return-value]  # its options are click's to know


def sign_options(function: F) -> F:
    """The key: verbs that sign."""
    return _apply(_SIGN, function)


def push_options(function: F) -> F:
    """--push: verbs that publish."""
    option = click.option(
        "--push",
        multiple=True,
        metavar="TARGET",
        envvar="REPOBUILD_PUSH",
        help="Then send the publications there, as `repobuild push` does (repeatable).",
    )
    return _apply([option], function)


def key_options(function: F) -> F:
    """Whose signature: verbs that sign without publishing."""
    return _apply(_SIGN[:3], function)


_NOT_SETTINGS = {"as_json", "dry_run"}


def make_settings(options: dict[str, Any]) -> Settings:
    """Settings of the options given; options of a verb that are no settings are left out."""
    names = set(Settings.__dataclass_fields__) - _NOT_SETTINGS
    return Settings(**{name: value for name, value in options.items() if name in names})
