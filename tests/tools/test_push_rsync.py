"""A publication in a folder, on a host and at a daemon: whole at every step, resumed, and never other bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.cli.run_verbs import _push
from builder.errors import ContentsError, PartialFailureError, TargetError
from builder.pipeline.push import open_target, push_all
from builder.publish import verify_integrity
from builder.publish.manifest import is_of_manifest
from builder.tools.rpms import file_sha256
from tests.need import need
from tests.tools.publishing import EPOCH, Shop, content_of, make_rpms, sign_all, stream
from tests.tools.sending import Killed, Source, Steps, generation_seen, put, seen, two_generations

FORMER = "Packages/n/nvidia-driver-535.261.03-1.lab9.x86_64.rpm"


@pytest.fixture(autouse=True)
def program() -> None:
    need("rsync")


def send(source: Source, target: str, steps: Steps | None = None, *, keep_days: float = 7.0) -> str:
    (pushed,) = push_all(source.repository.root, [target], keep_days=keep_days, step=steps or Steps())
    return pushed.digest


def test_a_folder_gets_what_clients_need_and_the_same_layout(source: Source, shop: Shop, tmp_path: Path) -> None:
    target = tmp_path / "www"
    assert send(source, str(target)) == source.a.digest
    link = target / "lab9/x86_64"
    assert link.readlink() == Path("../.generations") / source.a.digest
    assert seen(str(link), shop, tmp_path / "t") == 4
    for name in ("RPM-GPG-KEY-repobuild", "lab9.repo"):
        assert (target / name).read_bytes() == (source.repository.root / name).read_bytes()
    (pushed,) = push_all(source.repository.root, [target.as_uri()])
    assert not pushed.changed


def test_a_client_that_began_before_the_switch_finds_its_files_until_they_expire(
    source: Source, tmp_path: Path
) -> None:
    target = tmp_path / "www"
    send(source, str(target))
    link = target / "lab9/x86_64"
    before = {path.relative_to(link) for path in link.rglob("*") if path.is_file() and path.name[:6] != "repomd"}
    source.make_current(source.b)
    send(source, str(target))
    assert generation_seen(lambda name: (link / name).read_bytes(), source) == source.b
    gone = {path for path in before if not (link / path).is_file()}
    gone -= {path for path in gone if is_of_manifest(path.name)}  # verify looks again where that changed meanwhile
    assert gone == {Path("support-matrix.json")}  # B has none: pages are not what a client in flight asks for
    assert (link / FORMER).stat().st_nlink == 2  # no second copy
    send(source, str(target), keep_days=0)
    assert sorted(path.name for path in (target / ".generations").iterdir()) == [source.b.digest]


@pytest.mark.parametrize("kept_by_publishing", [0, 3])
def test_what_a_target_keeps_of_former_ones_is_known_to_verify(
    kept_by_publishing: int, shop: Shop, tmp_path: Path
) -> None:
    """By a signed manifest beside the current one; a file that none lists is still told."""
    source = two_generations(shop, tmp_path / "repo", former=kept_by_publishing)
    link, keys = tmp_path / "www/lab9/x86_64", [shop.signer.public_key()]
    for number, generation in enumerate((source.a, source.b)):
        source.make_current(generation)
        send(source, str(tmp_path / "www"))
        look = tmp_path / f"look-{number}"
        look.mkdir()
        report = verify_integrity(str(link), keys, look, now=EPOCH)
        assert report.manifest.publication == generation.digest
    assert (link / FORMER).is_file()
    (link / FORMER).with_name("nvidia-driver-535.261.03-9.lab9.x86_64.rpm").write_bytes(b"nobody's")
    (tmp_path / "last").mkdir()
    with pytest.raises(ContentsError, match=r"535\.261\.03-9.*is not in the manifest"):
        verify_integrity(str(link), keys, tmp_path / "last", now=EPOCH)


def test_between_any_two_steps_clients_see_one_publication_whole(source: Source, tmp_path: Path) -> None:
    link = tmp_path / "www/lab9/x86_64"
    send(source, str(tmp_path / "www"))
    source.make_current(source.b)
    steps = Steps(look=lambda: generation_seen(lambda name: (link / name).read_bytes(), source))
    send(source, str(tmp_path / "www"), steps)
    switch = steps.said.index("switch") + 1  # each is looked at before it is done
    assert steps.seen == [*[source.a] * switch, *[source.b] * (len(steps.said) - switch)]
    assert 0 < switch < len(steps.said)


@pytest.mark.parametrize("stop", ["record", "switch", "state"])
def test_a_push_that_was_killed_is_ended_by_the_next(stop: str, source: Source, tmp_path: Path) -> None:
    target = tmp_path / "www"
    with pytest.raises(Killed):
        send(source, str(target), Steps(stop))
    send(source, str(target))
    assert generation_seen(lambda name: (target / "lab9/x86_64" / name).read_bytes(), source) == source.a
    assert [path.name for path in (target / ".generations").iterdir()] == [source.a.digest]


def test_a_name_of_other_bytes_at_the_target_is_refused_before_anything_is_sent(
    source: Source, shop: Shop, tmp_path: Path
) -> None:
    target = tmp_path / "www"
    send(source, str(target))
    again = make_rpms(tmp_path / "again", [("nvidia-driver", "3", "535.261.03", "1.lab9")], requires={})
    other = sign_all(shop.signer, again, tmp_path / "signed")
    content = content_of([(stream("r535", default=True), ["535.261.03"], list(other.values()))])
    put(shop, content, tmp_path / "elsewhere")
    with pytest.raises(TargetError, match="has this file name with other bytes"):
        push_all(tmp_path / "elsewhere", [str(target)])
    assert seen(str(target / "lab9/x86_64"), shop, tmp_path / "t") == 4
    assert len(list((target / ".generations").iterdir())) == 1


def test_a_target_under_another_key_is_refused(source: Source, shop: Shop, tmp_path: Path) -> None:
    target = tmp_path / "www"
    send(source, str(target))
    (target / "RPM-GPG-KEY-repobuild").write_bytes(shop.foreign.public_key())
    with pytest.raises(TargetError, match="holds another key"):
        send(source, str(target))


def test_a_folder_in_the_place_of_the_symlink_is_left_alone(source: Source, tmp_path: Path) -> None:
    (tmp_path / "www/lab9/x86_64").mkdir(parents=True)
    (tmp_path / "www/lab9/x86_64/publication.json").write_text("{}")
    with pytest.raises(TargetError, match="not a symlink of ours"):
        send(source, str(tmp_path / "www"))


def test_going_back_is_pushed_like_going_forward(source: Source, tmp_path: Path) -> None:
    target = tmp_path / "www"
    for generation in (source.a, source.b, source.a):
        source.make_current(generation)
        assert send(source, str(target)) == generation.digest
        found = generation_seen(lambda name: (target / "lab9/x86_64" / name).read_bytes(), source)
        assert found == generation


def test_bytes_of_the_source_are_not_touched(source: Source, tmp_path: Path) -> None:
    def digests() -> dict[str, str]:
        return {str(p): file_sha256(p) for p in source.repository.root.rglob("*") if p.is_file() and p.name != ".lock"}

    before = digests()
    for generation in (source.a, source.b):
        source.make_current(generation)
        send(source, str(tmp_path / "www"))
    source.make_current(source.a)
    assert digests() == before


@pytest.mark.parametrize(
    "address",
    ["s3://key:hidden@bucket/x", "rsync://me:hidden@host/module", "-ehidden", "http://host/x", "s3://b/x?key=hidden"],
)
def test_an_address_that_is_no_target_is_refused_and_no_secret_repeated(address: str) -> None:
    with pytest.raises(TargetError) as found:
        open_target(address)
    assert "hidden" not in found.value.message or address.startswith("-e")


def test_nothing_published_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="nothing is published here"):
        push_all(tmp_path / "none", [str(tmp_path / "www")])
    assert not (tmp_path / "www").exists()


def test_a_run_pushes_at_its_end_and_its_own_failure_is_what_it_ends_with(
    source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = source.repository.root
    _push(root, [str(tmp_path / "www")], None)
    assert (tmp_path / "www/lab9/x86_64").readlink().name == source.a.digest
    assert f"lab9/x86_64 at {tmp_path}/www is {source.a.digest[:12]} now" in capsys.readouterr().err
    with pytest.raises(TargetError):
        _push(root, ["http://host/x"], None)
    _push(root, ["http://host/x"], PartialFailureError("cells failed"))  # which the caller raises
    assert "(target) http://host/x: no target" in capsys.readouterr().err
