"""rsync over a real ssh server and to a real daemon: the same as to a folder, and no secret is seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from builder.errors import TargetError
from builder.pipeline.push import push_all
from builder.tools.run import Completed, run
from tests.need import need
from tests.tools.sending import Source, generation_seen
from tests.tools.sshd import rsync_daemon, ssh_server


@pytest.fixture(scope="module")
def ssh_config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    need("rsync")
    with ssh_server(tmp_path_factory.mktemp("ssh") / "server") as config:
        yield config


def seen(www: Path, source: Source) -> object:
    return generation_seen(lambda name: (www / "lab9/x86_64" / name).read_bytes(), source)


def test_over_ssh_a_host_gets_each_publication_and_packages_once(
    source: Source, ssh_config: Path, tmp_path: Path
) -> None:
    www = tmp_path / "a folder; with words"
    for generation in (source.a, source.b):
        source.make_current(generation)
        (pushed,) = push_all(source.repository.root, [f"mirror:{www}"], ssh_config=ssh_config)
        assert (pushed.digest, pushed.changed) == (generation.digest, True)
        assert seen(www, source) == generation
    (package,) = (www / ".generations" / source.b.digest).glob("Packages/*/nvidia-driver-550*.rpm")
    assert package.stat().st_nlink == 2
    assert (package.stat().st_mode & 0o777, www.stat().st_mode & 0o777) == (0o644, 0o755)


def test_a_host_that_does_not_know_us_and_a_host_that_we_do_not_know_are_refused(
    source: Source, ssh_config: Path, tmp_path: Path
) -> None:
    text = ssh_config.read_text()
    for name, before, after, words in (
        ("stranger", f"{ssh_config.parent}/client", f"{ssh_config.parent}/stranger", "Permission denied"),
        ("unknown", f"{ssh_config.parent}/known_hosts", "/dev/null", "Host key verification failed"),
    ):
        config = tmp_path / name
        config.write_text(text.replace(before, after))
        with pytest.raises(TargetError) as found:
            push_all(source.repository.root, [f"mirror:{tmp_path}/www"], ssh_config=config)
        assert any(words in line for line in found.value.details)
    assert not (tmp_path / "www").exists()


def test_a_daemon_gets_it_too_and_its_password_is_in_no_argument(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    www = tmp_path / "www"
    argvs: list[str] = []

    def seeing(argv: Sequence[str], **more: Any) -> Completed:
        argvs.append(" ".join(argv))
        return run(argv, **more)

    monkeypatch.setattr("builder.tools.rsync.run", seeing)
    with rsync_daemon(tmp_path / "daemon", www) as url:
        monkeypatch.setenv("RSYNC_PASSWORD", "wrong")
        with pytest.raises(TargetError, match="cannot make its folders") as found:
            push_all(source.repository.root, [url])
        assert any("auth failed" in line for line in found.value.details)
        monkeypatch.setenv("RSYNC_PASSWORD", "of-nobody")
        for generation in (source.a, source.b):
            source.make_current(generation)
            push_all(source.repository.root, [url])
            assert seen(www, source) == generation
        push_all(source.repository.root, [url], keep_days=0)
    assert [path.name for path in (www / ".generations").iterdir()] == [source.b.digest]
    assert argvs
    assert not any("of-nobody" in argv for argv in argvs)
