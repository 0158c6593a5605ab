"""matrix and its stages: fetch, render, build, qualify, sign, publish, resign, rollback."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from builder.cli.options import look_options, make_settings, push_options, run_options, sign_options
from builder.cli.output import command, data, people, print_error, print_json, warnings
from builder.cli.watch import Watch
from builder.errors import RepobuildError, TargetError
from builder.pipeline.documents import plan_document, run_document, saved_keys
from builder.pipeline.generations import rollback_to
from builder.pipeline.matrix import ALL, Stage
from builder.pipeline.matrix import plan as make_plan
from builder.pipeline.matrix import run as run_stages
from builder.pipeline.outcome import failures_of, summary_lines, worst_failure
from builder.pipeline.preview import preview
from builder.pipeline.push import push_all
from builder.pipeline.write_specs import write_specs
from builder.report import print_actions


def _run(stages: Stage, options: dict[str, Any], *, as_json: bool, expected: Mapping[str, str] | None = None) -> None:
    """Run stages, print what came of them; raises the worst failure when a unit or a publication is not there."""
    dry_run, targets = options.pop("dry_run"), options.pop("push", ())
    watch = Watch(people(), **{name: options.pop(name) for name in ("verbose", "events", "metrics", "summary")})
    settings = make_settings(options)
    if dry_run:
        configuration, actions = make_plan(settings, warnings)
        if as_json:
            print_json(plan_document(configuration, actions))
        else:
            print_actions(data(), actions)
        return
    with watch:
        report = run_stages(settings, watch, stages, expected=expected)
        failures = failures_of(report, stages)
        failure = worst_failure(report, failures)
        watch.finish(report, failures, failure)
    if as_json:
        print_json({**run_document(report), "failures": failures})
    else:
        for line in summary_lines(report, settings, stages):
            people().print(line, soft_wrap=True)
    _push(settings.repo_path, targets, failure)
    if failure is not None:
        failure.reported = as_json
        raise failure


def _push(repo: Path, targets: Sequence[str], failure: RepobuildError | None) -> None:
    """Send what is published; where the run had failures, they are raised, and this one's is told."""
    if not targets or (failure is not None and not repo.is_dir()):
        return
    try:
        for pushed in push_all(repo, targets):
            people().print(pushed.line(), markup=False, soft_wrap=True)
    except TargetError as exc:
        if failure is None:
            raise
        print_error(exc)


@click.command()
@run_options
@sign_options
@push_options
@command
def matrix(as_json: bool, **options: Any) -> None:
    """The main job: fetch, build, qualify, sign and publish the whole matrix, reusing what is done.

    \b
    Example:
      repobuild matrix --gnupghome ./keys --work /srv/repobuild
    """
    _run(ALL, options, as_json=as_json)


@click.command()
@run_options
@command
def fetch(as_json: bool, **options: Any) -> None:
    """Fetch, check and unpack the pinned sources of the selected cells.

    \b
    Example:
      repobuild fetch --select 'r535*'
    """
    _run(Stage.FETCH, options, as_json=as_json)


@click.command()
@look_options
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder to write to."
)
@command
def render(as_json: bool, output: Path, **options: Any) -> None:
    """Write the spec files and mock configurations of the selected cells to a folder; builds nothing.

    \b
    Example:
      repobuild render -o rendered/ --select 'r535-open@*'
    """
    written = write_specs(make_settings(options), output)
    if as_json:
        print_json({"files": [str(path) for path in written]})
    else:
        people().print(f"{len(written)} files in {output}")


@click.command()
@run_options
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Build exactly what this saved plan says; refuses when its keys changed.",
)
@command
def build(as_json: bool, plan_file: Path | None, **options: Any) -> None:
    """Build the selected cells and packages from fetched sources, without signing or publishing.

    \b
    Example:
      repobuild build --plan plan.json
    """
    expected = None
    if plan_file is not None:
        wanted, expected = saved_keys(json.loads(plan_file.read_text()), plan_file)
        options["select"] = (*options["select"], *wanted)
    _run(Stage.BUILD, options, as_json=as_json, expected=expected)


@click.command()
@run_options
@command
def qualify(as_json: bool, **options: Any) -> None:
    """Qualify the results in the store that were not qualified yet.

    \b
    Example:
      repobuild qualify --select '*@6.1.0-56-amd64'
    """
    _run(Stage.QUALIFY, options, as_json=as_json)


@click.command()
@run_options
@sign_options
@command
def sign(as_json: bool, **options: Any) -> None:
    """Sign qualified results in the store; each RPM is signed once.

    \b
    Example:
      repobuild sign --gnupghome ./keys
    """
    _run(Stage.SIGN, options, as_json=as_json)


@click.command()
@run_options
@sign_options
@push_options
@command
def publish(as_json: bool, **options: Any) -> None:
    """Publish what is in the store: gates, signatures, metadata, one atomic switch.

    With --dry-run: what that would change, hosts first; nothing is built, signed or written, and no key is needed.

    \b
    Example:
      repobuild publish --gnupghome ./keys --repo /srv/www/repo
      repobuild publish --dry-run --repo /srv/www/repo
    """
    if options["dry_run"]:
        found = preview(make_settings(options), warnings)
        if as_json:
            print_json({"distributions": [one.document() for one in found]})
        for line in () if as_json else (line for one in found for line in one.lines()):
            data().print(line, markup=False, highlight=False, soft_wrap=True)
        return
    _run(Stage.QUALIFY | Stage.PUBLISH, options, as_json=as_json)


@click.command()
@run_options
@sign_options
@push_options
@command
def resign(as_json: bool, **options: Any) -> None:
    """Publish the whole matrix with other keys; nothing is fetched or compiled again.

    Kernel modules are signed by --module-cert, packages and metadata by the key of --gnupghome. Hosts get the
    re-signed packages as updates.

    \b
    Example:
      repobuild resign --module-cert ./keys/2027.pem --gnupghome ./keys
    """
    _run(ALL & ~Stage.FETCH, {**options, "compile": False}, as_json=as_json)


@click.command()
@click.argument("distribution")
@click.argument("digest", required=False)
@click.option("--arch", default="x86_64", show_default=True)
@look_options
@sign_options
@command
def rollback(distribution: str, digest: str | None, arch: str, as_json: bool, **options: Any) -> None:
    """Make another publication current again: the one before, or the one whose digest begins so (forward, too).

    With the key it gets a new number, so that whoever verifies it takes it for the newest word; without, dnf follows
    and `repobuild verify` calls it rolled back.

    \b
    Example:
      repobuild rollback el9 --work /srv/repobuild --gnupghome ./keys
      repobuild rollback el9 3f2a --work /srv/repobuild
    """
    publication = rollback_to(make_settings(options), distribution, arch, digest)
    if as_json:
        print_json(
            {
                "distribution": distribution,
                "arch": arch,
                "digest": publication.digest,
                "changed": publication.changed,
                "renewed": publication.renewed,
            }
        )
    else:
        people().print(f"{distribution}/{arch} is {publication.digest}")
        if publication.changed and not publication.renewed:
            people().print("its manifest has its former number: the same with --gnupghome gives it a new one")
