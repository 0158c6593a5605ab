"""Each publication is told once: in the JSON file, in the feed and to webhooks, which may be away for a while."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import feedparser
import pytest

from builder.model.lifetimes import Webhook
from builder.model.publication import PublicationContent
from builder.pipeline.events import Event
from builder.pipeline.notify import notify, read_events, record_events
from builder.publish import rollback
from builder.report import atom_feed
from tests.tools.publishing import Shop, content_of, put_path, stream

URL = "https://repo.example/nvidia"
PLACES = [("lab9", "x86_64")]
ATOM = "{http://www.w3.org/2005/Atom}"


def support(driver: str) -> bytes:
    offer = {"state": "published", "driver": driver, "level": "static", "reason": ""}
    document = {
        "streams": [{"name": "r535-open", "default": True, "drivers": [driver], "profiles": ["default"]}],
        "kernels": [{"release": "6.1.0-50", "streams": {"r535-open": offer}}],
        "leaving": [{"what": "kernel 6.1.0-47", "leaves": "2020-02-01", "why": "its lifetime ends on 2020-01-31"}],
    }
    return json.dumps(document).encode()


def content(shop: Shop, version: str) -> PublicationContent:
    artifacts = [a for a in shop.rpms.values() if a.nevra.evr.version.startswith(version)]
    driver = artifacts[0].nevra.evr.version
    files = (("support-matrix.json", support(driver)),)
    return content_of([(stream("r535-open", default=True), [driver], artifacts)], files=files)


@dataclass
class Receiver:
    """A real HTTP server that keeps what it is sent and answers as it is told."""

    url: str = ""
    status: int = 204
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.got]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            made.got.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(made.status)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_address[1]}/hook/token-1234"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass
class Site:
    shop: Shop
    repo: Path
    work: Path
    said: list[Event] = field(default_factory=list)

    def publish(self, version: str, *hooks: Webhook) -> None:
        put_path(self.shop, content(self.shop, version), self.repo)
        self.tell(*hooks)

    def tell(self, *hooks: Webhook) -> None:
        notify(self.repo, self.work, PLACES, hooks, self.said.append, address=URL, author="repobuild lab")


@pytest.fixture
def site(shop: Shop, tmp_path: Path) -> Site:
    (tmp_path / "work").mkdir()
    return Site(shop, tmp_path / "repo", tmp_path / "work")


def test_one_event_a_publication_says_what_hosts_notice(site: Site) -> None:
    site.publish("535")
    site.publish("550")
    site.publish("550")  # unchanged
    newest, first = read_events(site.repo)
    assert (first["former"], first["hosts"], newest["former"]) == (None, [], first["digest"])
    assert newest["hosts"] == ["hosts on r535-open: driver 535.261.03 -> 550.163.01"]
    assert len(newest["packages"]["added"]) == len(newest["packages"]["removed"]) == 2
    assert newest["url"] == f"{URL}/lab9/x86_64"
    assert newest["leaving"][0]["what"] == "kernel 6.1.0-47"
    rollback(site.repo, "lab9", "x86_64")
    (event,) = record_events(site.repo, PLACES, address=URL, kind="rollback")
    assert (event["kind"], event["digest"], event["former"]) == ("rollback", first["digest"], newest["digest"])
    assert len({e["id"] for e in read_events(site.repo)}) == 3


def test_the_feed_is_valid_atom_and_newest_first(site: Site) -> None:
    site.publish("535")
    site.publish("550")
    data = (site.repo / "feed.atom").read_bytes()
    parsed = feedparser.parse(data)
    assert (parsed.bozo, parsed.version) == (False, "atom10")
    assert parsed.entries[0].title == "lab9/x86_64 was published: hosts on r535-open: driver 535.261.03 -> 550.163.01"
    assert "kernel 6.1.0-47 leaves on 2020-02-01" in parsed.entries[0].content[0].value
    feed = ET.fromstring(data)  # what RFC 4287, section 4, demands
    for element in (feed, *feed.findall(f"{ATOM}entry")):
        for name in ("id", "title", "updated"):
            (only,) = element.findall(f"{ATOM}{name}")
            assert only.text
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", element.findtext(f"{ATOM}updated", ""))
        assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", element.findtext(f"{ATOM}id", ""))
    ids = [e.findtext(f"{ATOM}id") for e in feed.findall(f"{ATOM}entry")]
    assert len(ids) == len(set(ids)) == 2
    assert feed.findtext(f"{ATOM}author/{ATOM}name") == "repobuild lab"
    assert [link.get("href") for link in feed.findall(f"{ATOM}link[@rel='self']")] == [f"{URL}/feed.atom"]
    assert feed.findtext(f"{ATOM}updated") == read_events(site.repo)[0]["time"]


def test_text_that_xml_cannot_hold_does_not_break_the_feed(site: Site) -> None:
    site.publish("535")
    (event,) = read_events(site.repo)
    event["hosts"] = ["a <b> & \x00\x1b ]]> \ufffe"]
    assert not feedparser.parse(atom_feed([event], address=URL, author="<x> & y")).bozo


def test_a_webhook_gets_a_signed_event(site: Site, receiver: Receiver, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    hook = Webhook(url=receiver.url, secret_file=secret)
    site.publish("535", hook)
    site.tell(hook)  # nothing new
    ((headers, body),) = receiver.got
    assert headers["X-Repobuild-Signature"] == f"sha256={hmac.new(b's3cret', body, hashlib.sha256).hexdigest()}"
    assert headers["Content-Type"] == "application/json"
    assert json.loads(body) == read_events(site.repo)[0]
    assert headers["X-Repobuild-Event"] == json.loads(body)["id"]


def test_what_a_webhook_did_not_take_it_gets_in_order_with_the_next_run(site: Site, receiver: Receiver) -> None:
    hook = Webhook(url=receiver.url)
    receiver.status = 500
    site.publish("535", hook)
    receiver.status = 302  # not followed: what is signed for one address is not sent to another
    site.publish("550", hook)
    warnings = [e for e in site.said if e.state == "warning"]
    assert [w.text.partition(";")[0] for w in warnings] == ["HTTP 500", "HTTP 302"]
    assert "2 events will be sent by the next run" in warnings[1].text
    assert "token-1234" not in "".join(w.subject + w.text for w in warnings)
    assert "token-1234" not in (site.work / "webhooks.json").read_text()
    receiver.status = 200
    receiver.got.clear()
    site.tell(hook)
    assert [e["id"] for e in receiver.events()] == [e["id"] for e in reversed(read_events(site.repo))]
    assert len(receiver.got) == 2


def test_a_webhook_that_is_away_or_has_no_secret_harms_nothing(
    site: Site, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = Webhook(url="http://127.0.0.1:1/hook")
    unset = Webhook(url=receiver.url, secret_env="REPOBUILD_TEST_SECRET")
    site.publish("535", gone, unset, replace(unset, secret_env=None, secret_file=site.work / "no such file"))
    texts = [e.text.partition(";")[0] for e in site.said if e.state == "warning"]
    assert texts == [
        "no answer (ConnectionError)",
        "its secret is not there: REPOBUILD_TEST_SECRET is not set",
        "its secret cannot be read: No such file or directory",
    ]
    assert receiver.got == []  # never unsigned where a signature is wanted
    monkeypatch.setenv("REPOBUILD_TEST_SECRET", "x")
    site.tell(unset)
    assert len(receiver.got) == 1


def test_an_event_that_a_killed_run_did_not_write_is_made_up_for(site: Site) -> None:
    site.publish("535")
    put_path(site.shop, content(site.shop, "550"), site.repo)  # killed here
    (site.repo / "feed.atom").unlink()
    site.tell()
    assert len(read_events(site.repo)) == 2
    assert len(feedparser.parse((site.repo / "feed.atom").read_bytes()).entries) == 2
    (site.repo / "events.json").write_text("rubbish")
    site.tell()
    assert [e["former"] for e in read_events(site.repo)] == [None]
