"""An ssh server of this test alone: throw-away keys, a free port of the loopback, nobody else's configuration."""

from __future__ import annotations

import getpass
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.need import need


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def ssh_server(folder: Path) -> Iterator[Path]:
    """The configuration file by which ssh reaches it as ``mirror``."""
    need("sshd", "ssh", "ssh-keygen")
    folder.mkdir(mode=0o700)
    for name in ("host", "client", "stranger"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where it locks itself in; an init script makes it
    port = free_port()
    server = folder / "sshd_config"
    server.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/client.pub\n"
        f"PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
    )
    known = folder / "known_hosts"
    known.write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    client = folder / "ssh_config"
    client.write_text(
        f"Host mirror\n  HostName 127.0.0.1\n  Port {port}\n  User {getpass.getuser()}\n"
        f"  IdentityFile {folder}/client\n"
        f"  IdentitiesOnly yes\n  UserKnownHostsFile {known}\n  GlobalKnownHostsFile none\n"
    )
    argv = ["/usr/sbin/sshd", "-D", "-e", "-f", str(server)]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert any("Server listening" in line for line in process.stderr), "it ended before it listened"
            yield client
        finally:
            process.terminate()


@contextmanager
def rsync_daemon(folder: Path, module: Path) -> Iterator[str]:
    """The address of a daemon's module ``www``, which takes ``nobody`` with the password ``of-nobody``."""
    need("rsync")
    folder.mkdir(mode=0o700)
    (folder / "secrets").write_text("nobody:of-nobody\n")
    (folder / "secrets").chmod(0o600)
    module.mkdir()
    port = free_port()
    own = f"uid = {os.geteuid()}\ngid = {os.getegid()}\n" if os.geteuid() == 0 else ""
    (folder / "rsyncd.conf").write_text(
        f"use chroot = no\n{own}log file = {folder}/log\nmunge symlinks = no\n[www]\npath = {module}\nread only = no\n"
        f"auth users = nobody\nsecrets file = {folder}/secrets\n"
    )
    config = f"--config={folder / 'rsyncd.conf'}"
    argv = ["rsync", "--daemon", "--no-detach", f"--port={port}", "--address=127.0.0.1", config]
    with subprocess.Popen(argv) as process:
        try:
            while process.poll() is None:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
            yield f"rsync://nobody@127.0.0.1:{port}/www"
        finally:
            process.terminate()
