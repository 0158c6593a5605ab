"""A server for tests of builder.tools.fork_server: its work does what its words say."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from builder.tools.fork_server import serve

NAMESPACES = ("mnt", "ipc", "uts", "pid", "net")


def main(words: list[str]) -> int:
    verb, *more = words
    if verb == "look":
        socket.sethostname("elsewhere")
        subprocess.run(["/bin/mount", "-t", "tmpfs", "none", more[0]], check=True)
        Path(more[0], "hidden").touch()
        inherited = subprocess.run(["/bin/ls", "/proc/self/fd"], capture_output=True, text=True, check=True)
        told = {
            "namespaces": {name: str(Path(f"/proc/self/ns/{name}").readlink()) for name in NAMESPACES},
            "pid": os.getpid(),
            "folder": str(Path.cwd()),
            "environment": sorted(os.environ),
            "inherited": inherited.stdout.split(),
        }
        print(json.dumps(told))
    elif verb == "sleep":
        subprocess.run(["/bin/sleep", more[0]], check=False)
    elif verb == "pause":
        time.sleep(float(more[0]))
    elif verb == "fail":
        raise ValueError(more[0])
    return int(more[0]) if verb == "exit" else 0


if __name__ == "__main__":
    serve(int(sys.argv[1]), main)
