"""Real ``repobuild push`` processes to kill: forks of one that has everything imported, so that each costs little.

Who kills is told by what the push does, never by a clock: the script in the place of rsync counts its calls, the S3
server the requests.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

_FORKED = """
import json, os, sys
import builder.tools.run
from builder import cli
import s3fs
builder.tools.run.PATH = f"{sys.argv[1]}:{builder.tools.run.PATH}"
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        sys.stdin.close()
        sys.argv = ["repobuild", *json.loads(line)]
        try:
            cli.main()
        except SystemExit as exc:
            os._exit(exc.code or 0)
        os._exit(0)
    print(pid, flush=True)
    print(os.waitpid(pid, 0)[1], flush=True)
"""

# Called as rsync. What ``kill`` says is done at one call: before it, after it, or when so many of its files were named.
_RSYNC = """#!/bin/sh
cd {folder}
calls=$(($(cat calls) + 1))
echo $calls > calls
read when call files < kill
[ "$call" = $calls ] || exec {rsync} "$@"
case $when in
before) ;;
after) {rsync} "$@" || exit ;;
during) {rsync} --out-format=%n "$@" | while read name; do
    files=$((files - 1))
    [ $files -gt 0 ] || kill -KILL $PPID 0
done ;;
esac
kill -KILL $PPID
"""


class Pushes:
    """Starts pushes, one at a time, and says how each ended."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process = process
        self._folder = folder
        self._pid = 0
        self._known = Event()

    def push(self, repo: Path, target: str, *more: str, kill: str = "none 0 0") -> int:
        """Its exit code, or minus the number of the signal that ended it; ``kill``: when and at which call of rsync."""
        (self._folder / "calls").write_text("0\n")
        (self._folder / "kill").write_text(f"{kill}\n")
        self._known.clear()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(["push", target, "--repo", str(repo), *more]) + "\n")
        self._process.stdin.flush()
        self._pid = int(self._process.stdout.readline())
        self._known.set()
        return os.waitstatus_to_exitcode(int(self._process.stdout.readline()))

    def kill(self) -> None:
        """SIGKILL to the push that runs."""
        assert self._known.wait(timeout=60)
        os.kill(self._pid, signal.SIGKILL)

    @property
    def calls(self) -> int:
        """How often the last one called rsync."""
        return int((self._folder / "calls").read_text())

    @property
    def said(self) -> str:
        """What the last one told people."""
        return (self._folder / "said").read_text()


@contextmanager
def pushes(folder: Path, rsync: str) -> Iterator[Pushes]:
    """Where pushes are started from; ``rsync`` is the real program."""
    folder.mkdir()
    script = folder / "bin/rsync"
    script.parent.mkdir()
    script.write_text(_RSYNC.format(folder=folder, rsync=rsync))
    script.chmod(0o755)
    (folder / "tmp").mkdir()  # what killed ones leave
    argv = [sys.executable, "-c", _FORKED, str(script.parent), str(folder / "said")]
    environment = {**os.environ, "TMPDIR": str(folder / "tmp")}
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield Pushes(process, folder)
        finally:
            process.kill()
