"""A publication in S3: order, cache headers, nothing overwritten, resumed, removed only when its time is over."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import s3fs

from builder.errors import TargetError
from builder.pipeline.push import push_all
from builder.publish.order import Role, role_of, upload_order
from builder.store import Bucket
from builder.store.places import PlaceError
from tests.s3 import SECRET, make_bucket, s3_server
from tests.tools.sending import Killed, Source, Steps, generation_seen

AT = "lab9/x86_64"
FORMER = f"{AT}/Packages/n/nvidia-driver-535.261.03-1.lab9.x86_64.rpm"


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[None]:
    with s3_server() as running, pytest.MonkeyPatch.context() as patch:
        for name, value in running.environment.items():
            patch.setenv(name, value)
        make_bucket("www")
        yield
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"s3://www/{tmp_path.name}"


def bucket_of(url: str) -> Bucket:
    return Bucket(url.removeprefix("s3://"))


def send(source: Source, url: str, steps: Steps | None = None, *, keep_days: float = 7.0) -> str:
    (pushed,) = push_all(source.repository.root, [url], keep_days=keep_days, step=steps or Steps())
    return pushed.digest


def client(url: str, source: Source) -> object:
    bucket = bucket_of(url)
    return generation_seen(lambda name: bucket.read(f"{AT}/{name}") or b"", source)


def test_packages_come_first_and_repomd_right_behind_its_signature(source: Source, url: str) -> None:
    steps = Steps()
    send(source, url, steps)
    assert client(url, source) == source.a
    mine = [text.removeprefix(f"{AT}/") for text in steps.said if text.startswith(AT)]
    roles = [role_of(name) for name in mine]
    assert roles == sorted(roles)
    assert {Role.PACKAGE, Role.METADATA, Role.PAGE, Role.SIGNATURE, Role.REPOMD, Role.RECORD} == set(roles)
    at = mine.index("repodata/repomd.xml.asc")
    assert mine[at + 1] == "repodata/repomd.xml"
    assert "publication.json" in mine[at + 2 :]
    assert mine[-1] == "publication-manifest.json"
    assert mine[-2].startswith("publication-manifest.")
    first, last = steps.said.index("RPM-GPG-KEY-repobuild"), steps.said.index(f"{AT}/repodata/repomd.xml.asc")
    assert first < last


def test_caches_keep_what_never_changes_and_ask_again_for_the_rest(source: Source, url: str) -> None:
    send(source, url)
    fs = s3fs.S3FileSystem()
    for name in bucket_of(url).sizes():
        if not name.startswith(".repobuild"):
            answer = fs.call_s3("head_object", Bucket="www", Key=f"{url.rsplit('/', 1)[1]}/{name}")
            immutable = name.endswith(".rpm") or role_of(name) is Role.METADATA
            assert ("immutable" in answer["CacheControl"]) == immutable, name
            assert "ContentEncoding" not in answer


def test_between_any_two_steps_a_client_sees_one_publication_whole_or_its_signature_check_refuses(
    source: Source, url: str
) -> None:
    send(source, url)
    source.make_current(source.b)
    steps = Steps(look=lambda: client(url, source))
    send(source, url, steps)
    at = steps.said.index(f"{AT}/repodata/repomd.xml")
    assert steps.seen[:at] == [source.a] * at
    assert steps.seen[at] is None  # S3 cannot switch two objects at once
    assert steps.seen[at + 1 :] == [source.b] * (len(steps.seen) - at - 1)
    assert len(steps.seen) > at + 2


@pytest.mark.parametrize("stop", [FORMER, f"{AT}/support-matrix.json", f"{AT}/repodata/repomd.xml", "state"])
def test_a_push_that_was_killed_is_ended_by_the_next(stop: str, source: Source, url: str) -> None:
    first = Steps(stop)
    with pytest.raises(Killed):
        send(source, url, first)
    second = Steps()
    send(source, url, second)
    assert client(url, source) == source.a
    assert not {name for name in first.said if name.endswith(".rpm")} & set(second.said)  # nothing is sent twice


def test_a_refused_repomd_puts_the_former_signature_back(
    source: Source, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(source, url)
    source.make_current(source.b)
    real = Bucket.publish

    def refusing(self: Bucket, data: Path | bytes, name: str, **options: object) -> bool:
        if name.endswith("repomd.xml"):
            raise PlaceError("503 Slow Down")
        return real(self, data, name, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("builder.publish.push_s3._PAUSE", 0.0)
    monkeypatch.setattr(Bucket, "publish", refusing)
    with pytest.raises(TargetError, match="Slow Down"):
        send(source, url)
    monkeypatch.undo()
    assert client(url, source) == source.a
    send(source, url)
    assert client(url, source) == source.b


def test_a_name_of_other_bytes_is_refused_before_anything_is_sent(source: Source, url: str) -> None:
    bucket = bucket_of(url)
    bucket.put(b"other", FORMER)
    with pytest.raises(TargetError, match="other bytes"):
        send(source, url)
    assert set(bucket.sizes()) == {FORMER}
    bucket.put(b"x" * next(source.a.path.glob(f"Packages/*/{FORMER[-45:].rsplit('/', 1)[-1]}")).stat().st_size, FORMER)
    with pytest.raises(TargetError, match="other bytes"):  # of the same size, too
        send(source, url)


def test_former_publications_stay_until_their_time_is_over(source: Source, url: str) -> None:
    send(source, url)
    before = set(bucket_of(url).sizes())
    source.make_current(source.b)
    send(source, url)
    assert before <= set(bucket_of(url).sizes()) | {f"{AT}/support-matrix.json"}
    send(source, url, keep_days=0)
    state = json.loads(bucket_of(url).read(".repobuild/lab9-x86_64.json") or b"")
    assert list(state["generations"]) == [source.b.digest]  # its folder has former packages itself
    assert client(url, source) == source.b


def test_of_two_machines_that_push_at_once_one_is_told_and_nothing_is_mixed(source: Source, url: str) -> None:
    send(source, url)
    source.make_current(source.b)

    class Other(Steps):
        def __call__(self, text: str) -> None:
            if text == "state" and not self.said:  # between our look and our first write
                bucket = bucket_of(url)
                name = f".repobuild/{AT.replace('/', '-')}.json"
                bucket.put((bucket.read(name) or b"") + b"\n", name)
            super().__call__(text)

    with pytest.raises(TargetError, match="another machine pushes there now"):
        send(source, url, Other())
    assert client(url, source) == source.a


def test_rotten_bytes_of_the_source_are_not_sent(source: Source, url: str) -> None:
    path = next(source.a.path.glob("Packages/*/nvidia-driver-535*"))
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(TargetError, match="not those that were published"):
        send(source, url)
    assert FORMER not in bucket_of(url).sizes()


def test_a_server_that_is_away_is_told_without_secrets(
    source: Source, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:9/{SECRET}")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(TargetError) as found:
        send(source, url)
    s3fs.S3FileSystem.clear_instance_cache()
    assert SECRET not in f"{found.value.message} {found.value.details} {found.value.__cause__}"


def test_the_order_is_one_of_names_alone() -> None:
    names = ["repodata/repomd.xml", "publication-manifest.json", "Packages/n/n.rpm", "index.html"]
    names += ["repodata/repomd.xml.asc", f"repodata/{'0' * 64}-primary.xml.gz", "publication-manifest.json.asc"]
    assert upload_order(names) == (
        "Packages/n/n.rpm",
        f"repodata/{'0' * 64}-primary.xml.gz",
        "index.html",
        "repodata/repomd.xml.asc",
        "repodata/repomd.xml",
        "publication-manifest.json.asc",
        "publication-manifest.json",
    )
