"""What a person searches for: one tree for every index, and the parser of the search box."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from services.audit.search import words
from shared.domain.schema import rfc3339
from shared.errors import BadPayload

SHORTEST_PREFIX = 3
LONGEST_QUERY = 500
MOST_TERMS = 20

FILTERS: Mapping[str, str] = {
    "person": "Customer",
    "email": "E-mail",
    "phone": "Phone",
    "order": "Order number",
    "record": "Record",
    "field": "Field",
    "value": "Value",
    "approver": "Approver",
    "source": "Source",
    "topic": "Kind of entry",
    "outcome": "Outcome",
    "prompt": "Prompt version",
    "chain": "Chain",
    "after": "From",
    "before": "Until",
    "error": "Errors only",
}
"""Every filter by its name in the query, with its label."""


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Tokens that stand side by side in this order; the last may be the beginning of one."""

    tokens: tuple[str, ...]
    prefix: bool = False


@dataclass(frozen=True, kw_only=True)
class Term:
    """One thing that must be there, in any of these forms."""

    any_of: tuple[Tokens, ...]


@dataclass(frozen=True, kw_only=True)
class Query:
    """All ``terms`` must hold. ``since`` and ``until`` are RFC 3339 texts, ``until`` excluded.

    ``needles`` are the folded words to mark in what is found; one that ends in ``*`` marks
    beginnings. ``chips`` are the filters in force, as typed.
    """

    terms: tuple[Term, ...] = ()
    since: str | None = None
    until: str | None = None
    needles: tuple[str, ...] = ()
    chips: tuple[tuple[str, str], ...] = ()
    text: str = ""

    @property
    def is_empty(self) -> bool:
        return not self.terms and self.since is None and self.until is None


def key(token: str) -> Term:
    return Term(any_of=(Tokens(tokens=(token,)),))


def any_key(tokens: list[str]) -> Term:
    return Term(any_of=tuple(Tokens(tokens=(token,)) for token in tokens))


# ``name:value``, ``name:"a value"``, ``"a phrase"`` or a run without spaces.
_PIECE = re.compile(
    r'(?:(?P<name>[a-z]+):(?=\S))?(?:"(?P<quoted>[^"]*)"?|(?P<bare>\S+))', re.IGNORECASE
)


def parse(text: str, filters: Mapping[str, str] | None = None) -> Query:
    """The query of a search box and of filters by name (empty ones are ignored).

    Raises `BadPayload` with a sentence for people.
    """
    if len(text) > LONGEST_QUERY:
        raise BadPayload(f"the search is longer than {LONGEST_QUERY} characters")
    named = [(name, value.strip()) for name, value in (filters or {}).items() if name in FILTERS]
    chips, free = [(name, value) for name, value in named if value], list[tuple[str, bool]]()
    for name, value, quoted in _pieces(text):
        if name in FILTERS and value.strip():
            chips.append((name, value.strip()))
        elif value:
            free.append((f"{name}:{value}" if name else value, quoted))
    terms, needles = [], list[str]()
    for term, marks in _free_terms(free):
        terms.append(term)
        needles += marks
    for name, value in chips:
        terms += _FILTER_TERMS[name](value) if name in _FILTER_TERMS else ()
    if len(terms) > MOST_TERMS:
        raise BadPayload(f"more than {MOST_TERMS} words and filters at once")
    dates = dict(chips)
    return Query(
        terms=tuple(dict.fromkeys(terms)),
        since=_day(dates["after"], "after") if "after" in dates else None,
        until=_day(dates["before"], "before", days=1) if "before" in dates else None,
        needles=tuple(dict.fromkeys(needles)),
        chips=tuple(dict.fromkeys(chips)),
        text=text.strip(),
    )


def _pieces(text: str) -> Iterator[tuple[str, str, bool]]:
    """Name (or empty), value and whether it was quoted; spaces in phone numbers are closed up."""
    for phone in filter(_is_surely_phone, words.phones_of(text)):
        text = text.replace(phone, re.sub(r"\s", "", phone))
    for match in _PIECE.finditer(text):
        quoted = match["quoted"]
        yield (
            (match["name"] or "").lower(),
            quoted if quoted is not None else match["bare"],
            (quoted is not None),
        )


