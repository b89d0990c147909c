"""The customers a body speaks of: the keys of every e-mail address and phone number in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.audit.search.words import contact_keys
from shared.domain.topics import Topic

# These hold digests and keys, never anything about a customer.
WITHOUT_PERSONS = frozenset(
    {Topic.CHECKPOINT_SIGNED, Topic.RECEIPT_ISSUED, Topic.POLICY_CHANGED, Topic.SEARCH_MADE}
)
_IDS = ("id", "_at", "sha256", "digest", "signature", "nonce", "time", "dedup_key", "traceparent")


def contacts_of(topic: str, body: Mapping[str, Any]) -> list[str]:
    """Each key once, in the order of appearance."""
    if topic in WITHOUT_PERSONS:
        return []
    return contact_keys("\n".join(texts_of(body)))


def texts_of(value: Any) -> list[str]:
    """Every text in plain data, but for ids, digests and times."""
    found = list[str]()
    _collect(value, found)
    return found


def _collect(value: Any, found: list[str]) -> None:
    # Exact types first: this runs over every value of every message.
    kind = type(value)
    if kind is str:
        found.append(value)
    elif kind is dict or isinstance(value, Mapping):
        for key, item in value.items():
            if type(item) is not str:
                _collect(item, found)
            elif not key.endswith(_IDS):
                found.append(item)
    elif kind is list or kind is tuple:
        for item in value:
            _collect(item, found)
