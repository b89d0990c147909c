"""When Elasticsearch is gone, hangs or is too busy: nothing is lost and nothing is claimed."""

from __future__ import annotations

import json
import threading
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from services.audit.projection import Projection
from services.audit.search.elasticsearch import ElasticsearchIndex, open_elasticsearch
from services.audit.search.index import Document, Page, Position
from services.audit.search.query import parse
from shared.addresses import Address
from shared.errors import ConfigurationError, StoreUnavailable
from tests.audit.book import Book
from tests.contracts import search_cases as cases
from tests.contracts.elasticsearch import search_url
from tests.contracts.search_engines import settled
from tests.faults.proxy import Proxy
from tests.product import eventually, free_port

AT = "2026-11-23T09:00:00.000Z"
DOCUMENT = Document(seq=0, at=AT, topic="t", chain="c", sentence="s", tokens=("word",))


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Book:
    return cases.plant(tmp_path_factory.mktemp("ledger"))


@pytest.fixture
def url() -> Iterator[str]:
    with search_url() as url:
        yield url


def impatient(
    url: str, port: int, *, timeout: float = 0.6, patience: float = 1.0
) -> ElasticsearchIndex:
    """The same index by another way, with little time."""
    index = open_elasticsearch(f"http://127.0.0.1:{port}{urlsplit(url).path}")
    cluster = replace(index.cluster, timeout=timeout, patience=patience)
    return replace(index, generations=replace(index.generations, cluster=cluster))


def is_caught_up(ledger: Book, index: ElasticsearchIndex) -> bool:
    """After one round of the loop, which comes again where the index was not available."""
    try:
        Projection().catch_up(replace(ledger.deps, index=index))
    except StoreUnavailable:
        return False
    return True


def catches_up(ledger: Book, index: ElasticsearchIndex) -> None:
    """It holds exactly what the ledger says."""
    eventually(lambda: is_caught_up(ledger, index), 30)
    settled(index)
    assert index.sum() == ledger.deps.index.sum()
    assert index.complete_up_to() == ledger.deps.index.complete_up_to()


def fails_everywhere(index: ElasticsearchIndex) -> None:
    for act in (
        lambda: index.add([DOCUMENT], Position(seq=1, at=AT)),
        lambda: index.search(parse("word"), Page()),
        index.complete_up_to,
        index.stored_up_to,
        index.sum,
        lambda: index.erase([0]),
        lambda: index.drop_before(AT),
        lambda: index.rebuilding().__enter__(),
    ):
        with pytest.raises(StoreUnavailable):
            act()


def test_a_server_that_is_gone_is_unavailable_and_later_caught_up_with(
    ledger: Book, url: str
) -> None:
    fails_everywhere(impatient(url, free_port()))
    catches_up(ledger, open_elasticsearch(url))


def test_a_server_that_hangs_is_unavailable_and_later_caught_up_with(
    ledger: Book, url: str
) -> None:
    address = urlsplit(url)
    with Proxy((str(address.hostname), int(address.port or 0))) as proxy:
        open_elasticsearch(url).add([], Position(seq=0, at=None))
        index = impatient(url, proxy.port)
        assert index.stored_up_to() == Position(seq=0, at=None)
        proxy.hang()
        fails_everywhere(index)
        assert open_elasticsearch(url).stored_up_to() == Position(seq=0, at=None)
        proxy.cut()
        catches_up(ledger, impatient(url, proxy.port, timeout=10))


