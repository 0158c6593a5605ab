"""What a private mount namespace lets one do here; ``python -m builder.tools.probe FOLDER`` runs inside of one."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from builder.tools.confine import namespaces
from builder.tools.mounts import overlay, tmpfs
from builder.tools.run import run

_TIMEOUT = 60.0  # seconds


def probe_mounts(folder: Path) -> dict[str, str]:
    """What cannot be mounted below an empty folder, with the kernel's words; empty where all can. Needs root.

    Raises ToolError where the namespaces themselves are refused.
    """
    argv = [*namespaces(network=False), sys.executable, "-I", "-m", "builder.tools.probe", str(folder)]
    found: dict[str, str] = json.loads(run(argv, timeout=_TIMEOUT).stdout)
    return found


def user_namespaces() -> str | None:
    """Why an unprivileged user cannot have a user namespace, None where one can. Needs root to become such a user."""
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
    done = run([*nobody, "unshare", "--user", "--map-root-user", "true"], timeout=_TIMEOUT, ok=range(256))
    return None if done.returncode == 0 else (done.stderr.strip() or f"exit code {done.returncode}")


def main(folder: Path) -> None:
    """Inside the namespaces."""
    faults: dict[str, str] = {}

    def attempt(what: str, mount: Callable[[], None]) -> None:
        try:
            mount()
        except OSError as exc:
            faults[what] = str(exc.strerror)

    places = {name: folder / name for name in ("lower", "upper", "work", "root", "memory")}
    for place in places.values():
        place.mkdir()
    attempt("overlayfs", lambda: overlay((places["lower"],), places["upper"], places["work"], places["root"]))
    attempt("tmpfs", lambda: tmpfs(places["memory"], size=1 << 20))
    print(json.dumps(faults))  # noqa: T201  what the other side reads


if __name__ == "__main__":
    main(Path(sys.argv[1]))
