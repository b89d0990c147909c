"""Hiding a customer's values from whoever has not said why they need them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from services.audit.search.index import ValueChange
from services.audit.search.words import emails_of, phones_of

DOTS = "•••"
SHORTEST_HIDDEN, LONGEST_HIDDEN = 3, 200
_EMAIL = re.compile(r"[^\s@<>\"'(),;:\[\]\\|=“”]+@[^\s@<>\"'(),;:\[\]\\|=“”]+\.[^\W\d_]{2,}")
_VALUE_KEYS = frozenset(
    {"before", "after", "now", "value", "read_back", "quote", "title", "sender", "changes"}
)
_PLAIN_KEYS = frozenset({"verified", "field", "kind", "type", "crm", "id", "part"})
_BESIDE_A_FIELD = frozenset({"before", "after", "verdict", "read_back"})
_NAME_KEYS = re.compile(
    r"name|company|address|street|city|zip|postal|phone|mobile|mail|birth", re.IGNORECASE
)


def mask_email(text: str) -> str:
    """``jane.doe@example.com`` is ``j•••@e•••.com``."""
    local, _, domain = text.partition("@")
    host, _, end = domain.rpartition(".")
    return f"{local[:1]}{DOTS}@{host[:1]}{DOTS}.{end}"


def mask_phone(text: str) -> str:
    """``+1 555 010 0101`` is ``+1 ••• ••01``: the country code and the last two digits stay."""
    digits = [char for char in text if char.isdecimal()]
    country = re.match(r"\s*\+(?:[17]|\d\d)", text)
    start = f"{country.group().strip()} " if country else ""
    return f"{start}{DOTS} ••{''.join(digits[-2:])}"


def mask_value(text: str) -> str:
    """A whole field value: an address or number as above, else its first letter."""
    if _EMAIL.fullmatch(text.strip()):
        return mask_email(text.strip())
    phones = phones_of(text)
    if phones and len(phones[0]) >= len(text.strip()) - 1:
        return mask_phone(text)
    return f"{text[:1]}{DOTS}" if text else ""


def _literal(replacement: str) -> Callable[[re.Match[str]], str]:
    """As a function, a replacement is never read as a template."""
    return lambda _: replacement


@dataclass(frozen=True)
class Mask:
    """Hides the given values wherever they stand, and everything that looks like a contact."""

    hidden: tuple[str, ...] = ()
    is_on: bool = True

    @classmethod
    def off(cls) -> Mask:
        return cls(is_on=False)

    @classmethod
    def of(cls, values: Iterable[str]) -> Mask:
        """Longest values first, so that a part never keeps the whole from being found."""
        kept = {value for value in values if len(value) >= SHORTEST_HIDDEN}
        return cls(hidden=tuple(sorted(kept, key=lambda value: (-len(value), value))))

    def text(self, text: str) -> str:
        """A text with every hidden value masked."""
        if not self.is_on or not text:
            return text
        lowered = text.lower()
        for value in self.hidden:
            # Most values do not stand in most texts, and a pattern costs more than a look.
            if value.lower() in lowered:
                whole = rf"(?<!\w){re.escape(value)}(?!\w)"
                text = re.sub(whole, _literal(mask_value(value)), text, flags=re.IGNORECASE)
        if "@" in text:
            text = _EMAIL.sub(lambda match: mask_email(match.group()), text)
        for phone in phones_of(text):
            text = text.replace(phone, mask_phone(phone))
        return text

    def value(self, value: str | None) -> str | None:
        """A field value; whatever it is, it is the customer's."""
        return value if value is None or not self.is_on else mask_value(value)

    def changes(self, changes: Iterable[ValueChange]) -> tuple[ValueChange, ...]:
        return tuple(
            ValueChange(
                name=change.name, before=self.value(change.before), after=self.value(change.after)
            )
            for change in changes
        )

    def data(self, value: Any) -> Any:
        """Plain data with every text masked."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {key: self.data(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.data(item) for item in value]
        return value


def personal_values(body: Mapping[str, Any]) -> Iterator[str]:
    """The customer's values in a body: sender, field values, readings, parts of forms."""
    yield from _personal(body, hide="")


def _personal(value: Any, *, hide: str) -> Iterator[str]:
    """``hide`` is empty, ``whole`` for a value, ``words`` for a name: each part of it tells."""
    if isinstance(value, str):
        if hide and "\n" not in value and len(value) <= LONGEST_HIDDEN:
            yield value
            yield from (w for w in value.split() if hide == "words" and len(w) > SHORTEST_HIDDEN)
        yield from emails_of(value)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if _is_nobodys(key, item, value):
                continue
            yield from _personal(item, hide=_hide(key, hide))
    elif isinstance(value, list):
        for item in value:
            yield from _personal(item, hide=hide)


def _is_nobodys(key: str, item: Any, around: Mapping[str, Any]) -> bool:
    """The name of the rules or a model, and that of a field beside its values."""
    if key == "maker":
        return isinstance(item, Mapping)
    return key == "name" and not around.keys().isdisjoint(_BESIDE_A_FIELD)


def _hide(key: str, inherited: str) -> str:
    if key in _PLAIN_KEYS:
        return ""
    if _NAME_KEYS.search(key):
        return "words"
    return "whole" if key in _VALUE_KEYS else inherited
