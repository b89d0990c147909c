"""Searching the log: what the page and the API show of each hit, masked and marked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from services.audit.deps import Deps
from services.audit.masking import Mask
from services.audit.projection import ledger_size
from services.audit.search.index import Document, Page, ValueChange
from services.audit.search.query import FILTERS, Query, parse
from services.audit.search.words import fold
from services.audit.unmasking import chains_open_to
from shared.domain import ids
from shared.domain.topics import Topic

__all__ = [
    "FILTERS",
    "Completeness",
    "Found",
    "Page",
    "Query",
    "Row",
    "completeness",
    "find",
    "mark",
    "parse",
    "record_search",
]

Marked = tuple[tuple[str, bool], ...]
"""Pieces of a text; true where a searched word stands."""
WINDOW = 240
# Signs of our own making, which belong to no word: without them most texts are plain ASCII.
_SIGNS = str.maketrans("•…→“”", "     ")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One hit: when, what changed, old and new, decided by whom, and how it ended."""

    seq: int
    at: str
    topic: str
    chain: str
    record: str | None
    customer: str | None
    sentence: Marked
    excerpt: Marked
    changes: tuple[ValueChange, ...]
    decided_by: str | None
    outcome: str | None
    source: str | None
    masked: bool


@dataclass(frozen=True, kw_only=True)
class Completeness:
    """``behind`` entries are in the log and not searchable yet."""

    seq: int
    at: str | None
    behind: int


@dataclass(frozen=True, kw_only=True)
class Found:
    rows: tuple[Row, ...]
    total: int
    capped: bool
    next_before: int | None
    complete: Completeness


def find(deps: Deps, query: Query, *, viewer: str, page: Page | None = None) -> Found:
    """One page of hits, newest first. Raises `StoreUnavailable`."""
    complete = completeness(deps)  # Before the search, which then sees at least as much.
    hits = deps.index.search(query, page or Page())
    chains = list({document.chain for document in hits.documents})
    is_open = chains_open_to(deps, chains, viewer) if chains else frozenset()
    rows = tuple(_row(document, query, document.chain in is_open) for document in hits.documents)
    return Found(
        rows=rows,
        total=hits.total,
        capped=hits.capped,
        next_before=hits.next_before,
        complete=complete,
    )


def completeness(deps: Deps) -> Completeness:
    """How far the search sees. Raises `StoreUnavailable`."""
    position = deps.index.complete_up_to()
    behind = max(0, ledger_size(deps) - position.seq)
    return Completeness(seq=position.seq, at=position.at, behind=behind)


def record_search(deps: Deps, query: Query, found: Found, *, person: str) -> None:
    """Tell the log of a search: by whom and how many hits; the words only as a keyed hash."""
    hashed = deps.vault.query(f"{query.text}\n{query.chips}")
    with deps.unit_of_work.begin() as unit:
        unit.publish(
            Topic.SEARCH_MADE,
            {
                "query": hashed,
                "filters": sorted({name for name, _ in query.chips}),
                "hits": found.total,
            },
            subject=f"person/{person}",
            chain=ids.derive("searches", person),
            actor=f"person:{person}",
            key=ids.fresh(),
        )


def _row(document: Document, query: Query, is_open: bool) -> Row:
    mask = Mask.off() if is_open else _mask(document)
    excerpt = mask.text(document.excerpt)
    return Row(
        seq=document.seq,
        at=document.at,
        topic=document.topic,
        chain=document.chain,
        record=document.record,
        customer=mask.value(document.customer),
        sentence=mark(mask.text(document.sentence), query.needles),
        excerpt=mark(_window(excerpt, query.needles), query.needles),
        changes=mask.changes(document.changes),
        decided_by=document.decided_by,
        outcome=document.outcome,
        source=document.source,
        masked=not is_open,
    )


def _mask(document: Document) -> Mask:
    values = [document.customer or "", *(document.customer or "").split()]
    values += [v for change in document.changes for v in (change.before, change.after) if v]
    return Mask.of(values)


def mark(text: str, needles: tuple[str, ...]) -> Marked:
    """The text in pieces, searched words apart; ``wo*`` marks every word that begins so."""
    pattern = _pattern(needles)
    if pattern is None or not text:
        return ((text, False),) if text else ()
    pieces, last = list[tuple[str, bool]](), 0
    for start, end in _hits(text, pattern):
        if start > last:
            pieces.append((text[last:start], False))
        pieces.append((text[start:end], True))
        last = end
    if last < len(text):
        pieces.append((text[last:], False))
    return tuple(pieces)


def _hits(text: str, pattern: re.Pattern[str]) -> list[tuple[int, int]]:
    plain = text.translate(_SIGNS)
    folded = fold(plain)
    if len(folded) == len(text):
        return [match.span() for match in pattern.finditer(folded)]
    # Folding changed the length: look at each word by itself.
    words = re.finditer(r"[^\W_]+", text)
    return [word.span() for word in words if pattern.fullmatch(fold(word.group()))]


@lru_cache(maxsize=256)
def _pattern(needles: tuple[str, ...]) -> re.Pattern[str] | None:
    if not needles:
        return None
    forms = (
        re.escape(needle[:-1]) + r"[^\W_]*" if needle.endswith("*") else re.escape(needle)
        for needle in sorted(needles, key=len, reverse=True)
    )
    return re.compile(rf"(?<![^\W_])(?:{'|'.join(forms)})(?![^\W_])")


def _window(text: str, needles: tuple[str, ...]) -> str:
    """The part of a long text around the first searched word."""
    if len(text) <= WINDOW:
        return text
    pattern = _pattern(needles)
    hits = _hits(text[:20_000], pattern) if pattern else []
    start = max(0, (hits[0][0] if hits else 0) - WINDOW // 3)
    end = min(len(text), start + WINDOW)
    return f"{'…' if start else ''}{text[start:end].strip()}{'…' if end < len(text) else ''}"
