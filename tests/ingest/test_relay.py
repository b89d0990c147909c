"""From the inbox to the broker: order, repeats, outages, and what is not passed on as an event."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from services.ingest.inbox import Refusal
from services.ingest.relay import relay, retain
from services.ingest.replay import Which, matching, replay
from services.ingest.sources import SOURCES
from services.ingest.store import accepted, deliveries
from shared.bus.envelope import Envelope, decode
from shared.canonical import sha256_hex
from shared.db import reading, writing
from shared.domain.topics import Topic
from shared.errors import BrokerUnavailable, NotFound
from shared.outbox import Outgoing
from tests.ingest.senders import SOURCE, change
from tests.ingest.test_inbox import accept, hook
from tests.vectors import Kept, Store


@dataclass
class Flaky(Kept):
    """Loses the connection at the calls named in ``fails``, after or before it has taken all."""

    fails: set[int] = field(default_factory=set)
    refuses: set[str] = field(default_factory=set)
    calls: int = 0

    def send(self, messages: Sequence[Outgoing]) -> set[str]:
        self.calls += 1
        if self.calls in self.fails:
            super().send(messages[: len(messages) // 2])
            raise BrokerUnavailable("gone")
        return set(super().send(messages)) | self.refuses


def with_publisher(store: Store, publisher: Kept) -> None:
    store.published = publisher
    store.worker = replace(
        store.worker, publisher=publisher, relay=replace(store.worker.relay, publisher=publisher)
    )


def sent(store: Store) -> list[Envelope]:
    return [decode(message.text) for message in store.published.messages]


def give(store: Store, source: str, body: Any, headers: dict[str, str] | None = None) -> None:
    from services.ingest.hook import Endpoint

    known = SOURCES[source]
    request = replace(
        hook(store, "x", body if isinstance(body, bytes) else json.dumps(body).encode()),
        headers={"content-type": "application/json", **(headers or {})},
    )
    found = [known.identify(raw, request) for raw in known.split(request)]
    store.web.inbox.accept(known, Endpoint(source=source, secrets=("x",)), request, found)


def test_events_go_out_in_order_once_and_name_their_bytes(store: Store) -> None:
    for number in range(450):
        accept(store, f"m{number}", change(f"c-{number}"))
    assert relay(store.worker) == 450
    assert relay(store.worker) == 0
    envelopes = sent(store)
    assert [e.noun().record.id for e in envelopes] == [f"c-{n}" for n in range(450)]
    first = envelopes[0]
    assert first.topic is Topic.EVENT_RECEIVED
    assert first.chain == first.body["id"]
    assert first.subject == f"event/{first.chain}"
    assert first.body["raw_sha256"] == sha256_hex(change("c-0"))
    assert len({e.id for e in envelopes}) == 450


def test_after_an_outage_the_same_rows_go_again_with_the_same_ids(store: Store) -> None:
    with_publisher(store, Flaky(fails={1, 3}))
    for number in range(410):
        accept(store, f"m{number}", change(f"c-{number}"))
    for _ in range(2):
        with pytest.raises(BrokerUnavailable):
            relay(store.worker)
    relay(store.worker)
    ids = [message.id for message in store.published.messages]
    assert len(set(ids)) == 410
    assert len(ids) - 410 <= 200


def test_what_the_broker_refuses_stays_and_the_rest_is_marked(store: Store) -> None:
    flaky = Flaky()
    with_publisher(store, flaky)
    for number in range(3):
        accept(store, f"m{number}", change(f"c-{number}"))
    relay(store.worker)
    refused = store.published.messages[1].id
    with writing(store.worker.engine) as connection:
        connection.execute(update(accepted).values(sent_at=None))
    flaky.refuses, flaky.messages = {refused}, []
    assert relay(store.worker) == 2
    with reading(store.worker.engine) as connection:
        waiting = connection.scalars(select(accepted.c.seq).where(accepted.c.sent_at.is_(None)))
        assert list(waiting) == [2]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("contact.exploded", "unknown-kind"), ("note.created", "ignored")],
)
def test_an_unknown_and_an_ignored_kind_are_told_with_their_reason(
    store: Store, kind: str, reason: str
) -> None:
    body = json.loads(change("c-1"))
    accept(store, "m", json.dumps({**body, "type": kind}).encode())
    relay(store.worker)
    [envelope] = sent(store)
    assert envelope.topic is Topic.EVENT_REJECTED
    assert (envelope.body["reason"], envelope.body["accepted"]) == (reason, True)
    assert envelope.body["event_id"] == envelope.chain


def test_an_accepted_body_that_cannot_be_described_is_told_and_holds_nobody_up(
    store: Store,
) -> None:
    accept(store, "m1", json.dumps({**json.loads(change("c-1")), "data": {
        "object": "contacts", "id": "1", "changes": {"phone": {"new": ["a", "list"]}}}}).encode())  # fmt: skip
    accept(store, "m2", change("c-2"))
    relay(store.worker)
    assert [e.topic for e in sent(store)] == [Topic.EVENT_REJECTED, Topic.EVENT_RECEIVED]
    assert sent(store)[0].body["reason"] == "bad-payload"


def test_a_defect_of_ours_is_told_as_a_failure_and_holds_nobody_up(store: Store) -> None:
    accept(store, "m1", change("c-1"))
    accept(store, "m2", change("c-2"))
    with writing(store.worker.engine) as connection:
        connection.execute(update(accepted).where(accepted.c.seq == 1).values(position=7))
    relay(store.worker)
    assert [e.topic for e in sent(store)] == [Topic.EVENT_FAILED, Topic.EVENT_RECEIVED]


def test_bytes_that_are_gone_are_told_as_expired(store: Store) -> None:
    accept(store, "m1", change("c-1"))
    with writing(store.worker.engine) as connection:
        connection.execute(update(deliveries).values(content=None, is_expired=1))
    relay(store.worker)
    assert sent(store)[0].body["reason"] == "expired"


def test_refused_requests_are_told_and_a_flood_when_its_minute_is_over(store: Store) -> None:
    for _ in range(50):
        store.web.inbox.refuse(
            Refusal(
                source="zapier",
                endpoint="default",
                reason="mismatch",
                detail="wrong token",
                received_at=store.now,
            )
        )
    relay(store.worker)
    assert [e.body["count"] for e in sent(store)] == [1] * 20
    store.now += timedelta(minutes=3)
    relay(store.worker)
    assert sum(e.body["count"] for e in sent(store)) == 50
    assert {e.topic for e in sent(store)} == {Topic.EVENT_REJECTED}
    assert all(e.body["event_id"] is None and not e.body["accepted"] for e in sent(store))


def test_attachments_are_kept_under_their_hash_before_anybody_hears_of_them(store: Store) -> None:
    content = b"140 square metres"
    file = {
        "Name": "roof.txt",
        "ContentType": "text/plain",
        "Content": base64.b64encode(content).decode(),
    }
    give(store, "postmark-inbound", {"MessageID": "a", "TextBody": "Hi", "Attachments": [file]})
    relay(store.worker)
    [envelope] = sent(store)
    [attachment] = envelope.body["attachments"]
    assert attachment["size"] == len(content)
    assert store.worker.files.read(attachment["sha256"]) == content


def test_a_broken_attachment_is_told_as_a_bad_payload(store: Store) -> None:
    give(store, "postmark-inbound", {"MessageID": "a", "Attachments": [{"Content": "***"}]})
    relay(store.worker)
    assert sent(store)[0].body["reason"] == "bad-payload"


def test_a_replay_sends_again_under_a_new_id_and_is_logged(store: Store) -> None:
    for number in range(3):
        accept(store, f"m{number}", change(f"c-{number}"))
    relay(store.worker)
    event = sent(store)[1].chain
    with store.worker.unit_of_work.begin() as unit:
        assert matching(unit, Which(event_id=event)) == [event]
    assert relay(store.worker) == 0
    with store.worker.unit_of_work.begin() as unit:
        found = replay(unit, Which(event_id=event), reason="asked for", actor="person:ada")
    assert found == [event]
    relay(store.worker)
    again = sent(store)[3:]
    assert {e.topic for e in again} == {Topic.EVENT_REPLAYED, Topic.EVENT_RECEIVED}
    assert {e.chain for e in again} == {event}
    received = next(e for e in again if e.topic is Topic.EVENT_RECEIVED)
    assert received.body == sent(store)[1].body
    assert received.id != sent(store)[1].id


def test_a_replay_by_filter_takes_what_matches_and_an_unknown_event_is_an_error(
    store: Store,
) -> None:
    for number in range(3):
        accept(store, f"m{number}", change(f"c-{number}"))
    give(store, "zapier", {"id": "1", "email": "a@example.com"})
    relay(store.worker)
    with store.worker.unit_of_work.begin() as unit:
        assert len(matching(unit, Which(source=SOURCE))) == 3
        assert len(matching(unit, Which(type="form.submitted"))) == 1
        assert matching(unit, Which(since=store.now + timedelta(hours=1))) == []
        with pytest.raises(NotFound):
            matching(unit, Which(event_id="nothing"))


def test_the_retention_loop_runs_over_every_source(store: Store) -> None:
    accept(store, "m1", change("c-1"))
    relay(store.worker)
    store.now += timedelta(days=400)
    retain(store.worker)
    with reading(store.worker.engine) as connection:
        assert connection.scalar(select(deliveries.c.is_expired)) == 1
