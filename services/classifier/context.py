"""Which record an event is about: by e-mail, then phone, then an id of ours; never by name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from services.classifier.forms import form_values
from shared.crm import Reader
from shared.crm.finding import as_candidates
from shared.domain.classification import Candidate
from shared.domain.event import Event
from shared.domain.record import Reading, RecordRef
from shared.errors import NotFound, Rejected
from shared.policy import Company
from shared.values import email_key, phone_key

_ORDER = re.compile(r"\b[A-Z]{2,4}-\d{3,8}\b")


@dataclass(frozen=True, kw_only=True)
class Context:
    """One record, or none and perhaps several that might be meant.

    ``reads`` are all it took, ``people`` is the object type of persons in that CRM.
    """

    record: RecordRef | None = None
    matched_by: str | None = None
    reading: Reading | None = None
    candidates: tuple[Candidate, ...] = ()
    reads: tuple[Reading, ...] = ()
    people: str = ""


def gather(event: Event, reader: Reader, company: Company) -> Context:
    """Find and read the record. Raises `CRMUnavailable`."""
    return replace(_found(event, reader, company), people=reader.people)


def _found(event: Event, reader: Reader, company: Company) -> Context:
    if event.record is not None:
        return _named(event.record, reader)
    reads: list[Reading] = []
    for how, found in _tries(event, reader, company):
        reads += found
        contacts = _contacts(found, reader, reads)
        if len(contacts) == 1:
            return Context(
                record=contacts[0].ref, matched_by=how, reading=contacts[0], reads=tuple(reads)
            )
        if contacts:
            return Context(candidates=_candidates(contacts, how), reads=tuple(reads))
    return Context(reads=tuple(reads))


def _named(ref: RecordRef, reader: Reader) -> Context:
    """The record that the event names itself; gone or of another CRM, it stays unread."""
    if ref.crm != reader.crm:
        return Context(record=ref, matched_by="event")
    try:
        reading = reader.read(ref)
    except Rejected:
        return Context(record=ref, matched_by="event")
    return Context(record=ref, matched_by="event", reading=reading, reads=(reading,))


def _tries(event: Event, reader: Reader, company: Company) -> Iterator[tuple[str, list[Reading]]]:
    """What the CRM finds by each key that the event has, in the order that counts."""
    form = form_values(event.parts) if event.is_form else {}
    sender = event.sender
    email = (sender.email if sender else None) or form.get("email", ("", ""))[1]
    phone = (sender.phone if sender else None) or form.get("phone", ("", ""))[1]
    if (address := email_key(email)) and not _is_ours(address, company):
        yield "email", reader.search(email=address)
    if (number := phone_key(phone, company.region)) and number not in company.phones:
        yield "phone", reader.search(phone=number)
    if "customer_id" in form:
        yield "external_id", reader.search(external_id=form["customer_id"][1][:100])
    if order := _order_number(event, form.get("order_number", ("", ""))[1]):
        yield "external_id", reader.search(order_number=order)


def _is_ours(address: str, company: Company) -> bool:
    return address in company.emails or address.partition("@")[2] in company.domains


def _order_number(event: Event, in_form: str) -> str | None:
    """One order number; a text that names several means none."""
    if in_form:
        return in_form[:100]
    texts = (event.parts.get("subject", ""), event.parts.get("body", ""))
    numbers = {match for text in texts for match in _ORDER.findall(text)}
    return numbers.pop() if len(numbers) == 1 else None


def _contacts(found: Sequence[Reading], reader: Reader, reads: list[Reading]) -> list[Reading]:
    """The people among them; of a deal its contact."""
    contacts = {reading.ref: reading for reading in found if reading.ref.type == reader.people}
    for reading in found:
        contact_id = reading.fields.get("contact_id")
        if reading.ref.type == reader.people or not isinstance(contact_id, str):
            continue
        ref = RecordRef(crm=reading.ref.crm, type=reader.people, id=contact_id)
        if ref not in contacts:
            try:
                contacts[ref] = reader.read(ref)
            except NotFound:
                continue
            reads.append(contacts[ref])
    return list(contacts.values())


def _candidates(readings: Sequence[Reading], how: str) -> tuple[Candidate, ...]:
    why = f"found by {how.replace('_', ' ')}"
    return tuple(as_candidates(readings[:10], why))
