"""The customers a body speaks of: the keys of every e-mail address and phone number in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
    found = (key for text in texts_of(body) for key in contact_keys(text))
    return list(dict.fromkeys(found))


def texts_of(value: Any) -> Iterator[str]:
    """Every text in plain data, but for ids, digests and times."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if not key.endswith(_IDS) or isinstance(item, Mapping | list):
                yield from texts_of(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from texts_of(item)
