"""`make vectors FILE=…`: posts every vector of a file through the real endpoint and compares.

The application is built by the product's own wiring with the vector's clock, secret and public
URL, over a fresh store; the request goes over a real socket; the verdict is read from the stored
row. Exit code: 0 all passed, 1 something failed, 3 nothing failed but some were skipped.
"""

from __future__ import annotations

import base64
import dataclasses
import http.client
import json
import re
import socketserver
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from sqlalchemy import func, select

from services.ingest.deps import WebDeps, WorkerDeps
from services.ingest.endpoints import Endpoints
from services.ingest.relay import relay
from services.ingest.service import SERVICE, WebSettings, WorkerSettings, wire_web, wire_worker
from services.ingest.sources import SOURCES
from services.ingest.store import accepted, deliveries, metadata, refusals, tallies
from shared.bus.envelope import decode
from shared.db import reading
from shared.domain.event import Event
from shared.domain.topics import Topic
from shared.outbox import Outgoing, Relay
from shared.web import build_app

Vector = Mapping[str, Any]
# The words of the vectors' reasons, as the classes of the product. The first that fits counts.
CLASSES: tuple[tuple[str, frozenset[str]], ...] = (
    (r"replay|already used|used token", frozenset({"replayed"})),
    (r"stale|too new|too old|in the future|expired", frozenset({"stale"})),
    (r"prefix missing|empty signature", frozenset({"malformed", "missing"})),
    (r"unknown version|no signature of a known", frozenset({"malformed", "missing"})),
    (r"missing field|not numeric", frozenset({"missing", "malformed"})),
    (r"missing", frozenset({"missing"})),
    (r"malformed|not a number|not base64|not hex|invalid", frozenset({"malformed"})),
    (r"fall back|downgrade|disagree", frozenset({"mismatch", "policy"})),
    (r"allow list|refused before|not allowed|not the configured", frozenset({"policy"})),
    (r"wrong|tampered|changed|not the signed|another|mismatch", frozenset({"mismatch"})),
)
SNS = "aws-sns"
# The topics that count as ours: the one of the vectors' own messages, and those of four that SNS
# really signed.
SNS_TOPICS = (
    "arn:aws:sns:us-east-1:111111111111:SES_Inbound",
    *(
        f"arn:aws:sns:us-east-2:295079676684:publish-and-verify-{topic}"
        for topic in (
            "892f85fe-4836-424d-8188-ab85bef0f362",
            "62674b1d-4295-426b-88e7-5fb75652a04e",
            "6e11fed2-fcdf-4c52-9dc4-36ef43f37f84",
            "530b26da-0687-4fe4-9f71-780bad3181e2",
        )
    ),
)
# A place for the digest of a request whose options only the scheme's words tell.
_PREFIX = re.compile(r"prefix=(\S+)")


