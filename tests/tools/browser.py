"""The system's Chromium, driven through Playwright, which downloads nothing; a server on this machine for pages."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from platform import freedesktop_os_release
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from builder.tools.run import which

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARTIFACTS = Path(os.environ.get("REPOBUILD_ARTIFACTS") or Path(__file__).parent.parent / "artifacts")
SERIOUS = ("serious", "critical")


def archive_has_chromium(release: Mapping[str, str]) -> bool:
    """By os-release(5): EL's archive is the one without a browser; EPEL and Fedora have it."""
    return "rhel" not in (release.get("ID", ""), *release.get("ID_LIKE", "").split())


def _chromium() -> str:
    """Path of the browser; skips where there is none (fails under REPOBUILD_CI=1 where the archive has one)."""
    found = next((path for name in NAMES if (path := which(name)) is not None), None)
    if found is None and os.environ.get("REPOBUILD_CI") == "1" and archive_has_chromium(freedesktop_os_release()):
        pytest.fail(f"not installed: {NAMES[0]}")
    if found is None:
        pytest.skip(f"not installed: {NAMES[0]}")
    return str(found)


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Chromium without a window. Its sandbox is off: root has none, and only our own pages are opened."""
    path = _chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Address of a folder on this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@dataclass(slots=True, kw_only=True)
class Opened:
    """A page, what it complained of, and what it asked for."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@contextmanager
def opened(browser: Browser, address: str, **options: Any) -> Iterator[Opened]:
    """A page in a fresh profile; it must end without complaint and have asked for nothing from elsewhere."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    context.set_default_timeout(90_000)  # milliseconds: a loaded machine is slow, not wrong
    found = Opened(page=context.new_page())
    found.page.on("console", lambda m: found.complaints.append(m.text) if m.type in ("error", "warning") else None)
    found.page.on("pageerror", lambda error: found.complaints.append(str(error)))
    found.page.on("request", lambda request: found.requests.append(request.url))
    try:
        found.page.goto(address)
        yield found
        origin = "/".join(address.split("/")[:3])
        assert found.complaints == []
        assert [url for url in found.requests if not url.startswith(f"{origin}/")] == []
    finally:
        context.close()


def picture(page: Page, name: str, *, whole: bool = False) -> Path:
    """Keep how a page looks, for people (tests/artifacts, or $REPOBUILD_ARTIFACTS)."""
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    path = ARTIFACTS / f"{name}.png"
    page.screenshot(path=path, full_page=whole)
    return path


def barriers(page: Page) -> list[str]:
    """What axe-core finds serious or critical for people with disabilities, a line each."""
    found = Axe().run(page).response["violations"]
    return [
        f"{violation['id']}: {node['target']}: {node['failureSummary']}"
        for violation in found
        if violation["impact"] in SERIOUS
        for node in violation["nodes"]
    ]
