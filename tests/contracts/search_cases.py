"""What every search index must do: planted customers, every filter and every pair of filters."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import combinations, product
from pathlib import Path

from services.audit.search.index import Document, SearchIndex
from services.audit.search.query import parse
from tests.audit.book import (
    Book,
    Customer,
    applied,
    chain_of,
    classified,
    decided,
    dropped,
    intended,
    opened,
    received,
)

NAMES = (("Jane Doe", "jane.doe@example.com"), ("José Müller", "jose@mueller.example.org"))
PHONES = ("+1 212 555 0100", "030 1234567")
SOURCES, APPROVERS, PROMPTS = ("postmark", "zapier"), ("ann", "ben"), ("3", "4")
ORDERS, FIELDS = ("INV-2026/0017", "A-2231"), ("phone", "fax")


def planted() -> list[Customer]:
    """Customers that share every value with half of the others."""
    customers = []
    choices = product((0, 1), repeat=4)
    for number, (who, where, how, what) in enumerate(choices, 1):
        name, email = NAMES[who]
        customers.append(
            Customer(
                number=number,
                name=name,
                email=email,
                old_phone=PHONES[who],
                new_phone=f"+1 646 555 {number:04}",
                order=ORDERS[how],
                source=SOURCES[where],
                approver=APPROVERS[what],
                prompt=PROMPTS[how],
                field=FIELDS[what],
                verdict="approved" if (who + where) % 2 == 0 else "rejected",
            )
        )
    return customers


def plant(folder: Path, index: SearchIndex | None = None) -> Book:
    """A ledger with the whole story of each customer, half of them a day later, indexed."""
    book = Book(folder)
    if index is not None:
        book.deps = replace(book.deps, index=index)
    for customer in planted():
        if customer.number == 9:
            book.at = book.at.replace(day=24)
        book.log(received(book, customer))
        book.log(classified(book, customer, steps=[dropped(book, customer)]))
        book.log(opened(book, customer), decided(book, customer))
        if customer.verdict == "approved":
            book.log(intended(book, customer), applied(book, customer))
    book.index()
    return book


@dataclass(frozen=True)
class Filter:
    """What is typed, and which documents it means."""

    name: str
    typed: str
    means: Callable[[Document, Customer], bool]


_CHANGES = {"decision.made", "change.intended", "change.applied"}
_AFTER_RULES = {"event.classified", "card.opened", "model.asked", *_CHANGES}


def _after_reading(document: Document) -> bool:
    """Whether the chain had told its prompt version by then: steps come before their answer."""
    return document.topic not in {"event.received", "record.read", "proposal.dropped"} and (
        document.topic != "model.answered"
    )


FILTERS = (
    Filter("person", "person:jane", lambda d, c: c.name == "Jane Doe"),
    Filter("email", "email:JANE.DOE@example.com", lambda d, c: c.name == "Jane Doe"),
    Filter("free email", "jose@mueller.example.org", lambda d, c: c.name != "Jane Doe"),
    Filter("order", "order:inv-2026/0017", lambda d, c: c.order == ORDERS[0]),
    Filter("record", "record:contacts/5", lambda d, c: c.number == 5 and _has_record(d)),
    Filter(
        "field",
        "field:fax",
        lambda d, c: (
            c.field == "fax" and (d.topic in _CHANGES | {"event.classified", "card.opened"})
        ),
    ),
    Filter(
        "value",
        'value:"+1 646 555 0003"',
        lambda d, c: c.number == 3 and d.topic in _CHANGES | {"event.classified"},
    ),
    Filter("approver", "approver:ann", lambda d, c: c.approver == "ann" and d.topic in _CHANGES),
    Filter("source", "source:zapier", lambda d, c: c.source == "zapier"),
    Filter("topic", "topic:decision.made", lambda d, c: d.topic == "decision.made"),
    Filter("outcome", "outcome:applied", lambda d, c: d.topic == "change.applied"),
    Filter("prompt", "prompt:4", lambda d, c: c.prompt == "4" and _after_reading(d)),
    Filter("after", "after:2026-11-24", lambda d, c: c.number >= 9),
    Filter("before", "before:2026-11-23", lambda d, c: c.number < 9),
    Filter("words", "proposed change", lambda d, c: d.topic == "event.classified"),
    Filter("prefix", "propo*", lambda d, c: "ropo" in d.sentence and d.topic != "x"),
    Filter("phrase", '"read back"', lambda d, c: d.topic == "change.applied"),
)


def _has_record(document: Document) -> bool:
    return document.record is not None


def all_documents(index: SearchIndex) -> list[Document]:
    from services.audit.search.index import Page

    return list(index.search(parse("after:2000-01-01"), Page(size=10_000)).documents)


def by_chain() -> dict[str, Customer]:
    return {chain_of(customer): customer for customer in planted()}


def pairs() -> Iterable[tuple[Filter, Filter]]:
    return combinations(FILTERS, 2)