@dataclass(kw_only=True)
class Kept:
    """A publisher that keeps what it is given, so that the relay's messages can be compared."""

    messages: list[Outgoing] = field(default_factory=list)

    def send(self, messages: Sequence[Outgoing]) -> set[str]:
        self.messages.extend(messages)
        return set()


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What became of one request."""

    status: int
    content_type: str
    body: str
    is_verified: bool
    reason: str
    dedup_keys: tuple[str, ...]
    types: tuple[str, ...]
    events: tuple[Event, ...]
    count: int


@dataclass(kw_only=True)
class Store:
    """One installation of ingest in a folder of its own, for one vector or a chain of them."""

    folder: Path
    now: datetime
    web: WebDeps
    worker: WorkerDeps
    published: Kept

    @classmethod
    def fresh(cls, folder: Path, public_url: str) -> Store:
        folder.mkdir(parents=True, exist_ok=True)
        common = {
            "database_url": f"sqlite:///{folder}/ingest.db",
            "wake_dir": folder / "run",
            "raw_dir": folder,
        }
        endpoints = folder / "endpoints.toml"
        web = wire_web(
            WebSettings(
                **common, endpoints_file=endpoints, keys_dir=folder / "keys", public_url=public_url
            )
        )
        broker_url = f"durable+sqlite:///{folder}/bus.db"
        given = {"broker_url": broker_url, "public_url": public_url}
        worker = wire_worker(WorkerSettings(**common, **given))
        metadata.create_all(web.engine)
        published = Kept()
        store = cls(
            folder=folder, now=datetime.now(UTC), web=web, worker=worker, published=published
        )

        def clock() -> datetime:
            return store.now

        store.web = dataclasses.replace(web, clock=clock)
        store.worker = dataclasses.replace(
            worker,
            clock=clock,
            publisher=published,
            relay=Relay(
                engine=worker.engine, outbox=worker.outbox, publisher=published, clock=clock
            ),
        )
        return store

    def open(self, vector: Vector) -> str:
        """Configure the vector's endpoint and point the clock; returns the path to post to."""
        self.now = datetime.fromtimestamp(vector["now"], UTC)
        (self.folder / "endpoints.toml").unlink(missing_ok=True)
        address = urlsplit(vector["url"])
        endpoint = Endpoints(self.folder / "endpoints.toml").add(
            vector["source"],
            secrets=secrets_of(vector),
            public_url=f"{address.scheme}://{address.netloc}{address.path}",
            options=options_of(vector),
        )
        return endpoint.path + (f"?{address.query}" if address.query else "")

    def app(self) -> Any:
        assert SERVICE.web is not None
        return build_app([("ingest", SERVICE.web, self.web)], None, public_url=self.web.public_url)

    def state(self) -> tuple[set[str], set[str], int]:
        """The ids of what was verified and of what was refused so far, and how many repeats."""
        repeats = select(func.sum(tallies.c.count)).where(tallies.c.result == "duplicate")
        with reading(self.web.engine) as connection:
            verified = set(connection.scalars(select(deliveries.c.id)))
            refused = set(connection.scalars(select(refusals.c.id)))
            return verified, refused, connection.scalar(repeats) or 0

    def seen_since(
        self, before: tuple[set[str], set[str], int], answer: tuple[int, str, str]
    ) -> Seen:
        """What the request left behind, with the events as the relay would send them."""
        verified, refused, repeats = self.state()
        new, turned = verified - before[0], refused - before[1]
        already = len(self.published.messages)
        relay(self.worker)
        envelopes = [decode(message.text) for message in self.published.messages[already:]]
        events = [e.noun() for e in envelopes if e.topic is Topic.EVENT_RECEIVED]
        with reading(self.web.engine) as connection:
            rows = connection.execute(
                select(accepted).where(accepted.c.delivery_id.in_(new)).order_by(accepted.c.seq)
            ).all()
            reason = connection.execute(select(refusals).where(refusals.c.id.in_(turned))).first()
        return Seen(
            status=answer[0],
            content_type=answer[1],
            body=answer[2],
            is_verified=bool(new)
            or repeats > before[2]
            or (reason is not None and bool(reason.is_verified)),
            reason=reason.reason if reason is not None and not new else "",
            dedup_keys=tuple(row.dedup_key for row in rows),
            types=tuple(row.type for row in rows),
            events=tuple(events),
            count=len(rows),
        )

    def close(self) -> None:
        self.web.engine.dispose()
        self.worker.engine.dispose()


class Server:
    """One real socket for all vectors; the application behind it is swapped."""

    class _Threaded(socketserver.ThreadingMixIn, WSGIServer):
        daemon_threads = True

    class _Quiet(WSGIRequestHandler):
        def log_message(self, *_: Any) -> None:
            """A vector is no access to log."""

    def __init__(self) -> None:
        self._server = self._Threaded(("127.0.0.1", 0), self._Quiet)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def post(self, app: Any, path: str, vector: Vector) -> tuple[int, str, str]:
        """``(status, content type, body)`` of the answer."""
        self._server.set_app(app)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.putrequest(vector["method"], path, skip_accept_encoding=True)
            body = body_of(vector)
            for name, value in vector["headers"].items():
                if name.lower() not in {"content-length", "host"}:
                    for one in value if isinstance(value, list) else [value]:
                        connection.putheader(name, one)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            response = connection.getresponse()
            kind = response.headers.get("content-type") or ""
            return response.status, kind, response.read().decode("utf-8", "replace")
        finally:
            connection.close()


def body_of(vector: Vector) -> bytes:
    if "body_base64" in vector:
        return base64.b64decode(vector["body_base64"])
    return str(vector.get("body") or "").encode()


def secrets_of(vector: Vector) -> tuple[str, ...]:
    """What the endpoint is given. Of SNS the vector's secret is a certificate, for `options_of`."""
    given = vector.get("secret") or ""
    secrets = tuple(given) if isinstance(given, list) else (given,)
    return SNS_TOPICS if vector["source"] == SNS and any(secrets) else secrets


def options_of(vector: Vector) -> dict[str, str]:
    """A generic endpoint's options, from the words of ``scheme`` and the header that is there."""
    if "options" in vector:
        return dict(vector["options"])
    if vector["source"] == SNS:
        return {"certificate": vector["secret"]} if vector.get("secret") else {}
    words = str(vector["scheme"]).lower().split()
    names = [name.lower() for name in vector["headers"]]
    signed = [name for name in names if re.search(r"signature|hmac|digest|hub|sign", name)]
    prefix = _PREFIX.search(str(vector["scheme"]))
    found = {
        "header": signed[0] if signed else None,
        "algorithm": next((word for word in words if re.fullmatch(r"sha\d+", word)), None),
        "encoding": next((w for w in words if w in {"hex", "base64", "base64url"}), None),
        "prefix": prefix[1] if prefix else None,
    }
    known = SOURCES[vector["source"]].setup.options
    return {key: value for key, value in found.items() if value and key in known}


