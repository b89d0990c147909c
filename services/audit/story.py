"""The story of one chain, for whoever has to answer a complaint: sentences, timeline, answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import structlog

from services.audit import reader
from services.audit.answers import Answer, Facts, Item, answers, facts_of, items
from services.audit.deps import Deps
from services.audit.documents import Context
from services.audit.erase import chains_of as chains_of_contact
from services.audit.masking import Mask, personal_values
from services.audit.reader import Logged
from services.audit.search.index import Document, Page, ValueChange
from services.audit.search.query import Query, key
from services.audit.search.words import fold
from services.audit.telling import told
from services.audit.telling_changes import appended
from services.audit.telling_events import Told, name_of
from services.audit.unmasking import may_see
from shared.db import reading
from shared.errors import NotFound, StoreUnavailable

log = structlog.get_logger()
LATER = 20
# These say how the log itself works; they are in the timeline, not in the sentences.
_MACHINERY = frozenset(
    {"receipt.issued", "checkpoint.signed", "key.changed", "record.unmasked", "search.made"}
)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One entry in the timeline. ``tone`` is good, wait, bad or plain; ``raw`` is JSON text."""

    seq: int
    at: str
    topic: str
    who: str
    sentence: str
    excerpt: str
    tone: str
    changes: tuple[ValueChange, ...]
    details: tuple[tuple[str, str], ...]
    raw: str
    accepted_body: bool


@dataclass(frozen=True, kw_only=True)
class Story:
    """``answers`` are the eight questions in order, ``items`` what a complete record has (G13).

    ``why_nothing`` says why the CRM was not changed, where it was not. ``later`` are changes to
    the same record after this chain's own write.
    """

    chain: str
    headline: str
    customer: str | None
    record: str | None
    started_at: str
    ended_at: str
    status: str
    sentences: tuple[str, ...]
    timeline: tuple[Line, ...]
    answers: tuple[Answer, ...]
    items: tuple[Item, ...]
    complete: bool
    why_nothing: str | None
    masked: bool
    erased: bool
    later: tuple[Line, ...]


def tell(deps: Deps, chain: str, *, viewer: str) -> Story:
    """The story of a chain as this viewer may see it. Raises `NotFound`."""
    with reading(deps.engine) as db:
        entries = reader.of_chain(db, deps.vault, chain)
    if not entries:
        raise NotFound("the log has no such chain")
    is_open = may_see(deps, chain, viewer)
    context = Context()
    for logged in entries:
        context.absorb(logged)
    mask = Mask.off() if is_open else mask_of(entries, context)
    facts = facts_of(entries)
    later = _later(deps, context.record, facts, chain, mask)
    timeline = tuple(_line(logged, mask) for logged in entries)
    found = items(facts)
    return Story(
        chain=chain,
        headline=_headline(facts, context),
        customer=mask.value(context.customer),
        record=context.record,
        started_at=entries[0].at,
        ended_at=entries[-1].at,
        status=facts.status,
        sentences=tuple(line.sentence for line in timeline if line.topic not in _MACHINERY),
        timeline=timeline,
        answers=answers(facts, mask, later),
        items=found,
        complete=all(item.state != "missing" for item in found),
        why_nothing=facts.why_nothing,
        masked=not is_open,
        erased=any(logged.body is None for logged in entries),
        later=tuple(_document_line(document, mask) for document in later or ()),
    )


def chains_of(deps: Deps, contact: str) -> tuple[str, ...]:
    """The chains that speak of an e-mail address or phone number, newest first."""
    chains = chains_of_contact(deps, contact)
    with reading(deps.engine) as db:
        newest = {chain: reader.newest_of(db, chain) for chain in chains}
    return tuple(sorted(chains, key=lambda chain: newest[chain], reverse=True))


def mask_of(entries: Sequence[Logged], context: Context) -> Mask:
    """Hides everything this chain says about its customer."""
    values = [value for logged in entries for value in personal_values(logged.body or {})]
    customer = context.customer or ""
    return Mask.of([*values, customer, *customer.split()])


def _line(logged: Logged, mask: Mask) -> Line:
    said = told(logged.topic, logged.actor, logged.body)
    raw = json.dumps(mask.data(logged.body), ensure_ascii=False, indent=2, sort_keys=True)
    return Line(
        seq=logged.seq,
        at=logged.at,
        topic=logged.topic,
        who=name_of(logged.actor),
        sentence=mask.text(said.sentence),
        excerpt=mask.text(said.excerpt),
        tone=said.tone,
        changes=mask.changes(said.changes),
        details=_details(said, mask),
        raw=raw,
        accepted_body=logged.fits,
    )


def _details(said: Told, mask: Mask) -> tuple[tuple[str, str], ...]:
    return tuple((label, mask.text(text)) for label, text in said.details)


def _document_line(document: Document, mask: Mask) -> Line:
    return Line(
        seq=document.seq,
        at=document.at,
        topic=document.topic,
        who=document.decided_by or document.source or "",
        sentence=mask.text(document.sentence),
        excerpt="",
        tone="plain",
        changes=document.changes,
        details=(),
        raw="",
        accepted_body=True,
    )


def _later(
    deps: Deps, record: str | None, facts: Facts, chain: str, mask: Mask
) -> tuple[Document, ...] | None:
    """What happened to the same record, in other chains, after the last entry of this one."""
    if record is None or facts.applied is None or appended(facts.applied.body):
        return ()
    written, fields = facts.applied.seq, {change.name for change in facts.written}
    terms = (key(f"r={fold(record)}"),)
    try:
        hits = deps.index.search(Query(terms=terms), Page(size=200))
    except StoreUnavailable as error:
        log.warning("search waits", error=str(error))
        return None
    return tuple(
        replace(document, changes=mask.changes(document.changes))
        for document in reversed(hits.documents)
        if document.seq > written
        and document.chain != chain
        and document.topic in {"change.applied", "event.received"}
        and document.outcome != "tried"
        and fields & {change.name for change in document.changes}
    )[:LATER]


def _headline(facts: Facts, context: Context) -> str:
    source = f" through {context.source}" if context.source else ""
    about = f" about {context.record}" if context.record else ""
    return f"{facts.beginning}{source}{about}: {facts.status}"
