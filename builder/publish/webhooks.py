"""Tell others of a publication by HTTP POST, signed, and remember what they were told."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from builder.model.lifetimes import Webhook
from builder.store.files import write_atomic

SIGNATURE = "X-Repobuild-Signature"
EVENT = "X-Repobuild-Event"
_TIMEOUT = (5.0, 15.0)  # seconds to connect, to answer


def send(hook: Webhook, event: Mapping[str, Any]) -> str | None:
    """POST one event as JSON; None when it was taken (2xx), else why not, without the secret and without the path of
    the URL, which may be one.

    Signed as ``X-Repobuild-Signature: sha256=<HMAC of the body>`` where the webhook has a secret. A redirect is a
    failure: what is signed for one address is not sent to another.
    """
    body = json.dumps(event, ensure_ascii=False).encode()
    headers = {"Content-Type": "application/json", EVENT: str(event["id"])}
    try:
        secret = _secret(hook)
    except OSError as exc:
        return f"its secret cannot be read: {exc.strerror}"
    except KeyError as exc:
        return f"its secret is not there: {exc.args[0]} is not set"
    if secret is not None:
        headers[SIGNATURE] = f"sha256={hmac.new(secret, body, hashlib.sha256).hexdigest()}"
    import requests  # noqa: PLC0415  most runs ask no server

    try:
        answer = requests.post(hook.url, data=body, headers=headers, timeout=_TIMEOUT, allow_redirects=False)
    except requests.RequestException as exc:
        return f"no answer ({type(exc).__name__})"
    return None if answer.ok and not answer.is_redirect else f"HTTP {answer.status_code}"


def _secret(hook: Webhook) -> bytes | None:
    if hook.secret_file is not None:
        return hook.secret_file.read_bytes().strip()
    if hook.secret_env is not None:
        return os.environ[hook.secret_env].encode()
    return None


def shown(hook: Webhook) -> str:
    """A webhook in messages: its server only."""
    return urlsplit(hook.url).netloc.rpartition("@")[2]


class Told:
    """Up to which event each webhook was told, in a file of the work folder. Losing it loses no more than that."""

    def __init__(self, work: Path) -> None:
        self._path = work / "webhooks.json"
        try:
            self._last = {str(url): str(last) for url, last in json.loads(self._path.read_text()).items()}
        except (OSError, ValueError, AttributeError):
            self._last = {}

    def waiting(self, hook: Webhook, events: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
        """The events that a webhook was not told yet, oldest first; of one that is new only the newest.

        ``events``: newest first. Where what it was told last is forgotten by now, all there are.
        """
        ids = [str(event["id"]) for event in events]
        last = self._last.get(_name(hook))
        if last is None:
            last = ids[1] if len(ids) > 1 else ""
            self._keep(hook, last)
        return tuple(reversed(events[: ids.index(last)] if last in ids else events))

    def remember(self, hook: Webhook, event: Mapping[str, Any]) -> None:
        """A webhook took an event."""
        self._keep(hook, str(event["id"]))

    def _keep(self, hook: Webhook, last: str) -> None:
        self._last[_name(hook)] = last
        write_atomic(self._path, json.dumps(self._last, indent=1, sort_keys=True).encode())


def _name(hook: Webhook) -> str:
    """A webhook without what may be secret in its address."""
    return f"{shown(hook)}#{hashlib.sha256(hook.url.encode()).hexdigest()[:16]}"