def differences(vector: Vector, seen: Seen) -> list[str]:
    """In words, what is not as the vector says; nothing if it passed."""
    wrong = []
    if seen.is_verified != vector["valid"]:
        wrong.append(f"verified {seen.is_verified} ({seen.reason}), expected {vector['valid']}")
    if not vector["valid"]:
        wrong += _wrong_refusal(vector, seen)
    if seen.status >= 500:
        wrong.append(f"answered {seen.status}")
    expect = vector.get("expect", {})
    if not seen.is_verified:
        return wrong
    found = _found(seen)
    for key, wanted in expect.items():
        if key in found and not _agrees(key, wanted, found[key]):
            wrong.append(f"{key} is {found[key]!r}, expected {wanted!r}")
    if "duplicates_of" in expect and seen.count:
        wrong.append("was accepted as new, expected a duplicate")
    return wrong


def _wrong_refusal(vector: Vector, seen: Seen) -> list[str]:
    wrong = []
    if not 400 <= seen.status < 500:
        wrong.append(f"a refusal was answered {seen.status}")
    if seen.count:
        wrong.append(f"{seen.count} events were accepted from a request to refuse")
    wanted = class_of(str(vector.get("reason", "")))
    if wanted and seen.reason not in wanted:
        wrong.append(f"reason {seen.reason!r}, expected {' or '.join(sorted(wanted))}")
    return wrong


def class_of(reason: str) -> frozenset[str]:
    """The classes that the words of a reason allow; empty where they say nothing."""
    if reason in {"mismatch", "malformed", "missing", "stale", "replayed", "policy"}:
        return frozenset({reason})
    return next(
        (found for words, found in CLASSES if re.search(words, reason, re.IGNORECASE)), frozenset()
    )


def _found(seen: Seen) -> dict[str, Any]:
    """The values of the keys that ``expect`` may hold."""
    times = [event.occurred_at for event in seen.events if event.occurred_at]
    facts = seen.events[0].facts if seen.events else {}
    return {
        "event_count": seen.count,
        "event_types": list(seen.types),
        "object_ids": [event.record.id for event in seen.events if event.record],
        "dedup_id": seen.dedup_keys[0] if seen.dedup_keys else None,
        "dedup_ids": list(seen.dedup_keys),
        "message_id": facts.get("message_id"),
        "topic_arn": facts.get("topic_arn"),
        "envelope_from": facts.get("return_path"),
        "occurred_at": times[0] if times else None,
        "occurred_at_ms": [round(time.timestamp() * 1000) for time in times],
        "response_status": seen.status,
        "response_content_type": seen.content_type.partition(";")[0],
        "response_body": seen.body,
    }


def _agrees(key: str, wanted: Any, found: Any) -> bool:
    if key == "occurred_at":
        return found is not None and datetime.fromisoformat(wanted) == found
    if key == "dedup_id":
        # A key may go on behind the sender's id, to tell two contents of one id apart.
        return found == wanted or str(found).startswith(f"{wanted}#")
    return bool(wanted == found)


def run(vectors: Sequence[Vector]) -> tuple[int, int, int]:
    """``(passed, failed, skipped)``; prints each difference."""
    passed = failed = skipped = 0
    by_id = {vector["id"]: vector for vector in vectors}
    with tempfile.TemporaryDirectory() as folder, Server() as server:
        for place, vector in enumerate(vectors):
            if vector["source"] not in SOURCES or vector.get("origin") == "unconfirmed":
                skipped += 1
                continue
            chain = chained(vector, by_id)
            wrong = differences(vector, judge(chain, Path(folder, str(place)), server))
            failed, passed = failed + bool(wrong), passed + (not wrong)
            for text in wrong:
                print(f"{vector['id']}: {text}")
    return passed, failed, skipped


def chained(vector: Vector, by_id: Mapping[str, Vector]) -> list[Vector]:
    """The vector, after the one that it repeats."""
    original = vector.get("expect", {}).get("duplicates_of")
    return [*([by_id[original]] if original in by_id else []), vector]


def judge(chain: Sequence[Vector], folder: Path, server: Server) -> Seen:
    """Post the chain into one fresh store; what became of the last."""
    address = urlsplit(chain[-1]["url"])
    store = Store.fresh(folder, f"{address.scheme}://{address.netloc}")
    app = store.app()
    try:
        for vector in chain:
            path = store.open(vector)
            before = store.state()
            seen = store.seen_since(before, server.post(app, path, vector))
        return seen
    finally:
        store.close()


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 1:
        print("usage: make vectors FILE=path")
        return 2
    vectors = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    passed, failed, skipped = run(vectors)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    # A form that no vendor has confirmed is left out on purpose; an unknown source is a gap.
    unknown = any(vector["source"] not in SOURCES for vector in vectors)
    return 1 if failed else 3 if unknown else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
