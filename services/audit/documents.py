"""From a ledger entry to what search finds: its own words, and the keys of its whole chain."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from services.audit.contacts import contacts_of, texts_of
from services.audit.reader import Logged
from services.audit.search.index import Document
from services.audit.search.query import value_key
from services.audit.search.words import fold, order_keys, orders_of, phone_keys, phones_of, stream
from services.audit.search.words import words_of as plain_words
from services.audit.telling import told
from services.audit.telling_events import Body, Told, record_text

LONGEST_EXCERPT = 4000
LONGEST_SEARCHED = 20_000
LONGEST_CUSTOMER = 200
_CUSTOMER_NAMES = ("name", "firstname", "first_name", "lastname", "last_name", "company")


@dataclass(kw_only=True, slots=True)
class Context:
    """What the entries of one chain have told so far, in ledger order.

    ``keys`` are the customer, order, source and prompt keys that every later entry of the chain
    is found by; ``approvers`` are by proposal.
    """

    keys: dict[str, None] = field(default_factory=dict)
    customer: str | None = None
    record: str | None = None
    source: str | None = None
    approvers: dict[str, list[str]] = field(default_factory=dict)

    def absorb(self, logged: Logged) -> None:
        """Take in one entry. What has an unexpected shape tells nothing."""
        if logged.body is None:
            return
        try:
            self._absorb(logged.topic, logged.body)
        except (AttributeError, KeyError, TypeError, ValueError):
            return

    def _absorb(self, topic: str, body: Body) -> None:
        self._add(contacts_of(topic, body))
        if topic == "event.received":
            self._absorb_event(body)
        elif topic == "event.classified":
            self._absorb_event(body["event"])
            self._absorb_classification(body)
        elif topic == "event.rejected":
            self.source = self.source or body["source"]
            self._add([f"s={fold(body['source'])}"])
        elif topic == "decision.made":
            known = self.approvers.setdefault(body["proposal_id"], [])
            if body["approver"] not in known:
                known.append(body["approver"])

    def _absorb_event(self, event: Body) -> None:
        sender = event.get("sender") or {}
        self.source = event["source"]
        named = (sender.get(name) for name in ("name", "email", "phone"))
        who = next(filter(None, named), "")[:LONGEST_CUSTOMER]
        self.customer = self.customer or who or None
        self._add([f"s={fold(event['source'])}"])
        self._add(f"n={word}" for word in plain_words(sender.get("name") or ""))
        parts = event.get("parts") or {}
        for name, text in parts.items():
            if any(name.lower().endswith(ending) for ending in _CUSTOMER_NAMES):
                self._add(f"n={word}" for word in plain_words(text))
            labelled = f"{name.replace('_', ' ')}: {text}"
            self._add(key for order in orders_of(labelled) for key in order_keys(order))
        subject = event.get("subject") or ""
        self._add(key for order in orders_of(subject) for key in order_keys(order))
        if event.get("record"):
            self.record = self.record or record_text(event["record"])

    def _absorb_classification(self, body: Body) -> None:
        maker = body["maker"]
        self._add(
            [f"p={fold(maker['version'])}", f"p={fold(maker['name'] + '@' + maker['version'])}"]
        )
        if reading := body.get("reading"):
            self.customer = reading["title"] or self.customer
            self._add(f"n={word}" for word in plain_words(reading["title"]))
        if body.get("record"):
            self.record = record_text(body["record"])

    def _add(self, keys: Iterable[str]) -> None:
        self.keys.update(dict.fromkeys(keys))


def document(logged: Logged, context: Context) -> Document:
    """The document of an entry; ``context`` has absorbed it already."""
    body = logged.body or {}
    said = told(logged.topic, logged.actor, logged.body)
    record = _record(body) or context.record
    deciders = context.approvers.get(str(body.get("proposal_id")), [])
    approvers = deciders if logged.topic.startswith(("decision.", "change.")) else []
    keys = [*context.keys, *_own_keys(logged, said, record), *(f"a={fold(a)}" for a in approvers)]
    return Document(
        seq=logged.seq,
        at=logged.at,
        topic=logged.topic,
        chain=logged.chain,
        sentence=said.sentence,
        excerpt=said.excerpt[:LONGEST_EXCERPT],
        record=record,
        customer=context.customer,
        source=context.source,
        decided_by=", ".join(approvers) or None,
        outcome=said.outcome,
        changes=said.changes,
        tokens=(*_words(logged, said), *dict.fromkeys(keys)),
    )


def _words(logged: Logged, said: Told) -> list[str]:
    """The words of the sentence and of every text in the body but the steps, told on their own."""
    body = {key: value for key, value in (logged.body or {}).items() if key != "steps"}
    if logged.topic == "event.classified":
        body.pop("event", None)  # It has an entry of its own.
        body.pop("reading", None)  # As above: what was read is the entry `record.read`.
    texts = "\n".join([said.sentence, *texts_of(body)])[:LONGEST_SEARCHED]
    return stream(texts)


def _own_keys(logged: Logged, said: Told, record: str | None) -> Iterator[str]:
    yield f"c={fold(logged.chain)}"
    yield f"k={fold(logged.topic)}"
    yield f"k={fold(logged.topic.partition('.')[0])}"
    if said.outcome:
        yield f"x={fold(said.outcome)}"
    if said.is_error:
        yield "x=error"
    if record:
        crm, kind, id_ = (*fold(record).split("/", 2), "", "")[:3]
        yield from (f"r={crm}/{kind}/{id_}", f"r={kind}/{id_}", f"r={id_}")
    if version := (logged.body or {}).get("prompt_version"):
        yield f"p={fold(str(version))}"
    for change in said.changes:
        yield f"f={fold(change.name).replace(' ', '_')}"
        for value in filter(None, (change.before, change.after)):
            yield value_key(value)
            for phone in phones_of(value):
                yield from (f"v{key}" for key in phone_keys(phone))


def _record(body: Mapping[str, Any]) -> str | None:
    record = body.get("record")
    if isinstance(record, Mapping) and {"crm", "type", "id"} <= record.keys():
        return record_text(record)
    return None
