"""The customers a body speaks of: the keys of every e-mail address and phone number in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from services.audit.search.words import contact_keys
from shared.domain.topics import Topic

# These hold digests and keys, never anything about a customer.
WITHOUT_PERSONS = frozenset(
    {
        Topic.CHECKPOINT_SIGNED,
        Topic.KEY_CHANGED,
        Topic.RECEIPT_ISSUED,
        Topic.POLICY_CHANGED,
        Topic.SEARCH_MADE,
    }
)
_IDS = ("id", "_at", "sha256", "digest", "signature", "nonce", "time", "dedup_key", "traceparent")


def contacts_of(topic: str, body: Mapping[str, Any]) -> list[str]:
    """Each key once, in the order of appearance."""
    if topic in WITHOUT_PERSONS:
        return []
    return contact_keys(*texts_of(body))


def persons_of(topic: str, body: Mapping[str, Any]) -> list[str]:
    """The contact keys, and the records that it is about (``r=crm/type/id``)."""
    return [*contacts_of(topic, body), *records_of(body)]


def records_of(body: Mapping[str, Any]) -> list[str]:
    """Keys of the records that a body is about; those that only might be meant are not."""
    places = [body, body.get("event"), *(body.get("proposals") or ())]
    found = [place.get("record") for place in places if isinstance(place, Mapping)]
    return list(dict.fromkeys(_record_key(one) for one in found if isinstance(one, Mapping)))


def own_record(body: Mapping[str, Any], keys: Sequence[str]) -> list[str]:
    """The record that was read, where the CRM holds one of the contact ``keys`` in it."""
    read = body.get("reading")
    if not isinstance(read, Mapping):
        return []
    is_theirs = not set(keys).isdisjoint(contact_keys(*texts_of(read["fields"])))
    return [_record_key(read["ref"])] if is_theirs else []


def _record_key(ref: Mapping[str, Any]) -> str:
    return f"r={ref.get('crm')}/{ref.get('type')}/{ref.get('id')}"


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