def test_a_connection_cut_in_the_middle_is_caught_up_with(
    ledger: Book, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.audit.projection.BATCH", 10)
    address, done = urlsplit(url), threading.Event()
    with Proxy((str(address.hostname), int(address.port or 0))) as proxy:
        index = impatient(url, proxy.port)

        def cut() -> None:
            while not done.wait(0.02):
                proxy.cut()

        thread = threading.Thread(target=cut)
        thread.start()
        failures = 0
        for _ in range(30):
            try:
                Projection().catch_up(replace(ledger.deps, index=index))
            except StoreUnavailable:
                failures += 1
        done.set()
        thread.join()
        assert failures > 0
        catches_up(ledger, impatient(url, proxy.port, timeout=10))


@dataclass
class Mood:
    """How the server in front behaves: what it answers to a bulk request, and how often."""

    refuses_whole: int = 0
    refuses_every_second: int = 0
    answers_late: int = 0
    password: str = ""
    bulks: int = 0
    seen: list[str] = field(default_factory=list)


@contextmanager
def moody(url: str, mood: Mood) -> Iterator[int]:
    """The real server behind one that is at times too busy; yields its port."""
    target = url.rpartition("/")[0]
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            shown = b64encode(f"u:{mood.password}".encode()).decode()
            if mood.password and self.headers["Authorization"] != f"Basic {shown}":
                self.reply(401, json.dumps({"error": {"type": "security_exception"}}))
                return
            if self.path == "/_security/_authenticate":
                self.reply(200, "{}")
                return
            is_bulk = self.path.startswith("/_bulk")
            mood.bulks += is_bulk
            if is_bulk and mood.refuses_whole > 0:
                mood.refuses_whole -= 1
                self.reply(429, json.dumps({"error": {"type": "circuit_breaking_exception"}}))
                return
            halved = is_bulk and mood.refuses_every_second > 0
            if halved:
                mood.refuses_every_second -= 1
                lines = body.split(b"\n")
                kept = [lines[n : n + 2] for n in range(0, len(lines) - 1, 4)]
                body = b"\n".join(line for pair in kept for line in pair) + b"\n"
            answer = requests.request(
                self.command,
                target + self.path,
                data=body,
                headers={
                    k: v for k, v in self.headers.items() if k.lower() in {"content-type", "accept"}
                },
                timeout=20,
            )
            if is_bulk and mood.answers_late > 0:
                mood.answers_late -= 1
                over.wait(5)
            text = answer.text
            if halved:
                text = self.with_refused(answer.json(), len(lines) // 2)
            self.reply(answer.status_code, text, answer.headers.get("Content-Type"))

        def with_refused(self, answer: Any, count: int) -> str:
            busy = {"create": {"status": 429, "error": {"type": "es_rejected_execution_exception"}}}
            went_in = iter(answer["items"])
            items = [busy if n % 2 else next(went_in) for n in range(count)]
            return json.dumps({"errors": True, "items": items})

        def reply(self, status: int, text: str, kind: str | None = None) -> None:
            data = text.encode()
            self.send_response(status)
            self.send_header("X-Elastic-Product", "Elasticsearch")
            self.send_header("Content-Type", kind or "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any  # noqa: N815 - the names that http.server looks for.

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    "mood",
    [Mood(refuses_whole=2), Mood(refuses_every_second=2), Mood(answers_late=1)],
    ids=["the whole request", "some documents", "an answer that comes too late"],
)
def test_a_busy_server_is_asked_again_until_everything_is_in(
    ledger: Book, url: str, mood: Mood
) -> None:
    with moody(url, mood) as port:
        catches_up(ledger, impatient(url, port, timeout=4, patience=30))
    assert mood.bulks > 1


def test_a_server_that_stays_busy_is_unavailable_and_nothing_is_claimed(
    ledger: Book, url: str
) -> None:
    mood = Mood(refuses_every_second=100)
    with moody(url, mood) as port:
        with pytest.raises(StoreUnavailable):
            Projection().catch_up(replace(ledger.deps, index=impatient(url, port, timeout=10)))
    assert mood.bulks < 10
    real = open_elasticsearch(url)
    assert real.stored_up_to() == real.complete_up_to() == Position(seq=0, at=None)
    assert 0 < real.sum().documents < ledger.deps.index.sum().documents
    catches_up(ledger, real)


def test_a_document_that_is_refused_raises_and_moves_no_position(url: str) -> None:
    index = open_elasticsearch(url)
    secret = replace(DOCUMENT, seq=1, at="2026-11-my secret")
    with pytest.raises(RuntimeError, match="refused document 1") as caught:
        index.add([DOCUMENT, secret], Position(seq=2, at=AT))
    assert "secret" not in str(caught.value)
    assert index.stored_up_to() == Position(seq=0, at=None)


def test_the_mapping_takes_no_field_that_it_does_not_name(url: str) -> None:
    index = open_elasticsearch(url)
    index.add([DOCUMENT], Position(seq=1, at=AT))
    server, _, prefix = url.rpartition("/")
    answer = requests.post(
        f"{server}/{prefix}-0-2026.11/_create/9", json={"seq": 9, "at": AT, "other": 1}, timeout=9
    )
    assert answer.status_code == 400
    assert "strict_dynamic_mapping_exception" in answer.text


def test_no_index_comes_up_by_itself_after_it_was_dropped(ledger: Book, url: str) -> None:
    index = open_elasticsearch(url)
    catches_up(ledger, index)
    index.generations.drop_generation("0")
    with pytest.raises(StoreUnavailable):
        index.add([DOCUMENT], Position(seq=1, at=AT))
    catches_up(ledger, index)


@pytest.mark.parametrize("url", ["http:///x", "http://h/Upper", "http://h/a-b", "http://h/a/b"])
def test_an_address_that_cannot_be_meant_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        open_elasticsearch(url)


def test_an_address_says_who_and_where() -> None:
    index = open_elasticsearch("https://ann:p%40ss@search.example:9243/log?ca_certs=/etc/ca.pem")
    cluster = index.cluster
    assert cluster.host == "https://search.example:9243"
    with cluster.client() as client:
        said = client._headers["authorization"]
    assert b64decode(said.removeprefix("Basic ")) == b"ann:p@ss"
    assert cluster.ca_certs == "/etc/ca.pem"
    assert index.generations.prefix == "log"
    assert open_elasticsearch("http://h").generations.prefix == "countersign"


def test_a_password_that_was_changed_is_read_anew(url: str, tmp_path: Path) -> None:
    open_elasticsearch(url).add([], Position(seq=7, at=AT))
    mood = Mood(password="old")
    with moody(url, mood) as port:
        lines = [f"http://u:{one}@127.0.0.1:{port}{urlsplit(url).path}" for one in ("new", "old")]
        file = tmp_path / "search_url"
        file.write_text("\n".join(lines))
        index = open_elasticsearch(Address.of(lines[0], file))
        assert index.stored_up_to().seq == 7
        mood.password = "new"
        with pytest.raises(StoreUnavailable, match="401"):
            index.stored_up_to()
        assert index.stored_up_to().seq == 7
