"""Who might be the same person as a new contact, and why."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher
from typing import TypeVar

from shared.domain.schema import Scalar

T = TypeVar("T")

# "Jon Miller" and "John Miller" reach 0.95, "Anna Weber" and "Anna Weiss" 0.80.
_ALIKE_NAME = 0.85
_ALIKE_COMPANY = 0.80
_NO_NAME = {
    "and",
    "und",
    "the",
    "ltd",
    "limited",
    "llc",
    "inc",
    "co",
    "company",
    "gmbh",
    "ag",
    "kg",
}


def likely_duplicates(
    values: Mapping[str, Scalar], candidates: Iterable[tuple[T, Mapping[str, Scalar]]]
) -> list[tuple[T, str]]:
    """The candidates that share e-mail or phone with ``values``, or a like name and company.

    Both sides name fields in our words (`COMMON_FIELDS`); each find says why.
    """
    return [
        (one, reason) for one, known in candidates if (reason := _reason(values, known)) is not None
    ]


def _reason(values: Mapping[str, Scalar], known: Mapping[str, Scalar]) -> str | None:
    if _address(values) and _address(values) == _address(known):
        return "same e-mail address"
    if phone_key(values.get("phone")) and phone_key(values["phone"]) == phone_key(
        known.get("phone")
    ):
        return "same phone number"
    if _like(_name(values), _name(known)) < _ALIKE_NAME:
        return None
    if _same_company(_plain(values.get("company")), _plain(known.get("company"))):
        return f"similar name and company: {known['company']}"
    return None


def _same_company(one: str, other: str) -> bool:
    """Alike as text, or all words of the shorter name in the longer."""
    if not one or not other:
        return False
    if _like(one, other) >= _ALIKE_COMPANY:
        return True
    mine, known = _words(one), _words(other)
    return bool(mine and known) and (mine <= known or known <= mine)


def _words(name: str) -> set[str]:
    return set(re.findall(r"\w+", name)) - _NO_NAME


def phone_key(phone: Scalar) -> str:
    """The number without the marks that people put between its digits."""
    return "" if phone is None else str(phone).translate(str.maketrans("", "", " -()."))


def _address(fields: Mapping[str, Scalar]) -> str:
    return str(fields.get("email") or "").strip().lower()


def _name(fields: Mapping[str, Scalar]) -> str:
    return f"{_plain(fields.get('first_name'))} {_plain(fields.get('last_name'))}".strip()


def _plain(text: Scalar) -> str:
    """Lower case without accents: "Müller" and "Muller" are the same."""
    decomposed = unicodedata.normalize("NFKD", str(text or "").casefold())
    return "".join(char for char in decomposed if not unicodedata.combining(char)).strip()


def _like(one: str, other: str) -> float:
    return SequenceMatcher(None, one, other, autojunk=False).ratio() if one and other else 0.0