def _is_surely_phone(written: str) -> bool:
    """Not just two numbers side by side: it begins like one, or has the groups of one."""
    groups = re.findall(r"[0-9]+", written)
    return written[0] in "+(0" or (len(groups) >= 3 and max(map(len, groups)) <= 4)


def _free_terms(free: list[tuple[str, bool]]) -> Iterator[tuple[Term, list[str]]]:
    for value, quoted in free:
        if quoted:
            found = words.words_of(value)
            if found:
                yield Term(any_of=(Tokens(tokens=tuple(found)),)), found
        elif emails := words.emails_of(value):
            yield any_key([f"e={email}" for email in emails]), words.words_of(emails[0])
        else:
            yield from _word_terms(value)


def _word_terms(value: str) -> Iterator[tuple[Term, list[str]]]:
    """One run without spaces: a word, a beginning, a phone number, a date or a code."""
    prefix = value.endswith("*")
    found = words.words_of(value)
    if not found:
        return
    if prefix and len(found[-1]) < SHORTEST_PREFIX:
        raise BadPayload(f"write at least {SHORTEST_PREFIX} letters before *")
    forms = [Tokens(tokens=tuple(found), prefix=prefix)]
    if len(found) > 1 and not prefix:
        forms.append(Tokens(tokens=("".join(found),)))
    for phone in words.phones_of(value):
        forms += (Tokens(tokens=(token,)) for token in words.phone_query(phone))
    forms += (Tokens(tokens=(day,)) for day in words.dates_of(value))
    needles = [*found[:-1], f"{found[-1]}*"] if prefix else found
    yield Term(any_of=tuple(dict.fromkeys(forms))), needles


def _person(value: str) -> list[Term]:
    if emails := words.emails_of(value):
        return [key(f"e={emails[0]}")]
    if phone := words.phone_query(value):
        return [any_key(phone)]
    return [key(f"n={word}") for word in words.words_of(value)] or [_nothing()]


def _email(value: str) -> list[Term]:
    """A whole address, or a domain."""
    emails = words.emails_of(value)
    return [key(f"e={emails[0] if emails else words.fold(value).lstrip('@')}")]


def _phone(value: str) -> list[Term]:
    found = words.phone_query(value)
    if not found:
        raise BadPayload("phone: write at least seven digits")
    return [any_key(found)]


def _value(value: str) -> list[Term]:
    forms = [value_key(value)]
    if words.phones_of(value):
        forms += [f"v{token}" for token in words.phone_query(value)]
    return [any_key(forms)]


def _folded(prefix: str) -> Callable[[str], list[Term]]:
    return lambda value: [key(f"{prefix}={words.fold(value).replace(' ', '_')}")]


def _error(value: str) -> list[Term]:
    return [] if value.lower() in {"no", "false", "0"} else [key("x=error")]


def _nothing() -> Term:
    """A term that no document has: what was asked for cannot be searched by."""
    return key("=")


def value_key(value: object) -> str:
    """The key of a whole field value: its words, or for signs alone the text itself."""
    text = str(value)
    found = words.words_of(text)[:12]
    return "v=" + ("_".join(found) or "".join(text.split()))[:200]


_FILTER_TERMS: Mapping[str, Callable[[str], list[Term]]] = {
    "person": _person,
    "email": _email,
    "phone": _phone,
    "order": lambda value: [any_key(words.order_keys(value)[:1] or ["="])],
    "record": _folded("r"),
    "field": _folded("f"),
    "value": _value,
    "approver": lambda value: [key(f"a={words.fold(value).removeprefix('person:')}")],
    "source": _folded("s"),
    "topic": _folded("k"),
    "outcome": _folded("x"),
    "prompt": _folded("p"),
    "chain": _folded("c"),
    "error": _error,
}


def _day(text: str, name: str, *, days: int = 0) -> str:
    """The start of a day (UTC), or a full time, as RFC 3339 text."""
    try:
        if len(text) > 10:
            time = datetime.fromisoformat(text)
            return rfc3339(time if time.tzinfo else time.replace(tzinfo=UTC))
        day = date.fromisoformat(text) + timedelta(days=days)
    except (ValueError, OverflowError) as error:
        raise BadPayload(f"{name}: write a date as 2026-11-23") from error
    return f"{day}T00:00:00.000Z"
