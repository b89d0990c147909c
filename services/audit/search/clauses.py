"""One query tree as Elasticsearch reads it; nothing here asks anybody."""

from __future__ import annotations

from typing import Any

from services.audit.search.query import Query, Term, Tokens
from services.audit.search.words import spaced

_EXPANSIONS = 10_000


def clause(query: Query) -> dict[str, Any]:
    """What must hold, without scores: newest first needs none."""
    filters = [_term(term) for term in query.terms]
    if query.since is not None or query.until is not None:
        bounds = {"gte": query.since, "lt": query.until}
        filters.append({"range": {"at": {k: v for k, v in bounds.items() if v is not None}}})
    return {"bool": {"filter": filters}}


def _term(term: Term) -> dict[str, Any]:
    forms = [_phrase(tokens) for tokens in term.any_of]
    return forms[0] if len(forms) == 1 else {"bool": {"should": forms, "minimum_should_match": 1}}


def _phrase(tokens: Tokens) -> dict[str, Any]:
    text = spaced(tokens.tokens)
    if not tokens.prefix:
        return {"match_phrase": {"tokens": text}}
    if len(tokens.tokens) == 1:
        return {"prefix": {"tokens": {"value": text}}}
    return {"match_phrase_prefix": {"tokens": {"query": text, "max_expansions": _EXPANSIONS}}}
